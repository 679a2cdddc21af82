/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_sum_mve.h"

void ec_global_average_pool_s8_mve(const ec_global_average_pool_params *params, const int8_t *input, int8_t *output)
{
    const ec_global_average_pool_params *p = params;
    const ec_output_range range = ec_make_range(p->output_zero_point, p->activation_min, p->activation_max);
    const int32_t zeros = p->pixels * p->input_zero_point;
    int32_t channel, i;
    for (channel = 0; channel < p->channels; channel += 8) {
        const int32_t channels = p->channels - channel < 8 ? p->channels - channel : 8;
        int32_t sums[8];
        ec_sum_mve(input + channel, 1, 0, p->pixels, p->channels, channels, sums);
        EC_NO_UNROLL
        for (i = 0; i < channels; ++i) {
            output[channel + i] = ec_requant_s8(sums[EC_SUM_PLACE(i)] - zeros, p->multiplier, p->shift, range);
        }
    }
}
