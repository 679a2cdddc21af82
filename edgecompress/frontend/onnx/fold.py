"""Operators on constants only, computed now in numpy: shape arithmetic and prepared weights. Sizes are checked before arrays are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.onnx.call import Call, axes_of, axis_of
from edgecompress.frontend.onnx.tensors import FLOATS, MAX_RANK, TYPES
from edgecompress.frontend.onnx.values import Value, broadcast_shapes
from edgecompress.frontend.onnx.view_ops import node_axes, slice_bounds, target_shape

Fold = Callable[[Call], np.ndarray]


def _all(call: Call) -> list[np.ndarray]:
    return [call.array(index, "inputs") for index in range(len(call.inputs))]


def spend_shape(call: Call, shape: Sequence[int]) -> None:
    """Takes a result's elements from the budget. Raises ModelError for impossible shapes."""
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise ModelError(f"makes a constant of shape {str(list(shape))[:100]}, which is not possible")
    call.emitter.budget.spend(math.prod(shape))


def _elementwise(function: Callable[..., Any], count: int) -> Fold:
    def fold(call: Call) -> np.ndarray:
        arrays = [call.array(index, "inputs") for index in range(count)]
        spend_shape(call, broadcast_shapes(*(array.shape for array in arrays)))
        with np.errstate(all="ignore"):
            result: np.ndarray = np.asarray(function(*arrays))
        return result.astype(arrays[0].dtype) if result.dtype.kind == "f" and arrays[0].dtype.kind == "f" else result

    return fold


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if not np.all(b):
        raise ModelError("divides an integer by 0")
    return np.asarray(np.fix(a.astype(np.float64) / b).astype(a.dtype)) if np.abs(a).max(initial=0) < 2**52 else a // b


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype))


def _operand_shape(call: Call) -> tuple[int, ...]:
    operand = call.operand(0)
    return operand.shape if isinstance(operand, Value) else operand.array.shape


def _shape(call: Call) -> np.ndarray:
    shape = _operand_shape(call)
    start, end = call.node.integer("start", 0), call.node.optional_integer("end")
    return np.array(shape[slice(start, end)], dtype=np.int64)


def _size(call: Call) -> np.ndarray:
    return np.array(math.prod(_operand_shape(call)), dtype=np.int64)


def _constant(call: Call) -> np.ndarray:
    node = call.node
    if "value" in node.attributes:
        return node.tensor("value")
    if "value_float" in node.attributes:
        return np.array(node.number("value_float"), dtype=np.float32)
    if "value_int" in node.attributes:
        return np.array(node.integer("value_int"), dtype=np.int64)
    if "value_ints" in node.attributes:
        return np.array(node.integers("value_ints"), dtype=np.int64)
    if "value_floats" in node.attributes:
        return np.array(node.numbers("value_floats"), dtype=np.float32)
    raise ModelError("has no value that is a tensor or numbers")


def _constant_of_shape(call: Call) -> np.ndarray:
    shape = call.numbers(0, "sizes")
    spend_shape(call, shape)
    value = call.node.tensor("value").reshape(-1) if "value" in call.node.attributes else np.zeros(1, np.float32)
    if value.size != 1:
        raise ModelError("has a value of more than one element")
    return np.full(shape, value[0])


def _range(call: Call) -> np.ndarray:
    start, limit, delta = (call.array(index, "bounds") for index in range(3))
    if not all(array.size == 1 and np.isfinite(array).all() for array in (start, limit, delta)) or not delta.reshape(-1)[0]:
        raise ModelError("has bounds that are not numbers, or a step of 0")
    first, last, step = (array.reshape(-1)[0].item() for array in (start, limit, delta))
    count = max(math.ceil((last - first) / step), 0)
    spend_shape(call, (count,))
    return np.asarray(first + np.arange(count) * step, dtype=start.dtype)


