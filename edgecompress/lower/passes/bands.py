"""Layers computed a band of rows at a time, so that no whole image of theirs is ever in memory. No output byte changes.

A stretch of layers between two tensors is run once a band: each band computes the rows that its part of the last tensor needs. Rows that
the next band needs too are either kept (`keep`: copied to the head of that band's buffer) or computed again (as MCUNetV2 does, Lin et al.,
Memory-efficient Patch-based Inference for Tiny Deep Learning, 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from edgecompress.ir.float_ops.elementwise import FloatConcat
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.requant import Requant
from edgecompress.lower.passes.rewrite import free_name, rebuilt

Rows = tuple[int, int]  # first row and the one behind the last
COPY_FACTOR = (2**30, 1)  # Concat.is_copy


@dataclass(frozen=True)
class Stretch:
    """Nodes `first` to `last` (indices, inclusive) that read nothing but `source` and one another, and of which only `result` is read elsewhere."""

    first: int
    last: int
    source: str
    result: str


def find_stretches(graph: QuantizedGraph) -> list[Stretch]:
    """All stretches of layers that work row by row, in node order; the longest of several with one beginning comes last."""
    gates = _gates(graph)
    found = []
    for start, (position, source) in enumerate(gates):
        for end, result in gates[start + 1:]:
            if not all(_works_by_rows(graph, node) for node in graph.nodes[position:end]):
                break
            found.append(Stretch(position, end - 1, source, result))
    return found


def _gates(graph: QuantizedGraph) -> list[tuple[int, str]]:
    """(index, tensor): between the nodes before that index and those from it on only this tensor is handed over."""
    last = dict.fromkeys(graph.tensors, -1)
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            last[name] = index
    for name in graph.outputs:
        last[name] = len(graph.nodes)
    handed = [name for name in graph.inputs if last[name] >= 0]
    gates = [(0, handed[0])] if len(handed) == 1 else []
    for index, node in enumerate(graph.nodes):
        handed = [name for name in (*handed, node.output) if last[name] > index]
        if len(handed) == 1 and last[handed[0]] < len(graph.nodes):
            gates.append((index + 1, handed[0]))
    return gates


@dataclass(frozen=True)
class _Window:
    """An op that reads `kernel` rows for each of its own: rows of the input, and the op with other padding above and below."""

    kernel: int
    stride: int
    dilation: int
    top: int

    def rows(self, wanted: Rows) -> Rows:
        """Input rows, beyond the image's ends too."""
        first, end = wanted
        return first * self.stride - self.top, (end - 1) * self.stride - self.top + (self.kernel - 1) * self.dilation + 1


def _window_of(op: Any) -> _Window:
    return _Window(op.kernel[0], op.stride[0], getattr(op, "dilation", (1, 1))[0], op.padding[0])


WINDOWS: dict[str, Callable[[Any], _Window]] = {
    "conv2d": _window_of, "depthwise_conv2d": _window_of, "average_pool2d": _window_of, "max_pool2d": _window_of,
    "pad": lambda op: _Window(1, 1, 1, op.padding[0]),
    "float_conv2d": _window_of, "float_depthwise_conv2d": _window_of, "float_pool2d": _window_of,
    "float_pad": lambda op: _Window(1, 1, 1, op.padding[0]),
}
ROW_BY_ROW = ("add", "mul", "table", "requantize", "concat", "float_binary", "float_unary", "float_concat")


def _works_by_rows(graph: QuantizedGraph, node: Node) -> bool:
    shapes = [tensor.shape for tensor in (*graph.input_tensors(node), graph.tensors[node.output])]
    if any(len(shape) != 3 for shape in shapes):
        return False
    if node.op.kind in WINDOWS:
        return True
    return node.op.kind in ROW_BY_ROW and len({shape[0] for shape in shapes}) == 1 and getattr(node.op, "axis", 1) != 0


