"""int8 handlers of operators that move elements or look at windows of them."""

from __future__ import annotations

import math

from edgecompress.frontend.tflite.context import IntegerContext
from edgecompress.frontend.tflite.folding import slice_bounds
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.vocabulary import MIRROR_PADDINGS
from edgecompress.frontend.tflite.windows import Mirror, mean_plan, mirror_steps, padding_steps, read_window, transpose_plan, without_batch
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.transpose import Transpose
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import MAX_STEP

SCALE_TOLERANCE = 1e-3  # of two scales that an operator demands to be equal; converters round them differently now and then


def same_quantization(context: IntegerContext, operator: OperatorInfo, source: int, output: int) -> None:
    """Refuses an operator that moves bytes between tensors of different quantization."""
    (scale, zero_point), (out_scale, out_zero_point) = context.quantization(source), context.quantization(output)
    if zero_point != out_zero_point or not math.isclose(scale, out_scale, rel_tol=SCALE_TOLERANCE):
        raise context.refuse(operator, f"reads {context.info(source).name!r} with scale {scale:.6g} and zero point {zero_point}, but writes "
                                       f"{out_scale:.6g} and {out_zero_point}; TFLite demands that they are equal, convert the model again")


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
    """MEAN over any axes but the batch; those that are not the leading ones are brought to the front first."""
    source, output = context.input(operator, 0), context.output(operator)
    plan = mean_plan(context, operator, source, context.integers(operator, context.input(operator, 1)))
    (scale, zero_point), (out_scale, out_zero_point) = context.quantization(source), context.quantization(output)
    name = context.value(operator, source)
    if list(plan.permutation) != sorted(plan.permutation):
        name = context.emit_helper(operator, Transpose(plan.permutation), (context.view(operator, source, plan.shape),), "order", scale, zero_point)
    op = GlobalAveragePool(fold_count(scale / out_scale, plan.view[0] * plan.view[1]), zero_point, out_zero_point)
    context.emit(operator, op, (context.view_of(operator, name, plan.view),), output)


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
    op = _join(axis - stripped, len(sources), context.quantization(output)[1])
    context.emit(operator, op, [context.value(operator, source) for source in sources], output)


def pack(context: IntegerContext, operator: OperatorInfo) -> None:
    """PACK: a new axis is put in and the tensors are joined along it."""
    output = context.output(operator)
    sources = [context.input(operator, position) for position in range(len(operator.inputs))]
    for source in sources:
        same_quantization(context, operator, source, output)
    shape = context.info(output).shape
    axis = context.axis(operator, operator.option("axis"), len(shape))
    if axis == 0 or shape[0] != 1:
        raise context.refuse(operator, "packs tensors along the batch axis; only the other axes are supported")
    one = (*shape[1:axis], 1, *shape[axis + 1 :])
    inputs = [context.view(operator, source, one) for source in sources]
    context.emit(operator, _join(axis - 1, len(sources), context.quantization(output)[1]), inputs, output)


def reshape(context: IntegerContext, operator: OperatorInfo) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the shape is the output tensor's; a shape operand that is computed must not matter."""
    source, output = context.input(operator, 0), context.output(operator)
    if context.info(source).size != context.info(output).size:
        raise context.refuse(operator, f"turns shape {context.info(source).shape} into {context.info(output).shape}, which has another number of "
                                       "elements; export the model for a batch of 1")
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
    if len(size) != 2 or not 1 <= min(size) <= max(size) <= MAX_STEP:
        raise context.refuse(operator, f"has size {size}; needed are height and width, 1 to {MAX_STEP}")
    context.emit(operator, ResizeNearest((size[0], size[1])), (context.value(operator, source),), output)


def transpose(context: IntegerContext, operator: OperatorInfo) -> None:
    """TRANSPOSE: a reshape when only axes of size 1 move."""
    source, output = context.input(operator, 0), context.output(operator)
    same_quantization(context, operator, source, output)
    shape, permutation = transpose_plan(context, operator, source, context.integers(operator, context.input(operator, 1)))
    if list(permutation) == sorted(permutation):
        context.alias(operator, source, output)
    else:
        context.emit(operator, Transpose(permutation), (context.view(operator, source, shape),), output)


def strided_slice(context: IntegerContext, operator: OperatorInfo) -> None:
    """STRIDED_SLICE with constant ranges."""
    source, output = context.input(operator, 0), context.output(operator)
    same_quantization(context, operator, source, output)
    ranges, _ = slice_bounds(context, operator, context.info(source).shape)
    ranges = without_batch(context.info(source).shape, ranges)
    op = Slice(*(tuple(one[part] for one in ranges) for part in range(3)))
    context.emit(operator, op, (context.value(operator, source),), output)


def mirror_pad(context: IntegerContext, operator: OperatorInfo) -> None:
    """MIRROR_PAD: an axis at a time the mirrored ends are cut out and joined to the tensor."""
    source, output = context.input(operator, 0), context.output(operator)
    same_quantization(context, operator, source, output)
    mode = operator.option("mode")
    if not 0 <= mode < len(MIRROR_PADDINGS):
        raise context.refuse(operator, f"has mode {mode}; known are {', '.join(MIRROR_PADDINGS)}")
    amounts = context.integers(operator, context.input(operator, 1))
    steps = mirror_steps(context, operator, source, amounts, edge=MIRROR_PADDINGS[mode] == "SYMMETRIC")
    if not steps:
        context.alias(operator, source, output)
        return
    name = context.value(operator, source)
    for position, step in enumerate(steps):
        parts = _mirrored_parts(context, operator, context.view_of(operator, name, step.view), step, context.quantization(output))
        op = _join(1, len(parts), context.quantization(output)[1])
        if position == len(steps) - 1:
            context.emit(operator, op, parts, output)
        else:
            name = context.emit_helper(operator, op, parts, "part", *context.quantization(output))


def _mirrored_parts(context: IntegerContext, operator: OperatorInfo, name: str, step: Mirror, quantization: tuple[float, int]) -> list[str]:
    parts = [name]
    for (begin, count), place in ((step.before, 0), (step.behind, 1)):
        if count:
            op = Slice((0, begin, 0), (step.view[0], count, step.view[2]), (1, -1, 1))
            parts.insert(place * len(parts), context.emit_helper(operator, op, (name,), "mirror", *quantization))
    return parts


def _join(axis: int, count: int, zero_point: int) -> Concat:
    """A concatenation that copies bytes."""
    return Concat(axis, Requant.from_real([1.0] * count), (zero_point,) * count, zero_point)
