/* SPDX-License-Identifier: Apache-2.0
 * Fixed-point rescaling with the TFLite int8 specification's double rounding, bit for bit as edgecompress/ir/requant.py.
 *
 * Two's complement and an arithmetic right shift of negative numbers are assumed; every compiler for a supported
 * target does both.
 */
#ifndef EC_REQUANT_H
#define EC_REQUANT_H

#include <stdint.h>

/* Loops that are unrolled by hand stay as they are written, so that instruction counts follow the loop counts. */
#if defined(__clang__) && defined(__ARM_FEATURE_MVE) /* clang 22 spills vectors inside tail-predicated loops of its own making: wrong results */
#define EC_NO_UNROLL _Pragma("clang loop unroll(disable) vectorize(disable)")
#elif defined(__clang__)
#define EC_NO_UNROLL _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define EC_NO_UNROLL _Pragma("GCC unroll 1")
#else
#define EC_NO_UNROLL
#endif

/* A function of its own even where the optimiser would inline it: its loops then have all registers for themselves. */
#if defined(__GNUC__) || defined(__clang__)
#define EC_OUTLINED static __attribute__((noinline, unused))
#else
#define EC_OUTLINED static
#endif

/* Hides from the optimiser that a pointer is another one plus an offset, which it would else add up again in the loop. */
#if defined(__GNUC__) || defined(__clang__)
#define EC_OPAQUE(pointer) __asm__("" : "+r"(pointer))
#else
#define EC_OPAQUE(pointer) (void)(pointer)
#endif

/* TFLite's SaturatingRoundingDoublingHighMul: its truncating division with a signed nudge equals one flooring shift,
 * and the saturating case needs both factors at INT32_MIN, which no multiplier is. */
static inline int32_t ec_doubling_high_mul(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* The same for b in [2^30, 2^31), given as `doubled` = 2 * b - 2^32: one instruction (SMMLAR) where the core has it. */
static inline int32_t ec_scale(int32_t a, int32_t doubled)
{
    return a + (int32_t)(((int64_t)a * doubled + ((int64_t)1 << 31)) >> 32);
}

/* x / 2^exponent to nearest, ties away from zero; 1 <= exponent <= 31. Cannot overflow for |x| < INT32_MAX,
 * which every result of ec_doubling_high_mul and ec_scale keeps. */
static inline int32_t ec_rounding_shift_right(int32_t x, int32_t exponent)
{
    return (((x + (x >> 31)) >> (exponent - 1)) + 1) >> 1;
}

/* x * multiplier * 2^(shift - 31); shift in [-31, 30]. A left shift wraps at 32 bits, as in TFLite. */
static inline int32_t ec_requant(int32_t x, int32_t multiplier, int32_t shift)
{
    if (shift < 0) {
        return ec_rounding_shift_right(ec_doubling_high_mul(x, multiplier), -shift);
    }
    return ec_doubling_high_mul((int32_t)((uint32_t)x << shift), multiplier);
}

static inline int32_t ec_clamp(int32_t x, int32_t low, int32_t high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

/* Output zero point and activation range of one layer. Clamping before the zero point is added cannot overflow. */
typedef struct {
    int32_t low;
    int32_t high;
    int32_t zero_point;
} ec_output_range;

static inline ec_output_range ec_make_range(int32_t zero_point, int32_t activation_min, int32_t activation_max)
{
    ec_output_range range;
    range.low = activation_min - zero_point;
    range.high = activation_max - zero_point;
    range.zero_point = zero_point;
    return range;
}

static inline int8_t ec_narrow(int32_t x, ec_output_range range)
{
    return (int8_t)(ec_clamp(x, range.low, range.high) + range.zero_point);
}

/* acc -> int8 output: rescale, add the zero point, clamp. */
static inline int8_t ec_requant_s8(int32_t accumulator, int32_t multiplier, int32_t shift, ec_output_range range)
{
    return ec_narrow(ec_requant(accumulator, multiplier, shift), range);
}

#endif
