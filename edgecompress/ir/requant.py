"""Fixed-point rescaling, the TFLite int8 specification's default (double) rounding.

`real = multiplier * 2^-31 * 2^shift` with `multiplier` in [2^30, 2^31) or 0. All functions take int32-ranged
values in int64 arrays, so that numpy never wraps where the C code would saturate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) of a non-negative real, as TFLite's QuantizeMultiplier. Raises ModelError if it cannot be held."""
    if not math.isfinite(real) or real < 0:
        raise ModelError(f"a rescaling factor must be finite and not negative, got {real}")
    if real == 0.0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    fixed = int(math.floor(mantissa * 2**31 + 0.5))
    if fixed == 2**31:
        fixed, shift = fixed // 2, shift + 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        raise ModelError(f"a rescaling factor of {real} is above the 2^30 that the arithmetic holds")
    return fixed, shift


def saturating_rounding_doubling_high_mul(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """(2ab + 2^31) >> 32 with ties away from zero for negative products; only int32 min times itself saturates."""
    product = a.astype(np.int64) * np.asarray(b, dtype=np.int64)
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    # C division truncates toward zero, numpy's >> floors
    result = np.where(total >= 0, total >> 31, -((-total) >> 31))
    return np.minimum(result, INT32_MAX)


def rounding_divide_by_power_of_two(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """x / 2^exponent, rounded to nearest, ties away from zero."""
    exponent = np.asarray(exponent, dtype=np.int64)
    mask = (np.int64(1) << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + (remainder > threshold)


def multiply_by_quantized_multiplier(x: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int) -> np.ndarray:
    """x times the real that (multiplier, shift) stands for; the left shift wraps at 32 bits like the C reference."""
    shift = np.asarray(shift, dtype=np.int64)
    left = np.maximum(shift, 0)
    right = np.maximum(-shift, 0)
    shifted = (x.astype(np.int64) << left).astype(np.int32).astype(np.int64)
    return rounding_divide_by_power_of_two(saturating_rounding_doubling_high_mul(shifted, multiplier), right)


@dataclass(frozen=True)
class Requant:
    """One rescaling factor, or one an output channel. `multiplier` and `shift` are tuples of equal length."""

    multiplier: tuple[int, ...]
    shift: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.multiplier) != len(self.shift) or not self.multiplier:
            raise ModelError("a rescaling needs as many multipliers as shifts, at least one")
        for multiplier, shift in zip(self.multiplier, self.shift, strict=True):
            if multiplier != 0 and not 2**30 <= multiplier < 2**31:
                raise ModelError(f"a rescaling multiplier must be 0 or in [2^30, 2^31), got {multiplier}")
            if not -31 <= shift <= 30:
                raise ModelError(f"a rescaling shift must be in [-31, 30], got {shift}")

    @classmethod
    def from_real(cls, real: float | Sequence[float] | np.ndarray) -> Requant:
        """From one factor or a sequence of per-channel factors."""
        pairs = [quantize_multiplier(float(value)) for value in np.atleast_1d(np.asarray(real, dtype=np.float64))]
        return cls(tuple(m for m, _ in pairs), tuple(s for _, s in pairs))

    @property
    def real(self) -> np.ndarray:
        """The factors that the integers stand for, float64 [channels]."""
        return np.ldexp(np.asarray(self.multiplier, dtype=np.float64) / 2**31, np.asarray(self.shift))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """x [..., channels] or [...] rescaled, int64."""
        if len(self.multiplier) == 1:
            return multiply_by_quantized_multiplier(x, self.multiplier[0], self.shift[0])
        return multiply_by_quantized_multiplier(x, np.asarray(self.multiplier), np.asarray(self.shift))
