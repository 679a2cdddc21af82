"""OPERATORS: what this importer does with each TFLite operator. docs/operators.md is generated from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgecompress.frontend.tflite import (
    ends,
    float_layers,
    float_simple,
    integer_arithmetic,
    integer_layers,
    integer_shapes,
    recurrent,
    splits,
    streaming,
    unary_tables,
)
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

VARIABLES = "variables that delay a stream: the last steps, joined in front of the new ones along time"

OPERATORS: dict[str, Support] = {
    "CONV_2D": Support(integer_layers.conv_2d, float_layers.conv_2d, "constant weights, int8 models also int4; groups, dilation"),
    "DEPTHWISE_CONV_2D": Support(integer_layers.depthwise_conv_2d, float_layers.depthwise_conv_2d,
                                 "constant weights, int8 models also int4; any depth multiplier, dilation"),
    "FULLY_CONNECTED": Support(integer_layers.fully_connected, float_layers.fully_connected,
                               "constant weights; an input of several rows becomes a 1x1 convolution"),
    "ADD": Support(integer_arithmetic.add, float_simple.arithmetic, "equal shapes, or a constant: one number; float: also one a channel"),
    "SUB": Support(integer_arithmetic.sub, float_simple.arithmetic, "int8: one operand is a constant number; float: as ADD"),
    "MUL": Support(integer_arithmetic.mul, float_simple.arithmetic, "equal shapes, one value a channel, or a constant: one number or one a channel"),
    "BATCH_MATMUL": Support(integer_arithmetic.batch_matmul, float_simple.batch_matmul, "two computed tensors with equal axes before the last two"),
    "DIV": Support(None, float_simple.arithmetic, "by a constant: one number or one a channel"),
    "MINIMUM": Support(None, float_simple.bound, "with a constant number"),
    "MAXIMUM": Support(None, float_simple.bound, "with a constant number"),
    "AVERAGE_POOL_2D": Support(partial(integer_shapes.pool_2d, kind=AveragePool2D), partial(float_layers.pool_2d, kind="average_pool2d")),
    "MAX_POOL_2D": Support(partial(integer_shapes.pool_2d, kind=MaxPool2D), partial(float_layers.pool_2d, kind="max_pool2d")),
    "MEAN": Support(integer_shapes.mean, float_simple.mean, "any axes but the batch"),
    "PAD": Support(integer_shapes.pad, float_simple.pad, "constant amounts, any axis but the batch"),
    "PADV2": Support(integer_shapes.pad, float_simple.pad, "constant amounts and value, any axis but the batch"),
    "MIRROR_PAD": Support(integer_shapes.mirror_pad, float_simple.mirror_pad, "constant amounts, any axis but the batch"),
    "RESHAPE": Support(integer_shapes.reshape, float_simple.reshape, "a fixed shape"),
    "SQUEEZE": Support(integer_shapes.reshape, float_simple.reshape),
    "EXPAND_DIMS": Support(integer_shapes.reshape, float_simple.reshape),
    "TRANSPOSE": Support(integer_shapes.transpose, float_simple.transpose, "a constant order that leaves the batch in place"),
    "STRIDED_SLICE": Support(partial(streaming.strided_slice, otherwise=integer_shapes.strided_slice), float_simple.strided_slice,
                             "constant ranges, any axis but the batch; no ellipsis or new axis"),
    "CONCATENATION": Support(partial(streaming.concatenation, otherwise=integer_shapes.concatenation), float_simple.concatenation,
                             "any axis but the batch"),
    "PACK": Support(integer_shapes.pack, float_simple.pack, "any axis but the batch"),
    "SLICE": Support(splits.slice_, splits.slice_, "constant begin and size, any axis but the batch"),
    "SPLIT": Support(splits.split, splits.split, "any axis but the batch"),
    "SPLIT_V": Support(splits.split_v, splits.split_v, "any axis but the batch"),
    "UNPACK": Support(splits.unpack, splits.unpack, "any axis but the batch"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Support(recurrent.lstm, None, "int8 with an int16 cell state, batch 1, four gates, tanh; no peephole, projection "
                                            "or layer normalisation", help="quantize the model to int8 in its converter"),
    "SVDF": Support(recurrent.svdf, None, "batch 1, int16 or int8 state", help="quantize the model to int8 in its converter"),
    "VAR_HANDLE": Support(streaming.var_handle, None, VARIABLES),
    "CALL_ONCE": Support(streaming.call_once, None, "a subgraph that assigns constants to variables"),
    "READ_VARIABLE": Support(streaming.read_variable, None, VARIABLES),
    "ASSIGN_VARIABLE": Support(streaming.assign_variable, None, VARIABLES),
    "SHAPE": Support(note="of fixed shapes, computed at import"),
    "CAST": Support(note="of constants, computed at import"),
    "SOFTMAX": Support(integer_arithmetic.softmax, float_simple.softmax, "over the last axis"),
    "LOGISTIC": Support(partial(integer_arithmetic.table, function=unary_tables.logistic), partial(float_simple.unary, function="sigmoid")),
    "TANH": Support(partial(integer_arithmetic.table, function=unary_tables.tanh), partial(float_simple.unary, function="tanh")),
    "ELU": Support(partial(integer_arithmetic.table, function=unary_tables.elu), partial(float_simple.unary, function="elu")),
    "HARD_SWISH": Support(partial(integer_arithmetic.table, function=unary_tables.hard_swish), partial(float_simple.unary, function="hardswish")),
    "ABS": Support(partial(integer_arithmetic.table, function=unary_tables.absolute), partial(float_simple.unary, function="abs")),
    "LEAKY_RELU": Support(integer_arithmetic.leaky_relu, float_simple.leaky_relu),
    "RELU": Support(partial(integer_arithmetic.relu, activation="RELU"), partial(float_simple.clamp, activation="RELU")),
    "RELU6": Support(partial(integer_arithmetic.relu, activation="RELU6"), partial(float_simple.clamp, activation="RELU6")),
    "RELU_N1_TO_1": Support(partial(integer_arithmetic.relu, activation="RELU_N1_TO_1"), partial(float_simple.clamp, activation="RELU_N1_TO_1")),
    "GELU": Support(None, float_simple.gelu, NO_INT8),
    "SQUARE": Support(None, partial(float_simple.unary, function="square"), NO_INT8),
    **{name: Support(None, float_simple.expression, NO_INT8) for name in float_simple.FUNCTIONS},
    "RESIZE_NEAREST_NEIGHBOR": Support(integer_shapes.resize_nearest, float_simple.resize_nearest, "constant size, neither corner option"),
    "QUANTIZE": Support(ends.quantize, None, "between int8 scales; at a model's ends it is left out"),
    "DEQUANTIZE": Support(ends.dequantize, None, "of constants, and at a model's outputs, where it is left out"),
}
