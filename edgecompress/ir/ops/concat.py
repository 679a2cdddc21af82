"""Concatenation along one axis; every input is brought to the output's scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_zero_point
from edgecompress.ir.ops.requantize import rescale
from edgecompress.ir.requant import Requant


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """Input i becomes clamp(requant_i(x - zero_point_i) + output_zero_point). `axis` counts without the batch.

    `requant` holds one factor an input; a factor of exactly 1 with equal zero points is a plain copy.
    """

    kind = "concat"
    arity = None
    axis: int
    requant: Requant
    input_zero_points: tuple[int, ...]
    output_zero_point: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.input_zero_points) != len(self.requant.multiplier):
            raise ModelError("a concatenation needs one rescaling factor and one zero point an input")
        for value in (*self.input_zero_points, self.output_zero_point):
            check_zero_point(value)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if len(shapes) != len(self.input_zero_points):
            raise ModelError(f"takes {len(self.input_zero_points)} inputs, got {len(shapes)}")
        if not 0 <= self.axis < len(shapes[0]):
            raise ModelError(f"axis {self.axis} is outside an input of shape {shapes[0]}")
        rest = [shape[: self.axis] + shape[self.axis + 1 :] for shape in shapes]
        if any(len(shape) != len(shapes[0]) for shape in shapes) or len(set(rest)) != 1:
            raise ModelError(f"inputs of shapes {', '.join(map(str, shapes))} cannot be joined along axis {self.axis}")
        return (*shapes[0][: self.axis], sum(shape[self.axis] for shape in shapes), *shapes[0][self.axis + 1 :])

    def is_copy(self, index: int) -> bool:
        """Whether input `index` needs no arithmetic."""
        one = (2**30, 1)
        return (self.requant.multiplier[index], self.requant.shift[index]) == one and self.input_zero_points[index] == self.output_zero_point

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        factors = zip(self.requant.multiplier, self.requant.shift, strict=True)
        parts = [rescale(x, Requant((m,), (s,)), self.input_zero_points[i], self.output_zero_point)
                 for i, (x, (m, s)) in enumerate(zip(inputs, factors, strict=True))]
        return np.concatenate(parts, axis=self.axis + 1)
