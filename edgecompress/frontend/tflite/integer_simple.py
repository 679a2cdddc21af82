"""int8 handlers of the operators without weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from edgecompress.frontend.tflite import unary_tables
from edgecompress.frontend.tflite.context import IntegerContext
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.windows import mean_view, padding_steps, read_window, second_operand
from edgecompress.ir.op import Op
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.requant import Requant

SCALE_TOLERANCE = 1e-3  # of two scales that an operator demands to be equal; converters round them differently now and then


def same_quantization(context: IntegerContext, operator: OperatorInfo, source: int, output: int) -> None:
    """Refuses an operator that moves bytes between tensors of different quantization."""
    (scale, zero_point), (out_scale, out_zero_point) = context.quantization(source), context.quantization(output)
    if zero_point != out_zero_point or not math.isclose(scale, out_scale, rel_tol=SCALE_TOLERANCE):
        raise context.refuse(operator, f"reads {context.info(source).name!r} with scale {scale:.6g} and zero point {zero_point}, but writes {out_scale:.6g} "
                                       f"and {out_zero_point}; TFLite demands that they are equal, convert the model again")


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
        raise context.refuse(operator, f"multiplies shapes {context.info(left).shape} and {context.info(right).shape}; supported: equal shapes, one number, "
                                       "or one value a channel")
    if context.is_constant(right):
        _mul_constant(context, operator, left, right)
        return
    op = _mul_op(context, operator, left, right)
    if how == context.info(left).shape:
        context.emit(operator, op, (context.view(operator, left, shape), context.view(operator, right, shape)), output)
        return
    channels = how[0] if how else 1
    if how == () and shape[-1] != 1:
        raise context.refuse(operator, f"multiplies {context.info(left).name!r} with one computed number; supported: one value a channel, or a constant")
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
        raise context.refuse(operator, f"multiplies with the constant {context.info(right).name!r}; supported is one number, or one a channel within 127 steps "
                                       "of the zero point: fold it into the layer before it")
    layer = DepthwiseConv2D(weights.astype(np.int8).reshape(1, 1, channels), np.zeros(channels, np.int32), op.requant, op.left_zero_point,
                            op.output_zero_point, activation_min=op.activation_min, activation_max=op.activation_max)
    image = (context.info(left).size // channels, 1, channels)
    context.emit(operator, layer, (context.view(operator, left, image),), output)


def pool_2d(context: IntegerContext, operator: OperatorInfo, kind: type[AveragePool2D] | type[MaxPool2D]) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    source, output = context.input(operator, 0), context.output(operator)
    height, width, _ = context.image_shape(operator, source)
    same_quantization(context, operator, source, output)
    kernel = (operator.option("filter_height"), operator.option("filter_width"))
    window = read_window(context, operator, (height, width), kernel, dilated=False)
    op = kind(kernel, window.stride, window.padding, *context.bounds(operator, output))
    context.emit(operator, op, (context.value(operator, source),), output)


def mean(context: IntegerContext, operator: OperatorInfo) -> None:
    """MEAN over leading axes."""
    source, output = context.input(operator, 0), context.output(operator)
    view = mean_view(context, operator, source, context.integers(operator, context.input(operator, 1)))
    (scale, zero_point), (out_scale, out_zero_point) = context.quantization(source), context.quantization(output)
    op = GlobalAveragePool(fold_count(scale / out_scale, view[0] * view[1]), zero_point, out_zero_point)
    context.emit(operator, op, (context.view(operator, source, view),), output)


def pad(context: IntegerContext, operator: OperatorInfo) -> None:
    """PAD (with the zero point) and PADV2 (with a constant) of any axis but the batch."""
    source, output = context.input(operator, 0), context.output(operator)
    same_quantization(context, operator, source, output)
    scale, zero_point = context.quantization(output)
    value = zero_point
    given = context.optional_input(operator, 2) if operator.name == "PADV2" else None
    if given is not None:
        same_quantization(context, operator, given, output)
        value = int(context.constant(operator, given).reshape(-1)[0])
    steps = padding_steps(context, operator, source, context.integers(operator, context.input(operator, 1)))
    if not steps:
        context.alias(operator, source, output)
        return
    name = context.value(operator, source)
    for step in steps[:-1]:
        name = context.emit_helper(operator, Pad(step.padding, value), (context.view_of(operator, name, step.view),), "part", scale, zero_point)
    context.emit(operator, Pad(steps[-1].padding, value), (context.view_of(operator, name, steps[-1].view),), output)


def softmax(context: IntegerContext, operator: OperatorInfo) -> None:
    """SOFTMAX over the last axis."""
    source, output = context.input(operator, 0), context.output(operator)
    if context.quantization(output) != (1 / 256, -128):
        raise context.refuse(operator, "must write scale 1/256 and zero point -128, as TFLite demands; convert the model again")
    beta = operator.option("beta")
    if not math.isfinite(beta) or beta <= 0:
        raise context.refuse(operator, f"has beta {beta}; it must be positive")
    shape = context.shape(output)
    context.emit(operator, Softmax.from_scale(context.quantization(source)[0], beta), (context.view(operator, source, shape),), output)


def concatenation(context: IntegerContext, operator: OperatorInfo) -> None:
    """CONCATENATION of tensors of one quantization."""
    output = context.output(operator)
    sources = [context.input(operator, position) for position in range(len(operator.inputs))]
    if context.activation(operator) != "NONE":
        raise context.refuse(operator, "has a fused activation; export it as an operator of its own")
    for source in sources:
        same_quantization(context, operator, source, output)
    rank = len(context.info(output).shape)
    axis = context.axis(operator, operator.option("axis"), rank)
    shapes = [context.info(source).shape for source in sources]
    if any(len(shape) != rank for shape in shapes):
        raise context.refuse(operator, f"joins shapes {', '.join(map(str, shapes[:4]))} of different rank")
    if rank > 1 and axis == 0:
        raise context.refuse(operator, "joins along the batch axis; only the other axes are supported")
    stripped = rank > 1 and context.info(output).shape[0] == 1
    zero_point = context.quantization(output)[1]
    op = Concat(axis - stripped, Requant.from_real([1.0] * len(sources)), (zero_point,) * len(sources), zero_point)
    context.emit(operator, op, [context.value(operator, source) for source in sources], output)


def reshape(context: IntegerContext, operator: OperatorInfo) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the shape is the output tensor's; a shape operand that is computed must not matter."""
    source, output = context.input(operator, 0), context.output(operator)
    if context.info(source).size != context.info(output).size:
        raise context.refuse(operator, f"turns shape {context.info(source).shape} into {context.info(output).shape}, which has another number of elements; "
                                       "export the model for a batch of 1")
    same_quantization(context, operator, source, output)
    context.alias(operator, source, output)


