"""Random single float32 layers for the profiles of cores with an FPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgecompress.bench.sweep_layers import Dice, SweptLayer, make_padding
from edgecompress.ir.float_ops import (
    FloatBinary,
    FloatConcat,
    FloatConv2D,
    FloatDense,
    FloatDepthwiseConv2D,
    FloatGlobalAveragePool,
    FloatPad,
    FloatPool2D,
    FloatSoftmax,
    FloatUnary,
)
from edgecompress.ir.float_ops.functions import FUNCTIONS
from edgecompress.ir.op import Shape


def _weights(d: Dice, *shape: int) -> np.ndarray:
    return d.random.normal(scale=0.2, size=shape).astype(np.float32)


def _bounds(d: Dice) -> np.ndarray:
    return np.array(d.pick((0.0, 6.0), (0.0, 1e30)), dtype=np.float32)


def _shape(d: Dice) -> Shape:
    return (*d.image(1, 24), d.channels(1, 64))


def _conv2d(d: Dice) -> SweptLayer:
    kernel, stride, groups = d.pick((1, 1), (1, 1), (3, 3), (3, 3), (5, 5), (10, 4), (1, 5)), d.pick(1, 1, 2), d.pick(1, 1, 1, 1, 2)
    shape = (*d.image(1, 48), groups * d.channels(1, 64))
    outputs = groups * d.channels(1, 64)
    padding = make_padding(d.pick(True, True, False), shape[:2], kernel, (stride, stride))
    return SweptLayer(FloatConv2D(_weights(d, outputs, *kernel, shape[2] // groups), _weights(d, outputs), (stride, stride), (1, 1), padding,
                                  _bounds(d), groups), (shape,))


def _depthwise(d: Dice) -> SweptLayer:
    kernel, stride, multiplier = d.pick((3, 3), (3, 3), (5, 5), (7, 7), (9, 1)), d.pick(1, 1, 2), d.pick(1, 1, 1, 4)
    shape = (*d.image(1, 48), d.channels(1, 128))
    padding = make_padding(True, shape[:2], kernel, (stride, stride))
    channels = shape[2] * multiplier
    op = FloatDepthwiseConv2D(_weights(d, *kernel, channels), _weights(d, channels), (stride, stride), (1, 1), padding, _bounds(d))
    return SweptLayer(op, (shape,))


def _dense(d: Dice) -> SweptLayer:
    inputs, outputs = d.channels(1, 1024), d.channels(1, 128)
    return SweptLayer(FloatDense(_weights(d, outputs, inputs), _weights(d, outputs), _bounds(d)), ((inputs,),))


def _binary(d: Dice) -> SweptLayer:
    shape = _shape(d)
    return SweptLayer(FloatBinary(d.pick("add", "mul"), _bounds(d)), (shape, d.pick(shape, shape, (1, 1, shape[2]))))


def _unary(d: Dice) -> SweptLayer:
    return SweptLayer(FloatUnary(d.pick(*sorted(FUNCTIONS))), (_shape(d),))


def _pool(d: Dice) -> SweptLayer:
    shape = (*d.image(2, 32), d.channels(1, 64))
    kernel = d.pick((min(2, shape[0]), min(2, shape[1])), (min(3, shape[0]), min(3, shape[1])), shape[:2])
    stride = d.pick((1, 1), (2, 2), kernel)
    return SweptLayer(FloatPool2D(d.pick("average", "max"), kernel, stride, make_padding(d.pick(True, False), shape[:2], kernel, stride)), (shape,))


def _global_average_pool(d: Dice) -> SweptLayer:
    return SweptLayer(FloatGlobalAveragePool(), (_shape(d),))


def _softmax(d: Dice) -> SweptLayer:
    return SweptLayer(FloatSoftmax(), ((d.pick(1, 1, 8), d.between(2, 200)),))


def _concat(d: Dice) -> SweptLayer:
    height, width = d.image(1, 16)
    return SweptLayer(FloatConcat(2), tuple((height, width, d.channels(1, 32)) for _ in range(d.pick(2, 2, 3))))


def _pad(d: Dice) -> SweptLayer:
    return SweptLayer(FloatPad((d.pick(0, 1, 2), 1, d.pick(0, 1), d.pick(0, 1, 2)), np.zeros(1, dtype=np.float32)), (_shape(d),))


FLOAT_LAYERS: dict[str, tuple[Callable[[Dice], SweptLayer], int]] = {
    "conv2d": (_conv2d, 8), "depthwise": (_depthwise, 6), "dense": (_dense, 4), "binary": (_binary, 3), "unary": (_unary, 12), "pool": (_pool, 4),
    "global_average_pool": (_global_average_pool, 2), "softmax": (_softmax, 2), "concat": (_concat, 2), "pad": (_pad, 2),
}
