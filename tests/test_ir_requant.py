"""Rescaling against a transcription of the C code in Python integers, which truncate, round and wrap only where they are told to."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgecompress.errors import ModelError
from edgecompress.ir.graph import Tensor
from edgecompress.ir.ops.global_average_pool import fold_count
from edgecompress.ir.requant import (
    INT32_MAX,
    INT32_MIN,
    Requant,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_power_of_two,
    saturating_rounding_doubling_high_mul,
)

int32 = st.integers(INT32_MIN, INT32_MAX)
multipliers = st.one_of(st.just(0), st.integers(2**30, INT32_MAX), st.integers(0, INT32_MAX))
shifts = st.integers(-31, 30)


def divide_like_c(a: int, b: int) -> int:
    """Quotient truncated toward zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def wrap32(x: int) -> int:
    """What an int32 register keeps."""
    return (x + 2**31) % 2**32 - 2**31


def high_mul(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul."""
    if a == b == INT32_MIN:
        return INT32_MAX
    product = a * b
    nudge = 2**30 if product >= 0 else 1 - 2**30
    return divide_like_c(product + nudge, 2**31)


def divide_by_power(x: int, exponent: int) -> int:
    """gemmlowp's RoundingDivideByPOT."""
    mask = 2**exponent - 1
    remainder = x & mask
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if remainder > threshold else 0)


def rescale(x: int, multiplier: int, shift: int) -> int:
    """TFLite's MultiplyByQuantizedMultiplier, double rounding."""
    return divide_by_power(high_mul(wrap32(x << max(shift, 0)), multiplier), max(-shift, 0))


@given(int32, int32)
@example(INT32_MIN, INT32_MIN)
@example(INT32_MIN, INT32_MAX)
@example(-1, 2**30)  # the tie -0.5 goes up to 0
@example(-3, 2**30)  # -1.5 goes up to -1
@example(1, 2**30)
def test_high_multiply(a: int, b: int) -> None:
    assert saturating_rounding_doubling_high_mul(np.array([a]), b).tolist() == [high_mul(a, b)]
    assert saturating_rounding_doubling_high_mul(np.array([a, 1]), np.array([b, b])).tolist() == [high_mul(a, b), high_mul(1, b)]
    assert int(saturating_rounding_doubling_high_mul(np.array(a), b)) == high_mul(a, b)


@given(int32, st.integers(0, 31))
@example(-2, 2)  # -0.5 goes away from zero, to -1
@example(2, 2)
@example(-6, 2)
@example(INT32_MIN, 31)
@example(INT32_MIN, 0)
def test_rounding_divide(x: int, exponent: int) -> None:
    expected = divide_by_power(x, exponent)
    assert rounding_divide_by_power_of_two(np.array([x], dtype=np.int64), exponent).tolist() == [expected]
    exact = Fraction(x, 2**exponent)
    assert abs(exact - expected) <= Fraction(1, 2)
    if abs(exact - expected) == Fraction(1, 2):
        assert abs(expected) > abs(exact)


@settings(max_examples=300)
@given(st.lists(st.tuples(int32, multipliers, shifts), min_size=1, max_size=8))
@example([(-1, 2**30, 0), (1, 2**30, 0), (INT32_MIN, INT32_MAX, 0), (INT32_MIN, INT32_MAX, -31), (INT32_MAX, 2**30, 30)])
@example([(-(2**30), 2**30, -30), (2**30, 2**30, -30), (-(2**31), 2**30, 1)])
def test_rescaling_one_factor_and_per_channel(rows: list[tuple[int, int, int]]) -> None:
    x = np.array([row[0] for row in rows], dtype=np.int32)
    requant = Requant(tuple(row[1] for row in rows), tuple(row[2] for row in rows))
    expected = [rescale(*row) for row in rows]
    assert requant.apply(x).tolist() == expected
    assert requant.apply(x.astype(np.int64)).tolist() == expected
    assert requant.apply(np.stack([x, x])).tolist() == [expected, expected]
    for value, multiplier, shift in rows:
        assert multiply_by_quantized_multiplier(np.array([value]), multiplier, shift).tolist() == [rescale(value, multiplier, shift)]


def test_every_shift_with_random_values_and_ties() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-(2**20), 2**20, 500)
    for shift in range(-31, 11):
        multiplier = int(rng.integers(2**30, 2**31))
        for one in (2**30, multiplier):  # 2^30 makes every second value a tie
            assert Requant((one,), (shift,)).apply(x).tolist() == [rescale(value, one, shift) for value in x.tolist()]