def _input_rows(graph: QuantizedGraph, node: Node, wanted: Rows) -> tuple[Rows, Rows] | None:
    """(rows inside the input, padding above and below) for some output rows; None when all of a window's rows are padding."""
    if node.op.kind not in WINDOWS:
        return wanted, (0, 0)
    height = graph.tensors[node.inputs[0]].shape[0]
    first, end = WINDOWS[node.op.kind](node.op).rows(wanted)
    inside = max(first, 0), min(end, height)
    return (inside, (max(-first, 0), max(end - height, 0))) if inside[0] < inside[1] else None


@dataclass(frozen=True)
class Need:
    """Rows `first` to `end` (exclusive) of a tensor that a band reads; those from `new` on it computes itself, earlier ones are there."""

    first: int
    new: int
    end: int


Band = dict[str, Need]


def plan_bands(graph: QuantizedGraph, stretch: Stretch, bands: int, keep: bool) -> list[Band] | None:
    """What each of `bands` bands of about equal height needs; None when one would see nothing but padding, or compute nothing."""
    height = graph.tensors[stretch.result].shape[0]
    cuts = [height * band // bands for band in range(bands + 1)]
    done: dict[str, int] = {}
    result = []
    for wanted in pairwise(cuts):
        band = _plan_band(graph, stretch, wanted, done if keep else {})
        if band is None:
            return None
        done.update({name: max(need.end, done.get(name, 0)) for name, need in band.items()})
        result.append(band)
    return result if all(node.output in done for node in graph.nodes[stretch.first:stretch.last + 1]) else None


def _plan_band(graph: QuantizedGraph, stretch: Stretch, wanted: Rows, done: Mapping[str, int]) -> Band | None:
    """Walks from the wanted rows back to the source; `done`: how far each tensor was computed before."""
    asked: dict[str, Rows] = {stretch.result: wanted}
    band: Band = {}
    for node in reversed(graph.nodes[stretch.first:stretch.last + 1]):
        if node.output not in asked:
            continue
        first, end = asked[node.output]
        new = min(max(first, done.get(node.output, 0)), end)
        band[node.output] = Need(first, new, end)
        if new == end:
            continue
        found = _input_rows(graph, node, (new, end))
        if found is None:
            return None
        (low, high), _ = found
        for name in node.inputs:
            known = asked.get(name, (low, high))
            asked[name] = min(known[0], low), max(known[1], high)
    first, end = asked.get(stretch.source, (graph.tensors[stretch.source].shape[0],) * 2)
    return {**band, stretch.source: Need(first, end, end)}


def recomputed_macs(graph: QuantizedGraph, stretch: Stretch, bands: Sequence[Band]) -> int:
    """Multiply-accumulates beyond those of the whole image."""
    extra = 0
    for node in graph.nodes[stretch.first:stretch.last + 1]:
        height = graph.tensors[node.output].shape[0]
        computed = sum(band[node.output].end - band[node.output].new for band in bands if node.output in band)
        extra += graph.macs(node) * (computed - height) // height
    return extra


def split_stretch(graph: QuantizedGraph, stretch: Stretch, bands: Sequence[Band]) -> QuantizedGraph:
    """The graph with the stretch computed band by band. Its parts are joined along the height, its rows are slices: neither needs a copy."""
    builder = _Bands(graph, stretch, bands)
    nodes = (*graph.nodes[:stretch.first], *builder.nodes(), *graph.nodes[stretch.last + 1:])
    return rebuilt(graph, nodes, builder.tensors)


class _Bands:
    """Makes the nodes of all bands. New tensors are called after the nodes that make them: a model's own tensor names may be very long."""

    def __init__(self, graph: QuantizedGraph, stretch: Stretch, bands: Sequence[Band]) -> None:
        self.graph, self.stretch, self.bands = graph, stretch, bands
        self.tensors: dict[str, Tensor] = {}
        self.made: list[Node] = []
        self.names = set(graph.tensors)
        self.node_names = {node.name for node in graph.nodes}
        self.there: dict[str, tuple[str, Rows]] = {stretch.source: (stretch.source, (0, graph.tensors[stretch.source].shape[0]))}
        self.labels = {stretch.source: "input", **{node.output: node.name for node in self._nodes()}}
        self.views: dict[tuple[str, Rows], str] = {}
        self.padded: dict[tuple[str, Rows], Op] = {}

    def _nodes(self) -> tuple[Node, ...]:
        return self.graph.nodes[self.stretch.first:self.stretch.last + 1]

    def nodes(self) -> list[Node]:
        """All bands' nodes and the one that joins their results."""
        parts = []
        for band in self.bands:
            for node in self._nodes():
                if node.output in band and band[node.output].new < band[node.output].end:
                    self._compute(node, band[node.output])
            parts.append(self.there[self.stretch.result][0])
        self._join(parts, self.stretch.result, f"join {self.labels[self.stretch.result]}")
        return self.made

    def _compute(self, node: Node, need: Need) -> None:
        """The band's rows of a node's output: kept ones and new ones side by side."""
        kept = [self._slice(node.output, (need.first, need.new), "keep")] if need.first < need.new else []
        found = _input_rows(self.graph, node, (need.new, need.end))
        assert found is not None  # plan_bands saw to that
        rows, padding = found
        inputs = tuple(self._view(name, rows) for name in node.inputs)
        label = _label(node.name, (need.new, need.end))
        output = self._tensor(node.output, label, need.end - need.new)
        self._add(label, self._op(node, padding), inputs, output)
        if kept:
            joined = f"join {_label(node.name, (need.first, need.end))}"
            new, output = output, self._tensor(node.output, joined, need.end - need.first)
            self._join([*kept, new], output, joined)
        self.there[node.output] = output, (need.first, need.end)

    def _op(self, node: Node, padding: Rows) -> Op:
        """The node's op with this padding above and below; one object for all bands that share it."""
        op: Any = node.op
        if node.op.kind not in WINDOWS:
            return node.op
        key = node.name, padding
        if key not in self.padded:
            self.padded[key] = op if tuple(op.padding[:2]) == padding else replace(op, padding=(*padding, *op.padding[2:]))
        return self.padded[key]

    def _view(self, of: str, rows: Rows) -> str:
        """Some rows of a tensor of the graph given."""
        name, present = self.there[of]
        if rows == present:
            return name
        if (name, rows) not in self.views:
            self.views[name, rows] = self._slice(of, rows, "view")
        return self.views[name, rows]

    def _slice(self, of: str, rows: Rows, what: str) -> str:
        name, present = self.there[of]
        assert present[0] <= rows[0] < rows[1] <= present[1]
        label = f"{what} {_label(self.labels[of], rows)}"
        output = self._tensor(of, label, rows[1] - rows[0])
        op = Slice((rows[0] - present[0], 0, 0), self.tensors[output].shape, (1, 1, 1))
        self._add(label, op, (name,), output)
        return output

    def _join(self, parts: Sequence[str], output: str, label: str) -> None:
        tensor = self.tensors.get(output) or self.graph.tensors[output]
        op: Op = FloatConcat(0)
        if tensor.dtype == "int8":
            op = Concat(0, Requant(*zip(*[COPY_FACTOR] * len(parts), strict=True)), (tensor.zero_point,) * len(parts), tensor.zero_point)
        self._add(label, op, tuple(parts), output)

    def _add(self, label: str, op: Op, inputs: tuple[str, ...], output: str) -> None:
        name = free_name(self.node_names, label)
        self.node_names.add(name)
        self.made.append(Node(name, op, inputs, output))

    def _tensor(self, like: str, label: str, height: int) -> str:
        """A new tensor of the graph's type `like`, of another height."""
        name = free_name(self.names, label)
        self.names.add(name)
        source = self.graph.tensors[like]
        self.tensors[name] = replace(source, name=name, shape=(height, *source.shape[1:]))
        return name


def _label(name: str, rows: Rows) -> str:
    return f"{name} rows {rows[0]} to {rows[1] - 1}"
