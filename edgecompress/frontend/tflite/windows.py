"""Geometry that the int8 and the float handlers share: windows, paddings, broadcasting, which axes a mean goes over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgecompress.errors import ModelError
from edgecompress.frontend.tflite.context import Context
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.vocabulary import PADDINGS
from edgecompress.ir.op import Shape
from edgecompress.ir.window import MAX_STEP, Padding, Pair, output_size, same_padding


@dataclass(frozen=True)
class Window:
    """A sliding window with its padding resolved."""

    stride: Pair
    dilation: Pair
    padding: Padding


def read_window(context: Context, operator: OperatorInfo, size: Pair, kernel: Pair, dilated: bool) -> Window:
    """Stride, dilation and padding of a convolution or pool over an input of `size`; checked to fit."""
    stride = (operator.option("stride_h"), operator.option("stride_w"))
    dilation = (operator.option("dilation_h"), operator.option("dilation_w")) if dilated else (1, 1)
    code = operator.option("padding")
    if not 0 <= code < len(PADDINGS):
        raise context.refuse(operator, f"has padding code {code}; known are {', '.join(PADDINGS)}")
    if min(*stride, *dilation, *kernel) < 1 or max(*stride, *dilation, *kernel) > MAX_STEP:
        raise context.refuse(operator, f"has kernel {kernel}, stride {stride} and dilation {dilation}; each must be 1 to {MAX_STEP}")
    padding = same_padding(size, kernel, stride, dilation) if PADDINGS[code] == "SAME" else (0, 0, 0, 0)
    try:
        output_size(size, kernel, stride, padding, dilation)
    except ModelError as error:
        raise context.refuse(operator, f"does not fit its input: {error.message}") from None
    return Window(stride, dilation, padding)


@dataclass(frozen=True)
class AxisPadding:
    """One step of a padding: the tensor seen under `view` gets rows and columns."""

    view: tuple[int, int, int]
    padding: Padding


def padding_steps(context: Context, operator: OperatorInfo, source: int, amounts: tuple[int, ...]) -> list[AxisPadding]:
    """Steps that pad a tensor by a file's list of (before, after) pairs, one an axis of the file's shape.

    Height and width of an image are one step; any other axis is a step of its own, with what is before it as rows and what is behind it as
    channels. Raises ModelError for padding of the batch or negative amounts.
    """
    shape = context.info(source).shape
    pairs = list(zip(amounts[::2], amounts[1::2], strict=False))
    if len(amounts) != 2 * len(shape) or any(not 0 <= amount <= MAX_STEP for amount in amounts):
        raise context.refuse(operator, f"pads a tensor of shape {shape} by {amounts}; it needs two numbers from 0 to {MAX_STEP} an axis")
    if len(shape) > 1 and shape[0] == 1:
        if any(pairs[0]):
            raise context.refuse(operator, f"pads the batch axis by {pairs[0]}; only the other axes can be padded")
        shape, pairs = shape[1:], pairs[1:]
    sizes, steps = list(shape), []
    if len(sizes) == 3 and any((*pairs[0], *pairs[1])):
        steps.append(AxisPadding((sizes[0], sizes[1], sizes[2]), (*pairs[0], *pairs[1])))
        sizes[0], sizes[1] = sizes[0] + sum(pairs[0]), sizes[1] + sum(pairs[1])
        pairs[0] = pairs[1] = (0, 0)
    for axis, pair in enumerate(pairs):
        if any(pair):
            steps.append(AxisPadding((math.prod(sizes[:axis]), sizes[axis], math.prod(sizes[axis + 1 :])), (0, 0, *pair)))
            sizes[axis] += sum(pair)
    return steps


@dataclass(frozen=True)
class MeanPlan:
    """A mean as one over rows and columns: the tensor under `shape`, its axes in the order `permutation`, then seen under `view`."""

    shape: Shape
    permutation: tuple[int, ...]
    view: tuple[int, int, int]


def mean_plan(context: Context, operator: OperatorInfo, source: int, axes: tuple[int, ...]) -> MeanPlan:
    """How to take a mean over `axes` of the file's shape. Axes of size 1 are left out; averaged ones are brought to the front."""
    shape = context.info(source).shape
    reduced = {context.axis(operator, axis, len(shape)) for axis in axes}
    sizes = [(size, axis in reduced) for axis, size in enumerate(shape) if size > 1] or [(1, True)]
    permutation = sorted(range(len(sizes)), key=lambda place: (not sizes[place][1], place))
    averaged = [size for size, kind in sizes if kind] or [1]
    view = (math.prod(averaged[:-1]), averaged[-1], math.prod(size for size, kind in sizes if not kind))
    return MeanPlan(tuple(size for size, _ in sizes), tuple(permutation), view)


