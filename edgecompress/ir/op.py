"""Base of all ops. One op is one file in `ops/`: attributes, shape rule, integer reference, costs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from edgecompress.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Op:
    """An integer operation. Fields are int, bool, str, tuple of int, Requant or numpy arrays; all serialise by themselves.

    Shapes carry no batch axis; `reference` takes and returns int8 arrays [batch, *shape].
    """

    kind: ClassVar[str]
    arity: ClassVar[int | None] = 1  # None: any number of inputs, at least one

    def infer_shape(self, *shapes: Shape) -> Shape:
        """Output shape; raises ModelError when the inputs do not fit."""
        raise NotImplementedError(self.kind)  # abstract: every op in OPS overrides it, a test checks that

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        """int8 [batch, *shape] in and out: the definition."""
        raise NotImplementedError(self.kind)  # abstract, as above

    def macs(self, *shapes: Shape) -> int:
        """Multiply-accumulates of one inference; 0 for ops that only move or compare."""
        return 0

    @property
    def parameters(self) -> int:
        """Trained numbers: weights and biases."""
        return 0

    @property
    def constant_bytes(self) -> int:
        """Bytes of constants a device stores for this op."""
        return 0

    def check_arity(self, shapes: tuple[Shape, ...]) -> None:
        """Raises ModelError if the number of inputs is wrong."""
        if self.arity is not None and len(shapes) != self.arity:
            raise ModelError(f"takes {self.arity} inputs, got {len(shapes)}")
        if not shapes:
            raise ModelError("takes at least one input, got none")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) if isinstance(getattr(self, f.name), np.ndarray)
                   else getattr(self, f.name) == getattr(other, f.name) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]  # arrays are not hashable


def frozen_array(values: np.ndarray, dtype: type) -> np.ndarray:
    """A read-only copy, checked to hold the values without loss."""
    array = np.array(values, dtype=dtype, order="C")
    if not np.array_equal(array, values):
        raise ModelError(f"values do not fit {np.dtype(dtype).name}")
    array.setflags(write=False)
    return array


def clamp_int8(x: np.ndarray, low: int, high: int) -> np.ndarray:
    """Clamp to the activation's range and narrow."""
    return np.clip(x, low, high).astype(np.int8)


def check_activation_range(low: int, high: int) -> None:
    """Raises ModelError unless -128 <= low <= high <= 127."""
    if not -128 <= low <= high <= 127:
        raise ModelError(f"activation range [{low}, {high}] must lie in [-128, 127]")


def check_zero_point(value: int) -> None:
    """Raises ModelError unless it is an int8."""
    if not -128 <= value <= 127:
        raise ModelError(f"zero point {value} must lie in [-128, 127]")


def image_shape(shape: Shape) -> tuple[int, int, int]:
    """(height, width, channels); raises ModelError for any other rank."""
    if len(shape) != 3:
        raise ModelError(f"needs an input of shape (height, width, channels), got {shape}")
    return shape
