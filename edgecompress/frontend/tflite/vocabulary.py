"""Numbers of the TFLite schema (version 3) as names: operators, tensor types, activations, and the option fields of each operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OPERATOR_NAMES = (
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "EMBEDDING_LOOKUP", "FLOOR",
    "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D", "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM",
    "MAX_POOL_2D", "MUL", "RELU", "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF", "TANH",
    "CONCAT_EMBEDDINGS", "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD", "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER",
    "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB", "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE",
    "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2", "SPLIT", "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM",
    "ARG_MAX", "MINIMUM", "LESS", "NEG", "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN", "TRANSPOSE_CONV",
    "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT", "SHAPE", "POW", "ARG_MIN", "FAKE_QUANT",
    "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT", "LOGICAL_AND", "LOGICAL_NOT", "UNPACK", "REDUCE_MIN", "FLOOR_DIV", "REDUCE_ANY",
    "SQUARE", "ZEROS_LIKE", "FILL", "FLOOR_MOD", "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS",
    "SPLIT_V", "UNIQUE", "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE", "RANK", "ELU", "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE",
    "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2",
    "DENSIFY", "SEGMENT_SUM", "BATCH_MATMUL", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM", "CALL_ONCE", "BROADCAST_TO", "RFFT2D", "CONV_3D",
    "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "REDUCE_ALL", "CONV_3D_TRANSPOSE",
    "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL", "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL",
    "GELU", "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_SUM", "ATAN2",
    "UNSORTED_SEGMENT_MIN", "SIGN", "BITCAST", "BITWISE_XOR", "RIGHT_SHIFT", "STABLEHLO_LOGISTIC", "STABLEHLO_ADD", "STABLEHLO_DIVIDE",
    "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_RESHAPE", "STABLEHLO_CLAMP", "STABLEHLO_CONCATENATE", "STABLEHLO_BROADCAST_IN_DIM",
    "STABLEHLO_CONVOLUTION", "STABLEHLO_SLICE", "STABLEHLO_CUSTOM_CALL", "STABLEHLO_REDUCE", "STABLEHLO_ABS", "STABLEHLO_AND", "STABLEHLO_COSINE",
    "STABLEHLO_EXPONENTIAL", "STABLEHLO_FLOOR", "STABLEHLO_LOG", "STABLEHLO_MINIMUM", "STABLEHLO_NEGATE", "STABLEHLO_OR", "STABLEHLO_POWER",
    "STABLEHLO_REMAINDER", "STABLEHLO_RSQRT", "STABLEHLO_SELECT", "STABLEHLO_SUBTRACT", "STABLEHLO_TANH", "STABLEHLO_SCATTER", "STABLEHLO_COMPARE",
    "STABLEHLO_CONVERT", "STABLEHLO_DYNAMIC_SLICE", "STABLEHLO_DYNAMIC_UPDATE_SLICE", "STABLEHLO_PAD", "STABLEHLO_IOTA", "STABLEHLO_DOT_GENERAL",
    "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SORT", "STABLEHLO_WHILE", "STABLEHLO_GATHER", "STABLEHLO_TRANSPOSE", "DILATE",
    "STABLEHLO_RNG_BIT_GENERATOR", "REDUCE_WINDOW", "STABLEHLO_COMPOSITE", "STABLEHLO_SHIFT_LEFT", "STABLEHLO_CBRT", "STABLEHLO_CASE",
)
TENSOR_TYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64", "complex128", "uint64", "resource",
    "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4", "float8_e4m3fn", "float8_e5m2",
)
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
PADDINGS = ("SAME", "VALID")
MIRROR_PADDINGS = ("REFLECT", "SYMMETRIC")


@dataclass(frozen=True)
class OptionField:
    """One field of an option table: its slot, its kind (in flatbuffer.FORMATS, or "ints") and the schema's default."""

    slot: int
    kind: str
    default: Any = 0


@dataclass(frozen=True)
class Options:
    """The option table of an operator: its code in the schema's BuiltinOptions union and the fields that are read."""

    code: int
    fields: dict[str, OptionField] = field(default_factory=dict)


def _window(first: int, **more: OptionField) -> dict[str, OptionField]:
    return {"padding": OptionField(0, "int8"), "stride_w": OptionField(1, "int32"), "stride_h": OptionField(2, "int32"),
            "activation": OptionField(first, "int8"), **more}


