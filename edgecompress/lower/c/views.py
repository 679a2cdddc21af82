"""Tensors that need no bytes of their own: reshapes, slices of whole rows, and the parts of a concatenation that are written in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgecompress.errors import ModelError
from edgecompress.ir.float_ops.elementwise import FloatConcat
from edgecompress.ir.graph import Node, QuantizedGraph
from edgecompress.ir.op import Shape
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.slice import Slice

Place = tuple[str, int]  # the tensor that owns the bytes (a root), and the distance from its start


@dataclass(frozen=True)
class Views:
    """Where each tensor lies. `without_code` are the outputs of nodes that need no kernel."""

    places: Mapping[str, Place]
    without_code: frozenset[str]
    outputs: Mapping[str, int]  # root that the caller owns -> index of the model output that it is
    copies: Mapping[str, int]  # outputs of reshapes and slices that are copied -> where their bytes lie within the input


def view_offset(graph: QuantizedGraph, node: Node) -> int | None:
    """Where the output of a reshape or slice lies within its input, in bytes; None when it is not one piece of it."""
    if isinstance(node.op, Reshape):
        return 0
    if not isinstance(node.op, Slice):
        return None
    source = graph.tensors[node.inputs[0]]
    offset = _slice_offset(node.op, source.shape)
    return None if offset is None else offset * (source.size // math.prod(source.shape))


def _slice_offset(op: Slice, shape: Shape) -> int | None:
    """One piece: single elements of the outer axes, a run of neighbours along one axis, and all of the inner axes. In elements."""
    varying = next((axis for axis, size in enumerate(op.size) if size > 1), len(shape) - 1)
    inner = slice(varying + 1, None)
    if op.size[inner] != shape[inner] or any(size > 1 and step != 1 for size, step in zip(op.size, op.step, strict=True)):
        return None
    return sum(begin * math.prod(shape[axis + 1:]) for axis, begin in enumerate(op.begin))


def part_offsets(graph: QuantizedGraph, node: Node) -> list[int] | None:
    """Where each input of a concatenation lies within its output, in bytes; None when an input is not one piece of it, or is rescaled."""
    op = node.op
    if not isinstance(op, (Concat, FloatConcat)) or math.prod(graph.tensors[node.output].shape[:op.axis]) != 1:
        return None
    if isinstance(op, Concat) and not all(op.is_copy(index) for index in range(len(node.inputs))):
        return None
    offsets = [0]
    for tensor in graph.input_tensors(node)[:-1]:
        offsets.append(offsets[-1] + tensor.size)
    return offsets


def resolve_views(graph: QuantizedGraph, io: str) -> Views:
    """`io` as in LowerOptions. Raises ModelError for an output that is also an input.

    The caller's inputs and outputs are memory of their own: an output that would be a view of something else is copied into its place.
    So is a view that goes into a concatenation whose other parts are written in place.
    """
    for name in graph.outputs:
        if name in graph.inputs:
            raise ModelError(f"output {name!r} of graph {graph.name!r} is one of its inputs; there is nothing to compute")
    fixed = frozenset(graph.inputs) if io == "caller" else frozenset()
    copied: frozenset[str] = frozenset()
    while True:
        builder = _Builder(graph, fixed, frozenset(graph.outputs) if io == "caller" else frozenset(), copied)
        places = builder.places()
        outputs: dict[str, int] = {}
        clashing = builder.must_copy
        # tensors with bytes of their own go first: whoever clashes after them is a view, which can be copied
        for name in sorted(graph.outputs, key=lambda name: places[name][0] != name) if io == "caller" else ():
            root, offset = places[name]
            if root in fixed or root in outputs or offset or graph.tensors[root].size != graph.tensors[name].size:
                clashing.add(name)
            else:
                outputs[root] = graph.outputs.index(name)
        if not clashing:
            copies = {node.output: view_offset(graph, node) or 0 for node in graph.nodes if node.output in copied}
            return Views(places, frozenset(builder.without_code), outputs, copies)
        assert not clashing & copied
        copied |= clashing


class _Builder:
    """One walk through the nodes. `fixed` roots never move into a concatenation, nor do those that hold one of the caller's outputs."""

    def __init__(self, graph: QuantizedGraph, fixed: frozenset[str], callers: frozenset[str], copied: frozenset[str]) -> None:
        self.graph, self.fixed, self.callers, self.copied = graph, fixed, callers, copied
        self.parent: dict[str, Place] = {}  # one step towards the root
        self.views: set[str] = set()
        self.without_code: set[str] = set()
        self.holds_output: set[str] = set()
        self.must_copy: set[str] = set()  # views to copy before the next walk

    def places(self) -> dict[str, Place]:
        """Root and offset of every tensor."""
        for name in self.graph.inputs:
            self._add(name, None)
        for node in self.graph.nodes:
            self._visit(node)
        return {name: self._find(name) for name in (*self.graph.inputs, *(node.output for node in self.graph.nodes))}

    def _add(self, name: str, parent: Place | None) -> None:
        if parent is not None:
            self.parent[name] = parent
            self.views.add(name)
            self.without_code.add(name)
        if name in self.callers:
            self.holds_output.add(self._find(name)[0])

    def _find(self, name: str) -> Place:
        offset = 0
        while name in self.parent:
            name, step = self.parent[name]
            offset += step
        return name, offset

    def _visit(self, node: Node) -> None:
        offset = view_offset(self.graph, node) if node.output not in self.copied else None
        self._add(node.output, None if offset is None else (node.inputs[0], offset))
        parts = part_offsets(self.graph, node)
        if parts is None:
            return
        roots = [self._find(name) for name in node.inputs]
        movable = [self._can_move(name, *place) for name, place in zip(node.inputs, roots, strict=True)]
        if len({root for (root, _), moves in zip(roots, movable, strict=True) if moves}) != sum(movable) or len(set(node.inputs)) != len(parts):
            return  # one tensor twice
        staying = {name for name, moves in zip(node.inputs, movable, strict=True) if not moves}
        if not staying:
            self.parent.update({root: (node.output, part) for (root, _), part in zip(roots, parts, strict=True)})
            self.without_code.add(node.output)
        elif staying <= self.views - self.callers:
            self.must_copy |= staying

    def _can_move(self, name: str, root: str, offset: int) -> bool:
        """Whether the tensor is all of its root and the root may lie anywhere."""
        whole = offset == 0 and self.graph.tensors[root].size == self.graph.tensors[name].size
        return whole and root not in self.fixed and root not in self.holds_output
