"""Dead-channel elimination: channels that hold the same byte for every input, or that nothing reads, are taken out of the graph.

A channel is constant when all weights that reach it are zero, or meet only constant channels. A layer with weights absorbs a constant
channel exactly: its contribution weight * (value - zero point) goes into the bias. Where a window reaches into the padding that only
holds for value = zero point, because padding contributes nothing. Channels that an op ties together (both sides of a depthwise
convolution, all of an addition) live or die together: what must stay spreads along these ties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import rescale_to_int8
from edgecompress.ir.requant import Requant
from edgecompress.lower.passes.rewrite import rebuilt

ELEMENTWISE = ("table", "requantize", "average_pool2d", "max_pool2d", "resize_nearest", "global_average_pool", "pad", "add", "mul")


@dataclass(frozen=True)
class Constant:
    """Which channels (last axis) of a tensor hold one byte always, and that byte."""

    mask: np.ndarray  # bool [channels]
    value: np.ndarray  # int8 [channels], meaningless where mask is False


def remove_dead_channels(graph: QuantizedGraph) -> tuple[QuantizedGraph, tuple[str, ...]]:
    """Without dead channels; every tensor keeps at least one. A graph that has none is returned as it is."""
    constants = constant_channels(graph)
    dropped = _droppable(graph, constants)
    count = sum(int(dropped[node.output].sum()) for node in graph.nodes if node.op.kind in ("conv2d", "depthwise_conv2d", "dense"))
    if not count:
        return graph, ()
    keep = {name: np.flatnonzero(~mask) for name, mask in dropped.items()}
    tensors = {name: replace(tensor, shape=(*tensor.shape[:-1], len(keep[name]))) for name, tensor in graph.tensors.items()}
    nodes = [_narrowed(node, keep, constants, tensors) for node in graph.nodes]
    return rebuilt(graph, nodes, tensors), (f"removed {count} dead channels of layers with weights",)


def constant_channels(graph: QuantizedGraph) -> dict[str, Constant]:
    """What is known to be constant of every tensor."""
    known = {name: _unknown(graph.tensors[name]) for name in graph.inputs}
    for node in graph.nodes:
        known[node.output] = _constant_output(graph, node, [known[name] for name in node.inputs])
    return known


def _unknown(tensor: Tensor) -> Constant:
    return Constant(np.zeros(tensor.shape[-1], bool), np.zeros(tensor.shape[-1], np.int8))


def _constant_output(graph: QuantizedGraph, node: Node, inputs: list[Constant]) -> Constant:
    op: Any = node.op
    output = graph.tensors[node.output]
    if op.kind in ("conv2d", "dense") and getattr(op, "groups", 1) == 1:
        return _constant_rows(op, inputs[0], op.weights.reshape(len(op.weights), -1, op.weights.shape[-1]))
    if op.kind == "depthwise_conv2d":
        taps = op.weights.reshape(-1, op.weights.shape[2])
        source = np.arange(taps.shape[1]) // (taps.shape[1] // len(inputs[0].mask))
        offset = inputs[0].value.astype(np.int64)[source] - op.input_zero_point
        mask = (taps == 0).all(axis=0) | (inputs[0].mask[source] & _absorbs(op, offset))
        return Constant(mask, _rescaled(op, op.bias + np.where(mask, taps.sum(axis=0, dtype=np.int64) * offset, 0)))
    if op.kind == "reshape":
        return _reshaped(inputs[0], output)
    if op.kind in ELEMENTWISE or (op.kind == "concat" and op.axis == len(output.shape) - 1):
        return _evaluated(graph, node, inputs)
    return _unknown(output)


def _absorbs(op: Any, offset: np.ndarray) -> np.ndarray:
    """Channels whose distance `offset` from the zero point every window sees in full."""
    absorbed: np.ndarray = (offset == 0) | (not any(getattr(op, "padding", ())))
    return absorbed


def _constant_rows(op: Any, source: Constant, weights: np.ndarray) -> Constant:
    """Outputs of a convolution or dense layer with weights [out, taps, in]."""
    offset = source.value.astype(np.int64) - op.input_zero_point
    known = source.mask & _absorbs(op, offset)
    mask = (weights[:, :, ~known] == 0).all(axis=(1, 2))
    sums = weights[:, :, known].sum(axis=1, dtype=np.int64) @ offset[known]
    return Constant(mask, _rescaled(op, op.bias + np.where(mask, sums, 0)))


def _rescaled(op: Any, accumulator: np.ndarray) -> np.ndarray:
    rows = rescale_to_int8(accumulator.astype(np.int64)[None], op.requant, op.output_zero_point, op.activation_min, op.activation_max)
    first: np.ndarray = rows[0]
    return first


def _reshape_source(old: int, new: int) -> np.ndarray | None:
    """Index on the old last axis (size `old`) of every index on the new one, or None where that differs from row to row."""
    return np.arange(new) % old if new % old == 0 else None


def _reshaped(source: Constant, output: Tensor) -> Constant:
    index = _reshape_source(len(source.mask), output.shape[-1])
    return _unknown(output) if index is None else Constant(source.mask[index], source.value[index])


def _evaluated(graph: QuantizedGraph, node: Node, inputs: list[Constant]) -> Constant:
    """An element-wise op on images full of the constants; the kernel's own arithmetic gives the bytes."""
    op: Any = node.op
    if not any(constant.mask.any() for constant in inputs):
        return _unknown(graph.tensors[node.output])
    images = [np.broadcast_to(constant.value, (1, *graph.tensors[name].shape)) for constant, name in zip(inputs, node.inputs, strict=True)]
    result = op.reference(*images)[0]
    mask = np.concatenate([constant.mask for constant in inputs]) if op.kind == "concat" else np.logical_and.reduce([c.mask for c in inputs])
    if op.kind == "pad":
        mask = mask & (inputs[0].value == op.value)
    return Constant(mask, result[(0,) * (result.ndim - 1)])


