/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant.h"

void ec_requantize_s8(const ec_requantize_params *params, const int8_t *input, int8_t *output)
{
    const ec_requantize_params p = *params;
    const ec_output_range range = ec_make_range(p.output_zero_point, p.activation_min, p.activation_max);
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < p.size; ++i) {
        output[i] = ec_requant_s8(input[i] - p.input_zero_point, p.multiplier, p.shift, range);
    }
}
