/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_float.h"
#include "ec_memory.h"

void ec_f32_concat(const ec_f32_concat_params *params, const float *const *inputs, float *output)
{
    int32_t slice, i;
    for (slice = 0; slice < params->outer; ++slice) {
        for (i = 0; i < params->input_count; ++i) {
            const int32_t count = params->inner[i];
            memcpy(output, inputs[i] + slice * count, (size_t)count * sizeof *output);
            output += count;
        }
    }
}
