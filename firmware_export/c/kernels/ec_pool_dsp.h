/* SPDX-License-Identifier: Apache-2.0
 * Sums of four channels for the pooling kernels of the DSP extension. Halves hold sums of 256 bytes; longer ones are taken
 * in parts. Channels are taken in fours; the last four begin early where the channels are no multiple of four. */
#ifndef EC_POOL_DSP_H
#define EC_POOL_DSP_H

#include "ec_dsp.h"
#include "ec_requant.h"

#define EC_POOL_PART 256

/* Adds `pixels`, at most EC_POOL_PART less those that the halves already hold, that lie `step` apart. */
static inline const int8_t *ec_pool_add(const int8_t *input, int32_t pixels, int32_t step, uint32_t *even, uint32_t *odd)
{
    uint32_t e = *even, o = *odd;
    if (pixels % 2 != 0) {
        const uint32_t x = ec_load_word(input);
        e = ec_sxtab16(e, x);
        o = ec_sxtab16_odd(o, x);
        input += step;
    }
    EC_NO_UNROLL
    for (pixels /= 2; pixels != 0; --pixels) {
        const uint32_t x = ec_load_word(input), y = ec_load_word(input + step);
        e = ec_sxtab16(ec_sxtab16(e, x), y);
        o = ec_sxtab16_odd(ec_sxtab16_odd(o, x), y);
        input += 2 * step;
    }
    *even = e;
    *odd = o;
    return input;
}

/* What the halves hold, to the four totals. */
static inline void ec_pool_take(uint32_t even, uint32_t odd, int32_t totals[4])
{
    totals[0] += ec_bottom(even);
    totals[1] += ec_bottom(odd);
    totals[2] += ec_top(even);
    totals[3] += ec_top(odd);
}

/* Totals of four channels over neighbours that lie `step` apart. */
static inline void ec_pool_run(const int8_t *input, int32_t pixels, int32_t step, int32_t totals[4])
{
    while (pixels > 0) {
        const int32_t part = pixels < EC_POOL_PART ? pixels : EC_POOL_PART;
        uint32_t even = 0, odd = 0;
        input = ec_pool_add(input, part, step, &even, &odd);
        ec_pool_take(even, odd, totals);
        pixels -= part;
    }
}

#endif
