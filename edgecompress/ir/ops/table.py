"""Any unary function as a 256-entry table: sigmoid, tanh, hard-swish, GELU and the rest are one op for every backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, frozen_array

Unary = Callable[[np.ndarray], np.ndarray]


def _erf(x: np.ndarray) -> np.ndarray:
    from math import erf

    return np.array([erf(value) for value in x])


UNARY: dict[str, Unary] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x >= 0, x, 0.01 * x),
    "elu": lambda x: np.where(x >= 0, x, np.expm1(np.minimum(x, 0))),
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    "softplus": lambda x: np.logaddexp(0, x),
    "abs": np.abs,
    "square": np.square,
}


def round_half_away(x: np.ndarray) -> np.ndarray:
    """Nearest whole number, ties away from zero; adding 0.5 first would be wrong just below a tie."""
    whole = np.trunc(x)
    with np.errstate(invalid="ignore"):  # infinity minus itself
        rounded: np.ndarray = np.where(np.abs(x - whole) >= 0.5, whole + np.sign(x), whole)
    return rounded


@dataclass(frozen=True, eq=False)
class Table(Op):
    """y = table[x + 128]; `function` is only a name for people."""

    kind = "table"
    table: np.ndarray
    function: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "table", frozen_array(self.table, np.int8))
        if self.table.shape != (256,):
            raise ModelError(f"a table has 256 entries, got shape {self.table.shape}")

    @classmethod
    def from_function(cls, function: str, scale: float, zero_point: int, output_scale: float, output_zero_point: int) -> Table:
        """Table of a name in UNARY between two quantizations, computed in float64, rounded to nearest, ties away from zero (TfLiteRound)."""
        if function not in UNARY:
            raise ModelError(f"unknown unary function '{function}'; known: {', '.join(sorted(UNARY))}")
        real = (np.arange(-128, 128, dtype=np.float64) - zero_point) * scale
        with np.errstate(over="ignore"):
            result = round_half_away(UNARY[function](real) / output_scale) + output_zero_point
        return cls(np.clip(result, -128, 127).astype(np.int8), function)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        return shapes[0]

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        return self.table[x.astype(np.int16) + 128]

    @property
    def constant_bytes(self) -> int:
        return 256
