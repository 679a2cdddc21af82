/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant.h"

void ec_mul_s8(const ec_mul_params *params, const int8_t *left, const int8_t *right, int8_t *output)
{
    const ec_mul_params p = *params;
    const ec_output_range range = ec_make_range(p.output_zero_point, p.activation_min, p.activation_max);
    int32_t start, i;
    for (start = 0; start < p.size; start += p.right_size) {
        EC_NO_UNROLL
        for (i = 0; i < p.right_size; ++i) {
            const int32_t product = (left[start + i] - p.left_zero_point) * (right[i] - p.right_zero_point);
            output[start + i] = ec_requant_s8(product, p.multiplier, p.shift, range);
        }
    }
}
