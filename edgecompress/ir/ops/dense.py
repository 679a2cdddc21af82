"""Fully connected layer over a flat input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_activation_range, check_zero_point, frozen_array, rescale_to_int8
from edgecompress.ir.ops.conv2d import check_accumulator, check_bias, exact_float
from edgecompress.ir.packing import check_weight_range, packed_row_bytes
from edgecompress.ir.requant import Requant


@dataclass(frozen=True, eq=False)
class Dense(Op):
    """y = clamp(requant(bias + W (x - input_zero_point)) + output_zero_point); `weights` int8 [out, in]."""

    kind = "dense"
    weights: np.ndarray
    bias: np.ndarray
    requant: Requant
    input_zero_point: int
    output_zero_point: int
    activation_min: int = -128
    activation_max: int = 127
    weight_bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", frozen_array(self.weights, np.int8))
        object.__setattr__(self, "bias", frozen_array(self.bias, np.int32))
        if self.weights.ndim != 2 or self.weights.size == 0:
            raise ModelError(f"weights must be [out, in], got shape {self.weights.shape}")
        check_weight_range(self.weights, self.weight_bits)
        check_bias(self.bias, self.weights.shape[0], self.requant)
        check_accumulator(self.weights, self.bias)
        check_zero_point(self.input_zero_point)
        check_zero_point(self.output_zero_point)
        check_activation_range(self.activation_min, self.activation_max)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if shapes[0] != (self.weights.shape[1],):
            raise ModelError(f"needs an input of shape ({self.weights.shape[1]},), got {shapes[0]}; put a reshape before it")
        return (self.weights.shape[0],)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        real = exact_float(self.weights)
        accumulator = ((x.astype(real) - self.input_zero_point) @ self.weights.T.astype(real)).astype(np.int32)
        accumulator += self.bias
        return rescale_to_int8(accumulator, self.requant, self.output_zero_point, self.activation_min, self.activation_max)

    def macs(self, *shapes: Shape) -> int:
        return int(self.weights.size)

    @property
    def parameters(self) -> int:
        return int(self.weights.size + self.bias.size)

    @property
    def constant_bytes(self) -> int:
        rows, length = self.weights.shape
        return int(rows) * (packed_row_bytes(length, self.weight_bits) + 9)
