"""Float handlers of the operators without weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecompress.frontend.expression import Steps
from edgecompress.frontend.float_graph import frozen_float
from edgecompress.frontend.tflite.context import REAL_BOUNDS, FloatContext
from edgecompress.frontend.tflite.folding import slice_bounds
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.vocabulary import MIRROR_PADDINGS
from edgecompress.frontend.tflite.windows import Mirror, matrix_shapes, mean_plan, mirror_steps, padding_steps, second_operand, transpose_plan, without_batch
from edgecompress.ir.op import Shape
from edgecompress.ir.window import MAX_STEP

NEGATE: Steps = (("mul", 0, -1.0),)
FUNCTIONS: dict[str, Steps] = {
    "NEG": NEGATE,
    "EXP": (("exp", 0),),
    "LOG": (("log", 0),),
    "SQRT": (("sqrt", 0),),
    "RSQRT": (("power", 0, -0.5),),
    "SIN": (("sin", 0),),
    "COS": (("cos", 0),),
    "SIGN": (("sign", 0),),
    "FLOOR": (("floor", 0),),
    "CEIL": (("ceil", 0),),
    "ROUND": (("round", 0),),
}
GELU_BY_TANH: Steps = (("power", 0, 3.0), ("mul", 1, 0.044715), ("add", 0, 2), ("mul", 3, math.sqrt(2.0 / math.pi)), ("tanh", 4), ("add", 5, 1.0),
                       ("mul", 0, 6), ("mul", 7, 0.5))


def unary(context: FloatContext, operator: OperatorInfo, function: str) -> None:
    """A function with a name of its own in ir.ops.table.UNARY."""
    _unary(context, operator, function=function)


def _unary(context: FloatContext, operator: OperatorInfo, **attributes: object) -> None:
    source, output = context.input(operator, 0), context.output(operator)
    context.emit(operator, "unary", (context.view(operator, source, context.shape(output)),), output, **attributes)


def expression(context: FloatContext, operator: OperatorInfo) -> None:
    """A function in FUNCTIONS."""
    _unary(context, operator, function="expression", steps=FUNCTIONS[operator.name])


def gelu(context: FloatContext, operator: OperatorInfo) -> None:
    """GELU, exact or by tanh."""
    if operator.option("approximate"):
        _unary(context, operator, function="expression", steps=GELU_BY_TANH)
    else:
        _unary(context, operator, function="gelu")


def leaky_relu(context: FloatContext, operator: OperatorInfo) -> None:
    """LEAKY_RELU."""
    alpha = operator.option("alpha")
    if not math.isfinite(alpha):
        raise context.refuse(operator, f"has slope {alpha}; it must be a number")
    _unary(context, operator, function="expression", steps=(("mul", 0, float(alpha)), ("maximum" if alpha <= 1 else "minimum", 0, 1)))


def clamp(context: FloatContext, operator: OperatorInfo, activation: str) -> None:
    """RELU, RELU6 and RELU_N1_TO_1 as operators of their own."""
    source, output = context.input(operator, 0), context.output(operator)
    low, high = REAL_BOUNDS[activation]
    context.emit(operator, "clamp", (context.view(operator, source, context.shape(output)),), output, low=low, high=high)


def bound(context: FloatContext, operator: OperatorInfo) -> None:
    """MINIMUM and MAXIMUM with a constant number."""
    left, right, output = context.input(operator, 0), context.input(operator, 1), context.output(operator)
    if context.is_constant(left):
        left, right = right, left
    if not context.is_constant(right) or context.info(right).size != 1:
        raise context.refuse(operator, "compares two computed tensors; only a constant number is supported")
    number = float(context.real(operator, right).reshape(-1)[0])
    bounds = (-math.inf, number) if operator.name == "MINIMUM" else (number, math.inf)
    context.emit(operator, "clamp", (context.view(operator, left, context.shape(output)),), output, low=bounds[0], high=bounds[1])


def affine(context: FloatContext, operator: OperatorInfo, scale: np.ndarray, offset: np.ndarray, source: int) -> None:
    """x * scale + offset with one number or one a channel, and the operator's fused activation."""
    output = context.output(operator)
    shape = context.shape(output)
    if context.info(source).size != math.prod(shape) or max(scale.size, offset.size) not in (1, shape[-1]):
        raise context.refuse(operator, f"combines shape {context.info(source).shape} with a constant of {max(scale.size, offset.size)} "
                                       "numbers; supported is one number, or one a channel")
    bounds = context.clamp(operator).get("clamp")
    attributes = {name: frozen_float(np.broadcast_to(values.reshape(-1), (shape[-1],))) for name, values in (("scale", scale), ("offset", offset))}
    inputs = (context.view(operator, source, shape),)
    if bounds is None:
        context.emit(operator, "batch_norm", inputs, output, **attributes)
    else:
        name = context.emit_helper(operator, "batch_norm", inputs, "affine", **attributes)
        context.emit(operator, "clamp", (name,), output, low=bounds[0], high=bounds[1])


