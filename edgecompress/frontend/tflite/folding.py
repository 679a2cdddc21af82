"""Operators whose inputs are all known are computed at import: shapes, axis lists, weights behind DEQUANTIZE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgecompress.frontend.tflite.context import MOST_INTEGERS, Context, to_real
from edgecompress.frontend.tflite.schema import DTYPES, OperatorInfo
from edgecompress.frontend.tflite.vocabulary import TENSOR_TYPES

Folder = Callable[[Context, OperatorInfo], np.ndarray]


def _constants(context: Context, operator: OperatorInfo) -> list[np.ndarray]:
    return [context.constant(operator, context.input(operator, position)) for position in range(len(operator.inputs))]


def _one_more(context: Context, operator: OperatorInfo, rank: int) -> int:
    return context.axis(operator, operator.option("axis"), rank)


def _dequantize(context: Context, operator: OperatorInfo) -> np.ndarray:
    index = context.input(operator, 0)
    return to_real(context, operator, context.constant(operator, index), context.info(index))


def _shape(context: Context, operator: OperatorInfo) -> np.ndarray:
    return np.array(context.info(context.input(operator, 0)).shape, dtype=np.int64)


def _pack(context: Context, operator: OperatorInfo) -> np.ndarray:
    values = _constants(context, operator)
    if len({value.shape for value in values}) != 1 or sum(value.size for value in values) > MOST_INTEGERS:
        raise context.refuse(operator, f"packs constants of different shapes or more than {MOST_INTEGERS} numbers")
    return np.stack(values, axis=_one_more(context, operator, values[0].ndim + 1))


def _concatenation(context: Context, operator: OperatorInfo) -> np.ndarray:
    values = _constants(context, operator)
    axis = _one_more(context, operator, values[0].ndim) if values and values[0].ndim else -1
    rest = {value.shape[:axis] + value.shape[axis + 1 :] for value in values} if axis >= 0 else set()
    if len(rest) != 1 or len({value.ndim for value in values}) != 1:
        raise context.refuse(operator, "joins constants of shapes that do not fit")
    return np.concatenate(values, axis=axis)


def slice_bounds(context: Context, operator: OperatorInfo, shape: tuple[int, ...]) -> tuple[list[tuple[int, int, int]], list[int]]:
    """((begin, size, step) of every axis, axes that are dropped) of a STRIDED_SLICE of a tensor of the file's `shape`.

    Raises ModelError for an ellipsis, new axes, a step of 0 or an empty result.
    """
    begin, end, step = (context.integers(operator, context.input(operator, position)) for position in (1, 2, 3))
    if operator.option("ellipsis_mask") or operator.option("new_axis_mask") or operator.option("offset"):
        raise context.refuse(operator, "slices with an ellipsis, a new axis or an offset; write the slice with one range an axis")
    if not len(begin) == len(end) == len(step) <= len(shape):
        raise context.refuse(operator, f"slices shape {shape} from {begin} to {end} by {step}; the lists must be of one length")
    begin_mask, end_mask, shrink_mask = (operator.option(name) for name in ("begin_mask", "end_mask", "shrink_axis_mask"))
    ranges, dropped = [], []
    for axis, size in enumerate(shape):
        if axis >= len(begin):
            ranges.append((0, size, 1))
            continue
        if step[axis] == 0:
            raise context.refuse(operator, "slices with a step of 0")
        if shrink_mask >> axis & 1:
            ranges.append((context.axis(operator, begin[axis], size) if -size <= begin[axis] < size else size, 1, 1))
            dropped.append(axis)
        else:
            first = None if begin_mask >> axis & 1 else begin[axis]
            last = None if end_mask >> axis & 1 else end[axis]
            positions = range(*slice(first, last, step[axis]).indices(size))
            ranges.append((positions.start, len(positions), step[axis]))
        if ranges[-1][1] < 1 or not 0 <= ranges[-1][0] < size:
            raise context.refuse(operator, f"slices axis {axis} of shape {shape} from {begin[axis]} to {end[axis]}, which leaves nothing")
    return ranges, dropped


def _strided_slice(context: Context, operator: OperatorInfo) -> np.ndarray:
    values = context.constant(operator, context.input(operator, 0))
    ranges, dropped = slice_bounds(context, operator, values.shape)
    for axis, (begin, size, step) in enumerate(ranges):
        values = values.take(begin + step * np.arange(size), axis=axis)
    return values.reshape([size for axis, size in enumerate(values.shape) if axis not in dropped])


def _reshape(context: Context, operator: OperatorInfo) -> np.ndarray:
    values = context.constant(operator, context.input(operator, 0))
    shape = context.info(context.output(operator)).shape
    if context.info(context.output(operator)).size != values.size:
        raise context.refuse(operator, f"turns a constant of shape {values.shape} into {shape}")
    return values.reshape(shape)


def _transpose(context: Context, operator: OperatorInfo) -> np.ndarray:
    values = context.constant(operator, context.input(operator, 0))
    order = context.integers(operator, context.input(operator, 1))
    if sorted(order) != list(range(values.ndim)):
        raise context.refuse(operator, f"has the order of axes {order} for a constant with {values.ndim} axes")
    return values.transpose(order)


def _cast(context: Context, operator: OperatorInfo) -> np.ndarray:
    values = context.constant(operator, context.input(operator, 0))
    wanted = context.info(context.output(operator)).type
    if wanted not in DTYPES or wanted not in TENSOR_TYPES:
        raise context.refuse(operator, f"casts a constant to {wanted}, which is not supported")
    context.spend(8 * values.size)
    with np.errstate(all="ignore"):
        return values.astype(DTYPES[wanted])


# name -> how a call with constant inputs is computed; SHAPE needs no constant, only a shape
FOLDERS: dict[str, Folder] = {
    "SHAPE": _shape,
    "DEQUANTIZE": _dequantize,
    "PACK": _pack,
    "CONCATENATION": _concatenation,
    "STRIDED_SLICE": _strided_slice,
    "RESHAPE": _reshape,
    "EXPAND_DIMS": _reshape,
    "SQUEEZE": _reshape,
    "TRANSPOSE": _transpose,
    "CAST": _cast,
}


def folds(context: Context, operator: OperatorInfo, known: set[int]) -> bool:
    """Whether an operator can be computed at import when the tensors in `known` are."""
    if operator.name not in FOLDERS or len(operator.outputs) != 1:
        return False
    return operator.name == "SHAPE" or (bool(operator.inputs) and all(index in known for index in operator.inputs))


def fold(context: Context, operator: OperatorInfo) -> None:
    """Computes the operator's output and keeps it in `context.folded`. Raises ModelError when it cannot."""
    values = FOLDERS[operator.name](context, operator)
    context.spend(values.nbytes)
    output = context.output(operator)
    if values.shape != context.info(output).shape and values.size != context.info(output).size:
        raise context.refuse(operator, f"makes a constant of shape {values.shape}, the file says {context.info(output).shape}")
    context.folded[output] = values.reshape(context.info(output).shape)
