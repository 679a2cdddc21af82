/* SPDX-License-Identifier: Apache-2.0
 * Depthwise windows that meet the image at one place only, its upper left corner: each channel's output is one dot product.
 * A run is a row of the kernel, or all rows where it is as wide as the image.
 * Weights, of 8 bits: for each group of four channels, the last one beginning early where the channels are no multiple of
 * four, each run, and each pair of its taps (t, u): t0 t1 u0 u1 t2 t3 u2 u3 for the channels 0 to 3; the last tap of a run of
 * odd length is paired with zeros. `bias`, modulo 2^32, is less 2 * input_zero_point * (sum of the channel's weights).
 * No scratch. Output and input may start at one address. */
#include "ec_depthwise_dsp.h"

typedef struct {
    int32_t channels;
    int32_t count;
    int32_t taps;     /* of a run */
    int32_t run_step; /* bytes from behind a run's last pair of taps to the next run */
} dot_runs;

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
EC_OUTLINED const int8_t *add_taps(const dot_runs *runs, const int8_t *input, const int8_t *weights, int32_t sums[4])
{
    const int32_t channels = runs->channels;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, count, pairs;
    EC_NO_UNROLL
    for (count = runs->count; count != 0; --count) {
        EC_NO_UNROLL
        for (pairs = runs->taps / 2; pairs != 0; --pairs) {
            const uint32_t t = ec_load_word(input), u = ec_load_word(input + channels);
            add_pair(weights, t, u, &s0, &s1, &s2, &s3);
            weights += 8;
            input += 2 * channels;
        }
        if (runs->taps % 2 != 0) {
            add_pair(weights, ec_load_word(input), 0, &s0, &s1, &s2, &s3);
            weights += 8;
        }
        input += runs->run_step;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    return weights;
}

void ec_depthwise_dot_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output)
{
    const ec_depthwise_dsp_params p = *params; /* outputs are bytes, which may alias anything: a copy need not be read again */
    const int whole = p.kernel_width == p.input_width;
    const int32_t offset = 1 + 2 * p.output_zero_point;
    const int8_t *weights = p.weights;
    int32_t done = 0;
    dot_runs runs;
    runs.channels = p.channels;
    runs.count = whole ? 1 : p.kernel_height;
    runs.taps = whole ? p.kernel_height * p.kernel_width : p.kernel_width;
    runs.run_step =  (p.input_width - runs.taps / 2 * 2) * p.channels;
    while (done != p.channels) {
        const int32_t channel = done + EC_DEPTHWISE_LANES <= p.channels ? done : p.channels - EC_DEPTHWISE_LANES;
        int32_t sums[EC_DEPTHWISE_LANES], lane;
        weights = add_taps(&runs, input + channel, weights, sums);
        EC_NO_UNROLL
        for (lane = done - channel; lane < EC_DEPTHWISE_LANES; ++lane) {
            const int32_t shift = p.shift[done], doubled = ec_doubled_sum(sums[lane], p.bias[done]);
            const int32_t result = ec_smmlar(doubled, p.multiplier[done], offset * (1 << (shift - 1)) + (doubled >> 31)) >> shift;
            output[done++] = (int8_t)ec_clamp(result, p.activation_min, p.activation_max);
        }
    }
}
