"""Float handlers of the operators with weights and of windows. Constants may be float32, float16 or quantized (dynamic-range models)."""

from __future__ import annotations

import numpy as np

from edgecompress.frontend.float_graph import frozen_float
from edgecompress.frontend.tflite.context import FloatContext
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.windows import read_window


def _weights(context: FloatContext, operator: OperatorInfo, rank: int) -> np.ndarray:
    values = context.real(operator, context.input(operator, 1))
    if values.ndim != rank or values.size == 0:
        raise context.refuse(operator, f"has weights of shape {values.shape}; needed are {rank} axes")
    return values


def _bias(context: FloatContext, operator: OperatorInfo, channels: int) -> np.ndarray:
    index = context.optional_input(operator, 2)
    values = np.zeros(channels, dtype=np.float32) if index is None else context.real(operator, index).reshape(-1)
    if values.size != channels:
        raise context.refuse(operator, f"has {values.size} biases for {channels} output channels")
    return frozen_float(values)


def conv_2d(context: FloatContext, operator: OperatorInfo) -> None:
    """CONV_2D, also grouped."""
    source, output = context.input(operator, 0), context.output(operator)
    height, width, channels = context.image_shape(operator, source)
    weights = _weights(context, operator, 4)
    if channels % weights.shape[3]:
        raise context.refuse(operator, f"has weights for {weights.shape[3]} input channels, its input has {channels}")
    window = read_window(context, operator, (height, width), weights.shape[1:3], dilated=True)
    context.emit(operator, "conv2d", (context.view(operator, source, (height, width, channels)),), output, weights=frozen_float(weights),
                 bias=_bias(context, operator, weights.shape[0]), stride=window.stride, dilation=window.dilation, padding=window.padding,
                 groups=channels // weights.shape[3], **context.clamp(operator))


def depthwise_conv_2d(context: FloatContext, operator: OperatorInfo) -> None:
    """DEPTHWISE_CONV_2D with any depth multiplier."""
    source, output = context.input(operator, 0), context.output(operator)
    height, width, channels = context.image_shape(operator, source)
    weights = _weights(context, operator, 4)
    if weights.shape[0] != 1:
        raise context.refuse(operator, f"has weights of shape {weights.shape}; needed is (1, height, width, channels * multiplier)")
    window = read_window(context, operator, (height, width), weights.shape[1:3], dilated=True)
    context.emit(operator, "depthwise_conv2d", (context.view(operator, source, (height, width, channels)),), output,
                 weights=frozen_float(weights[0]), bias=_bias(context, operator, weights.shape[3]), stride=window.stride, dilation=window.dilation,
                 padding=window.padding, **context.clamp(operator))


def fully_connected(context: FloatContext, operator: OperatorInfo) -> None:
    """FULLY_CONNECTED: a dense layer over the whole input, or a 1x1 convolution when the input holds several rows."""
    source, output = context.input(operator, 0), context.output(operator)
    if operator.option("weights_format") != 0:
        raise context.refuse(operator, "has shuffled weights; convert the model without them")
    weights = _weights(context, operator, 2)
    channels, depth = weights.shape
    size = context.info(source).size
    if size % depth:
        raise context.refuse(operator, f"has weights for rows of {depth}, its input has shape {context.info(source).shape}")
    bias, clamp = _bias(context, operator, channels), context.clamp(operator)
    if size == depth:
        context.emit(operator, "dense", (context.view(operator, source, (depth,)),), output, weights=frozen_float(weights), bias=bias, **clamp)
        return
    context.emit(operator, "conv2d", (context.view(operator, source, (size // depth, 1, depth)),), output,
                 weights=frozen_float(weights.reshape(channels, 1, 1, depth)), bias=bias, stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0),
                 groups=1, **clamp)


def pool_2d(context: FloatContext, operator: OperatorInfo, kind: str) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    source, output = context.input(operator, 0), context.output(operator)
    height, width, _ = context.image_shape(operator, source)
    kernel = (operator.option("filter_height"), operator.option("filter_width"))
    window = read_window(context, operator, (height, width), kernel, dilated=False)
    context.emit(operator, kind, (context.value(operator, source),), output, kernel=kernel, stride=window.stride, padding=window.padding,
                 **context.clamp(operator))
