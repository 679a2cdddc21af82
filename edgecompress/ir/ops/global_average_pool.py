"""Mean over height and width with a change of scale (TFLite's MEAN over axes 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_activation_range, check_zero_point, image_shape, rescale_to_int8
from edgecompress.ir.requant import Requant, quantize_multiplier


def fold_count(real: float, count: int) -> Requant:
    """Rescaling of a sum of `count` elements by real / count, in integers as tflite-micro folds the division into MEAN's multiplier.

    The quotient may be below 2^30. It stays so: doubling it and shifting once more would round differently.
    Raises ModelError unless `count` is at least 1 and the factor can be held.
    """
    if count < 1:
        raise ModelError(f"a mean needs at least one element, got {count}")
    multiplier, shift = quantize_multiplier(real)
    up = min(count.bit_length() - 1, 32, 31 + shift)
    return Requant(((multiplier << up) // count,), (shift - up,))


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Op):
    """y = clamp(requant(sum (x - input_zero_point)) + output_zero_point), shape (1, 1, channels); requant holds the 1 / count."""

    kind = "global_average_pool"
    requant: Requant
    input_zero_point: int
    output_zero_point: int
    activation_min: int = -128
    activation_max: int = 127

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.requant.multiplier) != 1:
            raise ModelError("a global average has one rescaling factor")
        check_zero_point(self.input_zero_point)
        check_zero_point(self.output_zero_point)
        check_activation_range(self.activation_min, self.activation_max)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        if height * width > 2**23:
            raise ModelError(f"a mean over {height * width} elements can overflow its int32 accumulator")
        return 1, 1, channels

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        total = x.sum(axis=(1, 2), keepdims=True, dtype=np.int32) - x.shape[1] * x.shape[2] * self.input_zero_point
        return rescale_to_int8(total, self.requant, self.output_zero_point, self.activation_min, self.activation_max)
