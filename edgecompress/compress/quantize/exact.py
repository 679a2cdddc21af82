"""The integer reference's bytes, faster: sums of products in float32 where it holds every one of them exactly, rescaling in float32 with the few
numbers near a rounding boundary done again in integers.

Used to score models on many samples. What is returned equals `ir.reference.run` by construction, and a test compares them on random graphs; ops and
numbers for which no shortcut is exact go to the op's own `reference`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgecompress.ir.graph import Node, QuantizedGraph
from edgecompress.ir.op import Op
from edgecompress.ir.ops.add import LEFT_SHIFT, Add
from edgecompress.ir.ops.conv2d import Conv2D, exact_float
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.table import Table
from edgecompress.ir.reference import run
from edgecompress.ir.requant import multiply_by_quantized_multiplier
from edgecompress.ir.window import patches

Array = np.ndarray
Step = Callable[..., Array]
Layer = Conv2D | DepthwiseConv2D | Dense

BATCH_ELEMENTS = 2**18  # of the largest activation: batches whose numbers stay in a core's cache are fastest
FLOAT_ERROR = 4 * 2.0**-24  # relative: factor, product, offset and sum are each rounded to float32 once


def run_exact(graph: QuantizedGraph, x: Array) -> Array:
    """As ir.reference.run: int8 [n, *shape] in, int8 [n, *shape] out of a graph with one input and one output."""
    plain = graph.state_bytes or any(tensor.dtype != "int8" for tensor in graph.tensors.values())
    if plain or len(graph.inputs) != 1 or len(graph.outputs) != 1 or x.dtype != np.int8 or x.shape[1:] != graph.tensors[graph.inputs[0]].shape:
        return run(graph, x)
    (source,), (output,) = graph.inputs, graph.outputs
    steps = [(node, _step(graph, node)) for node in graph.nodes]
    last = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    batch = max(1, min(256, BATCH_ELEMENTS // max(tensor.elements for tensor in graph.tensors.values())))
    parts = []
    for start in range(0, len(x), batch):
        values = {source: x[start : start + batch]}
        for index, (node, step) in enumerate(steps):
            values[node.output] = step(*(values[name] for name in node.inputs))
            for name in {name for name in node.inputs if last[name] == index and name != output}:
                del values[name]
        parts.append(values[output])
    return np.concatenate(parts) if parts else np.zeros((0, *graph.tensors[output].shape), np.int8)


def _step(graph: QuantizedGraph, node: Node) -> Step:
    """A function of the node's int8 inputs, with what does not depend on them computed once."""
    maker = FAST.get(type(node.op))
    return maker(node.op, graph.tensors[node.output].shape) if maker else node.op.reference


