"""Element-wise product; the second operand may be one value a channel (squeeze-and-excite)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_activation_range, check_zero_point, rescale_to_int8
from edgecompress.ir.requant import Requant


@dataclass(frozen=True, eq=False)
class Mul(Op):
    """y = clamp(requant((a - za) * (b - zb)) + zo). b has a's shape, or (1, 1, channels) beside an image."""

    kind = "mul"
    arity = 2
    requant: Requant
    left_zero_point: int
    right_zero_point: int
    output_zero_point: int
    activation_min: int = -128
    activation_max: int = 127

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.requant.multiplier) != 1:
            raise ModelError("a product has one rescaling factor")
        for value in (self.left_zero_point, self.right_zero_point, self.output_zero_point):
            check_zero_point(value)
        check_activation_range(self.activation_min, self.activation_max)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        left, right = shapes
        if left != right and not (len(left) == 3 and right == (1, 1, left[2])):
            raise ModelError(f"inputs of shapes {left} and {right} cannot be multiplied; allowed: equal shapes, or (1, 1, channels) second")
        return left

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        a, b = (x.astype(np.int32) for x in inputs)
        product = (a - self.left_zero_point) * (b - self.right_zero_point)
        return rescale_to_int8(product, self.requant, self.output_zero_point, self.activation_min, self.activation_max)
