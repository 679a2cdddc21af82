/* SPDX-License-Identifier: Apache-2.0
 * Softmax in 32-bit fixed point, the arithmetic of TFLite's int8 SOFTMAX (gemmlowp's functions): exp is a product of
 * exp(-2^k) constants and a fourth-order polynomial on [-1/4, 0); the division is three Newton steps. */
#include "ec_kernels.h"
#include "ec_requant.h"

#define ACCUMULATOR_BITS 12 /* sums of exponentials are Q12.19 */
#define QUARTER (1 << 24)   /* 1/4 in Q5.26 */
#define EXP_OF_MINUS_EIGHTH 1895147668
#define ONE_THIRD 715827883
#define FORTY_EIGHT_SEVENTEENTHS 1515870810 /* Q2.29 */
#define MINUS_THIRTY_TWO_SEVENTEENTHS (-1010580540)

/* exp of a Q5.26 value in (-32, 0], as Q0.31. */
static int32_t exp_on_negative(int32_t a)
{
    static const int32_t exp_of_minus_power[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t modulo = (int32_t)((uint32_t)a & (QUARTER - 1)) - QUARTER;
    const uint32_t remainder = (uint32_t)modulo - (uint32_t)a;
    const int32_t x = modulo * 32 + (1 << 28);
    const int32_t x2 = ec_doubling_high_mul(x, x);
    const int32_t x3 = ec_doubling_high_mul(x2, x);
    const int32_t x4 = ec_doubling_high_mul(x2, x2);
    const int32_t cubic = ec_doubling_high_mul(ec_rounding_shift_right(x4, 2) + x3, ONE_THIRD) + x2;
    const int32_t tail = ec_rounding_shift_right(cubic, 1);
    int32_t result = EXP_OF_MINUS_EIGHTH + ec_doubling_high_mul(x + tail, EXP_OF_MINUS_EIGHTH);
    int32_t bit;
    if (a == 0) {
        return INT32_MAX;
    }
    for (bit = 0; bit < 7; ++bit) {
        if (remainder & ((uint32_t)QUARTER << bit)) {
            result = ec_doubling_high_mul(result, exp_of_minus_power[bit]);
        }
    }
    return result;
}

static int32_t saturating_double(int32_t x, int32_t factor)
{
    const int64_t product = (int64_t)x * factor;
    return product > INT32_MAX ? INT32_MAX : product < INT32_MIN ? INT32_MIN : (int32_t)product;
}

/* 1 / sum as Q0.31, where `normalized` is the sum with its highest bit moved to bit 31. */
static int32_t reciprocal(uint32_t normalized)
{
    const int32_t half = (int32_t)(normalized >> 1);
    int32_t estimate = FORTY_EIGHT_SEVENTEENTHS + ec_doubling_high_mul(half, MINUS_THIRTY_TWO_SEVENTEENTHS);
    int32_t step;
    EC_NO_UNROLL
    for (step = 0; step < 3; ++step) {
        const int32_t error = (1 << 29) - ec_doubling_high_mul(half, estimate);
        estimate += saturating_double(ec_doubling_high_mul(estimate, error), 4);
    }
    return saturating_double(estimate, 2);
}

static void softmax_row(const ec_softmax_params *p, const int8_t *input, int8_t *output, int32_t *exponentials)
{
    int32_t largest = input[0], headroom = 0, exponent, scale, i;
    uint32_t sum = 0;
    EC_NO_UNROLL
    for (i = 1; i < p->length; ++i) {
        largest = input[i] > largest ? input[i] : largest;
    }
    for (i = 0; i < p->length; ++i) {
        const int32_t difference = input[i] - largest;
        exponentials[i] = -1;
        if (difference >= p->diff_min) {
            exponentials[i] = exp_on_negative(ec_requant(difference, p->multiplier, p->shift));
            sum += (uint32_t)ec_rounding_shift_right(exponentials[i], ACCUMULATOR_BITS);
        }
    }
    EC_NO_UNROLL
    while (!(sum & 0x80000000u)) {
        sum <<= 1;
        ++headroom;
    }
    scale = reciprocal(sum);
    exponent = ACCUMULATOR_BITS - headroom + 31 - 8;
    for (i = 0; i < p->length; ++i) {
        int32_t result = -128;
        if (exponentials[i] >= 0 && exponent <= 31) {
            result += ec_rounding_shift_right(ec_doubling_high_mul(exponentials[i], scale), exponent);
        }
        output[i] = (int8_t)(result > 127 ? 127 : result);
    }
}

void ec_softmax_s8(const ec_softmax_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    int32_t row;
    for (row = 0; row < params->rows; ++row) {
        softmax_row(params, input, output, (int32_t *)scratch);
        input += params->length;
        output += params->length;
    }
}
