"""Float32 ops that take each element by itself, and those that only place elements."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.float_ops.functions import FUNCTIONS
from edgecompress.ir.float_ops.layers import clamp, frozen_bounds, frozen_floats, unbounded
from edgecompress.ir.op import Op, Shape, image_shape
from edgecompress.ir.window import MAX_STEP, Padding


@dataclass(frozen=True, eq=False)
class FloatBinary(Op):
    """y = clamp(a + b) or clamp(a * b), by `function`; b has a's shape or is (1, 1, channels) beside an image."""

    kind = "float_binary"
    dtypes = ("float32",)
    arity = 2
    function: str
    bounds: np.ndarray = field(default_factory=unbounded)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bounds", frozen_bounds(self.bounds))
        if self.function not in ("add", "mul"):
            raise ModelError(f"unknown function {self.function[:40]!r} of two numbers; known: add, mul")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        left, right = shapes
        if left != right and not (len(left) == 3 and right == (1, 1, left[2])):
            raise ModelError(f"inputs of shapes {left} and {right} do not fit; allowed: equal shapes, or (1, 1, channels) second")
        return left

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        a, b = inputs
        return clamp(a + b if self.function == "add" else a * b, self.bounds)


@dataclass(frozen=True, eq=False)
class FloatUnary(Op):
    """y = clamp(function(x)), the function by its name in functions.FUNCTIONS, or "identity"."""

    kind = "float_unary"
    dtypes = ("float32",)
    function: str
    bounds: np.ndarray = field(default_factory=unbounded)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bounds", frozen_bounds(self.bounds))
        if self.function not in ("identity", *FUNCTIONS):
            raise ModelError(f"unknown float function {self.function[:40]!r}; known: identity, {', '.join(FUNCTIONS)}")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        return shapes[0]

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        return clamp(x if self.function == "identity" else FUNCTIONS[self.function](x), self.bounds)


@dataclass(frozen=True, eq=False)
class FloatConcat(Op):
    """Inputs one after the other along `axis`, counted without the batch."""

    kind = "float_concat"
    dtypes = ("float32",)
    arity = None
    axis: int

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if not 0 <= self.axis < len(shapes[0]):
            raise ModelError(f"axis {self.axis} is outside an input of shape {shapes[0]}")
        rest = {shape[: self.axis] + shape[self.axis + 1:] for shape in shapes}
        if len({len(shape) for shape in shapes}) != 1 or len(rest) != 1:
            raise ModelError(f"inputs of shapes {', '.join(map(str, shapes))} cannot be joined along axis {self.axis}")
        return (*shapes[0][: self.axis], sum(shape[self.axis] for shape in shapes), *shapes[0][self.axis + 1:])

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate(inputs, axis=self.axis + 1)


@dataclass(frozen=True, eq=False)
class FloatPad(Op):
    """Adds (top, bottom, left, right) rows and columns of the one number in `value`, float32 [1]."""

    kind = "float_pad"
    dtypes = ("float32",)
    padding: Padding
    value: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "value", frozen_floats(self.value))
        if self.value.shape != (1,) or min(self.padding) < 0 or max(self.padding) > MAX_STEP:
            raise ModelError(f"padding {self.padding} must be four numbers from 0 to {MAX_STEP} beside one value")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        top, bottom, left, right = self.padding
        return height + top + bottom, width + left + right, channels

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        top, bottom, left, right = self.padding
        return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=self.value[0])
