/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant.h"

#define LEFT_SHIFT 20

/* As ec_requant for a shift of at most 0, with the sign test taken out of the element loop. */
static inline int32_t scaled(int32_t x, int32_t multiplier, int32_t right_shift)
{
    int32_t product = ec_doubling_high_mul(x * (1 << LEFT_SHIFT), multiplier);
    return right_shift > 0 ? ec_rounding_shift_right(product, right_shift) : product;
}

void ec_add_s8(const ec_add_params *params, const int8_t *left, const int8_t *right, int8_t *output)
{
    const ec_add_params p = *params;
    const ec_output_range range = ec_make_range(p.output_zero_point, p.activation_min, p.activation_max);
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < p.size; ++i) {
        const int32_t sum = scaled(left[i] - p.left_zero_point, p.left_multiplier, -p.left_shift)
            + scaled(right[i] - p.right_zero_point, p.right_multiplier, -p.right_shift);
        output[i] = ec_requant_s8(sum, p.output_multiplier, p.output_shift, range);
    }
}
