"""Constant padding of an image in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_zero_point, image_shape
from edgecompress.ir.window import MAX_STEP, Padding


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """Adds (top, bottom, left, right) rows and columns of `value`, a quantized number (the zero point for real zeros)."""

    kind = "pad"
    padding: Padding
    value: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_zero_point(self.value)
        if min(self.padding) < 0 or max(self.padding) > MAX_STEP:
            raise ModelError(f"padding {self.padding} must be four numbers from 0 to {MAX_STEP}")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        top, bottom, left, right = self.padding
        return height + top + bottom, width + left + right, channels

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        top, bottom, left, right = self.padding
        return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=self.value)
