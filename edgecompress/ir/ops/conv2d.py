"""2-D convolution with groups, stride, dilation and explicit padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_activation_range, check_zero_point, frozen_array, image_shape, rescale_to_int8
from edgecompress.ir.packing import check_weight_range, packed_row_bytes
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import Padding, Pair, check_window, output_size, patches


def check_accumulator(weights: np.ndarray, bias: np.ndarray) -> None:
    """Raises ModelError if an int32 accumulator could overflow; `weights` is [channels, taps], inputs span at most 255."""
    worst = 255 * np.abs(weights.astype(np.int16)).sum(axis=1, dtype=np.int64) + np.abs(bias.astype(np.int64))
    if (worst >= 2**31).any():
        raise ModelError(f"output channel {int(worst.argmax())} can overflow its int32 accumulator")


def exact_float(weights: np.ndarray) -> type[np.float32] | type[np.float64]:
    """The narrowest float in which a matrix product with int8 inputs is exact in any order; `weights` is [channels, taps].

    Every partial sum is an integer of at most 255 * sum |w|; float32 holds integers to 2^24, float64 all that int32 does.
    """
    worst = 255 * int(np.abs(weights.astype(np.int16)).sum(axis=1, dtype=np.int64).max())
    return np.float32 if worst <= 2**24 else np.float64


def check_bias(bias: np.ndarray, channels: int, requant: Requant) -> None:
    """Raises ModelError unless bias and rescaling have one entry a channel (rescaling may have one for all)."""
    if bias.shape != (channels,):
        raise ModelError(f"bias has shape {bias.shape}, the weights have {channels} output channels")
    if len(requant.multiplier) not in (1, channels):
        raise ModelError(f"{len(requant.multiplier)} rescaling factors for {channels} output channels")


@dataclass(frozen=True, eq=False)
class Conv2D(Op):
    """acc = bias + sum (x - input_zero_point) * w; y = clamp(requant(acc) + output_zero_point).

    `weights` int8 [out_channels, kernel_h, kernel_w, in_channels / groups], `bias` int32 [out_channels],
    `padding` (top, bottom, left, right) in real zeros, `weight_bits` 8, 4 or 2 (ternary) is the storage width.
    """

    kind = "conv2d"
    weights: np.ndarray
    bias: np.ndarray
    requant: Requant
    input_zero_point: int
    output_zero_point: int
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    activation_min: int = -128
    activation_max: int = 127
    weight_bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", frozen_array(self.weights, np.int8))
        object.__setattr__(self, "bias", frozen_array(self.bias, np.int32))
        if self.weights.ndim != 4 or self.weights.size == 0:
            raise ModelError(f"weights must be [out, height, width, in], got shape {self.weights.shape}")
        check_window(self.kernel, self.stride, self.padding, self.dilation)
        if self.groups < 1 or self.weights.shape[0] % self.groups:
            raise ModelError(f"{self.weights.shape[0]} output channels cannot be split into {self.groups} groups")
        check_weight_range(self.weights, self.weight_bits)
        check_bias(self.bias, self.weights.shape[0], self.requant)
        check_accumulator(self.weights.reshape(self.weights.shape[0], -1), self.bias)
        check_zero_point(self.input_zero_point)
        check_zero_point(self.output_zero_point)
        check_activation_range(self.activation_min, self.activation_max)

    @property
    def kernel(self) -> Pair:
        """(height, width) of the window."""
        return self.weights.shape[1], self.weights.shape[2]

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        if channels != self.weights.shape[3] * self.groups:
            raise ModelError(f"input has {channels} channels, the weights want {self.weights.shape[3] * self.groups}")
        return (*output_size((height, width), self.kernel, self.stride, self.padding, self.dilation), self.weights.shape[0])

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        matrix = self.weights.reshape(self.weights.shape[0], -1)
        real = exact_float(matrix)  # the fast matrix product of floats is then the integer one
        windows = patches(x.astype(real) - self.input_zero_point, self.kernel, self.stride, self.padding, self.dilation, fill=0)
        out_channels, in_channels = self.weights.shape[0] // self.groups, self.weights.shape[3]
        accumulator = np.empty((*windows.shape[:3], self.weights.shape[0]), dtype=np.int32)
        for group in range(self.groups):
            columns = windows[..., group * in_channels : (group + 1) * in_channels].reshape(-1, matrix.shape[1])
            rows = slice(group * out_channels, (group + 1) * out_channels)
            accumulator[..., rows] = (columns @ matrix[rows].T.astype(real)).reshape(*windows.shape[:3], out_channels)
        accumulator += self.bias
        return rescale_to_int8(accumulator, self.requant, self.output_zero_point, self.activation_min, self.activation_max)

    def macs(self, *shapes: Shape) -> int:
        height, width, _ = self.infer_shape(*shapes)
        return height * width * int(self.weights.size)

    @property
    def parameters(self) -> int:
        return int(self.weights.size + self.bias.size)

    @property
    def constant_bytes(self) -> int:
        rows = int(self.weights.shape[0])
        return rows * (packed_row_bytes(self.weights.size // rows, self.weight_bits) + 4) + 5 * rows