def resize_nearest(context: IntegerContext, operator: OperatorInfo) -> None:
    """RESIZE_NEAREST_NEIGHBOR with neither corner option."""
    source, output = context.input(operator, 0), context.output(operator)
    context.image_shape(operator, source)
    same_quantization(context, operator, source, output)
    if operator.option("align_corners") or operator.option("half_pixel_centers"):
        raise context.refuse(operator, "resizes with align_corners or half_pixel_centers; supported is neither")
    size = context.integers(operator, context.input(operator, 1))
    if len(size) != 2:
        raise context.refuse(operator, f"has a size of {len(size)} numbers, needed are height and width")
    context.emit(operator, ResizeNearest((size[0], size[1])), (context.value(operator, source),), output)


def relu(context: IntegerContext, operator: OperatorInfo, activation: str) -> None:
    """RELU, RELU6 and RELU_N1_TO_1 as operators of their own. tflite-micro divides the scales in float32."""
    from edgecompress.frontend.tflite.context import quantized_bounds

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


def transpose(context: IntegerContext, operator: OperatorInfo) -> None:
    """TRANSPOSE that moves only axes of size 1: a reshape."""
    source, output = context.input(operator, 0), context.output(operator)
    order = context.integers(operator, context.input(operator, 1))
    shape = context.info(source).shape
    if sorted(order) != list(range(len(shape))):
        raise context.refuse(operator, f"has the order of axes {order} for a tensor with {len(shape)} axes")
    same_quantization(context, operator, source, output)
    moved = [axis for axis in order if shape[axis] > 1]
    if moved != sorted(moved):
        raise context.refuse(operator, f"moves elements (order {order} of shape {shape}); only moving axes of size 1 is supported, export the model with "
                                       "channels last")
    context.alias(operator, source, output)
