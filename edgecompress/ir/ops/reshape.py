"""The same bytes under another shape; flatten is a reshape to one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """Row-major reshape; no byte moves."""

    kind = "reshape"
    dtypes = ("int8", "float32")
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shape or min(self.shape) < 1:
            raise ModelError(f"a reshape needs at least one size, each at least 1, got {self.shape}")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if math.prod(self.shape) != math.prod(shapes[0]):
            raise ModelError(f"an input of shape {shapes[0]} cannot take the shape {self.shape}")
        return self.shape

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        return x.reshape(x.shape[0], *self.shape)
