"""Local search in a space: which scored candidates are worth looking around, and what lies around them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecompress.search.knob import Choice, Knob
from edgecompress.search.pareto import non_dominated
from edgecompress.search.pareto import select as hypervolume_subset
from edgecompress.search.space import Candidate, Space

if TYPE_CHECKING:
    from edgecompress.search.study import Trial

NEAR = 0.75  # probability that a changed knob goes one step up or down


def distinct(trials: Sequence[Trial], known: Sequence[Trial] = ()) -> list[Trial]:
    """The first trial of each network that is not `known`: knobs without effect, such as the growth of a single stage, make candidates that are one
    network."""
    first = {trial.score.network or trial.candidate.id: trial for trial in reversed(trials)}
    there = {trial.score.network or trial.candidate.id for trial in known}
    return [trial for network, trial in reversed(first.items()) if network not in there]


def ranked(trials: Sequence[Trial], count: int) -> list[Trial]:
    """At most `count` of these feasible trials, those first that cover most of the front over capacity.

    Latency is no objective here: all of them keep its limit, and what is below it is of no use to accuracy.
    """
    different = distinct(trials)
    points = np.array([trial.score.capacity for trial in different])
    front = non_dominated(points)
    return [different[front[index]] for index in hypervolume_subset(points[front], count)]


def promising(trials: Sequence[Trial], count: int) -> list[Trial]:
    """At most `count` to look around: the feasible ones as `ranked` has them, or those nearest to the limits when none is."""
    feasible = [trial for trial in trials if trial.score.feasible]
    if feasible:
        return ranked(feasible, count)
    return sorted(distinct(trials), key=lambda t: (max(t.score.violations.values()), t.candidate.id))[:count]


def neighbours(parents: Sequence[Candidate], space: Space, known: Collection[str], count: int, seed: int) -> list[Candidate]:
    """At most `count` candidates that differ from one of the parents, taken in turn, in one to three knobs, and are not `known` by id."""
    rng = np.random.default_rng(seed)
    found: dict[str, Candidate] = {}
    for attempt in range(20 * count):
        if len(found) == count:
            break
        parent = parents[attempt % len(parents)]
        knobs = [knob for knob in space.knobs(parent.family) if len(knob.choices) > 1]
        choices = dict(parent.choices)
        for index in rng.permutation(len(knobs))[: int(rng.integers(1, 4))]:
            knob = knobs[int(index)]
            choices[knob.name] = _step(knob, choices[knob.name], rng)
        child = Candidate(choices)
        if child.id not in known:
            found.setdefault(child.id, child)
    return list(found.values())


def _step(knob: Knob, value: Choice, rng: np.random.Generator) -> Choice:
    """Another choice: mostly the next one up or down, as choices are in rising order where they are numbers."""
    place = knob.choices.index(value)
    if rng.random() < NEAR:
        return knob.choices[min(max(place + int(rng.choice((-1, 1))), 0), len(knob.choices) - 1)]
    return knob.choices[int(rng.integers(len(knob.choices)))]
