"""Change of scale and zero point (TFLite's int8 QUANTIZE)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_activation_range, check_zero_point, rescale_to_int8
from edgecompress.ir.requant import Requant


def rescale(x: np.ndarray, requant: Requant, input_zero_point: int, output_zero_point: int, low: int = -128, high: int = 127) -> np.ndarray:
    """int8 of one scale to int8 of another, clamped; one look-up, as there are only 256 values."""
    values = np.arange(-128, 128, dtype=np.int64) - input_zero_point
    return rescale_to_int8(values, requant, output_zero_point, low, high)[x.astype(np.int16) + 128]


@dataclass(frozen=True, eq=False)
class Requantize(Op):
    """y = clamp(requant(x - input_zero_point) + output_zero_point)."""

    kind = "requantize"
    requant: Requant
    input_zero_point: int
    output_zero_point: int
    activation_min: int = -128
    activation_max: int = 127

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.requant.multiplier) != 1:
            raise ModelError("a requantization has one rescaling factor")
        check_zero_point(self.input_zero_point)
        check_zero_point(self.output_zero_point)
        check_activation_range(self.activation_min, self.activation_max)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        return shapes[0]

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        return rescale(x, self.requant, self.input_zero_point, self.output_zero_point, self.activation_min, self.activation_max)
