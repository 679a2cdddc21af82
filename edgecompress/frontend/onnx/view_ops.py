"""Operators that only rename, move, cut or join elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import Shape
from edgecompress.frontend.onnx.call import Call, axes_of, axis_of
from edgecompress.frontend.onnx.elementwise_ops import common_order
from edgecompress.frontend.onnx.emitter import Emitter
from edgecompress.frontend.onnx.values import Atom, Axis, Constant, Value, broadcast_shapes, in_order, merged, row_major, split_axes
from edgecompress.ir.graph import MAX_RANK

MAX_GATHER = 64  # indices that become slices and a concatenation


def viewed(emitter: Emitter, x: Value, shape: Shape) -> Value:
    """The elements in the file's order under another shape; they move only if an axis of it would step irregularly through memory."""
    axes = split_axes(in_order(x.axes, range(len(x.axes))), shape)
    if axes is None:
        x = emitter.natural(x)
        axes = split_axes(in_order(x.axes, range(len(x.axes))), shape)
    assert axes is not None
    return Value(x.tensor, axes, x.quantized)


def target_shape(shape: Shape, wanted: Sequence[int], allow_zero: bool) -> Shape:
    """Sizes after a Reshape's rules for 0 and -1. Raises ModelError if the element counts differ."""
    sizes = [shape[axis] if size == 0 and not allow_zero and axis < len(shape) else size for axis, size in enumerate(wanted)]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known > 0:
        sizes = [math.prod(shape) // known if size == -1 else size for size in sizes]
    if any(size < 0 for size in sizes) or math.prod(sizes) != math.prod(shape):
        raise ModelError(f"cannot view {list(shape)} as {list(wanted)}")
    return tuple(sizes)


def reshape(call: Call) -> Value:
    """Reshape; the shape is an input."""
    x = call.value(0, integers=True)
    return viewed(call.emitter, x, target_shape(x.shape, call.numbers(1, "sizes"), bool(call.node.integer("allowzero", 0))))


def flatten(call: Call) -> Value:
    """To two axes."""
    x = call.value(0, integers=True)
    axis = call.node.integer("axis", 1)
    axis = axis if axis == len(x.axes) else axis_of(axis, len(x.axes))
    return viewed(call.emitter, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def node_axes(call: Call, name: str = "axes") -> tuple[int, ...] | None:
    """Axes from the attribute (older operator sets) or the second input."""
    return call.numbers(1, name) if call.has(1) else call.node.optional_integers(name)


def squeeze(call: Call) -> Value:
    """Without axes of size 1."""
    x, axes = call.value(0, integers=True), node_axes(call)
    chosen = axes_of(axes, len(x.axes)) if axes is not None else tuple(axis for axis, size in enumerate(x.shape) if size == 1)
    if any(x.shape[axis] != 1 for axis in chosen):
        raise ModelError(f"drops axes {list(chosen)} of {list(x.shape)}, which are not all of size 1")
    return Value(x.tensor, tuple(axis for index, axis in enumerate(x.axes) if index not in chosen), x.quantized)


def unsqueeze(call: Call) -> Value:
    """With new axes of size 1."""
    x, axes = call.value(0, integers=True), node_axes(call)
    if axes is None:
        raise ModelError("does not say which axes to add")
    rank = len(x.axes) + len(axes)
    chosen, rest = axes_of(axes, rank), iter(x.axes)
    return Value(x.tensor, tuple(() if axis in chosen else next(rest) for axis in range(rank)), x.quantized)


def transpose(call: Call) -> Value:
    """Another order of axes: only the view changes."""
    x = call.value(0, integers=True)
    rank = len(x.axes)
    order = call.node.integers("perm", tuple(reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise ModelError(f"has order {list(order)} for a tensor with {rank} axes")
    return Value(x.tensor, tuple(x.axes[axis] for axis in order), x.quantized)


def depth_to_space(call: Call) -> Value:
    """Channels to blocks of pixels."""
    x, block = call.value(0, integers=True), call.node.integer("blocksize")
    mode = call.node.text("mode", "DCR")
    if len(x.axes) != 4 or block < 1 or x.shape[1] % (block * block) or mode not in ("DCR", "CRD"):
        raise ModelError(f"cannot turn {list(x.shape)} into blocks of {block} in mode '{mode}'")
    n, c, h, w = x.shape
    depth = c // (block * block)
    parts, order = ((n, block, block, depth, h, w), (0, 3, 4, 1, 5, 2)) if mode == "DCR" else ((n, depth, block, block, h, w), (0, 1, 4, 2, 5, 3))
    view = viewed(call.emitter, x, parts)
    return viewed(call.emitter, Value(view.tensor, tuple(view.axes[axis] for axis in order), x.quantized), (n, depth, h * block, w * block))


def space_to_depth(call: Call) -> Value:
    """Blocks of pixels to channels."""
    x, block = call.value(0, integers=True), call.node.integer("blocksize")
    if len(x.axes) != 4 or block < 1 or x.shape[2] % block or x.shape[3] % block:
        raise ModelError(f"cannot turn {list(x.shape)} into channels by blocks of {block}")
    n, c, h, w = x.shape
    view = viewed(call.emitter, x, (n, c, h // block, block, w // block, block))
    moved = Value(view.tensor, tuple(view.axes[axis] for axis in (0, 3, 5, 1, 2, 4)), x.quantized)
    return viewed(call.emitter, moved, (n, c * block * block, h // block, w // block))


# ---- cutting

Span = tuple[int, int, int]  # begin, size, step


def cut(emitter: Emitter, x: Value, spans: dict[int, Span], suffix: str = "") -> Value:
    """x with (begin, size, step) taken along some axes. Raises ModelError if nothing is left of an axis, or if it goes outside."""
    for axis, (begin, size, step) in spans.items():
        if size < 1 or not (0 <= begin < x.shape[axis] and 0 <= begin + (size - 1) * step < x.shape[axis]):
            raise ModelError(f"takes {size} elements from {begin} on in steps of {step} along axis {axis} of {list(x.shape)}; something must be left")
    spans = {axis: span for axis, span in spans.items() if x.shape[axis] > 1 and span != (0, x.shape[axis], 1)}
    if not spans:
        return x
    if any(len(x.axes[axis]) > 1 for axis in spans):
        x = emitter.natural(x)
    taken = {x.axes[axis][0]: span for axis, span in spans.items()}
    memory = sorted((atom for axis in x.axes for atom in axis), key=lambda atom: -atom.stride)
    groups: list[tuple[int, Span]] = []
    for atom in memory:  # neighbours in memory that stay whole are one axis of the slice
        if atom not in taken and groups and groups[-1][1] == (0, groups[-1][0], 1):
            size = groups.pop()[0] * atom.size
            groups.append((size, (0, size, 1)))
        else:
            groups.append((atom.size, taken.get(atom, (0, atom.size, 1))))
    if len(groups) > MAX_RANK:
        raise ModelError(f"cuts a tensor whose memory has {len(groups)} axes; at most {MAX_RANK} are supported")
    view = emitter.reshaped(x.tensor, tuple(size for size, _ in groups))
    begins, sizes, steps = (tuple(span[part] for _, span in groups) for part in range(3))
    tensor = emitter.add("slice", view, suffix=suffix, begin=begins, size=sizes, step=steps)
    return Value(tensor, _shrunk(x, memory, taken), x.quantized)


def _shrunk(x: Value, memory: Sequence[Atom], taken: dict[Atom, Span]) -> tuple[Axis, ...]:
    """Axes after the slice: same order in memory, fewer elements along the cut atoms."""
    stride, moved = 1, {}
    for atom in reversed(memory):
        size = taken[atom][1] if atom in taken else atom.size
        moved[atom] = Atom(size, stride)
        stride *= size
    return tuple(merged(moved[atom] for atom in axis) for axis in x.axes)


def _span(start: int, stop: int, step: int, size: int) -> Span:
    """A slice with Python's rules for negative and large bounds; a stop before the first element, for a negative step, is None in Python."""
    if step == 0:
        raise ModelError("has a step of 0")
    indices = range(*slice(start, None if step < 0 and stop < -size else stop, step).indices(size))
    return indices.start, len(indices), step


def slice_(call: Call) -> Value:
    """Slice; bounds as attributes (before operator set 10) or inputs."""
    x = call.value(0, integers=True)
    return cut(call.emitter, x, {axis: _span(start, stop, step, x.shape[axis]) for axis, start, stop, step in slice_bounds(call, len(x.axes))})


def slice_bounds(call: Call, rank: int) -> list[tuple[int, int, int, int]]:
    """(axis, start, stop, step) of a Slice node. Raises ModelError if they do not fit together."""
    if call.has(1):
        starts, stops = call.numbers(1, "bounds"), call.numbers(2, "bounds")
        axes = call.numbers(3, "axes") if call.has(3) else tuple(range(len(starts)))
        steps = call.numbers(4, "steps") if call.has(4) else (1,) * len(starts)
    else:
        starts, stops = call.node.integers("starts"), call.node.integers("ends")
        axes, steps = call.node.integers("axes", tuple(range(len(starts)))), (1,) * len(starts)
    if not len(starts) == len(stops) == len(axes) == len(steps) or 0 in steps:
        raise ModelError("has bounds, axes and steps that do not fit together")
    chosen = [axis_of(axis, rank) for axis in axes]
    if len(set(chosen)) != len(chosen):
        raise ModelError("names an axis twice")
    return list(zip(chosen, starts, stops, steps, strict=True))


def split(call: Call) -> tuple[Value, ...]:
    """Parts along an axis, sizes given or equal."""
    x, parts = call.value(0, integers=True), len(call.node.outputs)
    axis = axis_of(call.node.integer("axis", 0), len(x.axes))
    size = x.shape[axis]
    sizes = call.numbers(1, "sizes") if call.has(1) else call.node.optional_integers("split")
    if sizes is None:
        share = -(-size // parts)
        sizes = tuple(min(share, size - index * share) for index in range(parts))
    if len(sizes) != parts or min(sizes) < 1 or sum(sizes) != size:
        raise ModelError(f"cannot split {size} elements into parts of {list(sizes)[:20]}")
    stops = np.cumsum(sizes).tolist()
    return tuple(cut(call.emitter, x, {axis: (stop - part, part, 1)}, suffix=f"_{index}" if index else "")
                 for index, (part, stop) in enumerate(zip(sizes, stops, strict=True)))


def gather(call: Call) -> Value:
    """Constant indices along one axis: a slice where they are evenly spaced, else a few slices joined."""
    x, indices = call.value(0, integers=True), call.array(1, "indices")
    axis = axis_of(call.node.integer("axis", 0), len(x.axes))
    if indices.dtype.kind not in "iu" or indices.ndim > 1 or not 1 <= indices.size <= MAX_GATHER:
        raise ModelError(f"takes indices of shape {list(indices.shape)}; one index or a list of up to {MAX_GATHER} is supported")
    places = [int(index) + (x.shape[axis] if index < 0 else 0) for index in indices.reshape(-1)]
    if any(not 0 <= place < x.shape[axis] for place in places):
        raise ModelError(f"takes an element outside axis {axis} of {list(x.shape)}")
    step = places[1] - places[0] if len(places) > 1 else 1
    if step and all(after - before == step for before, after in pairwise(places)):
        result = cut(call.emitter, x, {axis: (places[0], len(places), step)})
    else:
        result = joined(call.emitter, [cut(call.emitter, x, {axis: (place, 1, 1)}, suffix=f"_{place}") for place in places], axis)
    if indices.ndim:
        return result
    return Value(result.tensor, (*result.axes[:axis], *result.axes[axis + 1:]), result.quantized)


# ---- joining

def joined(emitter: Emitter, values: Sequence[Value], axis: int) -> Value:
    """Values one after the other along an axis."""
    first = values[0]
    rest = first.shape[:axis] + first.shape[axis + 1:]
    for value in values[1:]:
        if len(value.axes) != len(first.axes) or value.shape[:axis] + value.shape[axis + 1:] != rest:
            raise ModelError(f"joins tensors {list(first.shape)} and {list(value.shape)} along axis {axis}, which do not fit")
        if value.quantized != first.quantized:
            raise ModelError("joins integer codes of different scales; put DequantizeLinear before it")
    if len(values) == 1:
        return first
    order = common_order(values)
    place = order.index(axis)
    outer, inner = (math.prod(first.shape[a] for a in part) for part in (order[:place], order[place + 1:]))
    image = len(order) == 4 and order[0] == 0 and first.shape[0] == 1 and axis != 0
    tensors = []
    for value in values:
        shape = tuple(value.shape[a] for a in order[1:]) if image else _squeezed((outer, value.shape[axis], inner))
        tensors.append(emitter.arranged(value, order, shape))
    shape = tuple(sum(value.shape[axis] for value in values) if a == axis else size for a, size in enumerate(first.shape))
    tensor = emitter.add("concat", *tensors, axis=place - 1 if image else 0 if outer == 1 else 1)
    return Value(tensor, row_major(shape, order), first.quantized)


def _squeezed(shape: tuple[int, int, int]) -> Shape:
    outer, size, inner = shape
    return (*((outer,) if outer > 1 else ()), size, *((inner,) if inner > 1 else ()))


def concat(call: Call) -> Value:
    """Any number of tensors; constants cannot be joined."""
    if not call.inputs:
        raise ModelError("has no inputs")
    if any(isinstance(operand, Constant) for operand in call.inputs):
        raise ModelError("joins a tensor and a constant, which is not supported")
    values = call.values(integers=True)
    return joined(call.emitter, values, axis_of(call.node.integer("axis"), len(values[0].axes)))


def expand(call: Call) -> Value:
    """Only where nothing grows; an operator that broadcasts by itself does not need it."""
    x = call.value(0, integers=True)
    sizes = call.numbers(1, "sizes")
    wanted = broadcast_shapes(x.shape, sizes) if min(sizes, default=1) >= 1 else ()
    if math.prod(wanted) != x.size or len(wanted) < len(x.axes):
        raise ModelError(f"enlarges {list(x.shape)} to {list(sizes)}, which is not supported")
    return Value(x.tensor, ((),) * (len(wanted) - len(x.axes)) + x.axes, x.quantized)
