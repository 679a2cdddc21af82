"""Element-wise operators: activations, arithmetic with constants and between tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.expression import Steps, known_name
from edgecompress.frontend.onnx.call import Call, Handler
from edgecompress.frontend.onnx.emitter import Emitter, channels_last
from edgecompress.frontend.onnx.tensors import FLOATS
from edgecompress.frontend.onnx.values import Atom, Constant, Value, aligned, broadcast_shapes, in_order, is_contiguous, merged, positions
from edgecompress.ir.window import MAX_STEP

HALF_SQRT2_OVER_PI = math.sqrt(2.0 / math.pi)


def identity(call: Call) -> Value:
    """The input itself."""
    return call.value(0, integers=True)


def cast(call: Call) -> Value:
    """Between floats nothing changes here: everything is float32. An integer input of the model becomes real numbers."""
    if call.node.integer("to") not in FLOATS:
        raise ModelError("casts computed values to integers, which is not supported; end the graph before it with --outputs")
    x = call.value(0, integers=True)
    return Value(x.tensor, x.axes) if x.quantized is not None and math.isnan(x.quantized.scale) else call.value(0)


def same_type(call: Call) -> Value:
    """CastLike: as cast."""
    return call.value(0)


def unary(function: str) -> Handler:
    """A named function."""
    return lambda call: apply_steps(call.emitter, call.value(0), ((function, 0),))


def apply_steps(emitter: Emitter, x: Value, steps: Steps) -> Value:
    """A function of one number on every element."""
    known = known_name(steps)
    attributes: dict[str, Any] = {"function": known} if known else {"function": "expression", "steps": steps}
    return Value(emitter.add("unary", x.tensor, **attributes), x.axes)


def clamped(emitter: Emitter, x: Value, low: float, high: float) -> Value:
    """Bounds on every element. Raises ModelError if the lower one is above the upper one."""
    if not low <= high:
        raise ModelError(f"clamps to [{low}, {high}]; the lower bound must not be above the upper one")
    return Value(emitter.add("clamp", x.tensor, low=low, high=high), x.axes)


def relu(call: Call) -> Value:
    """max(x, 0)."""
    return clamped(call.emitter, call.value(0), 0.0, math.inf)


def clip(call: Call) -> Value:
    """Bounds as attributes (before operator set 11) or inputs."""
    bounds = []
    for index, (name, default) in enumerate((("min", -math.inf), ("max", math.inf))):
        given = call.scalar(index + 1, "bounds") if call.has(index + 1) else call.node.optional_number(name)
        bounds.append(default if given is None else given)
    return clamped(call.emitter, call.value(0), *bounds)


def leaky_relu(call: Call) -> Value:
    """x where positive, alpha x elsewhere."""
    return apply_steps(call.emitter, call.value(0), _leaky(call.node.number("alpha", 0.01)))


def _leaky(slope: float) -> Steps:
    return ("minimum", 0, 0.0), ("mul", 1, slope), ("maximum", 0, 0.0), ("add", 2, 3)


def prelu(call: Call) -> Value:
    """A slope for all, or one a channel."""
    x, slope = call.value(0), call.array(1, "slopes")
    if slope.size == 1:
        return apply_steps(call.emitter, x, _leaky(float(slope.reshape(-1)[0])))
    positive, negative = clamped(call.emitter, x, 0.0, math.inf), clamped(call.emitter, x, -math.inf, 0.0)
    scaled = affine_constant(call.emitter, negative, slope, None)
    return add_values(call.emitter, positive, scaled)


def elu(call: Call) -> Value:
    """alpha (exp(x) - 1) below 0."""
    return apply_steps(call.emitter, call.value(0), _exponential(1.0, call.node.number("alpha", 1.0), 1.0))


def selu(call: Call) -> Value:
    """gamma times an ELU."""
    alpha, gamma = call.node.number("alpha", 1.6732632423543772), call.node.number("gamma", 1.0507009873554805)
    return apply_steps(call.emitter, call.value(0), _exponential(1.0, alpha, gamma))


def celu(call: Call) -> Value:
    """alpha (exp(x / alpha) - 1) below 0."""
    alpha = call.node.number("alpha", 1.0)
    if alpha <= 0:
        raise ModelError(f"has alpha {alpha}; it must be positive")
    return apply_steps(call.emitter, call.value(0), _exponential(1.0 / alpha, alpha, 1.0))


def _exponential(rate: float, alpha: float, gamma: float) -> Steps:
    return (("minimum", 0, 0.0), ("mul", 1, rate), ("exp", 2), ("add", 3, -1.0), ("mul", 4, alpha), ("maximum", 0, 0.0), ("add", 5, 6),
            ("mul", 7, gamma))


def hard_sigmoid(call: Call) -> Value:
    """clip(alpha x + beta, 0, 1)."""
    alpha, beta = call.node.number("alpha", 0.2), call.node.number("beta", 0.5)
    return apply_steps(call.emitter, call.value(0), (("mul", 0, alpha), ("add", 1, beta), ("maximum", 2, 0.0), ("minimum", 3, 1.0)))


def gelu(call: Call) -> Value:
    """Exact or with tanh."""
    kind = call.node.text("approximate", "none")
    if kind not in ("none", "tanh"):
        raise ModelError(f"has approximate='{kind}'; supported: 'none', 'tanh'")
    tanh: Steps = (("mul", 0, 0.044715), ("mul", 1, 0), ("mul", 2, 0), ("add", 3, 0), ("mul", 4, HALF_SQRT2_OVER_PI), ("tanh", 5),
                   ("add", 6, 1.0), ("mul", 7, 0), ("mul", 8, 0.5))
    return apply_steps(call.emitter, call.value(0), tanh if kind == "tanh" else (("gelu", 0),))


def quick_gelu(call: Call) -> Value:
    """x sigmoid(alpha x)."""
    return apply_steps(call.emitter, call.value(0), (("mul", 0, call.node.number("alpha", 1.702)), ("sigmoid", 1), ("mul", 2, 0)))


def mish(call: Call) -> Value:
    """x tanh(softplus(x))."""
    return apply_steps(call.emitter, call.value(0), (("softplus", 0), ("tanh", 1), ("mul", 2, 0)))


def softsign(call: Call) -> Value:
    """x / (1 + |x|)."""
    return apply_steps(call.emitter, call.value(0), (("abs", 0), ("add", 1, 1.0), ("reciprocal", 2), ("mul", 3, 0)))


def thresholded_relu(call: Call) -> Value:
    """x above alpha, else 0."""
    alpha = call.node.number("alpha", 1.0)
    steps: Steps = (("add", 0, -alpha), ("sign", 1), ("maximum", 2, 0.0), ("mul", 3, 0))
    return apply_steps(call.emitter, call.value(0), steps)


def power(call: Call) -> Value:
    """A constant exponent for all elements."""
    exponent = call.scalar(1, "exponents")
    if not math.isfinite(exponent):
        raise ModelError(f"has exponent {exponent}; it must be finite")
    return apply_steps(call.emitter, call.value(0), (("square", 0),) if exponent == 2.0 else (("power", 0, exponent),))


def negate(call: Call) -> Value:
    """-x, as a factor that layers before it can take in."""
    x = call.value(0)
    return Value(call.emitter.uniform_affine(x.tensor, -1.0, 0.0), x.axes)


# ---- constants beside tensors

def _constant_numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise ModelError(f"has a constant of type {array.dtype}; numbers are supported")
    return array.astype(np.float64)


def affine_constant(emitter: Emitter, x: Value, scale: np.ndarray | None, offset: np.ndarray | None) -> Value:
    """x * scale + offset with one constant that broadcasts to x: one number, one a channel, or one for any other set of axes."""
    constant = scale if scale is not None else offset
    assert constant is not None
    numbers = _constant_numbers(constant)
    rank = max(len(x.axes), numbers.ndim)
    x = aligned(x, rank)
    if broadcast_shapes(x.shape, numbers.shape) != x.shape:
        raise ModelError(f"has a constant of shape {list(numbers.shape)} that would enlarge the tensor {list(x.shape)}, which is not supported")
    numbers = numbers.reshape((1,) * (rank - numbers.ndim) + numbers.shape)
    if numbers.size == 1 or (numbers == numbers.reshape(-1)[0]).all():
        factor, term = (float(numbers.reshape(-1)[0]), 0.0) if scale is not None else (1.0, float(numbers.reshape(-1)[0]))
        return Value(emitter.uniform_affine(x.tensor, factor, term), x.axes)
    varying = [axis for axis, size in enumerate(numbers.shape) if size > 1]
    x = _innermost(emitter, x, varying)
    vector = np.empty(numbers.size)
    vector[positions(merged(atom for axis in varying for atom in x.axes[axis]))] = numbers.reshape(-1)
    tensor = emitter.affine(x.tensor, *((vector, np.zeros(len(vector))) if scale is not None else (np.ones(len(vector)), vector)))
    return Value(tensor, x.axes)


def _innermost(emitter: Emitter, x: Value, varying: Sequence[int]) -> Value:
    """The value with the elements of some axes side by side."""
    atoms: list[Atom] = [atom for axis in varying for atom in x.axes[axis]]
    inside = math.prod(atom.size for atom in atoms)
    emitter.budget.spend(4 * inside)
    if sum((atom.size - 1) * atom.stride for atom in atoms) == inside - 1:  # different places from 0 to that: all of them
        return x
    return emitter.ordered(x, [*(axis for axis in range(len(x.axes)) if axis not in varying), *varying])


# ---- two tensors

def _order_of(x: Value) -> tuple[int, ...] | None:
    """Order of the axes in memory, None if an axis is scattered."""
    order = sorted(range(len(x.axes)), key=lambda axis: -x.axes[axis][0].stride if x.axes[axis] else -math.inf)
    return tuple(order) if is_contiguous(in_order(x.axes, order)) else None


def common_order(values: Sequence[Value]) -> tuple[int, ...]:
    """Order of axes to bring values of one rank to: an image's if one is an image, the first value's else, the file's if that has none."""
    rank = len(values[0].axes)
    if rank in (3, 4) and any(is_contiguous(in_order(value.axes, channels_last(rank))) for value in values):
        return channels_last(rank)
    return _order_of(values[0]) or tuple(range(rank))


