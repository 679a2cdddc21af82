/* SPDX-License-Identifier: Apache-2.0
 * Sums to int8 outputs in four or five instructions, equal to ec_requant bit for bit.
 *
 * A channel has four constants: twice its bias b, its multiplier m in [2^30, 2^31), its right shift s in [1, 23], and
 * K = 2^(s - 1) + (zero point << s). With t = 2 * (sum + b), SMMLAR makes the reference's first rounding and adds K,
 * the shift makes the second:  ((t * m + 2^31) >> 32) + K) >> s.
 *
 * The reference rounds its second step to nearest with ties away from zero, which is one less before the shift where
 * the first step's result is negative. The sign of t may stand for that result's: they only differ where it is 0, and
 * one less than 0 + 2^(s - 1) shifts to the same 0. Where the lower end of the activation range is the zero point
 * (a fused ReLU), negative results are clamped whatever they are, so the correction is left out.
 *
 * Whoever makes the constants checks that t, and the sum with K, fit 32 bits for every input
 * (edgecompress/lower/c/dsp_weights.py). Convolution and dense layers store s - 1, from which one instruction makes K,
 * and shift by s in two steps, the second of which is free in an SSAT: three constants a channel, or, where all
 * channels have one factor, the bias alone.
 *
 * Short form, for layers whose negative results are clamped. With t = bias + sum * 2^8, an output is
 * (t * multiplier >> 32) >> shift, saturated, where bias and multiplier have been chosen for a shift that stands in the
 * kernel's code, such that every sum that can occur gives the reference's output (edgecompress/lower/c/dsp_staircase.py
 * proves it step by step). SMMUL and an SSAT with its free shift do it; two constants a channel instead of four. */
#ifndef EC_RESCALE_DSP_H
#define EC_RESCALE_DSP_H

#include "ec_dsp.h"

typedef struct {
    int32_t bias;       /* doubled */
    int32_t multiplier; /* in [2^30, 2^31) */
    int32_t offset;     /* K */
    int32_t shift;
} ec_rescale_dsp;

/* Forms, as params structs name them. */
#define EC_RESCALE_GENERAL 0 /* doubled bias, multiplier, shift - 1 a channel */
#define EC_RESCALE_SHORT 1   /* ec_rescale_short a channel, the less of the two shifts that the kernel holds */
#define EC_RESCALE_SHORTER 2 /* the greater shift, for small factors */
#define EC_RESCALE_SHARED 3  /* doubled bias a channel, one multiplier and shift; dense layers only */

typedef struct {
    int32_t bias;
    int32_t multiplier;
} ec_rescale_short;

/* Words of constants a channel; the shift of a short form, by the bits of a weight. */
static inline int32_t ec_rescale_words(int32_t form)
{
    return form == EC_RESCALE_GENERAL ? 3 : form == EC_RESCALE_SHARED ? 1 : 2;
}

static inline int32_t ec_rescale_shift(int32_t form, int bits)
{
    return 4 * form + (bits == 8 ? 7 : 4);
}

/* (t * multiplier >> 32) >> shift of t = bias + sum * 2^8. */
static inline int8_t ec_rescale_short_one(const ec_rescale_short *r, int32_t sum, int32_t shift)
{
    const int32_t t = (int32_t)((uint32_t)r->bias + ((uint32_t)sum << 8));
    return (int8_t)ec_ssat8((int32_t)((int64_t)t * r->multiplier >> 32) >> shift);
}

/* General constants as they are stored; `rounding` is 1 + 2 * zero point. */
static inline ec_rescale_dsp ec_rescale_load(int32_t bias, int32_t multiplier, int32_t shift_less_1, int32_t rounding)
{
    ec_rescale_dsp r;
    r.bias = bias;
    r.multiplier = multiplier;
    r.offset = (int32_t)((uint32_t)rounding << shift_less_1);
    r.shift = shift_less_1 + 1;
    return r;
}

/* t of a sum. */
static inline int32_t ec_doubled_sum(int32_t sum, int32_t bias)
{
    return (int32_t)((uint32_t)bias + 2u * (uint32_t)sum);
}

/* An output from t; `negatives` is 0 where they need no correction. */
static inline int8_t ec_rescale_dsp_one(const ec_rescale_dsp *r, int32_t t, const int negatives)
{
    const int32_t offset = negatives ? r->offset + (t >> 31) : r->offset;
    return (int8_t)ec_ssat8(ec_smmlar(t, r->multiplier, offset) >> r->shift);
}

#endif
