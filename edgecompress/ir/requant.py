"""Fixed-point rescaling, the TFLite int8 specification's default (double) rounding.

`real = multiplier * 2^-31 * 2^shift`. A multiplier made from a factor lies in [2^30, 2^31) or is 0; one that a mean has
divided by its count may be smaller. All functions take int32-ranged values and work in int64, so that numpy never wraps
where the C code would saturate.
"""

from __future__ import annotations

import math
import operator
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
    fixed = math.floor(mantissa * 2**31 + 0.5)
    if fixed == 2**31:
        fixed, shift = fixed // 2, shift + 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        raise ModelError(f"a rescaling factor of {real} is above the 2^30 that the arithmetic holds")
    return fixed, shift


def saturating_rounding_doubling_high_mul(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """a * b * 2^-31 to nearest, ties up; only int32 min times itself saturates.

    gemmlowp writes it as a truncating division with a nudge that depends on the sign; that equals the floor used here.
    """
    product = a.astype(np.int64) * b
    product += 1 << 30
    product >>= 31
    return np.minimum(product, INT32_MAX, out=product) if product.ndim else np.minimum(product, INT32_MAX)


def rounding_divide_by_power_of_two(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """x / 2^exponent to nearest, ties away from zero; x int64, `exponent` of a shape that broadcasts to x's."""
    exponent = np.asarray(exponent, dtype=np.int64)
    result = x >> 63  # -1 for negative values: half - 1 instead of half moves their ties down
    if (exponent == 0).any():
        result &= np.where(exponent > 0, -1, 0)  # nothing to round, so nothing to add
    result += x
    result += (np.int64(1) << exponent) >> 1
    result >>= exponent
    return result


def multiply_by_quantized_multiplier(x: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int) -> np.ndarray:
    """x times the real that (multiplier, shift) stands for; the left shift wraps at 32 bits like the C reference."""
    shift = np.asarray(shift, dtype=np.int64)
    if (shift > 0).any():
        x = (np.asarray(x, dtype=np.int64) << np.maximum(shift, 0)).astype(np.int32)
    return rounding_divide_by_power_of_two(saturating_rounding_doubling_high_mul(np.asarray(x), multiplier), np.maximum(-shift, 0))


@dataclass(frozen=True)
class Requant:
    """One rescaling factor, or one an output channel. `multiplier` and `shift` are tuples of equal length."""

    multiplier: tuple[int, ...]
    shift: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            multipliers, shifts = (tuple(map(operator.index, values)) for values in (self.multiplier, self.shift))
        except TypeError:
            raise ModelError("a rescaling needs two lists of integers, the multipliers and the shifts") from None
        if len(multipliers) != len(shifts) or not multipliers:
            raise ModelError("a rescaling needs as many multipliers as shifts, at least one")
        if min(multipliers) < 0 or max(multipliers) > INT32_MAX:
            raise ModelError(f"rescaling multipliers must be in [0, 2^31), got {min(multipliers)} to {max(multipliers)}")
        if min(shifts) < -31 or max(shifts) > 30:
            raise ModelError(f"rescaling shifts must be in [-31, 30], got {min(shifts)} to {max(shifts)}")
        object.__setattr__(self, "multiplier", multipliers)
        object.__setattr__(self, "shift", shifts)

    @classmethod
    def from_real(cls, real: float | Sequence[float] | np.ndarray) -> Requant:
        """From one factor or a sequence of per-channel factors."""
        pairs = [quantize_multiplier(float(value)) for value in np.atleast_1d(np.asarray(real, dtype=np.float64))]
        return cls(tuple(m for m, _ in pairs), tuple(s for _, s in pairs))

    @property
    def real(self) -> np.ndarray:
        """The factors that the integers stand for, float64 [channels]."""
        factors: np.ndarray = np.ldexp(np.asarray(self.multiplier, dtype=np.float64) / 2**31, np.asarray(self.shift))
        return factors

    def apply(self, x: np.ndarray) -> np.ndarray:
        """x [..., channels] or [...] rescaled, int64."""
        if len(self.multiplier) == 1:
            return multiply_by_quantized_multiplier(x, self.multiplier[0], self.shift[0])
        return multiply_by_quantized_multiplier(x, np.asarray(self.multiplier), np.asarray(self.shift))
