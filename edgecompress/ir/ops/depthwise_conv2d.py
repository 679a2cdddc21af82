"""Depthwise convolution: each input channel has its own filters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_activation_range, check_zero_point, frozen_array, image_shape, rescale_to_int8
from edgecompress.ir.ops.conv2d import check_accumulator, check_bias
from edgecompress.ir.packing import check_weight_range, packed_row_bytes
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import Padding, Pair, check_window, output_size, patches


@dataclass(frozen=True, eq=False)
class DepthwiseConv2D(Op):
    """As Conv2D, but output channel c reads only input channel c // depth_multiplier.

    `weights` int8 [kernel_h, kernel_w, out_channels]; out_channels = in_channels * depth_multiplier.
    """

    kind = "depthwise_conv2d"
    weights: np.ndarray
    bias: np.ndarray
    requant: Requant
    input_zero_point: int
    output_zero_point: int
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    activation_min: int = -128
    activation_max: int = 127
    weight_bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", frozen_array(self.weights, np.int8))
        object.__setattr__(self, "bias", frozen_array(self.bias, np.int32))
        if self.weights.ndim != 3 or self.weights.size == 0:
            raise ModelError(f"weights must be [height, width, channels], got shape {self.weights.shape}")
        check_window(self.kernel, self.stride, self.padding, self.dilation)
        check_weight_range(self.weights, self.weight_bits)
        check_bias(self.bias, self.weights.shape[2], self.requant)
        check_accumulator(self.weights.reshape(-1, self.weights.shape[2]).T, self.bias)
        check_zero_point(self.input_zero_point)
        check_zero_point(self.output_zero_point)
        check_activation_range(self.activation_min, self.activation_max)

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
        multiplier = self.weights.shape[2] // x.shape[3]
        shifted = x.astype(np.int32) - self.input_zero_point
        windows = patches(np.repeat(shifted, multiplier, axis=3) if multiplier > 1 else shifted, self.kernel, self.stride, self.padding,
                          self.dilation, fill=0)
        weights = self.weights.astype(np.int32)
        accumulator = np.empty((*windows.shape[:3], self.weights.shape[2]), dtype=np.int32)
        accumulator[...] = self.bias
        product = np.empty_like(accumulator)
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                accumulator += np.multiply(windows[:, :, :, row, column, :], weights[row, column], out=product)
        return rescale_to_int8(accumulator, self.requant, self.output_zero_point, self.activation_min, self.activation_max)

    def macs(self, *shapes: Shape) -> int:
        height, width, _ = self.infer_shape(*shapes)
        return height * width * int(self.weights.size)

    @property
    def parameters(self) -> int:
        return int(self.weights.size + self.bias.size)

    @property
    def constant_bytes(self) -> int:
        taps, channels = self.kernel[0] * self.kernel[1], int(self.weights.shape[2])
        return taps * packed_row_bytes(channels, self.weight_bits) + 9 * channels