class _Fates:
    """Which channels stay. `pairs` are (numbers, numbers) of channels of all tensors that stay or go together."""

    def __init__(self, graph: QuantizedGraph) -> None:
        self.base: dict[str, int] = {}
        total = 0
        for name, tensor in graph.tensors.items():
            self.base[name] = total
            total += tensor.shape[-1]
        self.kept = np.zeros(total, bool)
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def tie(self, first: str, first_channels: np.ndarray, second: str, second_channels: np.ndarray) -> None:
        """Channel by channel the same fate."""
        self.pairs.append((first_channels + self.base[first], second_channels + self.base[second]))

    def keep(self, name: str, channels: np.ndarray) -> None:
        """Keeps these channels, and those tied to them from the next `spread` on."""
        self.kept[self.base[name] + channels] = True

    def spread(self) -> None:
        """Carries what stays along the ties, up the graph and down again, until nothing changes."""
        before = -1
        while (count := int(np.count_nonzero(self.kept))) != before:
            before = count
            for one, other in (*reversed(self.pairs), *self.pairs):
                self.kept[one[self.kept[other]]] = True
                self.kept[other[self.kept[one]]] = True


def _droppable(graph: QuantizedGraph, constants: Mapping[str, Constant]) -> dict[str, np.ndarray]:
    """bool [channels] for every tensor."""
    fates = _Fates(graph)
    for name in (*graph.inputs, *graph.outputs):
        fates.keep(name, np.arange(graph.tensors[name].shape[-1]))
    for node in graph.nodes:
        _constrain(graph, node, constants, fates)
    fates.spread()
    parts = {name: slice(fates.base[name], fates.base[name] + tensor.shape[-1]) for name, tensor in graph.tensors.items()}
    for part in [part for part in parts.values() if not fates.kept[part].any()]:
        fates.kept[part.start] = True  # a tensor may not vanish
    fates.spread()
    return {name: ~fates.kept[part] for name, part in parts.items()}


def _constrain(graph: QuantizedGraph, node: Node, constants: Mapping[str, Constant], fates: _Fates) -> None:
    """Ties and pins of one node."""
    op: Any = node.op
    everything = {name: np.arange(graph.tensors[name].shape[-1]) for name in (*node.inputs, node.output)}
    if op.kind in ("conv2d", "dense") and getattr(op, "groups", 1) == 1:
        (name,) = node.inputs
        constant = constants[name]
        absorbed = constant.mask & _absorbs(op, constant.value.astype(np.int64) - op.input_zero_point)
        unread = (op.weights.reshape(-1, op.weights.shape[-1]) == 0).all(axis=0)
        fates.keep(name, np.flatnonzero(~(absorbed | unread)))
    elif op.kind == "depthwise_conv2d":
        outputs = everything[node.output]
        fates.tie(node.inputs[0], outputs // (len(outputs) // len(everything[node.inputs[0]])), node.output, outputs)
    elif op.kind in ELEMENTWISE:
        for name in node.inputs:
            fates.tie(name, everything[name], node.output, everything[node.output])
    elif op.kind == "concat":
        _tie_concat(graph, node, everything, fates)
    elif op.kind == "reshape" and (index := _reshape_source(len(everything[node.inputs[0]]), len(everything[node.output]))) is not None:
        fates.tie(node.inputs[0], index, node.output, everything[node.output])
    else:
        for name, channels in everything.items():
            fates.keep(name, channels)


def _tie_concat(graph: QuantizedGraph, node: Node, everything: Mapping[str, np.ndarray], fates: _Fates) -> None:
    op: Any = node.op
    start = 0
    for name in node.inputs:
        channels = everything[name]
        along_channels = op.axis == len(graph.tensors[name].shape) - 1
        fates.tie(name, channels, node.output, channels + start)
        start += len(channels) if along_channels else 0


def _narrowed(node: Node, keep: Mapping[str, np.ndarray], constants: Mapping[str, Constant], tensors: Mapping[str, Tensor]) -> Node:
    """The node without the dropped channels."""
    op: Any = node.op
    rows = keep[node.output]
    if op.kind == "reshape":
        shape = tensors[node.output].shape
        return node if shape == op.shape else replace(node, op=replace(op, shape=shape))
    if op.kind not in ("conv2d", "dense", "depthwise_conv2d") or getattr(op, "groups", 1) != 1:
        return node
    requant = op.requant if len(op.requant.multiplier) == 1 else Requant(
        tuple(op.requant.multiplier[row] for row in rows), tuple(op.requant.shift[row] for row in rows))
    columns = keep[node.inputs[0]]
    if op.kind == "depthwise_conv2d":
        if len(rows) == op.weights.shape[2]:
            return node
        return replace(node, op=replace(op, weights=op.weights[:, :, rows], bias=op.bias[rows], requant=requant))
    if len(rows) == len(op.weights) and len(columns) == op.weights.shape[-1]:
        return node
    gone = np.setdiff1d(np.arange(op.weights.shape[-1]), columns)
    offset = constants[node.inputs[0]].value[gone].astype(np.int64) - op.input_zero_point
    # a channel that nothing reads has weights of zero, so that its meaningless value adds nothing
    folded = op.weights.reshape(len(op.weights), -1, op.weights.shape[-1])[:, :, gone].sum(axis=1, dtype=np.int64) @ offset
    weights = op.weights[rows][..., columns]
    return replace(node, op=replace(op, weights=weights, bias=(op.bias + folded)[rows], requant=requant))
