"""How torch's pooling, padding, joining and viewing map to FloatGraph nodes. Views only move indices; nodes appear when they are needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.torch_layers import Sizes, spatial, symmetric_padding
from edgecompress.frontend.torch_values import BatchSize, Emitter, Value, ordered, viewed


def _image_value(emitter: Emitter, tensor: str, x: Value) -> Value:
    height, width, channels = emitter.builder.shapes[tensor]
    return Value(tensor, (channels, width) if len(x.shape) == 2 else (channels, height, width))


def _image_size(x: Value) -> tuple[int, int]:
    return (1, x.shape[1]) if len(x.shape) == 2 else (x.shape[1], x.shape[2])


def _check_ceil(ceil_mode: bool, x: Value, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int]) -> None:
    rooms = (size + 2 * pad - k for size, pad, k in zip(_image_size(x), padding[::2], kernel, strict=True))
    if ceil_mode and any(room % s for room, s in zip(rooms, stride, strict=True)):
        raise ModelError("ceil_mode=True makes windows that hang over the edge, which is not supported; pad instead")


def max_pool(emitter: Emitter, x: Value, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Value:
    """max_pool1d and max_pool2d."""
    tensor = emitter.image(x, "max pooling")
    if spatial(dilation, x) != (1, 1) or return_indices:
        raise ModelError("max pooling with dilation or return_indices is not supported")
    kernel, strides, pad = spatial(kernel_size, x), spatial(stride or kernel_size, x), symmetric_padding(padding, x)
    _check_ceil(ceil_mode, x, kernel, strides, pad)
    return _image_value(emitter, emitter.add("max_pool2d", tensor, kernel=kernel, stride=strides, padding=pad), x)


def average_pool(emitter: Emitter, x: Value, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, divisor_override: int | None = None) -> Value:
    """avg_pool1d and avg_pool2d; padding that counts becomes a pad node."""
    tensor = emitter.image(x, "average pooling")
    if divisor_override is not None:
        raise ModelError("average pooling with divisor_override is not supported")
    kernel, strides, pad = spatial(kernel_size, x), spatial(stride or kernel_size, x), symmetric_padding(padding, x)
    _check_ceil(ceil_mode, x, kernel, strides, pad)
    if any(pad) and count_include_pad:
        tensor, pad = emitter.add("pad", tensor, suffix="_pad", padding=pad, value=0.0), (0, 0, 0, 0)
    return _image_value(emitter, emitter.add("average_pool2d", tensor, kernel=kernel, stride=strides, padding=pad), x)


def adaptive_average_pool(emitter: Emitter, x: Value, output_size: Any) -> Value:
    """To one value a channel, or to sizes that divide the input's."""
    tensor = emitter.image(x, "adaptive pooling")
    sizes = [output_size] * (len(x.shape) - 1) if output_size is None or isinstance(output_size, int) else list(output_size)
    wanted = tuple(x.shape[axis + 1] if size is None else int(size) for axis, size in enumerate(sizes))
    if any(have % want for have, want in zip(x.shape[1:], wanted, strict=True)):
        raise ModelError(f"adaptive pooling from {x.shape[1:]} to {wanted} needs windows of different sizes; "
                         "supported: 1, or a divisor of the input's size")
    if math.prod(wanted) == 1:
        return _image_value(emitter, emitter.add("global_average_pool", tensor), x)
    kernel = spatial([have // want for have, want in zip(x.shape[1:], wanted, strict=True)], x)
    return _image_value(emitter, emitter.add("average_pool2d", tensor, kernel=kernel, stride=kernel, padding=(0, 0, 0, 0)), x)


def mean(emitter: Emitter, x: Value, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    """Mean over one or both spatial axes."""
    if dim is None or dtype is not None:
        raise ModelError("a mean over everything, or with a dtype, is not supported; name spatial dims")
    axes = sorted({_axis(d, x) for d in ([dim] if isinstance(dim, int) else dim)})
    tensor = emitter.image(x, "a mean")
    if 0 in axes:
        raise ModelError("a mean over channels is not supported; only over spatial dims")
    if len(axes) == len(x.shape) - 1:
        output = emitter.add("global_average_pool", tensor)
    else:
        kernel = (x.shape[1], 1) if axes == [1] else (1, x.shape[2])
        output = emitter.add("average_pool2d", tensor, kernel=kernel, stride=kernel, padding=(0, 0, 0, 0))
    kept = Value(output, tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)))
    return kept if keepdim else _drop_axes(kept, axes)


def pad(emitter: Emitter, x: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    """Constant padding of the spatial axes."""
    if mode != "constant":
        raise ModelError(f"padding mode '{mode}' is not supported; supported: 'constant'")
    amounts = [int(v) for v in pad] + [0] * (4 - len(pad))
    if any(amounts[2 * (len(x.shape) - 1):]):
        raise ModelError("only the spatial dims can be padded")
    tensor = emitter.image(x, "padding")
    left, right, top, bottom = amounts[:4]
    return _image_value(emitter, emitter.add("pad", tensor, padding=(top, bottom, left, right), value=float(value or 0.0)), x)


def concatenate(emitter: Emitter, tensors: Sequence[Value], dim: int = 0, axis: int | None = None) -> Value:
    """torch.cat along any axis but the batch."""
    if not all(isinstance(value, Value) for value in tensors):
        raise ModelError("a concatenation with a constant is not supported")
    first = tensors[0]
    torch_axis = _axis(dim if axis is None else axis, first)
    graph_axis = {1: (0,), 2: (2, 1), 3: (2, 0, 1)}[len(first.shape)][torch_axis] if len(first.shape) <= 3 else 0
    output = emitter.add("concat", *(emitter.canonical(value) for value in tensors), axis=graph_axis)
    joined = sum(value.shape[torch_axis] for value in tensors)
    return Value(output, (*first.shape[:torch_axis], joined, *first.shape[torch_axis + 1:]))


def interpolate(emitter: Emitter, x: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None,
                recompute_scale_factor: Any = None, antialias: bool = False) -> Value:
    """Nearest-neighbour resizing."""
    if mode != "nearest":
        raise ModelError(f"interpolation mode '{mode}' is not supported; supported: 'nearest'")
    tensor, have = emitter.image(x, "interpolation"), _image_size(x)
    if size is not None:
        wanted = spatial(size, x)
        ratios: Sequence[float] = [inside / out for inside, out in zip(have, wanted, strict=True)]
    else:
        factors = [float(f) for f in (scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * 2)]
        factors = [1.0, factors[0]] if len(x.shape) == 2 else factors
        wanted = (int(have[0] * factors[0]), int(have[1] * factors[1]))
        ratios = [1.0 / factor for factor in factors]
    for inside, out, ratio in zip(have, wanted, ratios, strict=True):
        torch_index = np.minimum(np.floor(np.arange(out, dtype=np.float32) * np.float32(ratio)).astype(np.int64), inside - 1)
        if not np.array_equal(torch_index, np.arange(out) * inside // out):
            raise ModelError(f"resizing from {have} to {wanted} picks other pixels than integer arithmetic does; use whole factors")
    return _image_value(emitter, emitter.add("resize_nearest", tensor, size=wanted), x)


def softmax(emitter: Emitter, x: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
    """Softmax over any axis but the batch; it becomes the innermost one, the others keep their order in memory where they can."""
    if dtype is not None:
        raise ModelError("a softmax with a dtype is not supported")
    axis = _axis(1 if dim is None else dim, x)
    others = [other for other in range(len(x.shape)) if other != axis]
    order = next((found for rest in permutations(others) if x.is_ordered(found := (*rest, axis))), (*others, axis))
    return ordered(emitter.add("softmax", emitter.arranged(x, order)), x.shape, order)


def _axis(dim: int, x: Value, extra: int = 0) -> int:
    rank = len(x.shape) + 1 + extra
    if not -rank <= dim < rank:
        raise ModelError(f"dim {dim} is outside a tensor of {rank} dims")
    axis = dim % rank - 1
    if axis < 0:
        raise ModelError("the batch dim can not be changed or moved")
    return axis


def _drop_axes(x: Value, axes: Sequence[int]) -> Value:
    return viewed(x, tuple(size for axis, size in enumerate(x.shape) if axis not in axes), x.indices())


def flatten(emitter: Emitter, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """torch.flatten without the batch."""
    start, end = _axis(start_dim, x), _axis(end_dim, x)
    return viewed(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1:]), x.indices())


def unflatten(emitter: Emitter, x: Value, dim: int, sizes: Sequence[int]) -> Value:
    """Splits one axis."""
    axis = _axis(dim, x)
    return reshape(emitter, x, (-1, *x.shape[:axis], *sizes, *x.shape[axis + 1:]))


def reshape(emitter: Emitter, x: Value, *shape: Any) -> Value:
    """view and reshape; the batch stays the first size."""
    first, *sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    size = math.prod(x.shape)
    known = math.prod(v for v in sizes if v != -1)
    if sizes.count(-1) == 1 and known and size % known == 0:
        sizes = [size // known if v == -1 else v for v in sizes]
    if not (isinstance(first, BatchSize) or first == -1) or math.prod(sizes) != size or -1 in sizes:
        raise ModelError(f"cannot view [n, {', '.join(map(str, x.shape))}] as {(first, *sizes)}; "
                         "the first size must be x.size(0) or -1, the batch stays")
    return viewed(x, tuple(int(v) for v in sizes), x.indices())


def permute(emitter: Emitter, x: Value, *dims: Any) -> Value:
    """Order of axes."""
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    if order[0] != 0 or len(order) != len(x.shape) + 1:
        raise ModelError("the batch dim can not be moved")
    index = x.indices().transpose([_axis(d, x) for d in order[1:]])
    return viewed(x, index.shape, index)


def transpose(emitter: Emitter, x: Value, dim0: int, dim1: int) -> Value:
    """Swaps two axes."""
    index = x.indices().swapaxes(_axis(dim0, x), _axis(dim1, x))
    return viewed(x, index.shape, index)


def squeeze(emitter: Emitter, x: Value, dim: Any = None) -> Value:
    """Drops axes of size 1."""
    if dim is None:
        raise ModelError("squeeze() without a dim also drops a batch of one; name the dim")
    axes = [_axis(d, x) for d in ([dim] if isinstance(dim, int) else dim)]
    return _drop_axes(x, [axis for axis in axes if x.shape[axis] == 1])


def unsqueeze(emitter: Emitter, x: Value, dim: int) -> Value:
    """Adds an axis of size 1."""
    axis = _axis(dim, x, extra=1)
    return viewed(x, (*x.shape[:axis], 1, *x.shape[axis:]), x.indices())


def get_item(emitter: Emitter, x: Value, key: Any) -> Value:
    """Indexing that only drops or adds axes of size 1."""
    keys = list(key) if isinstance(key, tuple) else [key]
    used = sum(k is not None and k is not Ellipsis for k in keys)
    fill = [slice(None)] * (len(x.shape) + 1 - used)
    at = next((position for position, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys = [*keys[:at], *fill, *keys[at + 1:]]
    if keys[0] != slice(None):
        raise ModelError("the batch can not be indexed")
    index, axis = x.indices(), 0
    for k in keys[1:]:
        if k is None:
            index, axis = np.expand_dims(index, axis), axis + 1
        elif isinstance(k, int) and index.shape[axis] == 1 and k in (0, -1):
            index = index.squeeze(axis)
        elif k == slice(None):
            axis += 1
        else:
            raise ModelError(f"indexing with {key} takes a part of the tensor; only full slices, None, and 0 on an axis of size 1 are supported")
    return viewed(x, index.shape, index)


def size(emitter: Emitter, x: Value, dim: int | None = None) -> Any:
    """x.size() and x.shape."""
    sizes = (BatchSize(1), *x.shape)
    return sizes if dim is None else sizes[dim]


def attribute(emitter: Emitter, x: Value, name: str) -> Any:
    """x.shape and x.ndim."""
    if name not in ("shape", "ndim"):
        raise ModelError(f"tensor attribute .{name} is not supported; supported: .shape, .ndim")
    return size(emitter, x) if name == "shape" else len(x.shape) + 1
