"""Emitters of the float32 ops: kernels ec_f32_* of ec_float.h."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edgecompress.lower.c.convolution import spans
from edgecompress.lower.c.emitter import Call, ConstArray, Emitter, Reference

Params = dict[str, int | float | Reference]
UNARY_FUNCTIONS = ("identity", "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "gelu", "exp", "abs",
                   "square", "neg", "reciprocal")  # the enumeration of ec_f32_unary.c
WIDE = 4  # output channels a loop of ec_f32_conv2d.c and ec_f32_dense.c shares


class FloatEmitter(Emitter):
    """One kernel `ec_f32_<name>` in `ec_f32_<name>.c`."""

    element = "float"
    header = "ec_float.h"

    def __init__(self, name: str) -> None:
        self.name = name

    def kernel(self, call: Call) -> str:
        return f"ec_f32_{self.name}"

    def struct(self, call: Call) -> str:
        return f"ec_f32_{self.name}_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"ec_f32_{self.name}.c", "ec_float.h", "ec_f32_functions.h", "ec_f32_window.h")

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        return tuple(ConstArray(name, "float", getattr(call.op, name).ravel()) for name in ("weights", "bias")
                     if hasattr(call.op, name))

    def array_bytes(self, call: Call) -> int:
        return int(call.op.constant_bytes)

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "elements": call.output.elements}


def _bounds(call: Call) -> Params:
    low, high = call.op.bounds.tolist()
    return {"bounds.low": float(low), "bounds.high": float(high)}


def _window(call: Call, kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> Params:
    op = call.op
    height, width, channels = call.inputs[0].shape
    return {"window.input_height": height, "window.input_width": width, "window.input_channels": channels,
            "window.output_height": call.output.shape[0], "window.output_width": call.output.shape[1], "window.output_channels": call.output.shape[2],
            "window.kernel_height": kernel[0], "window.kernel_width": kernel[1], "window.stride_height": op.stride[0],
            "window.stride_width": op.stride[1], "window.dilation_height": dilation[0], "window.dilation_width": dilation[1],
            "window.padding_top": op.padding[0], "window.padding_left": op.padding[2]}


def _taps(call: Call, kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    """(kernel rows inside the image summed over output rows, times columns alike; kernel rows times output columns)."""
    op = call.op
    sums = [sum(end - first for first, end in spans(call.output.shape[axis], op.stride[axis], op.padding[2 * axis], dilation[axis], kernel[axis],
                                                    call.inputs[0].shape[axis])) for axis in (0, 1)]
    return sums[0] * sums[1], sums[0] * call.output.shape[1]


WEIGHTS: Params = {"weights": Reference("weights"), "bias": Reference("bias")}


class FloatConv2DEmitter(FloatEmitter):
    """ec_f32_conv2d."""

    def params(self, call: Call) -> Params:
        return {**WEIGHTS, **_bounds(call), **_window(call, call.op.kernel, call.op.dilation), "groups": call.op.groups}

    def features(self, call: Call) -> dict[str, float]:
        op = call.op
        taps, rows = _taps(call, op.kernel, op.dilation)
        outs, ins = len(op.weights) // op.groups, op.weights.shape[3]
        wide, single = op.groups * (outs // WIDE), op.groups * (outs % WIDE)
        pixels = call.output.shape[0] * call.output.shape[1]
        return {"call": 1, "pixels": pixels, "wide_calls": pixels * wide, "wide_rows": rows * wide, "wide_taps": taps * wide,
                "wide_products": taps * wide * ins, "single_calls": pixels * single, "single_rows": rows * single, "single_taps": taps * single,
                "single_products": taps * single * ins}


class FloatDepthwiseConv2DEmitter(FloatEmitter):
    """ec_f32_depthwise_conv2d."""

    def params(self, call: Call) -> Params:
        return {**WEIGHTS, **_bounds(call), **_window(call, call.op.kernel, call.op.dilation)}

    def features(self, call: Call) -> dict[str, float]:
        taps, rows = _taps(call, call.op.kernel, call.op.dilation)
        channels = call.output.shape[2]
        return {"call": 1, "pixels": call.output.shape[0] * call.output.shape[1], "elements": call.output.elements, "rows": rows * channels,
                "products": taps * channels}


class FloatDenseEmitter(FloatEmitter):
    """ec_f32_dense."""

    def params(self, call: Call) -> Params:
        return {**WEIGHTS, **_bounds(call), "input_size": call.op.weights.shape[1], "output_size": call.op.weights.shape[0]}

    def features(self, call: Call) -> dict[str, float]:
        outs, ins = call.op.weights.shape
        return {"call": 1, "wide": outs // WIDE, "wide_products": outs // WIDE * ins, "single": outs % WIDE, "single_products": outs % WIDE * ins}


class FloatBinaryEmitter(FloatEmitter):
    """ec_f32_binary."""

    def overlaps(self, call: Call) -> Mapping[int, int]:
        return {position: 0 for position, tensor in enumerate(call.inputs) if tensor.size == call.output.size}

    def params(self, call: Call) -> Params:
        return {**_bounds(call), "function": ("add", "mul").index(call.op.function), "size": call.output.elements,
                "right_size": call.inputs[1].elements}

    def features(self, call: Call) -> dict[str, float]:
        size = call.output.elements
        added = size * (call.op.function == "add")
        return {"call": 1, "runs": size // call.inputs[1].elements, "added": added, "multiplied": size - added}


class FloatUnaryEmitter(FloatEmitter):
    """ec_f32_unary."""

    in_place = (0,)

    def params(self, call: Call) -> Params:
        return {**_bounds(call), "function": UNARY_FUNCTIONS.index(call.op.function), "size": call.output.elements}

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, call.op.function: call.output.elements}


class FloatPool2DEmitter(FloatEmitter):
    """ec_f32_pool2d."""

    def params(self, call: Call) -> Params:
        return {**_bounds(call), **_window(call, call.op.kernel), "function": ("average", "max").index(call.op.function)}

    def features(self, call: Call) -> dict[str, float]:
        taps, rows = _taps(call, call.op.kernel)
        channels = call.output.shape[2]
        largest = call.op.function == "max"
        return {"call": 1, "pixels": call.output.shape[0] * call.output.shape[1], "elements": call.output.elements, "rows": rows * channels,
                "summed": taps * channels * (not largest), "compared": taps * channels * largest}


class FloatGlobalAveragePoolEmitter(FloatEmitter):
    """ec_f32_global_average_pool."""

    def params(self, call: Call) -> Params:
        channels = call.inputs[0].shape[2]
        return {**_bounds(call), "pixels": call.inputs[0].elements // channels, "channels": channels}

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "channels": call.inputs[0].shape[2], "elements": call.inputs[0].elements}


class FloatSoftmaxEmitter(FloatEmitter):
    """ec_f32_softmax."""

    def params(self, call: Call) -> Params:
        length = call.output.shape[-1]
        return {"rows": call.output.elements // length, "length": length}

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "rows": call.output.elements // call.output.shape[-1], "elements": call.output.elements}


class FloatConcatEmitter(FloatEmitter):
    """ec_f32_concat."""

    takes_input_array = True

    def params(self, call: Call) -> Params:
        return {"inner": Reference("inner"), "input_count": len(call.inputs), "outer": math.prod(call.output.shape[: call.op.axis])}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        inner = [math.prod(tensor.shape[call.op.axis:]) for tensor in call.inputs]
        return (ConstArray("inner", "int32_t", np.array(inner, dtype=np.int32)),)

    def array_bytes(self, call: Call) -> int:
        return 4 * len(call.inputs)

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "copies": math.prod(call.output.shape[: call.op.axis]) * len(call.inputs), "elements": call.output.elements}


class FloatPadEmitter(FloatEmitter):
    """ec_f32_pad."""

    def params(self, call: Call) -> Params:
        height, width, channels = call.inputs[0].shape
        top, bottom, left, right = call.op.padding
        row = call.output.shape[1] * channels
        return {"value": float(call.op.value[0]), "rows": height, "row_size": width * channels, "top": top * row, "left": left * channels,
                "right": right * channels, "bottom": bottom * row}

    def features(self, call: Call) -> dict[str, float]:
        copied = call.inputs[0].elements
        return {"call": 1, "rows": call.inputs[0].shape[0], "copied": copied, "filled": call.output.elements - copied}


FLOAT_EMIT: dict[str, Emitter] = {
    "float_conv2d": FloatConv2DEmitter("conv2d"),
    "float_depthwise_conv2d": FloatDepthwiseConv2DEmitter("depthwise_conv2d"),
    "float_dense": FloatDenseEmitter("dense"),
    "float_binary": FloatBinaryEmitter("binary"),
    "float_unary": FloatUnaryEmitter("unary"),
    "float_pool2d": FloatPool2DEmitter("pool2d"),
    "float_global_average_pool": FloatGlobalAveragePoolEmitter("global_average_pool"),
    "float_softmax": FloatSoftmaxEmitter("softmax"),
    "float_concat": FloatConcatEmitter("concat"),
    "float_pad": FloatPadEmitter("pad"),
}