_ACTIVATION = {"activation": OptionField(0, "int8")}
_POOL = Options(5, _window(5, filter_width=OptionField(3, "int32"), filter_height=OptionField(4, "int32")))
_REDUCER = Options(27, {"keep_dims": OptionField(0, "bool", False)})

OPTIONS: dict[str, Options] = {
    "CONV_2D": Options(1, _window(3, dilation_w=OptionField(4, "int32", 1), dilation_h=OptionField(5, "int32", 1))),
    "DEPTHWISE_CONV_2D": Options(2, _window(4, depth_multiplier=OptionField(3, "int32"), dilation_w=OptionField(5, "int32", 1),
                                            dilation_h=OptionField(6, "int32", 1))),
    "TRANSPOSE_CONV": Options(49, _window(3)),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "FULLY_CONNECTED": Options(8, {"activation": OptionField(0, "int8"), "weights_format": OptionField(1, "int8"),
                                   "keep_num_dims": OptionField(2, "bool", False), "asymmetric_quantize_inputs": OptionField(3, "bool", False)}),
    "SVDF": Options(6, {"rank": OptionField(0, "int32"), "activation": OptionField(1, "int8"),
                        "asymmetric_quantize_inputs": OptionField(2, "bool", False)}),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Options(71, {"activation": OptionField(0, "int8"), "cell_clip": OptionField(1, "float32", 0.0),
                                                 "projection_clip": OptionField(2, "float32", 0.0), "time_major": OptionField(3, "bool", False),
                                                 "asymmetric_quantize_inputs": OptionField(4, "bool", False),
                                                 "diagonal_recurrent_tensors": OptionField(5, "bool", False)}),
    "ADD": Options(11, _ACTIVATION),
    "SUB": Options(28, _ACTIVATION),
    "MUL": Options(21, _ACTIVATION),
    "DIV": Options(29, _ACTIVATION),
    "SOFTMAX": Options(9, {"beta": OptionField(0, "float32", 0.0)}),
    "LEAKY_RELU": Options(75, {"alpha": OptionField(0, "float32", 0.0)}),
    "GELU": Options(116, {"approximate": OptionField(0, "bool", False)}),
    "CONCATENATION": Options(10, {"axis": OptionField(0, "int32"), "activation": OptionField(1, "int8")}),
    "RESHAPE": Options(17, {"new_shape": OptionField(0, "ints", ())}),
    "SQUEEZE": Options(30, {"squeeze_dims": OptionField(0, "ints", ())}),
    "MEAN": _REDUCER,
    "SUM": _REDUCER,
    "REDUCE_MAX": _REDUCER,
    "REDUCE_MIN": _REDUCER,
    "REDUCE_PROD": _REDUCER,
    "MIRROR_PAD": Options(77, {"mode": OptionField(0, "int8")}),
    "PACK": Options(59, {"values_count": OptionField(0, "int32"), "axis": OptionField(1, "int32")}),
    "UNPACK": Options(64, {"num": OptionField(0, "int32"), "axis": OptionField(1, "int32")}),
    "GATHER": Options(23, {"axis": OptionField(0, "int32"), "batch_dims": OptionField(1, "int32")}),
    "STRIDED_SLICE": Options(32, {"begin_mask": OptionField(0, "int32"), "end_mask": OptionField(1, "int32"),
                                  "ellipsis_mask": OptionField(2, "int32"), "new_axis_mask": OptionField(3, "int32"),
                                  "shrink_axis_mask": OptionField(4, "int32"), "offset": OptionField(5, "bool", False)}),
    "RESIZE_NEAREST_NEIGHBOR": Options(74, {"align_corners": OptionField(0, "bool", False), "half_pixel_centers": OptionField(1, "bool", False)}),
    "RESIZE_BILINEAR": Options(15, {"align_corners": OptionField(2, "bool", False), "half_pixel_centers": OptionField(3, "bool", False)}),
    "BATCH_MATMUL": Options(101, {"adjoint_x": OptionField(0, "bool", False), "adjoint_y": OptionField(1, "bool", False)}),
    "CAST": Options(37, {"in_type": OptionField(0, "int8"), "out_type": OptionField(1, "int8")}),
    "SPLIT": Options(35, {"num_splits": OptionField(0, "int32")}),
    "SPLIT_V": Options(79, {"num_splits": OptionField(0, "int32")}),
    "CALL_ONCE": Options(103, {"init_subgraph_index": OptionField(0, "int32")}),
    "VAR_HANDLE": Options(111, {"container": OptionField(0, "text", ""), "shared_name": OptionField(1, "text", "")}),
}