def _cast(call: Call) -> np.ndarray:
    array, to = call.array(0, "inputs"), call.node.integer("to")
    if to not in TYPES or TYPES[to][0] in ("int4", "uint4"):
        raise ModelError(f"casts to ONNX data type {to}, which is not supported")
    spend_shape(call, array.shape)
    with np.errstate(all="ignore"):
        return array.astype(FLOATS.get(to, np.dtype(TYPES[to][1]).newbyteorder("=")))


def _copied(function: Callable[[Call, np.ndarray], np.ndarray]) -> Fold:
    def fold(call: Call) -> np.ndarray:
        array = call.array(0, "inputs")
        return function(call, array)

    return fold


def _reshape(call: Call, array: np.ndarray) -> np.ndarray:
    return array.reshape(target_shape(array.shape, call.numbers(1, "sizes"), bool(call.node.integer("allowzero", 0))))


def _transpose(call: Call, array: np.ndarray) -> np.ndarray:
    order = call.node.integers("perm", tuple(reversed(range(array.ndim))))
    if sorted(order) != list(range(array.ndim)):
        raise ModelError(f"has order {list(order)} for a tensor with {array.ndim} axes")
    return array.transpose(order)


def _unsqueeze(call: Call, array: np.ndarray) -> np.ndarray:
    axes = node_axes(call)
    if axes is None or array.ndim + len(axes) > MAX_RANK:
        raise ModelError("does not say which axes to add, or adds too many")
    return np.expand_dims(array, axes_of(axes, array.ndim + len(axes)))


def _squeeze(call: Call, array: np.ndarray) -> np.ndarray:
    axes = node_axes(call)
    chosen = tuple(a for a, size in enumerate(array.shape) if size == 1) if axes is None else axes_of(axes, array.ndim)
    if any(array.shape[axis] != 1 for axis in chosen):
        raise ModelError(f"drops axes {list(chosen)} of {list(array.shape)}, which are not all of size 1")
    return array.squeeze(chosen)


def _flatten(call: Call, array: np.ndarray) -> np.ndarray:
    axis = call.node.integer("axis", 1)
    axis = axis if axis == array.ndim else axis_of(axis, array.ndim)
    return array.reshape(math.prod(array.shape[:axis]), math.prod(array.shape[axis:]))


def _concat(call: Call) -> np.ndarray:
    arrays = _all(call)
    if not arrays:
        raise ModelError("has no inputs")
    axis = axis_of(call.node.integer("axis"), arrays[0].ndim)
    rests = {(array.ndim, array.shape[:axis], array.shape[axis + 1:]) for array in arrays}
    if len(rests) != 1:
        raise ModelError(f"joins constants of shapes that do not fit along axis {axis}")
    call.emitter.budget.spend(sum(array.size for array in arrays))
    return np.concatenate(arrays, axis=axis)


def _gather(call: Call) -> np.ndarray:
    array, indices = call.array(0, "inputs"), call.array(1, "indices")
    axis = axis_of(call.node.integer("axis", 0), array.ndim)
    size = array.shape[axis]
    if indices.dtype.kind not in "iu" or (indices.size and not -size <= indices.min() <= indices.max() < size):
        raise ModelError(f"takes elements outside axis {axis} of {list(array.shape)}")
    spend_shape(call, (*array.shape[:axis], *indices.shape, *array.shape[axis + 1:]))
    return array.take(indices.astype(np.int64), axis=axis)


def _slice(call: Call) -> np.ndarray:
    array = call.array(0, "inputs")
    spans = [slice(None)] * array.ndim
    for axis, start, stop, step in slice_bounds(call, array.ndim):
        spans[axis] = slice(start, None if step < 0 and stop < -array.shape[axis] else stop, step)
    return array[tuple(spans)]


def _expand(call: Call) -> np.ndarray:
    array, sizes = call.array(0, "inputs"), call.numbers(1, "sizes")
    if min(sizes, default=0) < 0:
        raise ModelError(f"has sizes {list(sizes)}; they must not be negative")
    shape = broadcast_shapes(array.shape, sizes)
    spend_shape(call, shape)
    return np.broadcast_to(array, shape)


