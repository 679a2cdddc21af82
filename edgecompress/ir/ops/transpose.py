"""Another order of the axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape


@dataclass(frozen=True, eq=False)
class Transpose(Op):
    """Axis i of the output is axis permutation[i] of the input; the batch is not counted."""

    kind = "transpose"
    dtypes = ("int8", "float32")

    permutation: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.permutation or sorted(self.permutation) != list(range(len(self.permutation))):
            raise ModelError(f"a transposition needs every axis once, got {self.permutation}")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if len(shapes[0]) != len(self.permutation):
            raise ModelError(f"a transposition of {len(self.permutation)} axes does not fit an input of shape {shapes[0]}")
        return tuple(shapes[0][axis] for axis in self.permutation)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        return np.ascontiguousarray(x.transpose(0, *(axis + 1 for axis in self.permutation)))