def transpose_plan(context: Context, operator: OperatorInfo, source: int, order: tuple[int, ...]) -> tuple[Shape, tuple[int, ...]]:
    """(shape, permutation) of a transposition without its axes of size 1, so that the batch is out of the way wherever it stands."""
    shape = context.info(source).shape
    if sorted(order) != list(range(len(shape))):
        raise context.refuse(operator, f"has the order of axes {order} for a tensor with {len(shape)} axes")
    moved = [axis for axis in order if shape[axis] > 1]
    places = sorted(moved)
    return tuple(shape[axis] for axis in places), tuple(places.index(axis) for axis in moved)


def second_operand(left: Shape, right: Shape) -> Shape | None:
    """How a file's shape `right` broadcasts onto `left`: `left` itself, () for one value, (channels,) for one a channel; None for any other way."""
    if _squeezed(left) == _squeezed(right):
        return left
    if math.prod(right) == 1:
        return ()
    if len(right) <= len(left) and math.prod(right) == right[-1] == left[-1]:
        return (left[-1],)
    return None


def _squeezed(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def without_batch(shape: Shape, ranges: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """(begin, size, step) of every axis of the graph's shape, from those of the file's."""
    return ranges[1:] if len(shape) > 1 and shape[0] == 1 else ranges


@dataclass(frozen=True)
class Mirror:
    """One step of a mirrored padding: under `view` the columns get (begin, count) columns in falling order before and behind."""

    view: tuple[int, int, int]
    before: tuple[int, int]
    behind: tuple[int, int]


def mirror_steps(context: Context, operator: OperatorInfo, source: int, amounts: tuple[int, ...], edge: bool) -> list[Mirror]:
    """Steps of a MIRROR_PAD, one a padded axis. With `edge` the outermost element is repeated (SYMMETRIC)."""
    shape = context.info(source).shape
    pairs = list(zip(amounts[::2], amounts[1::2], strict=False))
    if len(amounts) != 2 * len(shape) or any(max(pair) > size - (not edge) or min(pair) < 0 for pair, size in zip(pairs, shape, strict=True)):
        raise context.refuse(operator, f"mirrors a tensor of shape {shape} by {amounts}; it needs two numbers an axis that are below its size")
    sizes, steps = list(shape), []
    for axis, (before, behind) in enumerate(pairs):
        if before or behind:
            view = (math.prod(sizes[:axis]), sizes[axis], math.prod(sizes[axis + 1 :]))
            steps.append(Mirror(view, (before - edge, before), (sizes[axis] - 2 + edge, behind)))
            sizes[axis] += before + behind
    return steps


def matrix_shapes(context: Context, operator: OperatorInfo, left: int, right: int) -> tuple[Shape, Shape]:
    """Graph shapes ([batches,] rows, columns) of two tensors of matrices, as the file stores them. Refuses leading axes that differ."""
    shapes = context.info(left).shape, context.info(right).shape
    if min(map(len, shapes)) < 2 or shapes[0][:-2] != shapes[1][:-2]:
        raise context.refuse(operator, f"multiplies shapes {shapes[0]} and {shapes[1]}; supported are matrices with equal axes before the last two")
    batches = math.prod(shapes[0][:-2])
    a, b = (((batches,) if batches > 1 else ()) + shape[-2:] for shape in shapes)
    return a, b
