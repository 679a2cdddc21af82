"""Float32 functions whose every operation and rounding is fixed, so that C gives the same bits (ec_f32_functions.h).

exp: x = n ln 2 + r with ln 2 in two parts (Cody and Waite), a polynomial of degree 6 in r, then 2^n by its exponent bits.
The polynomial is the Taylor series, whose error on |r| <= ln 2 / 2 is below 1.2e-7 relative; all others are made from exp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

F = np.float32
EXP_LOW, EXP_HIGH = F(-87.0), F(88.0)  # beyond, the result is clamped: neither infinity nor a subnormal ever comes out
LOG2_E, LN2_HIGH, LN2_LOW, ROUNDER = F(1.44269502), F(0.693359375), F(-2.12194440e-4), F(12582912.0)
EXP_TERMS = tuple(F(value) for value in (1.38888892e-3, 8.33333377e-3, 4.16666679e-2, 1.66666672e-1, 0.5))
SMALL_TANH = F(0.25)
TANH_TERMS = tuple(F(value) for value in (2.18694885e-2, -5.39682540e-2, 1.33333334e-1, -3.33333343e-1))
ERF_TERMS = tuple(F(value) for value in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
ERF_P, SQRT_HALF = F(0.3275911), F(0.707106769)
ONE, TWO, HALF, ZERO = F(1), F(2), F(0.5), F(0)


def exp(x: np.ndarray) -> np.ndarray:
    """e^x for x clamped to [-87, 88]; NaN gives what -87 gives."""
    x = np.where(x > EXP_LOW, x, EXP_LOW)
    x = np.where(x < EXP_HIGH, x, EXP_HIGH)
    n = (x * LOG2_E + ROUNDER) - ROUNDER
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    y = np.full_like(r, EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        y = y * r + term
    y = (y * (r * r) + r) + ONE
    result: np.ndarray = y * ((n.astype(np.int32) + 127) << 23).astype(np.int32).view(np.float32)
    return result


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x)."""
    return ONE / (ONE + exp(-x))


def tanh(x: np.ndarray) -> np.ndarray:
    """1 - 2 / (e^2|x| + 1) with x's sign; a polynomial where that would cancel."""
    size = np.abs(x)
    large = ONE - TWO / (exp(size + size) + ONE)
    with np.errstate(over="ignore"):  # far out, where the other branch is taken
        square = x * x
        small = np.full_like(x, TANH_TERMS[0])
        for term in TANH_TERMS[1:]:
            small = small * square + term
        small = (small * square) * x + x
    result: np.ndarray = np.where(size < SMALL_TANH, small, np.where(x < ZERO, -large, large))
    return result


def gelu(x: np.ndarray) -> np.ndarray:
    """x/2 (1 + erf(x / sqrt 2)), erf after Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7)."""
    size = np.abs(x) * SQRT_HALF
    t = ONE / (ONE + ERF_P * size)
    y = np.full_like(x, ERF_TERMS[0])
    for term in ERF_TERMS[1:]:
        y = y * t + term
    erf = ONE - (y * t) * exp(-(size * size))
    result: np.ndarray = (HALF * x) * (ONE + np.where(x < ZERO, -erf, erf))
    return result


def _clip(x: np.ndarray, low: float, high: float) -> np.ndarray:
    x = np.where(x > F(low), x, F(low))
    result: np.ndarray = np.where(x < F(high), x, F(high))
    return result


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # the names of ir.ops.table.UNARY, as far as they are here
    "relu": lambda x: np.where(x > ZERO, x, ZERO),
    "relu6": lambda x: _clip(x, 0.0, 6.0),
    "leaky_relu": lambda x: np.where(x > ZERO, x, x * F(0.01)),
    "elu": lambda x: np.where(x > ZERO, x, exp(x) - ONE),
    "sigmoid": sigmoid,
    "tanh": tanh,
    "hardsigmoid": lambda x: _clip(x + F(3), 0.0, 6.0) * F(1 / 6),
    "hardswish": lambda x: x * (_clip(x + F(3), 0.0, 6.0) * F(1 / 6)),
    "silu": lambda x: x * sigmoid(x),
    "gelu": gelu,
    "exp": exp,
    "abs": np.abs,
    "square": lambda x: x * x,
    "neg": np.negative,
    "reciprocal": lambda x: ONE / x,
}
