"""Layers with weights: convolutions, matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import IntegerLayer, Shape
from edgecompress.frontend.onnx.call import Call
from edgecompress.frontend.onnx.emitter import Emitter, finite
from edgecompress.frontend.onnx.values import Constant, StoredIntegers, Value, aligned, in_order, is_contiguous, positions, row_major
from edgecompress.ir.window import Padding, Pair, same_padding

Layout = Callable[[np.ndarray], np.ndarray]


def pair(values: tuple[int, ...]) -> Pair:
    """(height, width) of a list with one or two entries; a one-dimensional window has height 1."""
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def explicit_padding(pads: tuple[int, ...]) -> Padding:
    """(top, bottom, left, right) of ONNX's [begins..., ends...]."""
    return (0, 0, pads[0], pads[1]) if len(pads) == 2 else (pads[0], pads[2], pads[1], pads[3])


def window_padding(call: Call, size: Pair, kernel: Pair, stride: Pair, dilation: Pair, spatial: int) -> Padding:
    """Padding from `pads` or `auto_pad`. Raises ModelError for other modes and negative numbers."""
    mode = call.node.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = call.node.integers("pads", (0,) * (2 * spatial), 2 * spatial)
        if min(pads) < 0:
            raise ModelError(f"has pads {list(pads)}; negative ones are not supported")
        return explicit_padding(pads)
    if mode == "VALID":
        return 0, 0, 0, 0
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise ModelError(f"has auto_pad '{mode}'; supported: NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    if min(*stride, *dilation) < 1:
        raise ModelError(f"has strides {stride} and dilations {dilation}; they must be at least 1")
    top, bottom, left, right = same_padding(size, kernel, stride, dilation)
    return (top, bottom, left, right) if mode == "SAME_UPPER" else (bottom, top, right, left)


def image_size(x: Value) -> Pair:
    """(height, width) of [1, c, h, w] or [1, c, l]."""
    return (1, x.shape[2]) if len(x.axes) == 3 else (x.shape[2], x.shape[3])


def conv(call: Call) -> Value:
    """One- and two-dimensional convolution with constant weights [out, in / groups, ...]."""
    x, weights = call.value(0), call.constant(1, "weights")
    spatial = weights.array.ndim - 2
    if spatial not in (1, 2) or len(x.axes) != spatial + 2 or weights.array.size == 0:
        raise ModelError(f"has weights {list(weights.array.shape)} beside an input {list(x.shape)}; one- and two-dimensional convolutions are "
                         "supported")
    tensor, groups = call.emitter.image(x, "a convolution"), call.node.integer("group", 1)
    out_channels, in_channels = weights.array.shape[:2]
    if groups < 1 or out_channels % groups or in_channels * groups != x.shape[1]:
        raise ModelError(f"has weights {list(weights.array.shape)} in {groups} groups beside an input {list(x.shape)}, which do not fit")
    kernel = pair(weights.array.shape[2:])
    stride, dilation = (pair(call.node.integers(name, (1,) * spatial, spatial)) for name in ("strides", "dilations"))
    window = {"stride": stride, "dilation": dilation, "padding": window_padding(call, image_size(x), kernel, stride, dilation, spatial)}
    depthwise = groups == x.shape[1] and groups > 1

    def layout(array: np.ndarray) -> np.ndarray:
        four = array.reshape(out_channels, in_channels, *kernel)
        return four[:, 0].transpose(1, 2, 0) if depthwise else four.transpose(0, 2, 3, 1)

    attributes = {**layer_attributes(call, weights, layout, 0, 2, out_channels), **window}
    output = call.emitter.add("depthwise_conv2d", tensor, **attributes) if depthwise else call.emitter.add("conv2d", tensor, groups=groups, **attributes)
    return call.emitter.image_value(output, len(x.axes))


def layer_attributes(call: Call, weights: Constant, layout: Layout, channel_axis: int, bias_index: int, channels: int) -> dict[str, Any]:
    """weights, bias and, behind a quantized model's constants, integers. `channel_axis` of the file's weights holds the output channels."""
    call.emitter.budget.spend(2 * weights.array.size)
    bias = call.constant(bias_index, "biases") if call.has(bias_index) else None
    attributes: dict[str, Any] = {"weights": finite(layout(weights.array)), "bias": _bias(bias, channels)}
    if weights.integers is not None:
        attributes["integers"] = integer_layer(weights.integers, layout, channel_axis, bias, channels)
    return attributes


def _bias(bias: Constant | None, channels: int) -> np.ndarray:
    if bias is None:
        return finite(np.zeros(channels))
    if bias.array.size not in (1, channels):
        raise ModelError(f"has a bias of shape {list(bias.array.shape)} for {channels} output channels")
    return finite(np.broadcast_to(bias.array.reshape(-1), channels))


def integer_layer(stored: StoredIntegers, layout: Layout, channel_axis: int, bias: Constant | None, channels: int) -> IntegerLayer:
    """What the quantized model stores, in the graph's layout. Raises ModelError for weights with zero points that int8 cannot take in."""
    values = stored.values
    if values.min() < -128 or values.max() > 127:
        raise ModelError("has weights with a zero point that shifts them out of int8; quantize with symmetric int8 weights (weight_type=QInt8)")
    if len(stored.scales) > 1 and (stored.axis % values.ndim != channel_axis or len(stored.scales) != channels):
        raise ModelError("has weight scales along another axis than the output channels")
    if bias is None or bias.integers is None:
        return IntegerLayer(layout(values).astype(np.int8), stored.scales, None, None, stored.bits)
    return IntegerLayer(layout(values).astype(np.int8), stored.scales, np.broadcast_to(bias.integers.values.reshape(-1), channels).astype(np.int64),
                        bias.integers.scales, stored.bits)


def gemm(call: Call) -> Value:
    """alpha A B + beta C with constant B and C; A [1, features] or [rows, features]."""
    x, weights = call.value(0), call.constant(1, "weights")
    if call.node.integer("transA", 0):
        x = Value(x.tensor, tuple(reversed(x.axes)))
    alpha, beta = call.node.number("alpha", 1.0), call.node.number("beta", 1.0)
    if weights.array.ndim != 2 or len(x.axes) != 2:
        raise ModelError(f"has inputs {list(x.shape)} and {list(weights.array.shape)}; two matrices are supported")
    if alpha != 1.0:
        weights = Constant(weights.array * np.float32(alpha))
    bias = call.constant(2, "biases") if call.has(2) else None
    if bias is not None and beta != 1.0:
        bias = Constant(bias.array * np.float32(beta))
    transposed = bool(call.node.integer("transB", 0))
    inner = Call(call.node, (x, weights, bias), call.emitter)
    return product(inner, x, weights, 0 if transposed else 1, 2)


def matmul(call: Call) -> Value:
    """A constant matrix on either side of a tensor, or two computed matrices with equal axes before them."""
    left, right = call.operand(0), call.operand(1)
    if isinstance(left, Value) and isinstance(right, Value):
        return computed_product(call.emitter, call.value(0), call.value(1))
    if isinstance(right, Constant):
        x = call.value(0)
        if right.array.ndim != 2:
            raise ModelError(f"has a constant of shape {list(right.array.shape)}; a matrix is supported")
        if not x.axes:
            raise ModelError("multiplies a number by a matrix")
        return product(Call(call.node, (x, right), call.emitter), x, right, 1, 2)
    x = call.value(1)
    if not isinstance(left, Constant) or left.array.ndim != 2 or len(x.axes) < 2:
        raise ModelError(f"multiplies a constant and a tensor {list(x.shape)}; a constant matrix and at least two axes are supported")
    swapped = Value(x.tensor, (*x.axes[:-2], x.axes[-1], x.axes[-2]))
    result = product(Call(call.node, (swapped, left), call.emitter), swapped, left, 0, 2)
    return Value(result.tensor, (*result.axes[:-2], result.axes[-1], result.axes[-2]))


def computed_product(emitter: Emitter, left: Value, right: Value) -> Value:
    """left [..., rows, depth] by right [..., depth, columns]; a matrix that lies transposed in memory stays as it is."""
    if len(left.axes) < 2 or len(right.axes) < 2:
        raise ModelError(f"multiplies {list(left.shape)} by {list(right.shape)}; two matrices, or equally many of each, are supported")
    rank = max(len(left.axes), len(right.axes))
    left, right = aligned(left, rank), aligned(right, rank)
    leading = left.shape[:-2]
    if leading != right.shape[:-2] or left.shape[-1] != right.shape[-2]:
        raise ModelError(f"multiplies {list(left.shape)} by {list(right.shape)}; the axes before the last two must be equal, and the inner sizes too")
    batches = (count,) if (count := math.prod(leading)) > 1 else ()
    natural = range(rank)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    (a, transpose_left), (b, transpose_right) = (_matrix(emitter, value, natural, swapped, batches) for value in (left, right))
    output = emitter.add("batch_matmul", a, b, transpose_left=transpose_left, transpose_right=transpose_right, factor=1.0)
    return Value(output, row_major((*leading, left.shape[-2], right.shape[-1])))


def _matrix(emitter: Emitter, x: Value, natural: Sequence[int], swapped: Sequence[int], batches: Shape) -> tuple[str, bool]:
    """(tensor, whether it holds the transposed matrices): the order that memory has, or the one that leaves neighbours together."""
    neighbours = bool(x.axes[-2]) and x.axes[-2][-1].stride == 1
    transposed = not is_contiguous(in_order(x.axes, natural)) and (neighbours or is_contiguous(in_order(x.axes, swapped)))
    order = swapped if transposed else natural
    return emitter.arranged(x, order, (*batches, *(x.shape[axis] for axis in order[-2:]))), transposed


def product(call: Call, x: Value, weights: Constant, channel_axis: int, bias_index: int) -> Value:
    """x [..., features] by a matrix whose output channels lie along `channel_axis`: dense for one row, a 1x1 convolution for more."""
    array = weights.array
    features, channels = array.shape[1 - channel_axis], array.shape[channel_axis]
    if x.shape[-1] != features or array.size == 0:
        raise ModelError(f"multiplies {list(x.shape)} by a matrix for {features} features")
    rows = x.size // features
    flat = in_order(x.axes, range(len(x.axes)))
    order = None if is_contiguous(flat) else positions(flat)
    if rows > 1 or order is None:
        call_order: np.ndarray | None = None
        tensor = call.emitter.arranged(x, range(len(x.axes)), (features,) if rows == 1 else (1, rows, features))
    else:
        call_order = np.argsort(order)
        tensor = call.emitter.reshaped(x.tensor, (features,))

    def layout(matrix: np.ndarray) -> np.ndarray:
        matrix = matrix if channel_axis == 0 else matrix.T
        matrix = matrix if call_order is None else matrix[:, call_order]
        return matrix if rows == 1 else matrix[:, None, None, :]

    attributes = layer_attributes(call, weights, layout, channel_axis, bias_index, channels)
    if rows == 1:
        output = call.emitter.add("dense", tensor, **attributes)
    else:
        output = call.emitter.add("conv2d", tensor, groups=1, stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0), **attributes)
    shape = (*x.shape[:-1], channels)
    assert math.prod(shape) == rows * channels
    return Value(output, row_major(shape))


def conv_transpose(call: Call) -> Value:
    """Not expressible in the integer graph."""
    raise ModelError("is a transposed convolution, which is not supported; use Resize (nearest) and Conv to grow an image, or end the graph "
                     "before it with --outputs")
