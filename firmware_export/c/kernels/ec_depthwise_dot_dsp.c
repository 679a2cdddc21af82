/* SPDX-License-Identifier: Apache-2.0
 * Depthwise windows that meet the image at one place only, its upper left corner: each channel's output is one dot product.
 * No scratch. Output and input may start at one address. */
#include "ec_depthwise_dsp.h"

/* Two taps of four channels. */
static inline void add_pair(const int8_t *weights, uint32_t t, uint32_t u, int32_t *s0, int32_t *s1, int32_t *s2, int32_t *s3)
{
    const uint32_t w0 = ec_load_word(weights), w1 = ec_load_word(weights + 4), low = ec_pack_bottoms(t, u), high = ec_pack_tops(t, u);
    *s0 = ec_smlad(ec_sxtb16(low), ec_sxtb16(w0), *s0);
    *s1 = ec_smlad(ec_sxtb16_odd(low), ec_sxtb16_odd(w0), *s1);
    *s2 = ec_smlad(ec_sxtb16(high), ec_sxtb16(w1), *s2);
    *s3 = ec_smlad(ec_sxtb16_odd(high), ec_sxtb16_odd(w1), *s3);
}

/* Sums of a group; returns the weights of the next group. */
EC_OUTLINED const int8_t *add_taps(const ec_depthwise_dot_params *p, const int8_t *input, const int8_t *weights, int32_t sums[4])
{
    const int32_t channels = p->channels;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, count, pairs;
    EC_NO_UNROLL
    for (count = p->runs; count != 0; --count) {
        EC_NO_UNROLL
        for (pairs = p->taps / 2; pairs != 0; --pairs) {
            const uint32_t t = ec_load_word(input), u = ec_load_word(input + channels);
            add_pair(weights, t, u, &s0, &s1, &s2, &s3);
            weights += 8;
            input += 2 * channels;
        }
        if (p->taps % 2 != 0) {
            add_pair(weights, ec_load_word(input), 0, &s0, &s1, &s2, &s3);
            weights += 8;
        }
        input += p->run_step;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    return weights;
}

void ec_depthwise_dot_dsp(const ec_depthwise_dot_params *params, const int8_t *input, int8_t *output)
{
    const int32_t channels = params->channels, low = params->activation_min, high = params->activation_max;
    const int32_t *scale = params->scales;
    const int8_t *weights = params->weights;
    int32_t done = 0;
    while (done != channels) {
        const int32_t channel = done + EC_DEPTHWISE_LANES <= channels ? done : channels - EC_DEPTHWISE_LANES;
        int32_t sums[EC_DEPTHWISE_LANES], lane;
        weights = add_taps(params, input + channel, weights, sums);
        EC_NO_UNROLL
        for (lane = done - channel; lane < EC_DEPTHWISE_LANES; ++lane) {
            const int32_t doubled = ec_doubled_sum(sums[lane], scale[0]), shift = ec_trailing_zeros((uint32_t)scale[2]) + 1;
            output[done++] = (int8_t)ec_clamp(ec_smmlar(doubled, scale[1], scale[2] + (doubled >> 31)) >> shift, low, high);
            scale += 3;
        }
    }
}
