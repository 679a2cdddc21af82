"""A regular part of a tensor: begin, size and step of every axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape


@dataclass(frozen=True, eq=False)
class Slice(Op):
    """Along axis a the elements begin[a], begin[a] + step[a], ..., size[a] of them; a step may be negative."""

    kind = "slice"
    dtypes = ("int8", "float32")

    begin: tuple[int, ...]
    size: tuple[int, ...]
    step: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.begin) == len(self.size) == len(self.step):
            raise ModelError(f"a slice needs a begin, a size and a step an axis, got {self.begin}, {self.size} and {self.step}")
        if min(self.size, default=0) < 1 or 0 in self.step:
            raise ModelError(f"a slice's sizes must be at least 1 and its steps not 0, got {self.size} and {self.step}")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if len(shapes[0]) != len(self.size):
            raise ModelError(f"a slice of {len(self.size)} axes does not fit an input of shape {shapes[0]}")
        for begin, size, step, length in zip(self.begin, self.size, self.step, shapes[0], strict=True):
            if not (0 <= begin < length and 0 <= begin + (size - 1) * step < length):
                raise ModelError(f"a slice from {self.begin} of {self.size} elements in steps of {self.step} leaves an input of shape {shapes[0]}")
        return self.size

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        axes = [begin + step * np.arange(size) for begin, size, step in zip(self.begin, self.size, self.step, strict=True)]
        return x[np.ix_(np.arange(len(x)), *axes)]
