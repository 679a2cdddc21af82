/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_functions.h"

void ec_f32_softmax(const ec_f32_softmax_params *params, const float *input, float *output)
{
    int32_t row, i;
    for (row = 0; row < params->rows; ++row) {
        float largest = input[0], total = 0.0f;
        for (i = 1; i < params->length; ++i) {
            largest = input[i] > largest ? input[i] : largest;
        }
        for (i = 0; i < params->length; ++i) {
            output[i] = ec_f32_exp(input[i] - largest);
            total += output[i];
        }
        for (i = 0; i < params->length; ++i) {
            output[i] /= total;
        }
        input += params->length;
        output += params->length;
    }
}
