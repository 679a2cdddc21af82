"""Largest first: a ratio for each group from nothing but an accuracy oracle and the groups' sizes, without training.

The policy of PrimeSVT (arXiv 2606.03428) for networks of any kind: find out alone what each group can lose, then take the largest groups first and from
each as much as the tolerance of the whole network allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from edgecompress.compress.prune.groups import ChannelGroup, InputShape, Pruned, channel_groups
from edgecompress.compress.prune.structured import LabelledBatch, prune_channels
from edgecompress.compress.prune.widths import kept_width
from edgecompress.errors import ConfigError

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Oracle = Callable[[nn.Module], float]  # accuracy 0 to 1
Repair = Callable[[nn.Module, Pruned], nn.Module]  # the module before and after pruning -> a better one of the same widths


@dataclass(frozen=True)
class GroupVerdict:
    """`alone`: the largest rate that the group takes alone within the tolerance (0: none); `rate`: what it lost in the end."""

    group: str
    parameters: int
    alone: float
    rate: float


@dataclass(frozen=True, eq=False)
class PolicyResult:
    """`accuracy` and `held_out` are (before, after) on the samples that chose and on those that did not; `lowered`: groups whose rate was lowered
    because of the latter. `evaluations` counts both."""

    module: nn.Module
    pruned: Pruned
    verdicts: tuple[GroupVerdict, ...]
    accuracy: tuple[float, float]
    held_out: tuple[float, float]
    lowered: tuple[str, ...]
    evaluations: int

    @property
    def ratios(self) -> dict[str, float]:
        """Rates by group."""
        return {verdict.group: verdict.rate for verdict in self.verdicts if verdict.rate > 0}


def largest_first(
    module: nn.Module, input_shape: InputShape, choose: Oracle, held_out: Oracle, *, max_drop: float, rates: Sequence[float] = RATES, round_to: int = 4,
    importance: str = "l2", batch: LabelledBatch | None = None, repair: Repair | None = None,
) -> PolicyResult:
    """Prunes as much as costs at most `max_drop` (0 to 1) of the accuracy on the oracle `choose`, largest groups first.

    `held_out` is an oracle on other samples: while more than `max_drop` is lost there, rates are lowered again, from the last group on.
    `repair` is applied before every evaluation, such as the closed-form recovery. Raises ConfigError for wrong arguments, ModelError when the module
    cannot be traced or pruned.
    """
    if not 0 <= max_drop < 1:
        raise ConfigError(f"the tolerated drop is {max_drop}; it must be at least 0 and below 1 (1 would be all of the accuracy)")
    if not rates or list(rates) != sorted(set(rates)) or not 0 < rates[0] <= rates[-1] < 1:
        raise ConfigError(f"the pruning rates to try are {list(rates)}; they must rise, each above 0 and below 1")
    groups = sorted(channel_groups(module, input_shape), key=lambda group: -group.parameters)
    search = _Search(module, input_shape, choose, max_drop, round_to, importance, batch, repair)
    alone = {group.name: search.largest({}, group, _useful(group, rates, round_to)) for group in groups}
    ratios: dict[str, float] = {}
    for group in groups:
        rate = search.largest(ratios, group, [rate for rate in _useful(group, rates, round_to) if rate <= alone[group.name]])
        if rate > 0:
            ratios[group.name] = rate
    accuracy = search.before, search.accuracy(ratios)
    check = _Search(module, input_shape, held_out, max_drop, round_to, importance, batch, repair)
    kept = _lower(check, ratios, {group.name: _useful(group, rates, round_to) for group in groups})
    lowered = tuple(name for name in ratios if kept.get(name, 0.0) < ratios[name])
    if lowered:
        accuracy = search.before, search.accuracy(kept)
    pruned = search.pruned(kept)
    verdicts = tuple(GroupVerdict(group.name, group.parameters, alone[group.name], kept.get(group.name, 0.0)) for group in groups)
    return PolicyResult(search.repaired(pruned), pruned, verdicts, accuracy, (check.before, check.accuracy(kept)), lowered,
                        search.evaluations + check.evaluations)


def _useful(group: ChannelGroup, rates: Sequence[float], round_to: int) -> list[float]:
    """The rates that give different widths, narrower than now."""
    by_width = {kept_width(group.channels, rate, round_to): rate for rate in reversed(rates)}
    return sorted(rate for width, rate in by_width.items() if width < group.channels)


def _lower(check: _Search, ratios: dict[str, float], rates: dict[str, list[float]]) -> dict[str, float]:
    kept = dict(ratios)
    while kept and not check.within(kept):
        name = list(kept)[-1]
        smaller = [rate for rate in rates[name] if rate < kept[name]]
        if smaller:
            kept[name] = smaller[len(smaller) // 2]
        else:
            del kept[name]
    return kept


@dataclass
class _Search:
    """One oracle with its baseline; remembers what it has evaluated."""

    module: nn.Module
    input_shape: InputShape
    oracle: Oracle
    max_drop: float
    round_to: int
    importance: str
    batch: LabelledBatch | None
    repair: Repair | None
    known: dict[tuple[tuple[str, float], ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self.oracle(self.module)
        self.known[()] = self.before

    @property
    def evaluations(self) -> int:
        return len(self.known)

    def pruned(self, ratios: dict[str, float]) -> Pruned:
        return prune_channels(self.module, self.input_shape, ratios, round_to=self.round_to, importance=self.importance, batch=self.batch)

    def repaired(self, pruned: Pruned) -> nn.Module:
        return pruned.module if self.repair is None else self.repair(self.module, pruned)

    def accuracy(self, ratios: dict[str, float]) -> float:
        key = tuple(sorted(ratios.items()))
        if key not in self.known:
            self.known[key] = self.oracle(self.repaired(self.pruned(ratios)))
        return self.known[key]

    def within(self, ratios: dict[str, float]) -> bool:
        return self.accuracy(ratios) >= self.before - self.max_drop - 1e-9

    def largest(self, ratios: dict[str, float], group: ChannelGroup, rates: Sequence[float]) -> float:
        """The largest of these rates within the tolerance beside `ratios`, 0 if none is: by bisection, as if accuracy fell with the rate."""
        low, high = -1, len(rates) - 1
        if rates and self.within({**ratios, group.name: rates[high]}):
            return rates[high]
        while high - low > 1:
            middle = (low + high) // 2
            if self.within({**ratios, group.name: rates[middle]}):
                low = middle
            else:
                high = middle
        return rates[low] if low >= 0 else 0.0