@given(st.floats(min_value=0, max_value=2.0**30, exclude_max=True, allow_subnormal=True))
@example(0.0)
@example(1.0)
@example(math.nextafter(1.0, 0.0))  # rounds up to 2^31, which is renormalised
@example(2.0**-32)
@example(math.nextafter(2.0**-32, 0.0))
@example(5e-324)
def test_quantize_multiplier_is_the_nearest_or_zero(real: float) -> None:
    try:
        multiplier, shift = quantize_multiplier(real)
    except ModelError:
        assert real > 2.0**30 - 1  # rounding up to 2^30 itself
        return
    if real < 2.0**-32 * (1 - 2.0**-33):
        assert (multiplier, shift) == (0, 0)
        return
    assert 2**30 <= multiplier <= INT32_MAX and -31 <= shift <= 30
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) - Fraction(real)) <= Fraction(real) * Fraction(1, 2**31)


def test_quantize_multiplier_by_hand() -> None:
    assert quantize_multiplier(0.5) == (2**30, 0)
    assert quantize_multiplier(1.0) == (2**30, 1)
    assert quantize_multiplier(0.75) == (3 * 2**29, 0)
    assert quantize_multiplier(3.0) == (3 * 2**29, 2)
    assert quantize_multiplier(2.0**-32) == (2**30, -31)
    assert quantize_multiplier(2.0**-33) == (0, 0)
    assert quantize_multiplier(1 / 3) == (1431655765, -1)  # 2/3 * 2^31 = 1431655765.33


@pytest.mark.parametrize("real", [float("nan"), float("inf"), -1e-9, 2.0**30, 1e300])
def test_factors_that_cannot_be_held(real: float) -> None:
    with pytest.raises(ModelError, match="rescaling factor"):
        quantize_multiplier(real)
    with pytest.raises(ModelError, match="rescaling factor"):
        Requant.from_real([0.5, real])


@pytest.mark.parametrize(("multiplier", "shift"), [
    ((), ()), ((2**30,), (0, 0)), ((2**31,), (0,)), ((-1,), (0,)), ((2**30,), (31,)), ((2**30,), (-32,)), (2**30, 0), (("a",), (0,)), ((1.0,), (0,)),
    (None, None),
])
def test_malformed_rescalings(multiplier: object, shift: object) -> None:
    with pytest.raises(ModelError, match="rescaling"):
        Requant(multiplier, shift)  # type: ignore[arg-type]


def test_real_is_what_from_real_was_given() -> None:
    factors = np.array([0.1, 1e-6, 0.0, 7.25])
    assert np.allclose(Requant.from_real(factors).real, factors, rtol=2.0**-31, atol=0)
    assert Requant.from_real(0.1) == Requant.from_real([0.1])


@given(st.floats(1e-6, 100), st.integers(1, 2**20))
@example(1.0, 49)
@example(1.0, 1)
def test_a_folded_mean_is_close_to_the_factor_over_the_count(real: float, count: int) -> None:
    (multiplier,), (shift,) = (folded := fold_count(real, count)).multiplier, folded.shift
    assert 0 <= multiplier < 2**31 and -31 <= shift <= 30
    assert abs(folded.real[0] - real / count) <= max(real / count * 2.0**-28, 2.0 ** (shift - 31))


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="at least one element"):
        fold_count(1.0, 0)


@given(st.floats(1e-30, 1e30), st.integers(-128, 127), st.lists(st.integers(-128, 127), min_size=1))
def test_dequantize_then_quantize_is_the_identity(scale: float, zero_point: int, values: list[int]) -> None:
    tensor = Tensor("t", (len(values),), scale, zero_point)
    q = np.array(values, dtype=np.int8)
    assert np.array_equal(tensor.quantize(tensor.dequantize(q)), q)


def test_quantize_by_hand() -> None:
    tensor = Tensor("t", (6,), 0.5, 10)
    # 0.25 / 0.5 = 0.5 and 0.75 / 0.5 = 1.5 are ties: to even
    assert tensor.quantize(np.array([0.0, 0.25, 0.75, -0.25, 1e9, -1e9])).tolist() == [10, 10, 12, 10, 127, -128]
    assert tensor.quantize(np.array([np.nan, np.inf, -np.inf])).tolist() == [10, 127, -128]
    assert tensor.dequantize(np.array([10, 12, -128], dtype=np.int8)).tolist() == [0.0, 1.0, -69.0]
    assert tensor.dequantize(np.array([1], dtype=np.int8)).dtype == np.float32
