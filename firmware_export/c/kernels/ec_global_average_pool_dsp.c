/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_pool_dsp.h"
#include "ec_requant.h"

void ec_global_average_pool_dsp(const ec_global_average_pool_params *params, const int8_t *input, int8_t *output)
{
    const ec_global_average_pool_params *p = params;
    const ec_output_range range = ec_make_range(p->output_zero_point, p->activation_min, p->activation_max);
    const int32_t zero_points = p->pixels * p->input_zero_point;
    int32_t channel = 0;
    while (channel < p->channels) {
        int32_t totals[4] = {0, 0, 0, 0}, lane;
        channel = channel + 4 <= p->channels ? channel : p->channels - 4;
        ec_pool_run(input + channel, p->pixels, p->channels, totals);
        EC_NO_UNROLL
        for (lane = 0; lane < 4; ++lane) {
            output[channel++] = ec_requant_s8(totals[lane] - zero_points, p->multiplier, p->shift, range);
        }
    }
}
