"""Successive halving (Jamieson & Talwalkar, arXiv 1502.07943): many candidates trained briefly, few to the end.

Half of the first rung, more of a short one, covers the families, their known designs first; the surrogate picks the rest from what these taught it,
neighbours of the best included. A middle rung takes the best of different families, the last one those whose learning curves lead furthest.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.search.neighbourhood import ranked
from edgecompress.search.space import Candidate, Space
from edgecompress.search.study import Trial
from edgecompress.search.surrogate import LEARNING_CURVE, Observation, Surrogate, expected_improvement

Shares = Mapping[int, tuple[float, ...]]  # by the number of rungs: of all training, what each rung gets

BUDGET_SHARES: Shares = {1: (1.0,), 2: (0.35, 0.65), 3: (0.25, 0.15, 0.6)}
LIMITED_SHARES: Shares = {1: (1.0,), 2: (0.2, 0.8), 3: (0.15, 0.15, 0.7)}  # where time is limited: the last trainings are short of it
PARENTS = 3
FLATTEST, STEEPEST = 0.05, 0.6  # powers of the time with which errors fall, at least and at most
MOST_FITS = 12  # of the surrogate while it picks; more picks than that are made several at once
LEAST_KEPT = 0.4  # of the first rung, for a second look: families learn at different speeds, and one training cannot tell how fast
LEAST_NARROWING = 1.7  # from a rung to the next; less is not worth a rung


@dataclass(frozen=True)
class Rung:
    """`count` candidates, each trained for `share` of a full training."""

    count: int
    share: float


def rungs(screen: int, top_k: int, shares: Shares = BUDGET_SHARES) -> tuple[Rung, ...]:
    """One rung when `screen` is no more than top_k; else from `screen` to `top_k`, through about their geometric mean when they are far enough apart.

    A candidate of the last rung gets a share of 1; the rungs cost what `shares` says.
    """
    if screen <= top_k:
        return (Rung(top_k, 1.0),)
    middle = round(max((screen * top_k) ** 0.5, LEAST_KEPT * screen))
    counts = [screen, middle, top_k] if screen >= LEAST_NARROWING * middle >= LEAST_NARROWING**2 * top_k else [screen, top_k]
    parts = shares[len(counts)]
    full = parts[-1] / top_k
    return tuple(Rung(count, part / count / full) for count, part in zip(counts, parts, strict=True))


def pick(trials: Sequence[Trial], count: int, how: str, seed: int, designs: Collection[str] = ()) -> list[Trial]:
    """At most `count` of these feasible trials: to cover the families ("hypervolume"), with the most "macs", or "random". `designs` are identities of
    candidates that people take without a search."""
    if how == "random":
        order = np.random.default_rng(seed).permutation(len(trials))[:count]
        return [trials[int(index)] for index in order]
    if how == "macs":
        return sorted(trials, key=lambda t: (-t.score.macs, t.score.latency_s, t.candidate.id))[:count]
    return _cover(trials, count, designs)


def _cover(trials: Sequence[Trial], count: int, designs: Collection[str]) -> list[Trial]:
    """Each family in turn: first the known design that covers most of the front over capacity of the known ones (by multiply-accumulates alone it would
    be the one with the largest images and the fewest parameters), then those that cover most of the family's front.

    Proxies compare networks of one family, not families.
    """
    families: dict[str, list[Trial]] = {}
    for trial in {_kind(trial): trial for trial in reversed(trials)}.values():
        families.setdefault(trial.candidate.family, []).append(trial)
    queues = []
    for _, members in sorted(families.items()):
        known = [trial for trial in members if trial.candidate.id in designs]
        best = ranked(known, 1) if known else []
        queues.append([*best, *(trial for trial in ranked(members, count) if trial not in best)])
    queues.sort(key=lambda queue: (-queue[0].score.macs, queue[0].candidate.id))  # when there is room for few, the more able families
    turns = [queue[place] for place in range(count) for queue in queues if place < len(queue)]
    return turns[:count]


def _kind(trial: Trial) -> tuple[str, int, int, int]:
    """Equal for networks that differ in activation or weight bits alone, say: a training of one tells what the others reach."""
    return trial.candidate.family, trial.score.macs, trial.score.parameters, trial.score.layers


class Halving:
    """What to train next. Decisions depend only on the trials, the seed and the accuracies handed in."""

    def __init__(self, space: Space, screen: int, top_k: int, how: str, seed: int, shares: Shares = BUDGET_SHARES) -> None:
        self._space, self._how, self._seed, self._shares = space, how, seed, shares
        self.rungs = rungs(screen, top_k, shares)

    @property
    def parts(self) -> tuple[float, ...]:
        """Of all training, what each rung gets."""
        return self._shares[len(self.rungs)]

    @property
    def guided(self) -> bool:
        """Whether half of the first rung is picked by what the other half taught."""
        return len(self.rungs) > 1 and self._how == "hypervolume"

    def first(self, feasible: Sequence[Trial]) -> list[Trial]:
        """Those of the first rung that can be picked without having trained any."""
        count = self.rungs[0].count
        if self.guided:
            families = {trial.candidate.family for trial in feasible}
            count = min(count, max(-(-count // 2), len(families)))  # a family that nothing is known of may be the best one
        return pick(feasible, count, self._how, self._seed, {candidate.id for candidate in self._space.designs()})

    def parents(self, seen: Sequence[Observation]) -> list[Candidate]:
        """The best trained candidates, whose neighbourhood is worth a look."""
        ordered = sorted(seen, key=lambda o: (-o.accuracy, o.trial.candidate.id))
        return [observation.trial.candidate for observation in ordered[:PARENTS]]

    def second(self, feasible: Sequence[Trial], seen: Sequence[Observation], chosen: Sequence[Trial]) -> list[Trial]:
        """The rest of the first rung: the candidates with the largest expected improvement, one after the other."""
        surrogate = Surrogate(feasible, self._space, self._seed)
        added: list[Trial] = []
        wanted = min(self.rungs[0].count, len(feasible)) - len(chosen)
        while len(added) < wanted:
            at_once = max(1, wanted // MOST_FITS)
            added += self._promising(surrogate, list(seen), [*chosen, *added], feasible)[: min(at_once, wanted - len(added))]
        return added

    def _promising(self, surrogate: Surrogate, seen: list[Observation], chosen: Sequence[Trial], feasible: Sequence[Trial]) -> list[Trial]:
        """What is left, the most promising first. What was chosen and has not trained counts as if it had met its expectation, so that the next
        ones differ."""
        taken, kinds = {trial.candidate.id for trial in chosen}, {_kind(trial) for trial in chosen}
        others = [trial for trial in feasible if trial.candidate.id not in taken]
        rest = [trial for trial in others if _kind(trial) not in kinds] or others
        if len(seen) < 2:
            return rest
        share, trained = self.rungs[0].share, {observation.trial.candidate.id for observation in seen}
        waiting = [trial for trial in chosen if trial.candidate.id not in trained]
        if waiting:
            believed, _ = surrogate.predict(seen, waiting, share)
            seen = [*seen, *(Observation(trial, share, float(mean)) for trial, mean in zip(waiting, believed, strict=True))]
        mean, deviation = surrogate.predict(seen, rest, share)
        gain = np.round(expected_improvement(mean, deviation, max(observation.accuracy for observation in seen)), 6)
        return [rest[int(index)] for index in np.argsort(-gain, kind="stable")]

    def next(self, rung: int, feasible: Sequence[Trial], seen: Sequence[Observation], candidates: Sequence[Trial]) -> list[Trial]:
        """The best of `candidates` (those that finished the rung before) for rung number `rung`: of different families as long as it is not the last
        one, as some families learn late; for the last one, by where their learning curves lead."""
        count = self.rungs[rung].count
        if len(candidates) <= count or len(seen) < 2:
            return list(candidates)[:count]
        expected, _ = Surrogate(feasible, self._space, self._seed).predict(seen, candidates)
        accuracies = dict(zip((trial.candidate.id for trial in candidates), map(float, expected), strict=True))
        last = rung == len(self.rungs) - 1
        if last:
            accuracies |= extrapolated(seen, candidates)
        # rounded: machines that share a study may differ in the last bits
        order = sorted(candidates, key=lambda trial: (-round(accuracies[trial.candidate.id], 6), trial.candidate.id))
        if last:
            return order[:count]
        firsts = list({trial.candidate.family: trial for trial in reversed(order)}.values())
        return [trial for trial in order if trial in firsts][:count] + [trial for trial in order if trial not in firsts][: max(0, count - len(firsts))]


def extrapolated(seen: Sequence[Observation], candidates: Sequence[Trial]) -> dict[str, float]:
    """By identity the accuracy after a full training where the last two trainings of a candidate lead: its error falls as a power of the time."""
    found = {}
    for trial in candidates:
        mine = sorted((o for o in seen if o.trial.candidate.id == trial.candidate.id), key=lambda o: o.share)[-2:]
        if len(mine) == 2 and mine[0].share < mine[1].share:
            (early, before), (late, error) = ((o.share, max(1.005 - o.accuracy, 5e-3)) for o in mine)
            measured = math.log(before / error) / math.log(late / early)
            power = min(max((measured + LEARNING_CURVE) / 2, FLATTEST), STEEPEST)  # half believed: curves flatten, and single accuracies are noisy
            found[trial.candidate.id] = 1.005 - error * min(late, 1.0) ** power
    return found
