/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant.h"

static inline void channel_mean(const ec_global_average_pool_params *p, const int8_t *input, int8_t *output, ec_output_range range, const int lanes)
{
    int32_t total[4] = {0, 0, 0, 0};
    int32_t pixel, lane;
    EC_NO_UNROLL
    for (pixel = p->pixels; pixel != 0; --pixel) {
        for (lane = 0; lane < lanes; ++lane) {
            total[lane] += input[lane];
        }
        input += p->channels;
    }
    for (lane = 0; lane < lanes; ++lane) {
        output[lane] = ec_requant_s8(total[lane] - p->pixels * p->input_zero_point, p->multiplier, p->shift, range);
    }
}

void ec_global_average_pool_s8(const ec_global_average_pool_params *params, const int8_t *input, int8_t *output)
{
    const ec_global_average_pool_params *p = params;
    const ec_output_range range = ec_make_range(p->output_zero_point, p->activation_min, p->activation_max);
    int32_t channel;
    for (channel = 0; channel + 4 <= p->channels; channel += 4) {
        channel_mean(p, input + channel, output + channel, range, 4);
    }
    for (; channel < p->channels; ++channel) {
        channel_mean(p, input + channel, output + channel, range, 1);
    }
}
