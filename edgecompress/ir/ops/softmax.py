"""Softmax over the last axis in 32-bit fixed point, the arithmetic of TFLite's int8 SOFTMAX.

exp(x) for x in (-32, 0] is a product of exp(-2^k) constants and a fourth-order polynomial on [-1/4, 0); the division
is three Newton steps (gemmlowp's fixed-point functions, whose constants and rounding the standard inherits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, clamp_int8
from edgecompress.ir.requant import (
    INT32_MAX,
    INT32_MIN,
    Requant,
    quantize_multiplier,
    rounding_divide_by_power_of_two,
    saturating_rounding_doubling_high_mul,
)

MAX_DEPTH = 4095  # one more, all equal, and the Q12.19 sum overflows

INTEGER_BITS = 5  # scaled differences are Q5.26
ACCUMULATOR_BITS = 12  # sums of exponentials are Q12.19
EXP_OF_MINUS_POWER = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)  # exp(-2^k) in Q0.31, k = -2..4
EXP_OF_MINUS_EIGHTH = 1895147668
ONE_THIRD = 715827883
FORTY_EIGHT_SEVENTEENTHS, MINUS_THIRTY_TWO_SEVENTEENTHS = 1515870810, -1010580540  # Q2.29

_mul = saturating_rounding_doubling_high_mul
_shift_right = rounding_divide_by_power_of_two


def _shift_left(x: np.ndarray, bits: int) -> np.ndarray:
    shifted: np.ndarray = np.clip(x << bits, INT32_MIN, INT32_MAX)
    return shifted


def exp_on_negative(a: np.ndarray) -> np.ndarray:
    """exp of Q5.26 values in (-32, 0], as Q0.31 in int64."""
    quarter = 1 << 24
    modulo = (a & (quarter - 1)) - quarter
    x = (modulo << INTEGER_BITS) + (1 << 28)
    x2 = _mul(x, x)
    x3, x4 = _mul(x2, x), _mul(x2, x2)
    tail = _shift_right(_mul(_shift_right(x4, 2) + x3, ONE_THIRD) + x2, 1)
    result = EXP_OF_MINUS_EIGHTH + _mul(x + tail, EXP_OF_MINUS_EIGHTH)
    remainder = modulo - a
    for bit, factor in enumerate(EXP_OF_MINUS_POWER):
        result = np.where(remainder & (1 << (24 + bit)), _mul(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def reciprocal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1 / x as Q0.31, power of two still to divide by) of positive Q12.19 sums."""
    headroom = 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)  # leading zeros: frexp's exponent is the bit length
    fraction = (x << headroom) - (1 << 31)
    half = (fraction + INT32_MAX + 1) >> 1  # the sum is never negative, so this rounds half up
    estimate = FORTY_EIGHT_SEVENTEENTHS + _mul(half, MINUS_THIRTY_TWO_SEVENTEENTHS)
    for _ in range(3):
        error = (1 << 29) - _mul(half, estimate)
        estimate = estimate + _shift_left(_mul(estimate, error), 2)
    return _shift_left(estimate, 1), ACCUMULATOR_BITS - headroom


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """Output scale 1/256, zero point -128. `beta` scales differences to Q5.26; those below `diff_min` count as 0.

    From a sum of 512 on (at least 512 inputs) every output is below 1/512 and therefore -128; tflite-micro stops there.
    """

    kind = "softmax"
    beta: Requant
    diff_min: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.beta.multiplier) != 1 or self.beta.shift[0] < 0:
            raise ModelError("a softmax has one scaling factor of at least 1")
        if self.diff_min > 0:
            raise ModelError(f"diff_min {self.diff_min} must not be positive")
        if -max(self.diff_min, -255) * 2.0 ** self.beta.shift[0] >= 2**31:
            raise ModelError(f"a softmax difference of {self.diff_min} does not fit Q5.26 after a shift of {self.beta.shift[0]}")

    @classmethod
    def from_scale(cls, input_scale: float, beta: float = 1.0) -> Softmax:
        """From the input's scale, as TFLite prepares its int8 SOFTMAX."""
        factor = beta * input_scale * 2 ** (31 - INTEGER_BITS)
        if not factor > 1.0:
            raise ModelError(f"a softmax cannot take an input scale of {input_scale}; it must be above 2^-26")
        if factor >= 2**30 - 0.25:
            return cls(Requant((INT32_MAX,), (30,)), 0)  # one step is more than 16: only the largest input counts
        multiplier, shift = quantize_multiplier(factor)
        return cls(Requant((multiplier,), (shift,)), -((2**INTEGER_BITS - 1) << (31 - INTEGER_BITS) >> shift))

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if shapes[0][-1] > MAX_DEPTH:
            raise ModelError(f"a softmax over {shapes[0][-1]} values can overflow its Q12.19 sum; at most {MAX_DEPTH}")
        return shapes[0]

    def exponentials(self) -> np.ndarray:
        """Q0.31 exp(-beta d) for each difference d = 0..255; 0 below `diff_min`. int64 [256]."""
        differences = -np.arange(256, dtype=np.int64)
        valid = differences >= self.diff_min
        return np.where(valid, exp_on_negative(self.beta.apply(np.where(valid, differences, 0))), 0)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        x = inputs[0].astype(np.int64)
        distance = x.max(axis=-1, keepdims=True) - x
        exponentials = self.exponentials()[distance]
        total = _shift_right(exponentials, ACCUMULATOR_BITS).sum(axis=-1, keepdims=True)
        scale, over_unit = reciprocal(total)
        result = _shift_right(_mul(exponentials, scale), over_unit + 31 - 8) - 128  # a shift above 31 leaves 0
        return clamp_int8(np.where(-distance >= self.diff_min, result, -128), -128, 127)
