"""int8 handlers of the operators with weights. Multipliers are derived from the float32 scales as tflite-micro derives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.frontend.tflite.context import CHANNEL_COST, IntegerContext
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.windows import read_window
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.packing import WEIGHT_RANGE
from edgecompress.ir.requant import Requant

MAX_CHANNELS = 2**16


@dataclass(frozen=True, eq=False)
class Weights:
    """Constants of one layer: int8 values in the file's layout, float32 scales [1 or channels], storage width."""

    values: np.ndarray
    scales: np.ndarray
    bits: int


def read_weights(context: IntegerContext, operator: OperatorInfo, position: int, rank: int, channel_axis: int) -> Weights:
    """int8 or int4 weights with one scale, or one an output channel along `channel_axis`.

    The file's own quantized_dimension is not looked at, as in tflite-micro: old converters wrote it wrongly.
    """
    index = context.input(operator, position)
    tensor = context.info(index)
    if tensor.type not in ("int8", "int4") or tensor.quantization is None or len(tensor.shape) != rank:
        state = "" if tensor.quantization else " without a scale"
        raise context.refuse(operator, f"has weights {tensor.name!r} of type {tensor.type} and shape {tensor.shape}{state}; supported is int8 "
                                       f"or int4 with {rank} axes, convert the model with full int8 quantization")
    values = context.constant(operator, index)
    channels = tensor.shape[channel_axis]
    if not 1 <= channels <= MAX_CHANNELS:
        raise context.refuse(operator, f"has {channels} output channels; supported are 1 to {MAX_CHANNELS}")
    context.spend(CHANNEL_COST * channels)
    scales, zero_points = tensor.quantization.scales, tensor.quantization.zero_points
    if len(scales) not in (1, channels):
        raise context.refuse(operator, f"has {len(scales)} weight scales for {channels} output channels")
    if not (np.isfinite(scales).all() and (scales >= 0).all()):
        raise context.refuse(operator, f"has weights {tensor.name!r} with a scale that is negative or not a number")
    if zero_points.any():
        values = _centred(context, operator, values, zero_points)
    low, high = WEIGHT_RANGE[4]
    narrow = tensor.type == "int4" and values.size > 0 and bool(values.min() >= low and values.max() <= high)
    return Weights(values, scales, 4 if narrow else 8)


def _centred(context: IntegerContext, operator: OperatorInfo, values: np.ndarray, zero_points: np.ndarray) -> np.ndarray:
    """Weights minus their zero point, for FULLY_CONNECTED, where tflite-micro subtracts it; the result must still be int8."""
    if operator.name != "FULLY_CONNECTED" or len(zero_points) != 1:
        raise context.refuse(operator, "has weights with a zero point other than 0; convert the model again, int8 weights are symmetric since 2019")
    centred = values.astype(np.int64) - np.clip(zero_points[0], -512, 512)
    if centred.size and (centred.min() < -128 or centred.max() > 127):
        raise context.refuse(operator, f"has weights with zero point {zero_points[0]} whose differences do not fit int8; convert the model again")
    narrow: np.ndarray = centred.astype(np.int8)
    return narrow


def read_bias(context: IntegerContext, operator: OperatorInfo, channels: int) -> np.ndarray:
    """int32 [channels]; zeros when the operator has none."""
    index = context.optional_input(operator, 2)
    if index is None:
        return np.zeros(channels, dtype=np.int32)
    tensor = context.info(index)
    if tensor.type != "int32" or tensor.size != channels:
        raise context.refuse(operator, f"has bias {tensor.name!r} of type {tensor.type} and shape {tensor.shape}; needed is int32 [{channels}]")
    return context.constant(operator, index).reshape(-1).astype(np.int32)


def _factors(context: IntegerContext, operator: OperatorInfo, weights: Weights) -> Requant:
    """Rescaling of a convolution: scales multiplied in double, one factor a channel or one for all."""
    source, output = context.input(operator, 0), context.output(operator)
    product = context.quantization(source)[0] * weights.scales.astype(np.float64)
    return _requant(context, operator, product, context.quantization(output)[0])


