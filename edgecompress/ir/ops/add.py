"""Element-wise sum of two tensors of one shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_activation_range, check_zero_point, rescale_to_int8
from edgecompress.ir.requant import Requant

LEFT_SHIFT = 20  # TFLite's int8 ADD: inputs are moved up by 2^20 before they are brought to a common scale


@dataclass(frozen=True, eq=False)
class Add(Op):
    """y = clamp(out(left((a - za) << 20) + right((b - zb) << 20)) + zo), each bracket one rescaling."""

    kind = "add"
    arity = 2
    left: Requant
    right: Requant
    out: Requant
    left_zero_point: int
    right_zero_point: int
    output_zero_point: int
    activation_min: int = -128
    activation_max: int = 127

    def __post_init__(self) -> None:
        super().__post_init__()
        for requant in (self.left, self.right, self.out):
            if len(requant.multiplier) != 1:
                raise ModelError("an addition has one rescaling factor an operand")
        if max(self.left.shift[0], self.right.shift[0], self.out.shift[0]) > 0:
            raise ModelError("an addition's three rescaling factors must be below 1")
        for value in (self.left_zero_point, self.right_zero_point, self.output_zero_point):
            check_zero_point(value)
        check_activation_range(self.activation_min, self.activation_max)

    @classmethod
    def from_scales(cls, left: tuple[float, int], right: tuple[float, int], out: tuple[float, int], activation_min: int = -128,
                    activation_max: int = 127) -> Add:
        """From (scale, zero_point) of both inputs and the output, as TFLite prepares its int8 ADD."""
        twice_max = 2.0 * max(left[0], right[0])
        if twice_max >= 2**LEFT_SHIFT * out[0]:
            raise ModelError(f"an addition cannot bring input scales {left[0]} and {right[0]} to an output scale of {out[0]}; "
                             "the larger one must be below 2^19 times the output's")
        return cls(Requant.from_real(left[0] / twice_max), Requant.from_real(right[0] / twice_max),
                   Requant.from_real(twice_max / (2**LEFT_SHIFT * out[0])), left[1], right[1], out[1], activation_min, activation_max)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if shapes[0] != shapes[1]:
            raise ModelError(f"inputs have different shapes {shapes[0]} and {shapes[1]}")
        return shapes[0]

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        # each operand has 256 values, so its rescaling is one look-up
        values = np.arange(-128, 128, dtype=np.int64)
        left = self.left.apply((values - self.left_zero_point) << LEFT_SHIFT)
        right = self.right.apply((values - self.right_zero_point) << LEFT_SHIFT)
        total = left[inputs[0].astype(np.int16) + 128]
        total += right[inputs[1].astype(np.int16) + 128]
        return rescale_to_int8(total, self.out, self.output_zero_point, self.activation_min, self.activation_max)
