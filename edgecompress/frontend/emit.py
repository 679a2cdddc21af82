"""One float node with quantized tensors around it to one integer op."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.expression import describe, expression_table
from edgecompress.frontend.float_graph import FloatGraph, FloatNode
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.batch_matmul import BatchMatmul
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.ops.transpose import Transpose
from edgecompress.ir.requant import Requant

TABLE_CLAMPS = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}


@dataclass(frozen=True, eq=False)
class LayerConstants:
    """Integers of a layer with weights: int8 weights, int32 bias [channels], rescaling, storage width."""

    weights: np.ndarray
    bias: np.ndarray
    requant: Requant
    bits: int


def activation_bounds(clamp: tuple[float, float], output: Tensor) -> tuple[int, int]:
    """The clamp in output codes."""
    low, high = (bound if math.isinf(bound) else float(np.clip(np.rint(bound / output.scale) + output.zero_point, -128, 127)) for bound in clamp)
    return int(max(low, -128)), int(min(high, 127))


def _layer(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, constants: LayerConstants | None) -> Op:
    assert constants is not None
    low, high = activation_bounds(node.clamp, output)
    common = (constants.weights, constants.bias, constants.requant, inputs[0].zero_point, output.zero_point)
    if node.kind == "dense":
        return Dense(*common, low, high, constants.bits)
    window = (node.attributes["stride"], node.attributes["dilation"], node.attributes["padding"])
    if node.kind == "depthwise_conv2d":
        return DepthwiseConv2D(*common, *window, low, high, constants.bits)
    return Conv2D(*common, *window, node.attributes["groups"], low, high, constants.bits)


def _add(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    left, right, out = ((tensor.scale, tensor.zero_point) for tensor in (*inputs, output))
    return Add.from_scales(left, right, out, *activation_bounds(node.clamp, output))


def _mul(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    left, right = inputs
    return Mul(Requant.from_real(left.scale * right.scale / output.scale), left.zero_point, right.zero_point, output.zero_point,
               *activation_bounds(node.clamp, output))


def _batch_matmul(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    left, right = inputs
    requant = Requant.from_real(node.attributes["factor"] * left.scale * right.scale / output.scale)
    return BatchMatmul(requant, left.zero_point, right.zero_point, output.zero_point, int(node.attributes["transpose_left"]),
                       int(node.attributes["transpose_right"]), *activation_bounds(node.clamp, output))


def _pool(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    kind = AveragePool2D if node.kind == "average_pool2d" else MaxPool2D
    return kind(node.attributes["kernel"], node.attributes["stride"], node.attributes["padding"], *activation_bounds(node.clamp, output))


def _global_pool(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    (source,) = inputs
    requant = fold_count(source.scale / output.scale, source.shape[0] * source.shape[1])
    return GlobalAveragePool(requant, source.zero_point, output.zero_point, *activation_bounds(node.clamp, output))


def _pad(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    return Pad(node.attributes["padding"], int(output.quantize(np.array(node.attributes["value"]))))


def _concat(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    factors = [tensor.scale / output.scale for tensor in inputs]
    return Concat(node.attributes["axis"], Requant.from_real(factors), tuple(tensor.zero_point for tensor in inputs), output.zero_point)


def _unary(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    if node.attributes["function"] == "expression":
        steps, (source,) = node.attributes["steps"], inputs
        return Table(expression_table(steps, (source.scale, source.zero_point), (output.scale, output.zero_point)), describe(steps))
    return _table(node.attributes["function"], inputs[0], output)


def _table(function: str, source: Tensor, output: Tensor) -> Op:
    return Table.from_function(function, source.scale, source.zero_point, output.scale, output.zero_point)


def _clamp(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    bounds = (node.attributes["low"], node.attributes["high"])
    if bounds in TABLE_CLAMPS:
        return _table(TABLE_CLAMPS[bounds], inputs[0], output)
    return Requantize(Requant.from_real(inputs[0].scale / output.scale), inputs[0].zero_point, output.zero_point,
                      *activation_bounds(bounds, output))


def _quantize(node: FloatNode, inputs: tuple[Tensor, ...], output: Tensor, _: LayerConstants | None) -> Op:
    return Requantize(Requant.from_real(inputs[0].scale / output.scale), inputs[0].zero_point, output.zero_point)


EMIT: dict[str, Callable[[FloatNode, tuple[Tensor, ...], Tensor, LayerConstants | None], Op]] = {
    "conv2d": _layer,
    "depthwise_conv2d": _layer,
    "dense": _layer,
    "add": _add,
    "mul": _mul,
    "batch_matmul": _batch_matmul,
    "average_pool2d": _pool,
    "max_pool2d": _pool,
    "global_average_pool": _global_pool,
    "pad": _pad,
    "concat": _concat,
    "reshape": lambda node, inputs, output, _: Reshape(node.attributes["shape"]),
    "transpose": lambda node, inputs, output, _: Transpose(node.attributes["permutation"]),
    "slice": lambda node, inputs, output, _: Slice(node.attributes["begin"], node.attributes["size"], node.attributes["step"]),
    "quantize": _quantize,
    "softmax": lambda node, inputs, output, _: Softmax.from_scale(inputs[0].scale),
    "resize_nearest": lambda node, inputs, output, _: ResizeNearest(node.attributes["size"]),
    "unary": _unary,
    "clamp": _clamp,
}


def emit_graph(graph: FloatGraph, tensors: Mapping[str, Tensor], constants: Mapping[str, LayerConstants],
               metadata: Mapping[str, object]) -> QuantizedGraph:
    """The integer graph: same node and tensor names as the prepared float graph. Raises ModelError naming the node that does not fit."""
    nodes = []
    for node in graph.nodes:
        inputs = tuple(tensors[name] for name in node.inputs)
        try:
            op = EMIT[node.kind](node, inputs, tensors[node.output], constants.get(node.name))
        except ModelError as error:
            raise ModelError(f"node {node.name!r} ({node.kind}) cannot be quantized: {error.message}") from None
        nodes.append(Node(node.name, op, node.inputs, node.output))
    return QuantizedGraph(graph.name, tensors, tuple(nodes), (graph.input,), graph.outputs, metadata)
