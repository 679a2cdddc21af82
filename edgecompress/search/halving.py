"""Successive halving (Jamieson & Talwalkar, arXiv 1502.07943): many candidates trained briefly, few to the end.

Half of the first rung is picked to cover the Pareto front of the zero-shot search; the surrogate picks the other half from what the first half
taught it. Later rungs take the best, as the surrogate's smoothed view of all trainings so far has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.search.pareto import non_dominated
from edgecompress.search.pareto import select as hypervolume_subset
from edgecompress.search.space import Space
from edgecompress.search.study import Trial
from edgecompress.search.surrogate import Observation, Surrogate, expected_improvement

BUDGET_SHARES = {1: (1.0,), 2: (0.35, 0.65), 3: (0.25, 0.2, 0.55)}  # of all training, a rung
LEAST_NARROWING = 1.5  # from a rung to the next; less is not worth a rung


@dataclass(frozen=True)
class Rung:
    """`count` candidates, each trained for `share` of a full training."""

    count: int
    share: float


def rungs(screen: int, top_k: int) -> tuple[Rung, ...]:
    """One rung when `screen` is no more than top_k; else from `screen` to `top_k`, through their geometric mean when they are far enough apart.

    A candidate of the last rung gets a share of 1; earlier rungs together cost about as much as the last one.
    """
    if screen <= top_k:
        return (Rung(top_k, 1.0),)
    middle = round((screen * top_k) ** 0.5)
    counts = [screen, middle, top_k] if screen >= LEAST_NARROWING * middle >= LEAST_NARROWING**2 * top_k else [screen, top_k]
    parts = BUDGET_SHARES[len(counts)]
    full = parts[-1] / top_k
    return tuple(Rung(count, part / count / full) for count, part in zip(counts, parts, strict=True))


def pick(trials: Sequence[Trial], count: int, how: str, seed: int) -> list[Trial]:
    """At most `count` of these feasible trials: "hypervolume" of the Pareto front, most "macs", or "random"."""
    if how == "random":
        order = np.random.default_rng(seed).permutation(len(trials))[:count]
        return [trials[int(index)] for index in order]
    if how == "macs":
        return sorted(trials, key=lambda t: (-t.score.macs, t.score.latency_s, t.candidate.id))[:count]
    points = np.array([t.score.objectives for t in trials])
    front = non_dominated(points)
    return [trials[front[index]] for index in hypervolume_subset(points[front], count)]


class Halving:
    """What to train next. Decisions depend only on the trials, the seed and the accuracies handed in."""

    def __init__(self, feasible: Sequence[Trial], space: Space, screen: int, top_k: int, how: str, seed: int) -> None:
        self._feasible, self._how, self._seed = list(feasible), how, seed
        self.rungs = rungs(min(screen, len(feasible)), min(top_k, len(feasible)))
        self._surrogate = Surrogate(self._feasible, space, seed)

    def first(self, train: Callable[[Sequence[Trial]], Mapping[str, float]]) -> list[Trial]:
        """The candidates of the first rung. `train` trains some of them for that rung and gives their accuracies by candidate."""
        rung = self.rungs[0]
        if len(self.rungs) == 1 or self._how != "hypervolume":
            return pick(self._feasible, rung.count, self._how, self._seed)
        chosen = pick(self._feasible, rung.count // 2, self._how, self._seed)
        accuracies = train(chosen)
        seen = [Observation(trial, rung.share, accuracies[trial.candidate.id]) for trial in chosen if trial.candidate.id in accuracies]
        while len(chosen) < rung.count:
            chosen.append(self._promising(seen, chosen, rung))
        return chosen

    def _promising(self, seen: list[Observation], chosen: Sequence[Trial], rung: Rung) -> Trial:
        """The candidate with the largest expected improvement; what was chosen counts as if it had met its expectation, so that the next one differs."""
        taken = {trial.candidate.id for trial in chosen}
        rest = [trial for trial in self._feasible if trial.candidate.id not in taken]
        if len(seen) < 2:
            return rest[0]
        waiting = [trial for trial in chosen if trial.candidate.id not in {o.trial.candidate.id for o in seen}]
        if waiting:
            believed, _ = self._surrogate.predict(seen, waiting, rung.share)
            seen = [*seen, *(Observation(trial, rung.share, float(mean)) for trial, mean in zip(waiting, believed, strict=True))]
        mean, deviation = self._surrogate.predict(seen, rest, rung.share)
        gain = expected_improvement(mean, deviation, max(o.accuracy for o in seen))
        return rest[int(np.round(gain, 6).argmax())]

    def next(self, rung: int, seen: Sequence[Observation], candidates: Sequence[Trial]) -> list[Trial]:
        """The best of `candidates` (those that finished the rung before) for rung number `rung`."""
        count = self.rungs[rung].count
        if len(candidates) <= count or len(seen) < 2:
            return list(candidates)[:count]
        expected, _ = self._surrogate.predict(seen, candidates)
        # rounded: machines that share a study may differ in the last bits
        order = sorted(range(len(candidates)), key=lambda index: (-round(float(expected[index]), 6), candidates[index].candidate.id))
        return [candidates[index] for index in order[:count]]
