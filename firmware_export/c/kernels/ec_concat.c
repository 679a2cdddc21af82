/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_memory.h"
#include "ec_requant.h"

static inline void rescale_row(const ec_concat_input *part, const int8_t *input, int8_t *output, ec_output_range range)
{
    const ec_concat_input p = *part;
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < p.inner; ++i) {
        output[i] = ec_requant_s8(input[i] - p.zero_point, p.multiplier, p.shift, range);
    }
}

void ec_concat_s8(const ec_concat_params *params, const int8_t *const *inputs, int8_t *output)
{
    const ec_output_range range = ec_make_range(params->output_zero_point, -128, 127);
    int32_t index, slice;
    for (index = 0; index < params->input_count; ++index) {
        const ec_concat_input *part = &params->inputs[index];
        const int8_t *source = inputs[index];
        int8_t *target = output;
        for (slice = 0; slice < params->outer; ++slice) {
            if (part->copy) {
                memcpy(target, source, (size_t)part->inner);
            } else {
                rescale_row(part, source, target, range);
            }
            source += part->inner;
            target += params->output_inner;
        }
        output += part->inner;
    }
}