def paired(emitter: Emitter, a: Value, b: Value) -> tuple[str, str, Value]:
    """Tensors of one shape and memory order for two values of one shape, and a value in that order."""
    if a.axes != b.axes:
        order = common_order([a, b])
        a, b = emitter.ordered(a, order), emitter.ordered(b, order)
    return a.tensor, emitter.reshaped(b.tensor, emitter.builder.shapes[a.tensor]), a


def _spread(emitter: Emitter, a: Value, b: Value) -> tuple[str, str, Value]:
    """Tensors (1, n, c) and (1, 1, c) of two values of which the second broadcasts to the first, and the first in that order."""
    free = [axis for axis, size in enumerate(b.shape) if size == 1 and a.shape[axis] > 1]
    fixed = [axis for axis, size in enumerate(b.shape) if size > 1]
    order = _order_of(a)
    if order is None or max(map(order.index, free)) > min(map(order.index, fixed), default=len(order)):
        order = (*(axis for axis in range(len(a.axes)) if axis not in fixed), *fixed)
    a, count = emitter.ordered(a, order), b.size
    shape = emitter.builder.shapes[a.tensor]
    left = a.tensor if len(shape) == 3 and shape[2] == count else emitter.reshaped(a.tensor, (1, a.size // count, count))
    return left, emitter.arranged(b, order, (1, 1, count)), a


def _broadcast(emitter: Emitter, a: Value, b: Value, what: str) -> tuple[Value, Value]:
    """Two values of one rank, the larger first. Raises ModelError if each would have to be enlarged."""
    rank = max(len(a.axes), len(b.axes))
    a, b = aligned(a, rank), aligned(b, rank)
    shape = broadcast_shapes(a.shape, b.shape)
    if a.shape != shape:
        a, b = b, a
    if a.shape != shape:
        raise ModelError(f"{what} tensors {list(a.shape)} and {list(b.shape)}, each of which would have to be enlarged; that is not supported")
    return a, b


def add_values(emitter: Emitter, a: Value, b: Value) -> Value:
    """Sum of two tensors; the smaller one is spread out."""
    a, b = _broadcast(emitter, a, b, "adds")
    if a.shape == b.shape:
        left, right, like = paired(emitter, a, b)
        return Value(emitter.add("add", left, right), like.axes)
    left, right, like = _spread(emitter, a, b)
    rows, columns, channels = emitter.builder.shapes[left]
    if max(rows, columns) > MAX_STEP:
        rows, columns = _sides(rows * columns)
        left = emitter.reshaped(left, (rows, columns, channels))
    spread = emitter.add("resize_nearest", right, suffix="_spread", size=(rows, columns))
    return Value(emitter.add("add", left, spread), like.axes)


def _sides(count: int) -> tuple[int, int]:
    """Two factors of a number of places, neither too long for a resize."""
    rows = next((n for n in range(-(-count // MAX_STEP), MAX_STEP + 1) if count % n == 0), 0)
    if not rows:
        raise ModelError(f"adds one tensor to {count} places of another, which is not supported; end the graph before it with --outputs")
    return rows, count // rows


def multiply_values(emitter: Emitter, a: Value, b: Value) -> Value:
    """Product of two tensors; the smaller one may be one value a channel, or lack any other axes."""
    a, b = _broadcast(emitter, a, b, "multiplies")
    left, right, like = paired(emitter, a, b) if a.shape == b.shape else _spread(emitter, a, b)
    return Value(emitter.add("mul", left, right), like.axes)


def _two(call: Call) -> tuple[Value | Constant, Value | Constant]:
    if len(call.inputs) != 2 or all(isinstance(operand, Constant) for operand in call.inputs):
        raise ModelError(f"has {len(call.inputs)} inputs where two are needed")
    for index in (0, 1):
        if isinstance(call.operand(index), Value):
            call.value(index)
    return call.operand(0), call.operand(1)


def add(call: Call) -> Value:
    """a + b."""
    a, b = _two(call)
    if isinstance(a, Constant):
        a, b = b, a
    assert isinstance(a, Value)
    return affine_constant(call.emitter, a, None, b.array) if isinstance(b, Constant) else add_values(call.emitter, a, b)


def subtract(call: Call) -> Value:
    """a - b."""
    a, b = _two(call)
    if isinstance(b, Constant):
        assert isinstance(a, Value)
        return affine_constant(call.emitter, a, None, -_constant_numbers(b.array))
    negative = Value(call.emitter.uniform_affine(b.tensor, -1.0, 0.0), b.axes)
    return affine_constant(call.emitter, negative, None, a.array) if isinstance(a, Constant) else add_values(call.emitter, a, negative)


def multiply(call: Call) -> Value:
    """a * b."""
    a, b = _two(call)
    if isinstance(a, Constant):
        a, b = b, a
    assert isinstance(a, Value)
    return affine_constant(call.emitter, a, b.array, None) if isinstance(b, Constant) else multiply_values(call.emitter, a, b)


def divide(call: Call) -> Value:
    """a / b."""
    a, b = _two(call)
    if isinstance(b, Constant):
        assert isinstance(a, Value)
        numbers = _constant_numbers(b.array)
        if not numbers.all():
            raise ModelError("divides by a constant that is 0")
        return affine_constant(call.emitter, a, 1.0 / numbers, None)
    inverse = apply_steps(call.emitter, b, (("reciprocal", 0),))
    return affine_constant(call.emitter, inverse, a.array, None) if isinstance(a, Constant) else multiply_values(call.emitter, a, inverse)


def _bounded(lower: bool) -> Handler:
    def handler(call: Call) -> Value:
        tensors = [operand for operand in call.inputs if isinstance(operand, Value)]
        numbers = [call.scalar(index, "bounds") for index, operand in enumerate(call.inputs) if isinstance(operand, Constant)]
        if len(tensors) != 1:
            raise ModelError(f"compares {len(tensors)} tensors, which is not supported; one tensor and constants are")
        x = call.value(next(index for index, operand in enumerate(call.inputs) if isinstance(operand, Value)))
        return clamped(call.emitter, x, *((max(numbers, default=-math.inf), math.inf) if lower else (-math.inf, min(numbers, default=math.inf))))

    return handler


maximum, minimum = _bounded(True), _bounded(False)


def sum_all(call: Call) -> Value:
    """Sum of any number of operands."""
    result: Value | None = None
    for index in range(len(call.inputs)):
        operand = call.operand(index)
        if isinstance(operand, Constant):
            continue
        result = call.value(index) if result is None else add_values(call.emitter, result, call.value(index))
    assert result is not None
    for constant in call.inputs:
        if isinstance(constant, Constant):
            result = affine_constant(call.emitter, result, None, constant.array)
    return result


def batch_normalization(call: Call) -> Value:
    """Scale, bias, mean and variance, one each a channel (axis 1)."""
    x = call.value(0)
    scale, bias, mean, variance = (_constant_numbers(call.array(index, "statistics")).reshape(-1) for index in range(1, 5))
    if call.node.integer("training_mode", 0):
        raise ModelError("is in training mode; export the model in eval mode")
    channels = x.shape[1] if len(x.axes) > 1 else 0
    if not len(scale) == len(bias) == len(mean) == len(variance) == channels:
        raise ModelError(f"has statistics for {len(scale)} channels beside an input {list(x.shape)}")
    with np.errstate(all="ignore"):  # the emitter refuses what is not finite
        factor = scale / np.sqrt(variance + call.node.number("epsilon", 1e-5))
        term = bias - mean * factor
    x = _innermost(call.emitter, x, [1])
    order = positions(x.axes[1])
    ordered_factor, ordered_term = np.empty_like(factor), np.empty_like(term)
    ordered_factor[order], ordered_term[order] = factor, term
    return Value(call.emitter.affine(x.tensor, ordered_factor, ordered_term), x.axes)

