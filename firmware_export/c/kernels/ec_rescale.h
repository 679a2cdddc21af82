/* SPDX-License-Identifier: Apache-2.0
 * Accumulators of several channels to int8 outputs: ec_requant for layers with one factor a channel. */
#ifndef EC_RESCALE_H
#define EC_RESCALE_H

#include "ec_kernels.h"
#include "ec_requant.h"

static inline int32_t ec_saturate(int32_t x)
{
    return ec_clamp(x, -128, 127);
}

/* One accumulator. `doubled` as in ec_scale; `shift` is the right shift less 1 (negative: no or a left shift).
 * The small modes add the output zero point before the last bit is shifted out; with right shifts of at least 2
 * nothing can overflow there. */
static inline int8_t ec_rescale_one(const ec_rescale_params *r, int32_t x, int32_t doubled, int32_t shift, const int mode)
{
    const int32_t offset = 1 + 2 * r->zero_point;
    if (mode == EC_RESCALE_ANY) {
        x = shift >= 0 ? ec_rounding_shift_right(ec_scale(x, doubled), shift + 1) : ec_scale((int32_t)((uint32_t)x << (-1 - shift)), doubled);
        return (int8_t)(ec_clamp(x, r->activation_min - r->zero_point, r->activation_max - r->zero_point) + r->zero_point);
    }
    x = ec_scale(x, doubled);
    x = (((x + (x >> 31)) >> shift) + offset) >> 1;
    return (int8_t)(mode == EC_RESCALE_SMALL_WHOLE ? ec_saturate(x) : ec_clamp(x, r->activation_min, r->activation_max));
}

static inline void ec_rescale_pairs_mode(const ec_rescale_params *r, const int32_t *sums, int32_t channel, int32_t count, int8_t *first,
                                         int8_t *second, const int mode)
{
    const int32_t *multiplier = r->multiplier + channel;
    const int8_t *shift = r->shift + channel;
    const ec_rescale_params local = *r; /* outputs are bytes, which may alias anything: a copy need not be read again */
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < count; ++i) {
        first[i] = ec_rescale_one(&local, sums[2 * i], multiplier[i], shift[i], mode);
        second[i] = ec_rescale_one(&local, sums[2 * i + 1], multiplier[i], shift[i], mode);
    }
}

static inline void ec_rescale_singles_mode(const ec_rescale_params *r, const int32_t *sums, int32_t channel, int32_t count, int8_t *output,
                                           const int mode)
{
    const int32_t *multiplier = r->multiplier + channel;
    const int8_t *shift = r->shift + channel;
    const ec_rescale_params local = *r;
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < count; ++i) {
        output[i] = ec_rescale_one(&local, sums[i], multiplier[i], shift[i], mode);
    }
}

/* `count` channels from `channel` on of two pixels; sums are [channel][pixel]. */
EC_OUTLINED void ec_rescale_pairs(const ec_rescale_params *r, const int32_t *sums, int32_t channel, int32_t count, int8_t *first, int8_t *second)
{
    if (r->mode == EC_RESCALE_SMALL_WHOLE) {
        ec_rescale_pairs_mode(r, sums, channel, count, first, second, EC_RESCALE_SMALL_WHOLE);
    } else if (r->mode == EC_RESCALE_SMALL) {
        ec_rescale_pairs_mode(r, sums, channel, count, first, second, EC_RESCALE_SMALL);
    } else {
        ec_rescale_pairs_mode(r, sums, channel, count, first, second, EC_RESCALE_ANY);
    }
}

/* The same for one pixel. */
EC_OUTLINED void ec_rescale_singles(const ec_rescale_params *r, const int32_t *sums, int32_t channel, int32_t count, int8_t *output)
{
    if (r->mode == EC_RESCALE_SMALL_WHOLE) {
        ec_rescale_singles_mode(r, sums, channel, count, output, EC_RESCALE_SMALL_WHOLE);
    } else if (r->mode == EC_RESCALE_SMALL) {
        ec_rescale_singles_mode(r, sums, channel, count, output, EC_RESCALE_SMALL);
    } else {
        ec_rescale_singles_mode(r, sums, channel, count, output, EC_RESCALE_ANY);
    }
}

static inline void ec_rescale_block_mode(const ec_rescale_params *r, const int32_t *sums, int32_t lanes, int32_t channel, int32_t pixels,
                                         int8_t *output, int32_t output_step, const int mode)
{
    const ec_rescale_params local = *r;
    int32_t lane;
    EC_NO_UNROLL
    for (lane = 0; lane < lanes; ++lane) {
        const int32_t multiplier = local.multiplier[channel + lane], shift = local.shift[channel + lane];
        const int32_t *sum = sums + lane;
        int8_t *target = output + lane;
        int32_t rest;
        EC_NO_UNROLL
        for (rest = pixels; rest != 0; --rest) {
            *target = ec_rescale_one(&local, *sum, multiplier, shift, mode);
            sum += lanes;
            target += output_step;
        }
    }
}

/* `lanes` channels from `channel` on of several pixels; sums are [pixel][lane], outputs lie `output_step` apart. */
EC_OUTLINED void ec_rescale_block(const ec_rescale_params *r, const int32_t *sums, int32_t lanes, int32_t channel, int32_t pixels, int8_t *output,
                                  int32_t output_step)
{
    if (r->mode == EC_RESCALE_SMALL_WHOLE) {
        ec_rescale_block_mode(r, sums, lanes, channel, pixels, output, output_step, EC_RESCALE_SMALL_WHOLE);
    } else if (r->mode == EC_RESCALE_SMALL) {
        ec_rescale_block_mode(r, sums, lanes, channel, pixels, output, output_step, EC_RESCALE_SMALL);
    } else {
        ec_rescale_block_mode(r, sums, lanes, channel, pixels, output, output_step, EC_RESCALE_ANY);
    }
}

#endif
