"""EMIT: op kind -> emitter. UNSUPPORTED: op kind -> why the C lowering cannot do it."""

from __future__ import annotations

from edgecompress.lower.c.convolution import Conv2DEmitter, DenseEmitter, DepthwiseConv2DEmitter
from edgecompress.lower.c.emitter import Emitter
from edgecompress.lower.c.simple import (
    AddEmitter,
    ConcatEmitter,
    CopyEmitter,
    GlobalAveragePoolEmitter,
    MulEmitter,
    PadEmitter,
    Pool2DEmitter,
    RequantizeEmitter,
    ResizeNearestEmitter,
    SoftmaxEmitter,
    TableEmitter,
)

EMIT: dict[str, Emitter] = {
    "conv2d": Conv2DEmitter(),
    "depthwise_conv2d": DepthwiseConv2DEmitter(),
    "dense": DenseEmitter(),
    "add": AddEmitter("add"),
    "mul": MulEmitter("mul"),
    "average_pool2d": Pool2DEmitter("average_pool2d"),
    "max_pool2d": Pool2DEmitter("max_pool2d"),
    "global_average_pool": GlobalAveragePoolEmitter("global_average_pool"),
    "pad": PadEmitter("pad"),
    "concat": ConcatEmitter("concat"),
    "reshape": CopyEmitter("copy"),  # nearly always an alias that needs no code, see storage.py
    "softmax": SoftmaxEmitter("softmax"),
    "resize_nearest": ResizeNearestEmitter("resize_nearest"),
    "table": TableEmitter("table"),
    "requantize": RequantizeEmitter("requantize"),
}

UNSUPPORTED: dict[str, str] = {}
