"""Pooling, reductions, padding, resizing and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.onnx.call import Call, Handler, axes_of, axis_of
from edgecompress.frontend.onnx.emitter import Emitter
from edgecompress.frontend.onnx.layer_ops import image_size, pair, window_padding
from edgecompress.frontend.onnx.values import Value, in_order, is_contiguous, row_major
from edgecompress.frontend.onnx.view_ops import cut, joined, node_axes
from edgecompress.ir.window import MAX_STEP, Padding, Pair, output_size

NO_PADDING: Padding = (0, 0, 0, 0)
MAX_REPEATS = 16  # copies of an edge, each an input of one concatenation


def _window(call: Call, x: Value) -> tuple[Pair, Pair, Padding]:
    """(kernel, stride, padding) of a pooling node."""
    spatial = len(x.axes) - 2
    kernel = pair(call.node.integers("kernel_shape", count=spatial))
    stride = pair(call.node.integers("strides", (1,) * spatial, spatial))
    dilation = call.node.integers("dilations", (1,) * spatial, spatial)
    if set(dilation) != {1}:
        raise ModelError(f"has dilations {list(dilation)}; only 1 is supported")
    padding = window_padding(call, image_size(x), kernel, stride, (1, 1), spatial)
    return kernel, stride, _ceiled(call, image_size(x), kernel, stride, padding)


def _ceiled(call: Call, size: Pair, kernel: Pair, stride: Pair, padding: Padding) -> Padding:
    """Padding with what ceil_mode lets the last window hang over. A window that would start in it is left out, as in torch."""
    if not call.node.integer("ceil_mode", 0):
        return padding
    floor = output_size(size, kernel, stride, padding)
    extra = []
    for axis in (0, 1):
        room = size[axis] + padding[2 * axis] + padding[2 * axis + 1] - kernel[axis]
        starts_inside = floor[axis] * stride[axis] < size[axis] + padding[2 * axis]
        extra.append(floor[axis] * stride[axis] - room if room % stride[axis] and starts_inside else 0)
    return padding[0], padding[1] + extra[0], padding[2], padding[3] + extra[1]


def max_pool(call: Call) -> Value:
    """MaxPool; padding never wins."""
    x = call.value(0, integers=True)
    tensor = call.emitter.image(x, "max pooling")
    kernel, stride, padding = _window(call, x)
    output = call.emitter.add("max_pool2d", tensor, kernel=kernel, stride=stride, padding=padding)
    value = call.emitter.image_value(output, len(x.axes))
    return Value(value.tensor, value.axes, x.quantized)


def average_pool(call: Call) -> Value:
    """AveragePool; padding that counts becomes a node of its own."""
    x = call.value(0)
    tensor = call.emitter.image(x, "average pooling")
    kernel, stride, padding = _window(call, x)
    if any(padding) and call.node.integer("count_include_pad", 0):
        if call.node.integer("ceil_mode", 0):
            raise ModelError("counts padding and has ceil_mode=1 together, which is not supported")
        tensor, padding = call.emitter.add("pad", tensor, suffix="_pad", padding=padding, value=0.0), NO_PADDING
    return call.emitter.image_value(call.emitter.add("average_pool2d", tensor, kernel=kernel, stride=stride, padding=padding), len(x.axes))


def global_average_pool(call: Call) -> Value:
    """Mean over all places."""
    x = call.value(0)
    return reduced(call.emitter, x, tuple(range(2, len(x.axes))), True, "mean")


def global_max_pool(call: Call) -> Value:
    """Maximum over all places."""
    x = call.value(0)
    return reduced(call.emitter, x, tuple(range(2, len(x.axes))), True, "max")


def reduction(kind: str) -> Handler:
    """ReduceMean, ReduceSum or ReduceMax over any axes."""
    def handler(call: Call) -> Value:
        x, axes = call.value(0), node_axes(call)
        keep = bool(call.node.integer("keepdims", 1))
        if not axes:
            if call.node.integer("noop_with_empty_axes", 0):
                return x
            axes = tuple(range(len(x.axes)))
        chosen = axes_of(axes, len(x.axes))
        result = reduced(call.emitter, x, chosen, keep, "max" if kind == "max" else "mean")
        if kind != "sum":
            return result
        return Value(call.emitter.uniform_affine(result.tensor, float(math.prod(x.shape[axis] for axis in chosen)), 0.0), result.axes)

    return handler


def reduced(emitter: Emitter, x: Value, axes: Sequence[int], keep: bool, kind: str) -> Value:
    """Mean or maximum over axes: as pooling of an image (outer, reduced, inner)."""
    rest = [axis for axis in range(len(x.axes)) if axis not in axes]
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    count = math.prod(x.shape[axis] for axis in axes)
    if count == 1:
        result = Value(x.tensor, x.axes)
    else:
        tensor, order = _pooled(emitter, x, axes, rest, count, kind)
        result = Value(tensor, row_major(shape, order))
    return result if keep else Value(result.tensor, tuple(result.axes[axis] for axis in rest))


def _pooled(emitter: Emitter, x: Value, axes: Sequence[int], rest: Sequence[int], count: int, kind: str) -> tuple[str, Sequence[int]]:
    """(pooled tensor, order of axes in its memory)."""
    inner = x.size // count
    places = [x.shape[axis] for axis in axes if x.shape[axis] > 1]
    first, last = ((*axes, *rest), (1, count, inner)), ((*rest, *axes), (inner, count, 1))
    order, shape = last if is_contiguous(in_order(x.axes, last[0])) and not is_contiguous(in_order(x.axes, first[0])) else first
    if shape[0] == 1 and len(places) == 2:
        shape = (places[0], places[1], inner)  # a window of an image reads better than a row, and each side may be long
    tensor = emitter.arranged(x, order, shape)
    if kind == "mean" and shape[2] == inner:
        return emitter.add("global_average_pool", tensor), order
    kernel = (shape[0], shape[1]) if shape[2] == inner else (1, count)
    return emitter.add("average_pool2d" if kind == "mean" else "max_pool2d", tensor, kernel=kernel, stride=kernel, padding=NO_PADDING), order


def reduce_min(call: Call) -> Value:
    """-max(-x)."""
    x = call.value(0)
    negative = Value(call.emitter.uniform_affine(x.tensor, -1.0, 0.0), x.axes)
    result = reduction("max")(Call(call.node, (negative, *call.inputs[1:]), call.emitter))
    assert isinstance(result, Value)
    return Value(call.emitter.uniform_affine(result.tensor, -1.0, 0.0), result.axes)


def pad(call: Call) -> Value:
    """Constant padding of the spatial axes of an image, or of any one axis; reflections and edges as slices joined to the tensor."""
    x = call.value(0)
    mode, rank = call.node.text("mode", "constant"), len(x.axes)
    fill = call.scalar(2, "values") if call.has(2) else call.node.number("value", 0.0)
    if mode not in ("constant", "reflect", "edge") or not math.isfinite(fill):
        raise ModelError(f"has mode '{mode}' and value {fill}; constant (with a finite value), reflect and edge are supported")
    sides = _sides(call, rank)
    if mode != "constant":
        for axis, (before, after) in sides.items():
            x = _mirrored(call.emitter, x, axis, before, after, mode)
        return x
    if sides and rank in (3, 4) and set(sides) <= set(range(2, rank)) and x.shape[0] == 1:
        (top, bottom), (left, right) = (sides.get(2, (0, 0)) if rank == 4 else (0, 0)), sides.get(rank - 1, (0, 0))
        tensor = call.emitter.image(x, "padding")
        return call.emitter.image_value(call.emitter.add("pad", tensor, padding=(top, bottom, left, right), value=fill), rank)
    for axis, (before, after) in sides.items():
        x = _pad_axis(call.emitter, x, axis, before, after, fill)
    return x


def _sides(call: Call, rank: int) -> dict[int, tuple[int, int]]:
    """(before, after) of each axis that grows."""
    amounts = call.numbers(1, "pads") if call.has(1) else call.node.integers("pads")
    axes = [axis_of(axis, rank) for axis in (call.numbers(3, "axes") if call.has(3) else range(rank))]
    count = len(axes)
    if len(amounts) != 2 * count or len(set(axes)) != count or min(amounts, default=0) < 0 or max(amounts, default=0) > MAX_STEP:
        raise ModelError(f"has pads {list(amounts)}; two numbers from 0 to {MAX_STEP} an axis are supported")
    return {axis: (amounts[index], amounts[index + count]) for index, axis in enumerate(axes) if amounts[index] or amounts[index + count]}


def _mirrored(emitter: Emitter, x: Value, axis: int, before: int, after: int, mode: str) -> Value:
    """The axis with its inner elements in reverse at both ends, or its first and last element repeated."""
    size = x.shape[axis]
    if mode == "reflect":
        if max(before, after) >= size:
            raise ModelError(f"reflects {max(before, after)} elements of an axis that has {size}; fewer than it has are supported")
        left = [cut(emitter, x, {axis: (before, before, -1)}, suffix="_before")] if before else []
        right = [cut(emitter, x, {axis: (size - 2, after, -1)}, suffix="_after")] if after else []
    else:
        if before + after > MAX_REPEATS:
            raise ModelError(f"repeats an edge {before + after} times; at most {MAX_REPEATS} are supported")
        left = [cut(emitter, x, {axis: (0, 1, 1)}, suffix="_before")] * before
        right = [cut(emitter, x, {axis: (size - 1, 1, 1)}, suffix="_after")] * after
    return joined(emitter, [*left, x, *right], axis)


def _pad_axis(emitter: Emitter, x: Value, axis: int, before: int, after: int, fill: float) -> Value:
    """One axis, as the width of an image (outer, axis, inner)."""
    order: Sequence[int] = sorted(range(len(x.axes)), key=lambda a: -max((atom.stride for atom in x.axes[a]), default=0))
    if not is_contiguous(in_order(x.axes, order)):
        order = range(len(x.axes))
    place = list(order).index(axis)
    outer, inner = (math.prod(x.shape[a] for a in part) for part in (order[:place], order[place + 1:]))
    tensor = emitter.arranged(x, order, (outer, x.shape[axis], inner))
    output = emitter.add("pad", tensor, padding=(0, 0, before, after), value=fill)
    shape = tuple(size + before + after if a == axis else size for a, size in enumerate(x.shape))
    return Value(output, row_major(shape, order))


def softmax(call: Call) -> Value:
    """Over one axis, or before operator set 13 over all from an axis on."""
    x = call.value(0)
    rank = len(x.axes)
    old = call.node.opset < 13
    axis = axis_of(call.node.integer("axis", 1 if old else -1), rank)
    inside = list(range(axis, rank)) if old else [axis]
    order = [*(a for a in range(rank) if a not in inside), *inside]
    depth = math.prod(x.shape[a] for a in inside)
    rows = x.size // depth
    tensor = call.emitter.arranged(x, order, (depth,) if rows == 1 else (rows, depth))
    return Value(call.emitter.add("softmax", tensor), row_major(x.shape, order))


# ---- resizing

def resize(call: Call) -> Value:
    """Nearest-neighbour resizing of images where it picks the pixels that integer arithmetic picks."""
    x = call.value(0)
    rank = len(x.axes)
    if rank not in (3, 4):
        raise ModelError(f"resizes a tensor {list(x.shape)}; images [1, c, h, w] and [1, c, l] are supported")
    sizes, scales = _wanted(call, x)
    if sizes == x.shape:
        return x
    mode = call.node.text("mode", "nearest")
    if mode != "nearest":
        raise ModelError(f"has mode '{mode}'; only 'nearest' is supported, as int8 arithmetic does not define the others exactly",
                         "resize with mode='nearest' in the model, or end the graph before it with --outputs")
    if sizes[:2] != x.shape[:2]:
        raise ModelError(f"resizes {list(x.shape)} to {list(sizes)}; only the spatial axes can change")
    tensor = call.emitter.image(x, "resizing")
    for have, want, scale in zip(x.shape[2:], sizes[2:], scales[2:], strict=True):
        if max(have, want) > MAX_STEP:
            raise ModelError(f"resizes {have} places to {want}; at most {MAX_STEP} are supported")
        if not np.array_equal(_sources(call, have, want, scale), np.arange(want) * have // want):
            raise ModelError(f"picks other pixels from {have} to {want} than integer arithmetic does; use whole factors, "
                             "coordinate_transformation_mode='asymmetric' and nearest_mode='floor'")
    output = call.emitter.add("resize_nearest", tensor, size=pair(sizes[2:]))
    return call.emitter.image_value(output, rank)


def _wanted(call: Call, x: Value) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(sizes, scales) of all axes."""
    upsample = call.node.operator == "Upsample" or (call.node.opset < 11)
    scale_index = 1 if upsample else 2
    rank = len(x.axes)
    axes = call.node.optional_integers("axes")
    if axes is not None and axes_of(axes, rank) != tuple(range(rank)):
        raise ModelError("resizes only some axes by name; give sizes or scales for all of them")
    if call.node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise ModelError("keeps the aspect ratio, which is not supported")
    if not upsample and call.has(3):
        sizes = call.numbers(3, "sizes")
        if len(sizes) != rank or min(sizes) < 1:
            raise ModelError(f"resizes {list(x.shape)} to sizes {list(sizes)}, which do not fit")
        return sizes, tuple(want / have for want, have in zip(sizes, x.shape, strict=True))
    factors = call.array(scale_index, "scales") if call.has(scale_index) else np.zeros(0)
    if factors.dtype.kind != "f" or factors.shape != (rank,) or not (np.isfinite(factors).all() and (factors > 0).all()):
        raise ModelError("has scales that are not one positive number an axis")
    scales = tuple(float(factor) for factor in factors)
    if any(size * scale > 2 * MAX_STEP and scale != 1.0 for size, scale in zip(x.shape, scales, strict=True)):
        raise ModelError(f"resizes {list(x.shape)} by {list(scales)}, which is too large")
    sizes = tuple(math.floor(size * scale) for size, scale in zip(x.shape, scales, strict=True))
    if min(sizes) < 1:
        raise ModelError(f"resizes {list(x.shape)} by {list(scales)}, which leaves nothing")
    return sizes, scales


ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}


def _sources(call: Call, have: int, want: int, scale: float) -> np.ndarray:
    """Place that each output place is taken from, by the node's own rules."""
    places, ratio = np.arange(want, dtype=np.float64), 1.0 / scale
    old = call.node.operator == "Upsample" or call.node.opset < 11
    transformation = "asymmetric" if old else call.node.text("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else call.node.text("nearest_mode", "round_prefer_floor")
    if transformation == "asymmetric":
        exact = places * ratio
    elif transformation in ("half_pixel", "pytorch_half_pixel"):
        exact = places * 0.0 if want == 1 and transformation == "pytorch_half_pixel" else (places + 0.5) * ratio - 0.5
    elif transformation == "align_corners":
        exact = places * ((have - 1) / (want - 1)) if want > 1 else places * 0.0
    else:
        raise ModelError(f"has coordinate_transformation_mode '{transformation}'; supported: asymmetric, half_pixel, pytorch_half_pixel, "
                         "align_corners")
    if rounding not in ROUNDINGS:
        raise ModelError(f"has nearest_mode '{rounding}'; supported: {', '.join(ROUNDINGS)}")
    clipped: np.ndarray = np.clip(ROUNDINGS[rounding](exact), 0, have - 1).astype(np.int64)
    return clipped
