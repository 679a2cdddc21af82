/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_functions.h"

void ec_f32_global_average_pool(const ec_f32_global_average_pool_params *params, const float *input, float *output)
{
    int32_t pixel, channel;
    for (channel = 0; channel < params->channels; ++channel) {
        float total = 0.0f;
        for (pixel = 0; pixel < params->pixels; ++pixel) {
            total += input[pixel * params->channels + channel];
        }
        output[channel] = ec_f32_clamp(total / (float)params->pixels, &params->bounds);
    }
}
