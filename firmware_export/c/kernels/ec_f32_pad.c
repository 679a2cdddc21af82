/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_float.h"
#include "ec_memory.h"

static float *ec_f32_fill(float *output, float value, int32_t count)
{
    while (count-- > 0) {
        *output++ = value;
    }
    return output;
}

void ec_f32_pad(const ec_f32_pad_params *params, const float *input, float *output)
{
    int32_t row;
    output = ec_f32_fill(output, params->value, params->top);
    for (row = 0; row < params->rows; ++row) {
        output = ec_f32_fill(output, params->value, params->left);
        memcpy(output, input, (size_t)params->row_size * sizeof *output);
        input += params->row_size;
        output = ec_f32_fill(output + params->row_size, params->value, params->right);
    }
    (void)ec_f32_fill(output, params->value, params->bottom);
}
