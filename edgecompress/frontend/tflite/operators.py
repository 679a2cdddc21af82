"""OPERATORS: what this importer does with each TFLite operator. docs/operators.md is generated from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgecompress.frontend.tflite import ends, integer_arithmetic, integer_layers, integer_shapes, unary_tables
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.max_pool2d import MaxPool2D

Handler = Callable[[Any, Any], None]


@dataclass(frozen=True)
class Support:
    """How one operator is imported: a handler(context, operator) for int8 models and one for float models, None where it is not supported.

    `note` says what is restricted, in words for docs/operators.md; `help` what a user can do where a handler is missing.
    """

    int8: Handler | None = None
    float32: Handler | None = None
    note: str = ""
    help: str = "replace it in the model before the conversion"


NO_INT8 = "tflite-micro has no int8 kernel for it"

OPERATORS: dict[str, Support] = {
    "CONV_2D": Support(integer_layers.conv_2d, None, "constant weights, int8 or int4; groups, dilation, one scale or one a channel"),
    "DEPTHWISE_CONV_2D": Support(integer_layers.depthwise_conv_2d, None, "constant weights, int8 or int4; any depth multiplier, dilation"),
    "FULLY_CONNECTED": Support(integer_layers.fully_connected, None, "constant weights, int8 or int4; several rows become a 1x1 convolution"),
    "ADD": Support(integer_arithmetic.add, None, "equal shapes, or one constant number"),
    "SUB": Support(integer_arithmetic.sub, None, "int8: one operand must be a constant number"),
    "MUL": Support(integer_arithmetic.mul, None, "equal shapes, one value a channel, or a constant number or one a channel"),
    "AVERAGE_POOL_2D": Support(partial(integer_shapes.pool_2d, kind=AveragePool2D), None),
    "MAX_POOL_2D": Support(partial(integer_shapes.pool_2d, kind=MaxPool2D), None),
    "MEAN": Support(integer_shapes.mean, None, "over leading axes, as height and width"),
    "PAD": Support(integer_shapes.pad, None, "constant amounts, any axis but the batch"),
    "PADV2": Support(integer_shapes.pad, None, "constant amounts and value, any axis but the batch"),
    "MIRROR_PAD": Support(integer_shapes.mirror_pad, None, "constant amounts, any axis but the batch"),
    "RESHAPE": Support(integer_shapes.reshape, None),
    "SQUEEZE": Support(integer_shapes.reshape, None),
    "EXPAND_DIMS": Support(integer_shapes.reshape, None),
    "TRANSPOSE": Support(integer_shapes.transpose, None, "any order that leaves the batch in place"),
    "STRIDED_SLICE": Support(integer_shapes.strided_slice, None, "constant ranges, any axis but the batch; no ellipsis or new axis"),
    "CONCATENATION": Support(integer_shapes.concatenation, None, "any axis but the batch"),
    "SOFTMAX": Support(integer_arithmetic.softmax, None, "over the last axis; int8"),
    "LOGISTIC": Support(partial(integer_arithmetic.table, function=unary_tables.logistic), None),
    "TANH": Support(partial(integer_arithmetic.table, function=unary_tables.tanh), None),
    "ELU": Support(partial(integer_arithmetic.table, function=unary_tables.elu), None),
    "HARD_SWISH": Support(partial(integer_arithmetic.table, function=unary_tables.hard_swish), None),
    "ABS": Support(partial(integer_arithmetic.table, function=unary_tables.absolute), None),
    "LEAKY_RELU": Support(integer_arithmetic.leaky_relu, None),
    "RELU": Support(partial(integer_arithmetic.relu, activation="RELU"), None),
    "RELU6": Support(partial(integer_arithmetic.relu, activation="RELU6"), None),
    "RELU_N1_TO_1": Support(partial(integer_arithmetic.relu, activation="RELU_N1_TO_1"), None),
    "RESIZE_NEAREST_NEIGHBOR": Support(integer_shapes.resize_nearest, None, "constant size, neither corner option"),
    "QUANTIZE": Support(ends.quantize, None, "between int8 scales; at a model's ends it is left out"),
    "DEQUANTIZE": Support(ends.dequantize, None, "of constants, and at a model's outputs, where it is left out"),
}