def _finisher(op: Layer, rows: Array, elements: int) -> Callable[[Array], Array]:
    """What takes sums of products, whole numbers float32 [n, elements], to int8: bias, rescaling, zero point, clamp. `rows`: weights [channels, taps]."""
    channels = len(op.bias)
    multiplier, shift = (np.broadcast_to(np.asarray(values, np.int64), channels) for values in (op.requant.multiplier, op.requant.shift))
    real = np.broadcast_to(op.requant.real, channels)
    factor, offset = (np.tile(values.astype(np.float32), elements // channels) for values in (real, real * op.bias))
    low, high = op.activation_min - op.output_zero_point, op.activation_max - op.output_zero_point
    largest = (255 * np.abs(rows.astype(np.int64)).sum(axis=1) + np.abs(op.bias.astype(np.int64))) * real
    first_rounding = np.where(shift < 0, np.ldexp(0.5, shift), 0.0)  # what the first of the two roundings moves a result by, at most
    doubt = np.float32(0.4999 - (FLOAT_ERROR * largest + first_rounding).max())

    def finish(sums: Array) -> Array:
        scaled = sums * factor
        scaled += offset
        rounded = np.rint(scaled)
        scaled -= rounded
        near = np.flatnonzero(np.abs(scaled, out=scaled) > doubt)
        np.clip(rounded, low, high, out=rounded)
        if len(near):
            channel = near % channels
            exact = multiply_by_quantized_multiplier(sums.reshape(-1)[near].astype(np.int64) + op.bias[channel], multiplier[channel], shift[channel])
            rounded.reshape(-1)[near] = np.clip(exact, low, high)
        rounded += op.output_zero_point
        return np.asarray(rounded.astype(np.int8))

    return finish


def _fits(op: Layer, rows: Array) -> bool:
    """Whether the shortcuts hold: exact sums in float32 and shifts to the right. `rows` [channels, taps]."""
    return exact_float(rows) is np.float32 and max(op.requant.shift) <= 0


def _conv2d(op: Conv2D, shape: tuple[int, ...]) -> Step:
    matrix = op.weights.reshape(len(op.weights), -1)
    if op.groups > 1 or not _fits(op, matrix):
        return op.reference
    columns, finish = np.ascontiguousarray(matrix.T, np.float32), _finisher(op, matrix, int(np.prod(shape)))
    pointwise = op.kernel == (1, 1) and op.stride == (1, 1) and not any(op.padding)

    def step(x: Array) -> Array:
        shifted = x.astype(np.float32)
        shifted -= op.input_zero_point
        windows = shifted if pointwise else patches(shifted, op.kernel, op.stride, op.padding, op.dilation, fill=0)
        return finish((windows.reshape(-1, len(columns)) @ columns).reshape(len(x), -1)).reshape(len(x), *shape)

    return step


def _dense(op: Dense, shape: tuple[int, ...]) -> Step:
    if not _fits(op, op.weights):
        return op.reference
    columns, finish = np.ascontiguousarray(op.weights.T, np.float32), _finisher(op, op.weights, shape[0])
    return lambda x: finish((x.astype(np.float32) - op.input_zero_point) @ columns)


def _depthwise(op: DepthwiseConv2D, shape: tuple[int, ...]) -> Step:
    height, width, channels = shape
    rows = op.weights.reshape(-1, channels).T
    if not _fits(op, rows):
        return op.reference
    finish = _finisher(op, rows, height * width * channels)
    taps = {(row, column): np.tile(op.weights[row, column].astype(np.float32), (width, 1)) for row, column in np.ndindex(*op.kernel)}

    def step(x: Array) -> Array:
        if x.shape[3] != channels:
            return op.reference(x)
        shifted = x.astype(np.float32)
        shifted -= op.input_zero_point
        windows = patches(shifted, op.kernel, op.stride, op.padding, op.dilation, fill=0)
        sums = windows[:, :, :, 0, 0] * taps[0, 0]
        product = np.empty_like(sums)
        for (row, column), weights in taps.items():
            if (row, column) != (0, 0):
                sums += np.multiply(windows[:, :, :, row, column], weights, out=product)
        return finish(sums.reshape(len(x), -1)).reshape(sums.shape)

    return step


def _add(op: Add, shape: tuple[int, ...]) -> Step:
    codes = np.arange(-128, 128, dtype=np.int64)
    left, right = op.left.apply((codes - op.left_zero_point) << LEFT_SHIFT), op.right.apply((codes - op.right_zero_point) << LEFT_SHIFT)
    scaled = op.out.apply((left[:, None] + right[None, :]).reshape(-1)) + op.output_zero_point
    return _pairs(np.clip(scaled, op.activation_min, op.activation_max).astype(np.int8))


def _mul(op: Mul, shape: tuple[int, ...]) -> Step:
    codes = np.arange(-128, 128, dtype=np.int64)
    product = ((codes - op.left_zero_point)[:, None] * (codes - op.right_zero_point)[None, :]).reshape(-1)
    scaled = op.requant.apply(product) + op.output_zero_point
    return _pairs(np.clip(scaled, op.activation_min, op.activation_max).astype(np.int8))


def _pairs(table: Array) -> Step:
    """An op of two int8 operands as a look-up in all 65,536 pairs of codes."""

    def step(left: Array, right: Array) -> Array:
        index = _positions(left).astype(np.uint16)
        index <<= 8
        return np.asarray(table[index | _positions(right)])

    return step


def _positions(codes: Array) -> Array:
    """-128..127 as 0..255."""
    return np.ascontiguousarray(codes).view(np.uint8) ^ np.uint8(128)


def _table(op: Table, shape: tuple[int, ...]) -> Step:
    return lambda x: np.asarray(op.table[_positions(x)])


def _max_pool(op: MaxPool2D, shape: tuple[int, ...]) -> Step:
    """Tap by tap instead of a maximum over two short axes."""

    def step(x: Array) -> Array:
        windows = patches(x, op.kernel, op.stride, op.padding, (1, 1), fill=-128)
        largest = windows[:, :, :, 0, 0].copy()
        for row, column in np.ndindex(*op.kernel):
            np.maximum(largest, windows[:, :, :, row, column], out=largest)
        return np.clip(largest, op.activation_min, op.activation_max, out=largest)

    return step


FAST: dict[type[Op], Callable[..., Step]] = {
    Conv2D: _conv2d, Dense: _dense, DepthwiseConv2D: _depthwise, Add: _add, Mul: _mul, Table: _table, MaxPool2D: _max_pool,
}
