"""int8 handlers of element-wise operators and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from edgecompress.frontend.tflite import unary_tables
from edgecompress.frontend.tflite.context import IntegerContext, quantized_bounds
from edgecompress.frontend.tflite.ends import record
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.windows import matrix_shapes, second_operand
from edgecompress.ir.graph import Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops.add import LEFT_SHIFT, Add
from edgecompress.ir.ops.batch_matmul import BatchMatmul
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.requant import Requant

Quantized = tuple[float, int]
SOFTMAX_OUTPUT: Quantized = (1 / 256, -128)


def _pair(context: IntegerContext, operator: OperatorInfo) -> tuple[int, int, int]:
    return context.input(operator, 0), context.input(operator, 1), context.output(operator)


def _sum_table(context: IntegerContext, operator: OperatorInfo, make: Callable[[int, int], Op], swap: bool) -> None:
    """A binary operator with one constant number: 256 outcomes, computed by the operator itself."""
    left, right, output = _pair(context, operator)
    source, fixed = (right, left) if swap else (left, right)
    number = context.constant(operator, fixed).reshape(-1).astype(np.int8)
    codes = np.arange(-128, 128).astype(np.int8)[:, None]
    repeated = np.repeat(number[None, :1], 256, axis=0)
    op = make(left, right)
    table = op.reference(repeated, codes) if swap else op.reference(codes, repeated)
    context.emit(operator, Table(table.reshape(-1), operator.name.lower()), (context.value(operator, source),), output)


def _add_op(context: IntegerContext, operator: OperatorInfo, left: int, right: int) -> Op:
    output = context.output(operator)
    return Add.from_scales(context.quantization(left), context.quantization(right), context.quantization(output), *context.bounds(operator, output))


def add(context: IntegerContext, operator: OperatorInfo) -> None:
    """ADD of two tensors of one shape, or of a tensor and one constant number."""
    left, right, output = _pair(context, operator)
    for fixed, swap in ((right, False), (left, True)):
        if context.is_constant(fixed) and context.info(fixed).size == 1:
            _sum_table(context, operator, partial(_add_op, context, operator), swap)
            return
    shape = context.shape(output)
    if context.info(left).size != context.info(right).size or context.info(left).size != math.prod(shape):
        raise context.refuse(operator, f"adds shapes {context.info(left).shape} and {context.info(right).shape}; only equal shapes, or one constant "
                                       "number, are supported for int8, fold a bias into the layer before it")
    inputs = (context.view(operator, left, shape), context.view(operator, right, shape))
    context.emit(operator, _add_op(context, operator, left, right), inputs, output)


def sub(context: IntegerContext, operator: OperatorInfo) -> None:
    """SUB of a tensor and one constant number, either way round."""
    left, right, output = _pair(context, operator)
    fixed = next((index for index in (right, left) if context.is_constant(index) and context.info(index).size == 1), None)
    if fixed is None:
        raise context.refuse(operator, "subtracts two computed tensors or a constant that is not one number, which is not supported for int8; "
                                       "turn it into an addition by negating weights and bias of the layer before it")
    codes = np.arange(-128, 128, dtype=np.int64)
    a, b = ((context.constant(operator, index).reshape(-1)[0].astype(np.int64) if index == fixed else codes) for index in (left, right))
    values = difference(a, b, context.quantization(left), context.quantization(right), context.quantization(output))
    low, high = context.bounds(operator, output)
    source = left if fixed == right else right
    context.emit(operator, Table(np.clip(values, low, high).astype(np.int8), "sub"), (context.value(operator, source),), output)


def difference(a: np.ndarray, b: np.ndarray, left: Quantized, right: Quantized, output: Quantized) -> np.ndarray:
    """int64 codes of a - b before the clamp, as tflite-micro's int8 SUB: like its ADD, but with the factors in float32."""
    twice_max = np.float32(2) * np.float32(max(left[0], right[0]))
    left_requant, right_requant = (Requant.from_real(float(np.float32(scale) / twice_max)) for scale, _ in (left, right))
    out = Requant.from_real(float(twice_max / (np.float32(2**LEFT_SHIFT) * np.float32(output[0]))))
    total = left_requant.apply((a - left[1]) << LEFT_SHIFT) - right_requant.apply((b - right[1]) << LEFT_SHIFT)
    codes: np.ndarray = out.apply(total) + output[1]
    return codes


def _mul_op(context: IntegerContext, operator: OperatorInfo, left: int, right: int) -> Op:
    output = context.output(operator)
    (a, za), (b, zb), (y, zy) = context.quantization(left), context.quantization(right), context.quantization(output)
    return Mul(Requant.from_real(a * b / y), za, zb, zy, *context.bounds(operator, output))


