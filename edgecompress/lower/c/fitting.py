"""Brings a model under a RAM limit: the stretch of layers that needs too much is computed in bands of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgecompress.errors import BudgetError
from edgecompress.hw.memory import FAST, step_bounds
from edgecompress.hw.plan import MemoryPlan
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.c.storage import Permission, Storage
from edgecompress.lower.passes.bands import Band, Stretch, find_stretches, plan_bands, recomputed_macs, split_stretch
from edgecompress.units import format_bytes

OPTIMISM = 0.8  # few graphs need less than that much of their estimate, which knows little of buffers that share bytes
MARGIN = 1.03  # how far above its goal a corrected estimate may be to be worth a plan
MOST_PLANS, LAST_PLANS = 80, 20  # graphs that are planned exactly, in the order of their cost, and then of their estimated memory


@dataclass(frozen=True)
class Layout:
    """Where the tensors of a graph lie; `ram_bytes` is arena and state."""

    graph: QuantizedGraph
    storage: Storage
    memory: MemoryPlan
    ram_bytes: int


@dataclass(frozen=True)
class _Candidate:
    graph: QuantizedGraph
    stretch: Stretch
    bands: Sequence[Band]
    keep: bool
    extra_macs: int
    calls: int  # about as many kernel calls as the stretch becomes
    estimated_bytes: int


def fit(layout: Layout, limit: int, plan: Callable[[QuantizedGraph, int], Layout], permissions: Sequence[Permission]) -> Layout:
    """The layout with the least extra work that keeps `ram_bytes` at or below `limit`; of those with equal work the one with the fewest calls.

    `plan` makes the layout of another graph with so many steps of search; `permissions`: one a node of the graph given.
    Raises BudgetError with the least that was reached and the layer in the way.
    """
    search = _Trials(layout, limit, plan)
    likely = [one for one in _candidates(layout, limit, permissions) if one.estimated_bytes * OPTIMISM <= limit]
    search.run(sorted(likely, key=lambda one: (one.extra_macs, one.calls, one.estimated_bytes)), MOST_PLANS, limit)
    if search.best.ram_bytes > limit:  # nothing that promised to fit does: what promises least
        others = _candidates(layout, layout.ram_bytes - 1, permissions)
        search.run(sorted(others, key=lambda one: (one.estimated_bytes * (OPTIMISM if one.keep else 1.0), one.extra_macs, one.calls)), LAST_PLANS)
    if search.best.ram_bytes > limit:
        raise _out_of_reach(layout, search.best, limit)
    return search.best


class _Trials:
    """Plans candidates exactly until one is below the limit; `best` is then that one, else the one that needs least."""

    def __init__(self, layout: Layout, limit: int, plan: Callable[[QuantizedGraph, int], Layout]) -> None:
        self.best, self.limit, self.plan = layout, limit, plan
        self.ratios: dict[tuple[Stretch, bool], float] = {}  # planned to estimated bytes of the last trial of a stretch

    def run(self, candidates: Sequence[_Candidate], most: int, goal: int | None = None) -> None:
        """Tries at most so many of those that may need no more than `goal` (None: the least so far), corrected by what was seen of their stretch."""
        tried = 0
        for candidate in candidates:
            key = candidate.stretch, candidate.keep
            if self.best.ram_bytes <= self.limit or tried == most:
                break
            if candidate.estimated_bytes * self.ratios.get(key, OPTIMISM) > MARGIN * (goal or self.best.ram_bytes):
                continue
            split = self._plan(candidate)
            tried += 1
            self.ratios[key] = split.ram_bytes / candidate.estimated_bytes
            if split.ram_bytes < self.best.ram_bytes:
                self.best = split

    def _plan(self, candidate: _Candidate) -> Layout:
        split = self.plan(split_stretch(candidate.graph, candidate.stretch, candidate.bands), 0)
        if split.ram_bytes > self.limit and split.memory.lower_bound_bytes < min(split.memory.arena_bytes, self.best.memory.arena_bytes):
            return self.plan(split.graph, FAST)
        return split


def _candidates(layout: Layout, limit: int, permissions: Sequence[Permission]) -> Iterator[_Candidate]:
    """All ways to split one stretch that leave no layer outside that alone needs more than the limit."""
    graph = layout.graph
    fixed = layout.ram_bytes - layout.memory.arena_bytes
    bounds = step_bounds(layout.storage.buffers, layout.storage.overlaps)
    for stretch in find_stretches(graph):
        outside = fixed + max((needed for step, needed in bounds.items() if not stretch.first <= step <= stretch.last), default=0)
        if outside > limit:
            continue
        estimate = _Estimate(layout, stretch, permissions)
        height = graph.tensors[stretch.result].shape[0]
        for count in sorted({-(-height // rows) for rows in range(1, height)}):  # one for each height that a band can have
            for keep in (True, False):
                bands = plan_bands(graph, stretch, count, keep)
                if bands is not None:
                    calls = sum(need.new < need.end for band in bands for need in band.values())
                    needed = max(outside, fixed + estimate.arena_bytes(bands))
                    yield _Candidate(graph, stretch, bands, keep, max(recomputed_macs(graph, stretch, bands), 0), calls, needed)


class _Estimate:
    """About the arena of a split stretch, without making the graph: what is alive at each call; in place where a kernel can be."""

    def __init__(self, layout: Layout, stretch: Stretch, permissions: Sequence[Permission]) -> None:
        graph = layout.graph
        self.nodes = graph.nodes[stretch.first:stretch.last + 1]
        self.permissions = permissions[stretch.first:stretch.last + 1]
        self.row_bytes = {name: tensor.size // tensor.shape[0] for name, tensor in graph.tensors.items()}
        self.source, self.result = stretch.source, stretch.result
        self.source_rows = graph.tensors[stretch.source].shape[0]
        buffers = {buffer.name for buffer in layout.storage.buffers}
        for name in (stretch.source, stretch.result):
            if layout.storage.places[name][0] not in buffers:
                self.row_bytes[name] = 0  # the caller's memory
        self.readers: dict[str, int] = {}  # last reader of each tensor in a band
        for index, node in enumerate(self.nodes):
            self.readers.update(dict.fromkeys(node.inputs, index))

    def arena_bytes(self, bands: Sequence[Band]) -> int:
        """Most bytes alive at once."""
        there: dict[str, int] = {}  # bytes of each tensor inside the stretch
        done = peak = 0
        for band, following in zip(bands, [*bands[1:], {}], strict=True):
            source = (self.source_rows - band[self.source].first) * self.row_bytes[self.source]
            for index, node in enumerate(self.nodes):
                need = band.get(node.output)
                if need is None or need.new == need.end:
                    continue
                size = (need.end - need.first) * self.row_bytes[node.output]
                if node.output == self.result:
                    done += size
                else:
                    there[node.output] = size
                peak = max(peak, source + done + sum(there.values()) + self.permissions[index].scratch_bytes - self._shared(index, size, there))
                for name in node.inputs:
                    if name in there and self.readers[name] == index:
                        there[name] = self._kept(name, band, following)
        return peak

    def _shared(self, index: int, size: int, there: Mapping[str, int]) -> int:
        """Bytes of the output that a dying input gives up."""
        names = [self.nodes[index].inputs[position] for position in self.permissions[index].distances]
        return max((min(size, there[name]) for name in names if name in there and self.readers[name] == index), default=0)

    def _kept(self, name: str, band: Band, following: Band) -> int:
        """Bytes of a tensor that the next band takes over."""
        coming = following.get(name)
        if coming is None or coming.new == coming.first or name not in band:
            return 0
        return max(band[name].end - coming.first, 0) * self.row_bytes[name]


def _out_of_reach(layout: Layout, best: Layout, limit: int) -> BudgetError:
    bounds = step_bounds(best.storage.buffers, best.storage.overlaps)
    step = max(bounds, key=lambda step: (bounds[step], -step))
    reached = f"computed in bands of rows it still needs {format_bytes(best.ram_bytes)}"
    if best is layout:
        reached = "no stretch of its layers can be split into bands of rows that need less"
    needs = f"{format_bytes(layout.ram_bytes)} of RAM, above the limit of {format_bytes(limit)}"
    return BudgetError(f"model {layout.graph.name!r} needs {needs}; {reached}",
                       f"largest layer: '{best.graph.nodes[step].name}' with {format_bytes(bounds[step])}",
                       f"try: a limit of at least {best.ram_bytes} bytes, or a smaller model")
