"""Handlers, int8 and float, of the operators that cut a tensor into parts: SLICE, SPLIT, SPLIT_V and UNPACK."""

from __future__ import annotations

from edgecompress.frontend.tflite.context import FloatContext, IntegerContext
from edgecompress.frontend.tflite.integer_shapes import same_quantization
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.windows import without_batch
from edgecompress.ir.ops.slice import Slice

AnyContext = IntegerContext | FloatContext


def slice_(context: AnyContext, operator: OperatorInfo) -> None:
    """SLICE with constant begin and size."""
    source, output = context.input(operator, 0), context.output(operator)
    shape = context.info(source).shape
    begin, size = (context.integers(operator, context.input(operator, position)) for position in (1, 2))
    if not len(begin) == len(size) == len(shape):
        raise context.refuse(operator, f"slices shape {shape} from {begin} on for {size}; the lists must have an entry an axis")
    counts = [length - first if count == -1 else count for first, count, length in zip(begin, size, shape, strict=True)]
    _emit(context, operator, source, output, list(zip(begin, counts, strict=True)), 0)


def split(context: AnyContext, operator: OperatorInfo) -> None:
    """SPLIT into equal parts."""
    source = context.input(operator, 1)
    axis = _axis(context, operator, source, context.integers(operator, context.input(operator, 0)))
    length, parts = context.info(source).shape[axis], len(operator.outputs)
    if not parts or length % parts:
        raise context.refuse(operator, f"splits {length} elements into {parts} equal parts; the file is inconsistent, convert the model again")
    _emit_parts(context, operator, source, axis, [length // parts] * parts)


def split_v(context: AnyContext, operator: OperatorInfo) -> None:
    """SPLIT_V into parts of given sizes, one of which may be -1."""
    source = context.input(operator, 0)
    axis = _axis(context, operator, source, context.integers(operator, context.input(operator, 2)))
    sizes = list(context.integers(operator, context.input(operator, 1)))
    length = context.info(source).shape[axis]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = length - sum(sizes) - 1
    if len(sizes) != len(operator.outputs) or min(sizes, default=0) < 1 or sum(sizes) != length:
        raise context.refuse(operator, f"splits {length} elements into {len(operator.outputs)} parts of {tuple(sizes[:8])}; they must add up")
    _emit_parts(context, operator, source, axis, sizes)


def unpack(context: AnyContext, operator: OperatorInfo) -> None:
    """UNPACK: parts of one element along an axis that is then dropped."""
    source = context.input(operator, 0)
    axis = _axis(context, operator, source, (operator.option("axis"),))
    if context.info(source).shape[axis] != len(operator.outputs):
        raise context.refuse(operator, f"unpacks axis {axis} of shape {context.info(source).shape} into {len(operator.outputs)} tensors")
    _emit_parts(context, operator, source, axis, [1] * len(operator.outputs))


def _axis(context: AnyContext, operator: OperatorInfo, source: int, given: tuple[int, ...]) -> int:
    shape = context.info(source).shape
    if len(given) != 1:
        raise context.refuse(operator, f"names the axes {given[:8]}; needed is one")
    axis = context.axis(operator, given[0], len(shape))
    if axis == 0 and len(shape) > 1:
        raise context.refuse(operator, "splits along the batch axis; only the other axes are supported")
    return axis


def _emit_parts(context: AnyContext, operator: OperatorInfo, source: int, axis: int, sizes: list[int]) -> None:
    shape, begin = context.info(source).shape, 0
    for position, size in enumerate(sizes):
        ranges = [(begin, size) if index == axis else (0, length) for index, length in enumerate(shape)]
        _emit(context, operator, source, context.output(operator, position), ranges, position)
        begin += size


def _emit(context: AnyContext, operator: OperatorInfo, source: int, output: int, ranges: list[tuple[int, int]], position: int) -> None:
    """One part as (begin, size) of each axis of the file's shape."""
    kept = without_batch(context.info(source).shape, [(begin, size, 1) for begin, size in ranges])
    begins, sizes, steps = (tuple(one[part] for one in kept) for part in range(3))
    if isinstance(context, FloatContext):
        context.emit(operator, "slice", (context.value(operator, source),), output, begin=begins, size=sizes, step=steps)
        return
    same_quantization(context, operator, source, output)
    op = Slice(begins, sizes, steps)
    context.emit(operator, op, (context.value(operator, source),), output, f"_{position}" if len(operator.outputs) > 1 else "")