def mul(context: IntegerContext, operator: OperatorInfo) -> None:
    """MUL of tensors of one shape, with one value a channel, or with a constant number or one constant a channel."""
    left, right, output = _pair(context, operator)
    if context.info(left).size < context.info(right).size or (context.is_constant(left) and not context.is_constant(right)):
        left, right = right, left  # the product does not care
    how = second_operand(context.info(left).shape, context.info(right).shape)
    shape = context.shape(output)
    if how is None or context.info(left).size != math.prod(shape):
        raise context.refuse(operator, f"multiplies shapes {context.info(left).shape} and {context.info(right).shape}; supported: equal shapes, "
                                       "one number, or one value a channel")
    if context.is_constant(right):
        _mul_constant(context, operator, left, right)
        return
    op = _mul_op(context, operator, left, right)
    if how == context.info(left).shape:
        context.emit(operator, op, (context.view(operator, left, shape), context.view(operator, right, shape)), output)
        return
    channels = how[0] if how else 1
    if how == () and shape[-1] != 1:
        raise context.refuse(operator, f"multiplies {context.info(left).name!r} with one computed number; supported is one a channel")
    image = (shape[0], shape[1], channels) if len(shape) == 3 else (math.prod(shape) // channels, 1, channels)
    context.emit(operator, op, (context.view(operator, left, image), context.view(operator, right, (1, 1, channels))), output)


def _mul_constant(context: IntegerContext, operator: OperatorInfo, left: int, right: int) -> None:
    """One number becomes a table; one a channel a depthwise 1x1 convolution, whose sums and rescaling are the product's own."""
    output = context.output(operator)
    if context.info(right).size == 1:
        values = context.constant(operator, right).reshape(1, 1).astype(np.int8)
        table = _mul_op(context, operator, left, right).reference(np.arange(-128, 128).astype(np.int8)[:, None], np.repeat(values, 256, axis=0))
        context.emit(operator, Table(table.reshape(-1), "mul"), (context.value(operator, left),), output)
        return
    op = _mul_op(context, operator, left, right)
    assert isinstance(op, Mul)
    weights = context.constant(operator, right).reshape(-1).astype(np.int16) - op.right_zero_point
    channels = context.info(left).shape[-1]
    if weights.size != channels or weights.min() < -128 or weights.max() > 127:
        raise context.refuse(operator, f"multiplies with the constant {context.info(right).name!r}; supported is one number, or one a channel "
                                       "within 127 steps of the zero point: fold it into the layer before it")
    layer = DepthwiseConv2D(weights.astype(np.int8).reshape(1, 1, channels), np.zeros(channels, np.int32), op.requant, op.left_zero_point,
                            op.output_zero_point, activation_min=op.activation_min, activation_max=op.activation_max)
    image = (context.info(left).size // channels, 1, channels)
    context.emit(operator, layer, (context.view(operator, left, image),), output)


def batch_matmul(context: IntegerContext, operator: OperatorInfo) -> None:
    """BATCH_MATMUL of two computed tensors. tflite-micro multiplies the scales of the inputs in float32."""
    left, right, output = _pair(context, operator)
    a, b = matrix_shapes(context, operator, left, right)
    (a_scale, za), (b_scale, zb), (y_scale, zy) = (context.quantization(index) for index in (left, right, output))
    factor = float(np.float32(a_scale) * np.float32(b_scale)) / y_scale
    op = BatchMatmul(Requant.from_real(factor), za, zb, zy, int(operator.option("adjoint_x")), int(operator.option("adjoint_y")))
    context.emit(operator, op, (context.view(operator, left, a), context.view(operator, right, b)), output)


def softmax(context: IntegerContext, operator: OperatorInfo) -> None:
    """SOFTMAX over the last axis."""
    source, output = context.input(operator, 0), context.output(operator)
    beta = operator.option("beta")
    if not math.isfinite(beta) or beta <= 0:
        raise context.refuse(operator, f"has beta {beta}; it must be positive")
    shape = context.shape(output)
    op, inputs = Softmax.from_scale(context.quantization(source)[0], beta), (context.view(operator, source, shape),)
    if context.info(output).type == "int16":  # only the bits below int8 are lost; whoever reads the tensor must be the model's end
        context.values[output] = context.emit_as(operator, op, inputs, Tensor(context.info(output).name, shape, *SOFTMAX_OUTPUT))
        record(context, "output", output, operator, context.values[output], "int8 with scale 1/256 and zero point -128 instead of int16")
        return
    if context.quantization(output) != SOFTMAX_OUTPUT:
        raise context.refuse(operator, "must write scale 1/256 and zero point -128, as TFLite demands; convert the model again")
    context.emit(operator, op, inputs, output)


def relu(context: IntegerContext, operator: OperatorInfo, activation: str) -> None:
    """RELU, RELU6 and RELU_N1_TO_1 as operators of their own. tflite-micro divides the scales in float32."""
    source, output = context.input(operator, 0), context.output(operator)
    (scale, zero_point), out = context.quantization(source), context.quantization(output)
    factor = float(np.float32(scale) / np.float32(out[0]))
    op = Requantize(Requant.from_real(factor), zero_point, out[1], *quantized_bounds(activation, *out))
    context.emit(operator, op, (context.value(operator, source),), output)


def table(context: IntegerContext, operator: OperatorInfo, function: Callable[[unary_tables.Quantized, unary_tables.Quantized], np.ndarray]) -> None:
    """A unary operator whose 256 outcomes are known."""
    source, output = context.input(operator, 0), context.output(operator)
    values = function(context.quantization(source), context.quantization(output))
    context.emit(operator, Table(values, operator.name.lower()), (context.view(operator, source, context.shape(output)),), output)


def leaky_relu(context: IntegerContext, operator: OperatorInfo) -> None:
    """LEAKY_RELU."""
    alpha = operator.option("alpha")
    if not math.isfinite(alpha):
        raise context.refuse(operator, f"has slope {alpha}; it must be a number")
    table(context, operator, partial(unary_tables.leaky_relu, alpha=alpha))