def _requant(context: IntegerContext, operator: OperatorInfo, product: np.ndarray, output_scale: float) -> Requant:
    factors = product / output_scale
    if not np.isfinite(factors).all() or factors.max() > 2.0**29:
        raise context.refuse(operator, f"rescales its sums by {factors.max():.3g}; at most 2^29 can be held, its scales are out of proportion")
    return Requant.from_real(factors)


def conv_2d(context: IntegerContext, operator: OperatorInfo) -> None:
    """CONV_2D, also grouped: the weights' input channels divide the input's."""
    source, output = context.input(operator, 0), context.output(operator)
    height, width, channels = context.image_shape(operator, source)
    weights = read_weights(context, operator, 1, 4, 0)
    depth = weights.values.shape[3]
    if depth < 1 or channels % depth:
        raise context.refuse(operator, f"has weights for {depth} input channels, its input has {channels}")
    window = read_window(context, operator, (height, width), weights.values.shape[1:3], dilated=True)
    low, high = context.bounds(operator, output)
    op = Conv2D(weights.values, read_bias(context, operator, weights.values.shape[0]), _factors(context, operator, weights),
                context.quantization(source)[1], context.quantization(output)[1], window.stride, window.dilation, window.padding, channels // depth,
                low, high, weights.bits)
    context.emit(operator, op, (context.view(operator, source, (height, width, channels)),), output)


def depthwise_conv_2d(context: IntegerContext, operator: OperatorInfo) -> None:
    """DEPTHWISE_CONV_2D with any depth multiplier."""
    source, output = context.input(operator, 0), context.output(operator)
    height, width, channels = context.image_shape(operator, source)
    weights = read_weights(context, operator, 1, 4, 3)
    if weights.values.shape[0] != 1 or weights.values.shape[3] % channels:
        raise context.refuse(operator, f"has weights of shape {weights.values.shape} for an input of {channels} channels; "
                                       "needed is (1, height, width, channels * multiplier)")
    kernel = weights.values.shape[1:3]
    window = read_window(context, operator, (height, width), kernel, dilated=True)
    low, high = context.bounds(operator, output)
    op = DepthwiseConv2D(weights.values[0], read_bias(context, operator, weights.values.shape[3]), _factors(context, operator, weights),
                         context.quantization(source)[1], context.quantization(output)[1], window.stride, window.dilation, window.padding,
                         low, high, weights.bits)
    context.emit(operator, op, (context.view(operator, source, (height, width, channels)),), output)


def fully_connected(context: IntegerContext, operator: OperatorInfo) -> None:
    """FULLY_CONNECTED: a dense layer over the whole input, or a 1x1 convolution when the input holds several rows."""
    source, output = context.input(operator, 0), context.output(operator)
    if operator.option("weights_format") != 0:
        raise context.refuse(operator, "has shuffled weights; convert the model without them")
    weights = read_weights(context, operator, 1, 2, 0)
    channels, depth = weights.values.shape
    size = context.info(source).size
    if depth < 1 or size % depth:
        raise context.refuse(operator, f"has weights for rows of {depth}, its input has shape {context.info(source).shape}")
    (scale, zero_point), (out_scale, out_zero_point) = context.quantization(source), context.quantization(output)
    if len(weights.scales) == 1:  # tflite-micro multiplies the two scales in float32 here, and in double where each channel has its own
        with np.errstate(over="ignore"):
            product = (np.float32(scale) * weights.scales).astype(np.float64)
    else:
        product = scale * weights.scales.astype(np.float64)
    requant = _requant(context, operator, product, out_scale)
    bias = read_bias(context, operator, channels)
    low, high = context.bounds(operator, output)
    if size == depth:
        op: Dense | Conv2D = Dense(weights.values, bias, requant, zero_point, out_zero_point, low, high, weights.bits)
        context.emit(operator, op, (context.view(operator, source, (depth,)),), output)
        return
    op = Conv2D(weights.values.reshape(channels, 1, 1, depth), bias, requant, zero_point, out_zero_point, activation_min=low, activation_max=high,
                weight_bits=weights.bits)
    context.emit(operator, op, (context.view(operator, source, (size // depth, 1, depth)),), output)
