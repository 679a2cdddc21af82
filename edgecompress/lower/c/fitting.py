"""Brings a model under a RAM limit: the stretch of layers that needs too much is computed in bands of rows, and kernels spend less scratch memory.

Bands go first: in place of a whole image a few rows are kept, which costs next to no time, while a kernel with less scratch memory is a slower
one (ResNet-8 on a Cortex-M4 in 31.9 instead of 41.7 kB by bands takes 0.2 % more instructions; 35.8 kB without Winograd's kernel 22 %).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgecompress.errors import BudgetError
from edgecompress.hw.memory import FAST, THOROUGH, step_bounds
from edgecompress.hw.plan import MemoryPlan
from edgecompress.ir.graph import Node, QuantizedGraph
from edgecompress.lower.c.emitter import Call, Emitter
from edgecompress.lower.c.storage import Permission, Storage
from edgecompress.lower.passes.bands import Band, Stretch, find_stretches, plan_bands, recomputed_macs, split_stretch
from edgecompress.units import format_bytes

OPTIMISM = 0.8  # few graphs need less than that much of their estimate, which knows little of buffers that share bytes
MARGIN = 1.03  # how far above its goal a corrected estimate may be to be worth a plan
MOST_THOROUGH = 6  # of them that are searched for half a second, as it is not proved that they need more than the limit
SLOWER = 1.25  # about what frugal kernels cost: that many multiply-accumulates may be done again instead
NAMED = 3  # calls that a note lists
MOST_PLANS, LAST_PLANS = 80, 20  # graphs that are planned exactly, in the order of their cost, and then of their estimated memory


@dataclass(frozen=True)
class Layout:
    """Where the tensors of a graph lie, and by which kernels it is computed; `ram_bytes` is arena and state."""

    graph: QuantizedGraph
    calls: tuple[tuple[Emitter, Call], ...]  # one a node, as are the permissions
    frugal: frozenset[Hashable]  # kernel_key of nodes whose kernel is the one with the least scratch memory
    permissions: tuple[Permission, ...]
    storage: Storage
    memory: MemoryPlan
    ram_bytes: int

    @property
    def least_bytes(self) -> int:
        """No plan of this graph with these kernels has less `ram_bytes`."""
        return self.ram_bytes - self.memory.arena_bytes + self.memory.lower_bound_bytes


Plan = Callable[[QuantizedGraph, int, frozenset[Hashable]], Layout]  # of a graph, with so many steps of search and these frugal nodes


@dataclass(frozen=True)
class _Candidate:
    graph: QuantizedGraph
    stretch: Stretch
    bands: Sequence[Band]
    keep: bool
    extra_macs: int
    calls: int  # about as many kernel calls as the stretch becomes
    estimated_bytes: int


def fit(layout: Layout, limit: int, plan: Plan) -> Layout:
    """A layout with `ram_bytes` at or below `limit`, in bands where it has to be.

    Kernels are the fastest; else those in the way of the limit are frugal; else as many as have to be.
    Raises BudgetError with the least that was reached and the layer in the way.
    """
    def cost(one: Layout) -> tuple[float, ...]:
        return max(one.ram_bytes - limit, 0), one.graph.total_macs * (SLOWER if one.frugal else 1)

    best = _in_bands(layout, limit, plan)
    for some in (True, False):
        if cost(best) > (0, layout.graph.total_macs * SLOWER):
            frugal = plan(layout.graph, FAST, _in_the_way(best, limit) if some else frozenset(kernel_key(node) for node in layout.graph.nodes))
            if any(one is not other for (one, _), (other, _) in zip(frugal.calls, layout.calls, strict=True)):
                best = min(best, _in_bands(frugal, limit, plan), key=cost)
    if best.ram_bytes > limit:
        raise _out_of_reach(layout, best, limit)
    return _faster(best, limit, plan) if best.frugal else best


def kernel_key(node: Node) -> Hashable:
    """The same for all bands of a layer, which differ in padding: they have one kernel. Layers that are alike have one key, too."""
    return node.op.contents(without=("padding", "weights"))


def _in_the_way(layout: Layout, limit: int) -> frozenset[Hashable]:
    bounds = step_bounds(layout.storage.buffers, layout.storage.overlaps)
    fixed = layout.ram_bytes - layout.memory.arena_bytes
    return frozenset(kernel_key(layout.graph.nodes[step]) for step, needed in bounds.items() if needed + fixed > limit)


def _faster(layout: Layout, limit: int, plan: Plan) -> Layout:
    """Fast kernels again for as many frugal layers as the limit allows."""
    fast, bounds = plan(layout.graph, 0, frozenset()), step_bounds(layout.storage.buffers, layout.storage.overlaps)
    bound, needed = 0, dict[Hashable, int]()
    for step, ((one, call), (other, _), permission) in enumerate(zip(layout.calls, fast.calls, fast.permissions, strict=True)):
        bound = bounds.get(step, bound)
        if one is not other:
            key = kernel_key(call.node)
            needed[key] = max(needed.get(key, 0), bound + permission.scratch_bytes - layout.permissions[step].scratch_bytes)
    layout = replace(layout, frugal=frozenset(needed))
    wanted = sorted((key for key in needed if needed[key] <= limit), key=lambda key: needed[key])
    least, most, count = 0, len(wanted), len(wanted)
    while least < most:  # the first trial is all of them, then by halves
        trial = plan(layout.graph, FAST, frozenset(needed) - frozenset(wanted[:count]))
        if trial.ram_bytes <= limit:
            layout, least = trial, count
        else:
            most = count - 1
        count = (least + most + 1) // 2
    return layout


def _in_bands(layout: Layout, limit: int, plan: Plan) -> Layout:
    """The layout with the least extra work at or below `limit`, of those with equal work the one with the fewest calls; or the least found."""
    search = _Trials(layout, limit, lambda graph, steps: plan(graph, steps, layout.frugal))
    likely = [one for one in _candidates(layout, limit) if one.estimated_bytes * OPTIMISM <= limit]
    search.run(sorted(likely, key=lambda one: (one.extra_macs, one.calls, one.estimated_bytes)), MOST_PLANS, limit)
    if search.best.ram_bytes > limit:  # nothing that promised to fit does: what promises least
        others = _candidates(layout, layout.ram_bytes - 1)
        search.run(sorted(others, key=lambda one: (one.estimated_bytes * (OPTIMISM if one.keep else 1.0), one.extra_macs, one.calls)), LAST_PLANS)
    return search.best


def what_was_done(layout: Layout, graph: QuantizedGraph) -> tuple[str, ...]:
    """How the layout differs from one of the graph without a limit, in words."""
    called = [call.node.name for _, call in layout.calls if call.node.output not in layout.storage.without_code]
    frugal = [call.node.name for _, call in layout.calls if call.node.name in called and kernel_key(call.node) in layout.frugal]
    notes = [f"computed layers in bands of rows, in {len(called)} kernel calls"] if layout.graph is not graph else []
    if frugal:
        listed = ", ".join(frugal[:NAMED]) + (", ..." if len(frugal) > NAMED else "")
        notes.append(f"took slower kernels with less scratch memory for {len(frugal)} of {len(called)} calls: {listed}")
    return tuple(notes)


class _Trials:
    """Plans candidates exactly until one is below the limit; `best` is then that one, else the one that needs least."""

    def __init__(self, layout: Layout, limit: int, plan: Callable[[QuantizedGraph, int], Layout]) -> None:
        self.best, self.limit, self.plan, self.thorough = layout, limit, plan, 0
        self.ratios: dict[tuple[Stretch, bool], float] = {}  # least to estimated bytes of the last trial of a stretch

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
            self.ratios[key] = split.least_bytes / candidate.estimated_bytes
            if split.ram_bytes < self.best.ram_bytes:
                self.best = split

    def _plan(self, candidate: _Candidate) -> Layout:
        split = self.plan(split_stretch(candidate.graph, candidate.stretch, candidate.bands), 0)
        if split.ram_bytes > self.limit and split.memory.lower_bound_bytes < min(split.memory.arena_bytes, self.best.memory.arena_bytes):
            split = self.plan(split.graph, FAST)
        if split.least_bytes <= self.limit < split.ram_bytes and self.thorough < MOST_THOROUGH:
            self.thorough += 1
            return self.plan(split.graph, THOROUGH)
        return split


def _candidates(layout: Layout, limit: int) -> Iterator[_Candidate]:
    """All ways to split one stretch that leave no layer outside that alone needs more than the limit."""
    graph = layout.graph
    fixed = layout.ram_bytes - layout.memory.arena_bytes
    bounds = step_bounds(layout.storage.buffers, layout.storage.overlaps)
    for stretch in find_stretches(graph):
        outside = fixed + max((needed for step, needed in bounds.items() if not stretch.first <= step <= stretch.last), default=0)
        if outside > limit:
            continue
        estimate = _Estimate(layout, stretch)
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

    def __init__(self, layout: Layout, stretch: Stretch) -> None:
        graph = layout.graph
        self.nodes = graph.nodes[stretch.first:stretch.last + 1]
        self.permissions = layout.permissions[stretch.first:stretch.last + 1]
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
    way = "computed in bands of rows" if best.graph is not layout.graph else "with the least scratch memory"
    reached = f"{way} it still needs {format_bytes(best.ram_bytes)}"
    if best is layout:
        reached = "no stretch of its layers can be split into bands of rows that need less"
    needs = f"{format_bytes(layout.ram_bytes)} of RAM, above the limit of {format_bytes(limit)}"
    return BudgetError(f"model {layout.graph.name!r} needs {needs}; {reached}",
                       f"largest layer: '{best.graph.nodes[step].name}' with {format_bytes(bounds[step])}",
                       f"try: a limit of at least {best.ram_bytes} bytes, or a smaller model")
