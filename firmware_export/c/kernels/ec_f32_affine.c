/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_functions.h"

void ec_f32_affine(const ec_f32_affine_params *params, const float *input, float *output)
{
    int32_t pixel, channel;
    for (pixel = 0; pixel < params->pixels; ++pixel) {
        for (channel = 0; channel < params->channels; ++channel) {
            *output++ = ec_f32_clamp(*input++ * params->scale[channel] + params->offset[channel], &params->bounds);
        }
    }
}
