"""256-entry tables of unary int8 operators, entry for entry what tflite-micro's kernels compute.

LOGISTIC, TANH and HARD_SWISH run there in fixed point, ELU and the multipliers of LEAKY_RELU and ABS in float32: a table from the
real function would differ by one step in a few entries. Inputs are (scale, zero point) pairs, scales as float32 values.
"""

from __future__ import annotations

import math

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.ops.softmax import EXP_OF_MINUS_EIGHTH, EXP_OF_MINUS_POWER, ONE_THIRD
from edgecompress.ir.requant import (
    INT32_MAX,
    INT32_MIN,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_power_of_two,
    saturating_rounding_doubling_high_mul,
)

Quantized = tuple[float, int]
CODES = np.arange(-128, 128, dtype=np.int64)
ONE = INT32_MAX  # 1 in Q0.31
INTEGER_BITS = 4  # LOGISTIC and TANH work on Q4.27
FORTY_EIGHT_SEVENTEENTHS, MINUS_THIRTY_TWO_SEVENTEENTHS = 1515870810, -1010580540  # Q2.29

_mul = saturating_rounding_doubling_high_mul
_shift_right = rounding_divide_by_power_of_two


def _clamped(values: np.ndarray) -> np.ndarray:
    clamped: np.ndarray = np.clip(values, -128, 127).astype(np.int8)
    return clamped


def _shift_left(x: np.ndarray, bits: int) -> np.ndarray:
    shifted: np.ndarray = np.clip(x << bits, INT32_MIN, INT32_MAX)
    return shifted


def exp_on_negative(a: np.ndarray, integer_bits: int) -> np.ndarray:
    """exp of fixed-point values <= 0 with `integer_bits` integer bits, as Q0.31 in int64 (gemmlowp's exp_on_negative_values)."""
    fractional_bits = 31 - integer_bits
    quarter = 1 << (fractional_bits - 2)
    modulo = (a & (quarter - 1)) - quarter
    x = (modulo << integer_bits) + (1 << 28)
    x2 = _mul(x, x)
    x3, x4 = _mul(x2, x), _mul(x2, x2)
    tail = _shift_right(_mul(_shift_right(x4, 2) + x3, ONE_THIRD) + x2, 1)
    result = EXP_OF_MINUS_EIGHTH + _mul(x + tail, EXP_OF_MINUS_EIGHTH)
    remainder = modulo - a
    for bit, factor in enumerate(EXP_OF_MINUS_POWER):
        if bit - 2 < integer_bits:
            result = np.where(remainder & (1 << (fractional_bits - 2 + bit)), _mul(result, factor), result)
    return np.where(a == 0, ONE, result)


def _newton_reciprocal(a: np.ndarray) -> np.ndarray:
    """2 / (1 + a) of Q0.31 values in [0, 1] as Q2.29."""
    half = (a + ONE + 1) >> 1  # both are positive, so halves round up
    estimate = FORTY_EIGHT_SEVENTEENTHS + _mul(half, MINUS_THIRTY_TWO_SEVENTEENTHS)
    for _ in range(3):
        error = (1 << 29) - _mul(half, estimate)
        estimate = estimate + _shift_left(_mul(estimate, error), 2)
    return estimate


def _fixed_input(source: Quantized) -> tuple[np.ndarray, np.ndarray, int]:
    """(centred codes, the same as Q4.27, radius from which on the function is saturated)."""
    factor = float(source[0]) * 2 ** (31 - INTEGER_BITS)
    centred = CODES - source[1]
    radius = math.floor(((1 << INTEGER_BITS) - 1) * 2.0 ** (31 - INTEGER_BITS) / 2.0 ** math.frexp(factor)[1])
    multiplier, shift = quantize_multiplier(factor) if radius > 1 else (0, 0)  # with a radius of 1 only the zero point is inside
    inside = np.where(np.abs(centred) < radius, centred, 0)
    return centred, multiply_by_quantized_multiplier(inside, multiplier, shift), radius


def logistic(source: Quantized, output: Quantized) -> np.ndarray:
    """LOGISTIC; the output's quantization is fixed at (1/256, -128)."""
    _require_output("LOGISTIC", output, (1 / 256, -128))
    centred, x, radius = _fixed_input(source)
    positive = _shift_left(_newton_reciprocal(exp_on_negative(-np.abs(x), INTEGER_BITS)), 1)
    fraction = np.where(x > 0, positive, np.where(x == 0, 1 << 30, ONE - positive))
    codes = _shift_right(fraction, 31 - 8) - 128
    return _clamped(np.where(centred <= -radius, -128, np.where(centred >= radius, 127, codes)))


