/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_functions.h"

void ec_f32_binary(const ec_f32_binary_params *params, const float *left, const float *right, float *output)
{
    int32_t i, start;
    for (start = 0; start < params->size; start += params->right_size) {
        for (i = 0; i < params->right_size; ++i) {
            const float a = left[start + i], b = right[i];
            output[start + i] = ec_f32_clamp(params->function == EC_F32_ADD ? a + b : a * b, &params->bounds);
        }
    }
}
