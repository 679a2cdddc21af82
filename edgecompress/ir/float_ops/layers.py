"""Float32 layers with weights. Sums begin with the bias and go through kernel rows, kernel columns, input channels in order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, frozen_array, image_shape
from edgecompress.ir.window import Padding, Pair, check_window, output_size

LARGEST = np.finfo(np.float32).max


def frozen_floats(values: np.ndarray) -> np.ndarray:
    """A read-only float32 copy. Raises ModelError for values that float32 does not hold, NaN and infinity, which C cannot write, among them."""
    array = frozen_array(values, np.float32)
    if not np.isfinite(array).all():
        raise ModelError("constants must be finite numbers")
    return array


def frozen_bounds(values: np.ndarray) -> np.ndarray:
    """(low, high) of a fused activation, float32 [2], low <= high; infinite ones become the largest finite numbers, which C can write."""
    bounds = np.clip(np.array(values, dtype=np.float32), -LARGEST, LARGEST)
    if bounds.shape != (2,) or not bounds[0] <= bounds[1]:
        raise ModelError(f"an activation has two bounds, the lower one first, got {str(values)[:60]}")
    bounds.setflags(write=False)
    return bounds


def unbounded() -> np.ndarray:
    """The bounds of no activation."""
    return np.array([-LARGEST, LARGEST], np.float32)


def clamp(x: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """x moved into the bounds; NaN becomes the lower one, as `x > low ? x : low` in C."""
    low, high = bounds
    x = np.where(x > low, x, low)
    result: np.ndarray = np.where(x < high, x, high)
    return result


def _taps(x: np.ndarray, row: int, column: int, out: Pair, stride: Pair, dilation: Pair, padding: Padding) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The part of x under tap (row, column) of all windows that it is inside, and which windows these are."""
    places, parts = [], []
    for axis, tap in enumerate((row, column)):
        offset = tap * dilation[axis] - padding[2 * axis]
        first = max(0, -(offset // stride[axis]) if offset < 0 else 0)
        end = min(out[axis], (x.shape[1 + axis] - 1 - offset) // stride[axis] + 1)
        end = max(end, first)
        places.append(slice(first, end))
        start = first * stride[axis] + offset
        parts.append(slice(start, start + (end - first - 1) * stride[axis] + 1 if end > first else start, stride[axis]))
    return x[:, parts[0], parts[1]], (places[0], places[1])


@dataclass(frozen=True, eq=False)
class _Windowed(Op):
    """What both convolutions share."""

    weights: np.ndarray
    bias: np.ndarray
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    bounds: np.ndarray = field(default_factory=unbounded)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weights", "bias"):
            object.__setattr__(self, name, frozen_floats(getattr(self, name)))
        object.__setattr__(self, "bounds", frozen_bounds(self.bounds))

    @property
    def parameters(self) -> int:
        return int(self.weights.size + self.bias.size)

    @property
    def constant_bytes(self) -> int:
        return 4 * self.parameters


@dataclass(frozen=True, eq=False)
class FloatConv2D(_Windowed):
    """`weights` float32 [out, kernel_h, kernel_w, in / groups], `bias` float32 [out]."""

    kind = "float_conv2d"
    dtypes = ("float32",)
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights.ndim != 4 or self.weights.size == 0 or self.bias.shape != self.weights.shape[:1]:
            raise ModelError(f"weights must be [out, height, width, in] beside a bias [out], got {self.weights.shape} and {self.bias.shape}")
        if self.groups < 1 or len(self.weights) % self.groups:
            raise ModelError(f"{len(self.weights)} output channels cannot be split into {self.groups} groups")
        check_window(self.kernel, self.stride, self.padding, self.dilation)

    @property
    def kernel(self) -> Pair:
        """(height, width) of the window."""
        return self.weights.shape[1], self.weights.shape[2]

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        if channels != self.weights.shape[3] * self.groups:
            raise ModelError(f"input has {channels} channels, the weights want {self.weights.shape[3] * self.groups}")
        return (*output_size((height, width), self.kernel, self.stride, self.padding, self.dilation), len(self.weights))

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        out = self.infer_shape(x.shape[1:])
        total = np.broadcast_to(self.bias, (len(x), *out)).copy()
        outs, ins = len(self.weights) // self.groups, self.weights.shape[3]
        for row, column, channel in np.ndindex(*self.kernel, ins):
            part, (rows, columns) = _taps(x, row, column, (out[0], out[1]), self.stride, self.dilation, self.padding)
            for group in range(self.groups):
                own = slice(group * outs, (group + 1) * outs)
                total[:, rows, columns, own] += part[..., group * ins + channel, None] * self.weights[own, row, column, channel]
        return clamp(total, self.bounds)

    def macs(self, *shapes: Shape) -> int:
        height, width, _ = self.infer_shape(*shapes)
        return height * width * int(self.weights.size)


@dataclass(frozen=True, eq=False)
class FloatDepthwiseConv2D(_Windowed):
    """`weights` float32 [kernel_h, kernel_w, out], out a multiple of the input's channels."""

    kind = "float_depthwise_conv2d"
    dtypes = ("float32",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights.ndim != 3 or self.weights.size == 0 or self.bias.shape != self.weights.shape[2:]:
            raise ModelError(f"weights must be [height, width, channels] beside a bias [channels], got {self.weights.shape} and {self.bias.shape}")
        check_window(self.kernel, self.stride, self.padding, self.dilation)

    @property
    def kernel(self) -> Pair:
        """(height, width) of the window."""
        return self.weights.shape[0], self.weights.shape[1]

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        if self.weights.shape[2] % channels:
            raise ModelError(f"{self.weights.shape[2]} output channels are not a multiple of the input's {channels}")
        return (*output_size((height, width), self.kernel, self.stride, self.padding, self.dilation), self.weights.shape[2])

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        out = self.infer_shape(x.shape[1:])
        wide = np.repeat(x, self.weights.shape[2] // x.shape[3], axis=3)
        total = np.broadcast_to(self.bias, (len(x), *out)).copy()
        for row, column in np.ndindex(*self.kernel):
            part, (rows, columns) = _taps(wide, row, column, (out[0], out[1]), self.stride, self.dilation, self.padding)
            total[:, rows, columns] += part * self.weights[row, column]
        return clamp(total, self.bounds)

    def macs(self, *shapes: Shape) -> int:
        height, width, _ = self.infer_shape(*shapes)
        return height * width * int(self.weights.size)


@dataclass(frozen=True, eq=False)
class FloatDense(Op):
    """y = clamp(bias + W x); `weights` float32 [out, in]."""

    kind = "float_dense"
    dtypes = ("float32",)
    weights: np.ndarray
    bias: np.ndarray
    bounds: np.ndarray = field(default_factory=unbounded)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weights", "bias"):
            object.__setattr__(self, name, frozen_floats(getattr(self, name)))
        object.__setattr__(self, "bounds", frozen_bounds(self.bounds))
        if self.weights.ndim != 2 or self.weights.size == 0 or self.bias.shape != self.weights.shape[:1]:
            raise ModelError(f"weights must be [out, in] beside a bias [out], got {self.weights.shape} and {self.bias.shape}")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if shapes[0] != self.weights.shape[1:]:
            raise ModelError(f"needs an input of shape ({self.weights.shape[1]},), got {shapes[0]}; put a reshape before it")
        return (len(self.weights),)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        total = np.broadcast_to(self.bias, (len(x), len(self.bias))).copy()
        for index in range(self.weights.shape[1]):
            total += x[:, index, None] * self.weights[:, index]
        return clamp(total, self.bounds)

    def macs(self, *shapes: Shape) -> int:
        return int(self.weights.size)

    @property
    def parameters(self) -> int:
        return int(self.weights.size + self.bias.size)

    @property
    def constant_bytes(self) -> int:
        return 4 * self.parameters
