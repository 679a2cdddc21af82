/* SPDX-License-Identifier: Apache-2.0
 * Depthwise windows that meet the image at one place only, its upper left corner: each channel's output is one dot product.
 * Weights, of 8 bits: for each group of four channels, the last one beginning early where the channels are no multiple of
 * four, and each pair of taps (t, u): t0 t1 u0 u1 t2 t3 u2 u3 for the channels 0 to 3; an odd last tap is paired with zeros.
 * No scratch. Output and input may start at one address. */
#include "ec_depthwise_dsp.h"

/* Sums of a group over the windows' rows; returns the weights of the next group. */
static const int8_t *add_taps(const ec_depthwise_dsp_params *p, const int8_t *input, const int8_t *weights, int32_t sums[4])
{
    const int32_t channels = p->channels, row_rest = (p->input_width - p->kernel_width) * channels;
    const uint32_t minus = ec_pair(-p->input_zero_point, -p->input_zero_point);
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, column = p->kernel_width, taps;
    EC_NO_UNROLL
    for (taps = p->kernel_height * p->kernel_width; taps > 0; taps -= 2) {
        const uint32_t w0 = ec_load_word(weights), w1 = ec_load_word(weights + 4), first = ec_load_word(input);
        uint32_t second = first, low, high;
        input += channels;
        if (--column == 0) {
            input += row_rest;
            column = p->kernel_width;
        }
        if (taps > 1) {
            second = ec_load_word(input);
            input += channels;
            if (--column == 0) {
                input += row_rest;
                column = p->kernel_width;
            }
        }
        low = ec_pack_bottoms(first, second);
        high = ec_pack_tops(first, second);
        s0 = ec_smlad(ec_sxtab16(minus, low), ec_sxtb16(w0), s0);
        s1 = ec_smlad(ec_sxtab16_odd(minus, low), ec_sxtb16_odd(w0), s1);
        s2 = ec_smlad(ec_sxtab16(minus, high), ec_sxtb16(w1), s2);
        s3 = ec_smlad(ec_sxtab16_odd(minus, high), ec_sxtb16_odd(w1), s3);
        weights += 8;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    return weights;
}

void ec_depthwise_dot_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output)
{
    const int8_t *weights = params->weights;
    int32_t done = 0;
    while (done != params->channels) {
        const int32_t channel = done + EC_DEPTHWISE_LANES <= params->channels ? done : params->channels - EC_DEPTHWISE_LANES;
        int32_t sums[EC_DEPTHWISE_LANES], lane;
        weights = add_taps(params, input + channel, weights, sums);
        for (lane = done - channel; lane < EC_DEPTHWISE_LANES; ++lane) {
            ec_rescale_dsp scale;
            int8_t result;
            ec_depthwise_load_scale(params, channel + lane, &scale);
            result = ec_rescale_dsp_one(&scale, ec_doubled_sum(sums[lane], scale.bias), 1);
            output[channel + lane] = (int8_t)ec_clamp(result, params->activation_min, params->activation_max);
        }
        done = channel + EC_DEPTHWISE_LANES;
    }
}