def _tile(call: Call) -> np.ndarray:
    array, repeats = call.array(0, "inputs"), call.numbers(1, "repeats")
    if len(repeats) != array.ndim or min(repeats, default=0) < 0:
        raise ModelError(f"repeats {list(array.shape)} by {list(repeats)}, which does not fit")
    spend_shape(call, [size * times for size, times in zip(array.shape, repeats, strict=True)])
    return np.tile(array, repeats)


def _reduce(function: Callable[..., Any]) -> Fold:
    def fold(call: Call) -> np.ndarray:
        array, axes = call.array(0, "inputs"), node_axes(call)
        chosen = axes_of(axes, array.ndim) if axes else None
        if array.size == 0:
            raise ModelError("reduces a constant without elements")
        with np.errstate(all="ignore"):
            return np.asarray(function(array, axis=chosen, keepdims=bool(call.node.integer("keepdims", 1)))).astype(array.dtype)

    return fold


def _where(call: Call) -> np.ndarray:
    condition, a, b = (call.array(index, "inputs") for index in range(3))
    spend_shape(call, broadcast_shapes(condition.shape, a.shape, b.shape))
    return np.where(condition.astype(bool), a, b)


def _clip(call: Call) -> np.ndarray:
    array = call.array(0, "inputs")
    low = call.scalar(1, "bounds") if call.has(1) else call.node.optional_number("min")
    high = call.scalar(2, "bounds") if call.has(2) else call.node.optional_number("max")
    spend_shape(call, array.shape)
    return np.asarray(np.clip(array, low, high)).astype(array.dtype)


def _matmul(call: Call) -> np.ndarray:
    a, b = call.array(0, "inputs"), call.array(1, "inputs")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] or a.dtype.kind != "f" or b.dtype.kind != "f":
        raise ModelError(f"multiplies constants of shapes {list(a.shape)} and {list(b.shape)}, which is not supported")
    call.emitter.budget.spend(a.shape[0] * b.shape[1] * (1 + a.shape[1] // 16))  # the work, not only the result
    with np.errstate(all="ignore"):
        return np.asarray(a @ b)


FOLD: dict[str, Fold] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Size": _size,
    "Range": _range,
    "Cast": _cast,
    "Identity": _copied(lambda call, array: array),
    "Dropout": _copied(lambda call, array: array),
    "Reshape": _copied(_reshape),
    "Transpose": _copied(_transpose),
    "Unsqueeze": _copied(_unsqueeze),
    "Squeeze": _copied(_squeeze),
    "Flatten": _copied(_flatten),
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Expand": _expand,
    "Tile": _tile,
    "Where": _where,
    "Clip": _clip,
    "MatMul": _matmul,
    "Add": _elementwise(np.add, 2),
    "Sub": _elementwise(np.subtract, 2),
    "Mul": _elementwise(np.multiply, 2),
    "Div": _elementwise(_divide, 2),
    "Mod": _elementwise(lambda a, b: np.where(b == 0, 0, np.mod(a, np.where(b == 0, 1, b))), 2),
    "Pow": _elementwise(_power, 2),
    "Neg": _elementwise(np.negative, 1),
    "Abs": _elementwise(np.abs, 1),
    "Sqrt": _elementwise(np.sqrt, 1),
    "Exp": _elementwise(np.exp, 1),
    "Log": _elementwise(np.log, 1),
    "Reciprocal": _elementwise(np.reciprocal, 1),
    "Floor": _elementwise(np.floor, 1),
    "Ceil": _elementwise(np.ceil, 1),
    "Round": _elementwise(np.rint, 1),
    "Relu": _elementwise(lambda a: np.maximum(a, 0), 1),
    "Tanh": _elementwise(np.tanh, 1),
    "Equal": _elementwise(np.equal, 2),
    "Less": _elementwise(np.less, 2),
    "Greater": _elementwise(np.greater, 2),
    "Not": _elementwise(np.logical_not, 1),
    "And": _elementwise(np.logical_and, 2),
    "Or": _elementwise(np.logical_or, 2),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceMean": _reduce(np.mean),
}