def tanh(source: Quantized, output: Quantized) -> np.ndarray:
    """TANH; the output's quantization is fixed at (1/128, 0)."""
    _require_output("TANH", output, (1 / 128, 0))
    centred, x, radius = _fixed_input(source)
    estimate = _newton_reciprocal(exp_on_negative(-np.abs(x), INTEGER_BITS + 1))  # Q4.27 read as Q5.26 is twice the value
    magnitude = _shift_left(estimate - (1 << 29), 2)
    codes = _shift_right(np.where(x == 0, 0, np.where(x < 0, -magnitude, magnitude)), 31 - 7)
    return _clamped(np.where(centred <= -radius, -128, np.where(centred >= radius, 127, codes)))


def _require_output(name: str, output: Quantized, wanted: Quantized) -> None:
    if output != wanted:
        raise ModelError(f"{name} writes scale 1/{round(1 / wanted[0])} and zero point {wanted[1]}, the file says {output[0]:.6g} and {output[1]}")


def elu(source: Quantized, output: Quantized) -> np.ndarray:
    """ELU, from float32 arithmetic."""
    real = np.float32(source[0]) * (CODES - source[1]).astype(np.float32)
    with np.errstate(over="ignore"):
        exponential = np.exp(np.minimum(real, 0).astype(np.float64)).astype(np.float32)  # libm's float32 exp, which is rounded correctly
        transformed = np.where(real < 0, exponential - np.float32(1), real)
        scaled = (transformed * (np.float32(1) / np.float32(output[0]))).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(np.clip(scaled, -1e6, 1e6)) + 0.5), scaled)
    return _clamped(rounded + output[1])


def _ratio(numerator: np.float32, output: Quantized) -> tuple[int, int, int]:
    """(sign, multiplier, shift) of a float32 factor to the output's scale."""
    real = float(np.float32(numerator) / np.float32(output[0]))
    return (-1 if real < 0 else 1), *quantize_multiplier(abs(real))


def leaky_relu(source: Quantized, output: Quantized, alpha: float) -> np.ndarray:
    """LEAKY_RELU with slope `alpha`."""
    centred = CODES - source[1]
    _, multiplier, shift = _ratio(np.float32(source[0]), output)
    sign, alpha_multiplier, alpha_shift = _ratio(np.float32(source[0]) * np.float32(alpha), output)
    negative = multiply_by_quantized_multiplier(centred, sign * alpha_multiplier, alpha_shift)
    return _clamped(np.where(centred >= 0, multiply_by_quantized_multiplier(centred, multiplier, shift), negative) + output[1])


def absolute(source: Quantized, output: Quantized) -> np.ndarray:
    """ABS."""
    magnitude = np.abs(CODES - source[1])
    if source[0] != output[0]:
        _, multiplier, shift = _ratio(np.float32(source[0]), output)
        magnitude = multiply_by_quantized_multiplier(magnitude, multiplier, shift)
    return _clamped(magnitude + output[1])


def _high_mul_16(a: np.ndarray, b: int) -> np.ndarray:
    """Saturating rounding doubling high multiply of int16 values; equals the floor form, as in requant."""
    product: np.ndarray = np.minimum((a * b + (1 << 14)) >> 15, 32767)
    return product


def _shift_right_16(x: np.ndarray, exponent: int) -> np.ndarray:
    """RoundingDivideByPOT of int16 values; from 16 on its int16 mask is -1, which leaves 1 or -1 where 0 would be expected."""
    return _shift_right(x, exponent) if exponent < 16 else np.where(x < 0, -1, 1)


def _narrow_multiplier(real: float) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(real)
    return (32767 if multiplier >= INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16), shift


def hard_swish(source: Quantized, output: Quantized) -> np.ndarray:
    """HARD_SWISH in the 16-bit fixed point of the TFLite reference kernel."""
    high_resolution = np.float32(1 / 128) * np.float32(source[0])
    factor, exponent = _narrow_multiplier(float(high_resolution / np.float32(output[0])))
    relu_factor, relu_exponent = _narrow_multiplier(float(high_resolution / (np.float32(3) / np.float32(32768))))
    if exponent > 0:
        raise ModelError(f"HARD_SWISH needs an output scale of at least {source[0] / 128:.4g}, the file says {output[0]:.4g}")
    wide = (CODES - source[1]) << 7
    gate = wide
    if relu_exponent > 0:
        gate = np.clip(gate << (relu_exponent - 1), -32768, 32767)
    gate = _high_mul_16(gate, relu_factor)
    if relu_exponent > 0:
        gate = np.clip(gate << 1, -32768, 32767)
    elif relu_exponent < 0:
        gate = _shift_right_16(gate, -relu_exponent)
    gate = (gate + (1 << 15)) >> 1
    product = gate * _high_mul_16(wide, factor)
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return _clamped(_shift_right_16(truncated, -exponent) + output[1])
