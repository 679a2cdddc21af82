/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_functions.h"

static inline void ec_f32_dense_rows(const ec_f32_dense_params *p, const float *input, int32_t first, float *output, const int width)
{
    const float *weights = p->weights + first * p->input_size;
    float sums[4];
    int32_t i;
    int k;
    for (k = 0; k < width; ++k) {
        sums[k] = p->bias[first + k];
    }
    for (i = 0; i < p->input_size; ++i) {
        for (k = 0; k < width; ++k) {
            sums[k] += input[i] * weights[k * p->input_size + i];
        }
    }
    for (k = 0; k < width; ++k) {
        output[first + k] = ec_f32_clamp(sums[k], &p->bounds);
    }
}

void ec_f32_dense(const ec_f32_dense_params *params, const float *input, float *output)
{
    int32_t row;
    for (row = 0; row + 4 <= params->output_size; row += 4) {
        ec_f32_dense_rows(params, input, row, output, 4);
    }
    for (; row < params->output_size; ++row) {
        ec_f32_dense_rows(params, input, row, output, 1);
    }
}
