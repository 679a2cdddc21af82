/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_functions.h"

void ec_f32_affine(const ec_f32_affine_params *params, const float *input, float *output)
{
    int32_t i;
    for (i = 0; i < params->size; ++i) {
        const float scaled = input[i] * params->scale;
        output[i] = ec_f32_clamp(scaled + params->offset, &params->bounds);
    }
}