def arithmetic(context: FloatContext, operator: OperatorInfo) -> None:
    """ADD, SUB, MUL and DIV of two tensors, or of a tensor and a constant that is one number or one a channel."""
    left, right = context.input(operator, 0), context.input(operator, 1)
    one, zero = np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
    if context.is_constant(right):
        values = context.real(operator, right)
        if operator.name == "DIV" and not values.all():
            raise context.refuse(operator, "divides by a constant that is 0")
        with np.errstate(over="ignore"):
            scale = {"MUL": values, "DIV": 1 / values}.get(operator.name, one) if operator.name in ("MUL", "DIV") else one
        offset = values if operator.name == "ADD" else -values if operator.name == "SUB" else zero
        affine(context, operator, scale, offset, left)
    elif context.is_constant(left) and operator.name != "DIV":
        values = context.real(operator, left)
        scale = values if operator.name == "MUL" else -one if operator.name == "SUB" else one
        affine(context, operator, scale, zero if operator.name == "MUL" else values, right)
    elif operator.name == "DIV":
        raise context.refuse(operator, "divides by a computed tensor; only a constant divisor is supported, normalise outside the model")
    else:
        _binary(context, operator, left, right)


def _binary(context: FloatContext, operator: OperatorInfo, left: int, right: int) -> None:
    output = context.output(operator)
    if operator.name != "SUB" and context.info(left).size < context.info(right).size:
        left, right = right, left  # sums and products do not care
    shape = context.shape(output)
    how = second_operand(context.info(left).shape, context.info(right).shape)
    names = [context.value(operator, left), context.value(operator, right)]
    if operator.name == "SUB":
        names[1] = context.emit_helper(operator, "unary", (names[1],), "negate", function="expression", steps=NEGATE)
    kind = "mul" if operator.name == "MUL" else "add"
    if how == context.info(left).shape and math.prod(how) == math.prod(shape):
        inputs = tuple(context.view_of(operator, name, shape) for name in names)
    elif how is not None and len(how) == 1 and kind == "mul" and context.info(left).size == math.prod(shape):
        image: Shape = (shape[0], shape[1], how[0]) if len(shape) == 3 else (math.prod(shape) // how[0], 1, how[0])
        inputs = (context.view_of(operator, names[0], image), context.view_of(operator, names[1], (1, 1, how[0])))
    else:
        raise context.refuse(operator, f"combines shapes {context.info(left).shape} and {context.info(right).shape}; supported: equal shapes, "
                                       "and for MUL one value a channel")
    context.emit(operator, kind, inputs, output, **context.clamp(operator))


def batch_matmul(context: FloatContext, operator: OperatorInfo) -> None:
    """BATCH_MATMUL of two computed tensors."""
    left, right, output = context.input(operator, 0), context.input(operator, 1), context.output(operator)
    a, b = matrix_shapes(context, operator, left, right)
    context.emit(operator, "batch_matmul", (context.view(operator, left, a), context.view(operator, right, b)), output, factor=1.0,
                 transpose_left=bool(operator.option("adjoint_x")), transpose_right=bool(operator.option("adjoint_y")))


def softmax(context: FloatContext, operator: OperatorInfo) -> None:
    """SOFTMAX over the last axis."""
    source, output = context.input(operator, 0), context.output(operator)
    beta = operator.option("beta")
    if not math.isfinite(beta) or beta <= 0:
        raise context.refuse(operator, f"has beta {beta}; it must be positive")
    name = context.view(operator, source, context.shape(output))
    if beta != 1.0:
        name = context.emit_helper(operator, "unary", (name,), "beta", function="expression", steps=(("mul", 0, float(beta)),))
    context.emit(operator, "softmax", (name,), output)


def reshape(context: FloatContext, operator: OperatorInfo) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the shape is the output tensor's."""
    source, output = context.input(operator, 0), context.output(operator)
    if context.info(source).size != context.info(output).size:
        raise context.refuse(operator, f"turns shape {context.info(source).shape} into {context.info(output).shape}, which has another number of "
                                       "elements; export the model for a batch of 1")
    context.alias(operator, source, output)


def mean(context: FloatContext, operator: OperatorInfo) -> None:
    """MEAN over any axes but the batch."""
    source, output = context.input(operator, 0), context.output(operator)
    plan = mean_plan(context, operator, source, context.integers(operator, context.input(operator, 1)))
    name = _transposed(context, operator, source, plan.shape, plan.permutation)
    context.emit(operator, "global_average_pool", (context.view_of(operator, name, plan.view),), output)


def _transposed(context: FloatContext, operator: OperatorInfo, source: int, shape: Shape, permutation: tuple[int, ...]) -> str:
    if list(permutation) == sorted(permutation):
        return context.value(operator, source)
    return context.emit_helper(operator, "transpose", (context.view(operator, source, shape),), "order", permutation=permutation)


def transpose(context: FloatContext, operator: OperatorInfo) -> None:
    """TRANSPOSE: a reshape when only axes of size 1 move."""
    source, output = context.input(operator, 0), context.output(operator)
    shape, permutation = transpose_plan(context, operator, source, context.integers(operator, context.input(operator, 1)))
    if list(permutation) == sorted(permutation):
        context.alias(operator, source, output)
    else:
        context.emit(operator, "transpose", (context.view(operator, source, shape),), output, permutation=permutation)


def pad(context: FloatContext, operator: OperatorInfo) -> None:
    """PAD with 0 and PADV2 with a constant, of any axis but the batch."""
    source, output = context.input(operator, 0), context.output(operator)
    given = context.optional_input(operator, 2) if operator.name == "PADV2" else None
    value = 0.0 if given is None else float(context.real(operator, given).reshape(-1)[0])
    steps = padding_steps(context, operator, source, context.integers(operator, context.input(operator, 1)))
    if not steps:
        context.alias(operator, source, output)
        return
    name = context.value(operator, source)
    for step in steps[:-1]:
        name = context.emit_helper(operator, "pad", (context.view_of(operator, name, step.view),), "part", padding=step.padding, value=value)
    context.emit(operator, "pad", (context.view_of(operator, name, steps[-1].view),), output, padding=steps[-1].padding, value=value)


def concatenation(context: FloatContext, operator: OperatorInfo) -> None:
    """CONCATENATION along any axis but the batch."""
    output = context.output(operator)
    sources = [context.input(operator, position) for position in range(len(operator.inputs))]
    if context.activation(operator) != "NONE":
        raise context.refuse(operator, "has a fused activation; export it as an operator of its own")
    shape = context.info(output).shape
    axis = context.axis(operator, operator.option("axis"), len(shape))
    if any(len(context.info(source).shape) != len(shape) for source in sources) or (len(shape) > 1 and axis == 0):
        raise context.refuse(operator, "joins tensors of different rank or along the batch axis; only the other axes are supported")
    stripped = len(shape) > 1 and shape[0] == 1
    context.emit(operator, "concat", [context.value(operator, source) for source in sources], output, axis=axis - stripped)


def pack(context: FloatContext, operator: OperatorInfo) -> None:
    """PACK: a new axis is put in and the tensors are joined along it."""
    output = context.output(operator)
    shape = context.info(output).shape
    axis = context.axis(operator, operator.option("axis"), len(shape))
    if axis == 0 or shape[0] != 1:
        raise context.refuse(operator, "packs tensors along the batch axis; only the other axes are supported")
    one = (*shape[1:axis], 1, *shape[axis + 1 :])
    inputs = [context.view(operator, context.input(operator, position), one) for position in range(len(operator.inputs))]
    context.emit(operator, "concat", inputs, output, axis=axis - 1)


def strided_slice(context: FloatContext, operator: OperatorInfo) -> None:
    """STRIDED_SLICE with constant ranges."""
    source, output = context.input(operator, 0), context.output(operator)
    shape = context.info(source).shape
    ranges, _ = slice_bounds(context, operator, shape)
    context.emit(operator, "slice", (context.value(operator, source),), output, **_slice(without_batch(shape, ranges)))


def _slice(ranges: Sequence[tuple[int, int, int]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(one[part] for one in ranges) for part, name in enumerate(("begin", "size", "step"))}


def mirror_pad(context: FloatContext, operator: OperatorInfo) -> None:
    """MIRROR_PAD: an axis at a time the mirrored ends are cut out and joined to the tensor."""
    source, output = context.input(operator, 0), context.output(operator)
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
        parts = _mirrored_parts(context, operator, context.view_of(operator, name, step.view), step)
        if position == len(steps) - 1:
            context.emit(operator, "concat", parts, output, axis=1)
        else:
            name = context.emit_helper(operator, "concat", parts, "part", axis=1)


def _mirrored_parts(context: FloatContext, operator: OperatorInfo, name: str, step: Mirror) -> list[str]:
    parts = [name]
    for (begin, count), place in ((step.before, 0), (step.behind, 1)):
        if count:
            ranges = ((0, step.view[0], 1), (begin, count, -1), (0, step.view[2], 1))
            parts.insert(place * len(parts), context.emit_helper(operator, "slice", (name,), "mirror", **_slice(ranges)))
    return parts


def resize_nearest(context: FloatContext, operator: OperatorInfo) -> None:
    """RESIZE_NEAREST_NEIGHBOR with neither corner option."""
    source, output = context.input(operator, 0), context.output(operator)
    context.image_shape(operator, source)
    if operator.option("align_corners") or operator.option("half_pixel_centers"):
        raise context.refuse(operator, "resizes with align_corners or half_pixel_centers; supported is neither")
    size = context.integers(operator, context.input(operator, 1))
    if len(size) != 2 or not 1 <= min(size) <= max(size) <= MAX_STEP:
        raise context.refuse(operator, f"has size {size}; needed are height and width, 1 to {MAX_STEP}")
    context.emit(operator, "resize_nearest", (context.value(operator, source),), output, size=(size[0], size[1]))
