"""OPERATORS: what this importer does with each ONNX operator. docs/operators.md is generated from it."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.errors import ModelError
from edgecompress.frontend.onnx import elementwise_ops as elementwise
from edgecompress.frontend.onnx import layer_ops as layers
from edgecompress.frontend.onnx import pool_ops as pools
from edgecompress.frontend.onnx import quantize_ops as quantize
from edgecompress.frontend.onnx import view_ops as views
from edgecompress.frontend.onnx.call import Call, Handler
from edgecompress.frontend.onnx.fold import FOLD, Fold
from edgecompress.frontend.onnx.values import Operand


@dataclass(frozen=True)
class Support:
    """How one operator is imported: `handler` where it depends on the model's input, `fold` where all inputs are constants.

    `float32` and `qdq` say in which kinds of model it converts; `note` what is restricted, in words for docs/operators.md.
    """

    handler: Handler | None
    note: str = ""
    float32: bool = True
    qdq: bool = True
    fold: Fold | None = None


def _helped(what: str, help_text: str) -> Handler:
    """A handler for operators that cannot be expressed: one sentence with what would help."""
    def refuse(call: Call) -> Operand:
        raise ModelError(f"{what}, which is not supported; {help_text}")

    return refuse


END = "end the graph before it with --outputs"
_TABLE = "one 256-entry table, fused with its neighbours"
_VIEW = "usually no code at all; a transpose where elements have to move"
_PARTIAL = "one number, one a channel, or any constant that broadcasts to the tensor"

HANDLED: dict[str, tuple[Handler, str]] = {
    "Conv": (layers.conv, "1-D and 2-D, groups, dilations, auto_pad; constant weights"),
    "Gemm": (layers.gemm, "constant B and C"),
    "MatMul": (layers.matmul, "one operand a constant matrix, or two computed matrices with equal axes before the last two"),
    "BatchNormalization": (elementwise.batch_normalization, "folded into the layer before it"),
    "Relu": (elementwise.relu, "fused"),
    "Clip": (elementwise.clip, "constant bounds; fused"),
    "LeakyRelu": (elementwise.leaky_relu, _TABLE),
    "PRelu": (elementwise.prelu, "constant slopes"),
    "Elu": (elementwise.elu, _TABLE),
    "Selu": (elementwise.selu, _TABLE),
    "Celu": (elementwise.celu, _TABLE),
    "HardSigmoid": (elementwise.hard_sigmoid, _TABLE),
    "HardSwish": (elementwise.unary("hardswish"), _TABLE),
    "Sigmoid": (elementwise.unary("sigmoid"), _TABLE),
    "Tanh": (elementwise.unary("tanh"), _TABLE),
    "Softplus": (elementwise.unary("softplus"), _TABLE),
    "Softsign": (elementwise.softsign, _TABLE),
    "Gelu": (elementwise.gelu, _TABLE),
    "QuickGelu": (elementwise.quick_gelu, _TABLE),
    "Mish": (elementwise.mish, _TABLE),
    "ThresholdedRelu": (elementwise.thresholded_relu, _TABLE),
    "Erf": (elementwise.unary("erf"), _TABLE),
    "Abs": (elementwise.unary("abs"), _TABLE),
    "Exp": (elementwise.unary("exp"), _TABLE),
    "Log": (elementwise.unary("log"), _TABLE),
    "Sqrt": (elementwise.unary("sqrt"), _TABLE),
    "Reciprocal": (elementwise.unary("reciprocal"), _TABLE),
    "Sin": (elementwise.unary("sin"), _TABLE),
    "Cos": (elementwise.unary("cos"), _TABLE),
    "Sign": (elementwise.unary("sign"), _TABLE),
    "Floor": (elementwise.unary("floor"), _TABLE),
    "Ceil": (elementwise.unary("ceil"), _TABLE),
    "Round": (elementwise.unary("round"), _TABLE),
    "Pow": (elementwise.power, "one constant exponent; " + _TABLE),
    "Neg": (elementwise.negate, "folded into the layer before it"),
    "Add": (elementwise.add, f"two tensors, the smaller one spread out, or {_PARTIAL}"),
    "Sub": (elementwise.subtract, f"two tensors, or {_PARTIAL}"),
    "Mul": (elementwise.multiply, f"two tensors, the smaller one spread out, or {_PARTIAL}"),
    "Div": (elementwise.divide, f"two tensors (as a product with the reciprocal), or {_PARTIAL}"),
    "Sum": (elementwise.sum_all, "as Add"),
    "Max": (elementwise.maximum, "one tensor and constants"),
    "Min": (elementwise.minimum, "one tensor and constants"),
    "MaxPool": (pools.max_pool, "1-D and 2-D, ceil_mode; no dilations"),
    "AveragePool": (pools.average_pool, "1-D and 2-D, count_include_pad, ceil_mode (not both)"),
    "GlobalAveragePool": (pools.global_average_pool, ""),
    "GlobalMaxPool": (pools.global_max_pool, ""),
    "ReduceMean": (pools.reduction("mean"), "any axes"),
    "ReduceSum": (pools.reduction("sum"), "any axes"),
    "ReduceMax": (pools.reduction("max"), "any axes"),
    "ReduceMin": (pools.reduce_min, "any axes"),
    "Pad": (pools.pad, f"constant, reflect, edge (at most {pools.MAX_REPEATS} copies)"),
    "Softmax": (pools.softmax, "any axis"),
    "Resize": (pools.resize, "mode nearest where it equals integer arithmetic: whole factors, asymmetric, floor"),
    "Upsample": (pools.resize, "as Resize"),
    "Concat": (views.concat, "tensors only, any axis"),
    "Split": (views.split, ""),
    "Slice": (views.slice_, "constant bounds"),
    "Gather": (views.gather, f"constant indices, at most {views.MAX_GATHER}"),
    "Reshape": (views.reshape, _VIEW),
    "Flatten": (views.flatten, _VIEW),
    "Squeeze": (views.squeeze, _VIEW),
    "Unsqueeze": (views.unsqueeze, _VIEW),
    "Transpose": (views.transpose, _VIEW),
    "DepthToSpace": (views.depth_to_space, _VIEW),
    "SpaceToDepth": (views.space_to_depth, _VIEW),
    "Expand": (views.expand, "where nothing grows"),
    "Identity": (elementwise.identity, "dropped"),
    "Dropout": (elementwise.identity, "dropped"),
    "Cast": (elementwise.cast, "between float types, dropped"),
    "CastLike": (elementwise.same_type, "between float types, dropped"),
    "QuantizeLinear": (quantize.quantize_linear, "int8 and uint8 activations, one scale a tensor"),
    "DequantizeLinear": (quantize.dequantize_linear, "int8 weights with a scale a tensor or an output channel, int32 biases"),
}

REFUSED: dict[str, Handler] = {
    "ConvTranspose": layers.conv_transpose,
    "If": _helped("chooses between two graphs", "simplify the model with its condition fixed (onnxsim), or export it without the branch"),
    "Loop": _helped("repeats a graph", "export the model unrolled"),
    "Scan": _helped("repeats a graph", "export the model unrolled"),
    "LSTM": _helped("is a recurrent layer", "convert the model from TFLite, where UNIDIRECTIONAL_SEQUENCE_LSTM is supported"),
    "GRU": _helped("is a recurrent layer", "use an LSTM from TFLite or a temporal convolution"),
    "RNN": _helped("is a recurrent layer", "use an LSTM from TFLite or a temporal convolution"),
    "LayerNormalization": _helped("computes its mean and variance from each sample", "use BatchNormalization"),
    "InstanceNormalization": _helped("computes its mean and variance from each sample", "use BatchNormalization"),
    "GroupNormalization": _helped("computes its mean and variance from each sample", "use BatchNormalization"),
    "LogSoftmax": _helped("has a result that 256 codes cannot hold well", END),
    "ArgMax": _helped("returns an index, not an int8 tensor", f"{END} and compare the scores in your own code"),
    "ArgMin": _helped("returns an index, not an int8 tensor", f"{END} and compare the scores in your own code"),
    "TopK": _helped("sorts", END),
    "NonMaxSuppression": _helped("selects boxes", END),
    "Einsum": _helped("is a general product", "write it as MatMul with a constant"),
    "DynamicQuantizeLinear": _helped("quantizes with scales found at run time", "quantize statically: onnxruntime.quantization.quantize_static"),
    "ConvInteger": _helped("belongs to dynamic quantization", "quantize statically: onnxruntime.quantization.quantize_static"),
    "MatMulInteger": _helped("belongs to dynamic quantization", "quantize statically: onnxruntime.quantization.quantize_static"),
}

_QLINEAR_NOTE = "as written by onnxruntime's QOperator format"

OPERATORS: dict[str, Support] = {
    **{name: Support(handler, note, float32=not name.endswith("eLinear"), fold=FOLD.get(name)) for name, (handler, note) in HANDLED.items()},
    **{name: Support(handler, _QLINEAR_NOTE, float32=False) for name, handler in quantize.QLINEAR.items()},
    **{name: Support(None, "on constants only", fold=fold) for name, fold in FOLD.items() if name not in HANDLED},
}
