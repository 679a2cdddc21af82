/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant.h"

#define LEFT_SHIFT 20

/* x / 2^exponent to nearest, ties away from zero, for exponent in [0, 31] and |x| < 2^30; `half` and `sign` as made below. */
typedef struct {
    int32_t multiplier;
    int32_t exponent;
    int32_t half;
    int32_t sign;
} factor;

static inline factor make_factor(int32_t multiplier, int32_t shift)
{
    factor f;
    f.multiplier = multiplier;
    f.exponent = -shift;
    f.half = shift < 0 ? 1 << (-shift - 1) : 0;
    f.sign = shift < 0 ? -1 : 0;
    return f;
}

static inline int32_t apply(int32_t x, const factor *f)
{
    x = ec_scale(x, f->multiplier);
    return (x + ((x >> 31) & f->sign) + f->half) >> f->exponent;
}

/* Sum scaled to the output where `shift`, the right shift less 1, is at least 1: as EC_RESCALE_SMALL_WHOLE. */
static inline int8_t finish(int32_t sum, int32_t multiplier, int32_t shift, int32_t offset)
{
    sum = ec_scale(sum, multiplier);
    return (int8_t)ec_clamp((((sum + (sum >> 31)) >> shift) + offset) >> 1, -128, 127);
}

EC_OUTLINED void add_any(const ec_add_params *p, const int8_t *left, const int8_t *right, int8_t *output)
{
    const ec_output_range range = ec_make_range(p->output_zero_point, p->activation_min, p->activation_max);
    const factor l = make_factor(p->left_multiplier, p->left_shift), r = make_factor(p->right_multiplier, p->right_shift);
    const factor o = make_factor(p->output_multiplier, p->output_shift);
    const int32_t left_zero_point = p->left_zero_point, right_zero_point = p->right_zero_point, size = p->size;
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < size; ++i) {
        const int32_t sum = apply((left[i] - left_zero_point) * (1 << LEFT_SHIFT), &l) + apply((right[i] - right_zero_point) * (1 << LEFT_SHIFT), &r);
        output[i] = ec_narrow(apply(sum, &o), range);
    }
}

EC_OUTLINED void add_left_half(const ec_add_params *p, const int8_t *left, const int8_t *right, int8_t *output)
{
    const int32_t multiplier = p->output_multiplier, shift = -p->output_shift - 1, offset = 1 + 2 * p->output_zero_point;
    const int32_t right_multiplier = p->right_multiplier, exponent = -p->right_shift, half = 1 << (exponent - 1);
    const int32_t left_zero_point = p->left_zero_point, right_zero_point = p->right_zero_point, size = p->size;
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < size; ++i) {
        const int32_t scaled = ec_scale((right[i] - right_zero_point) * (1 << LEFT_SHIFT), right_multiplier);
        const int32_t rounded = (scaled + (scaled >> 31) + half) >> exponent;
        output[i] = finish((left[i] - left_zero_point) * (1 << (LEFT_SHIFT - 1)) + rounded, multiplier, shift, offset);
    }
}

EC_OUTLINED void add_both_half(const ec_add_params *p, const int8_t *left, const int8_t *right, int8_t *output)
{
    const int32_t multiplier = p->output_multiplier, shift = -p->output_shift - 1, offset = 1 + 2 * p->output_zero_point;
    const int32_t zero_points = p->left_zero_point + p->right_zero_point, size = p->size;
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < size; ++i) {
        output[i] = finish((left[i] + right[i] - zero_points) * (1 << (LEFT_SHIFT - 1)), multiplier, shift, offset);
    }
}

void ec_add_s8(const ec_add_params *params, const int8_t *left, const int8_t *right, int8_t *output)
{
    if (params->mode == EC_ADD_BOTH_HALF) {
        add_both_half(params, left, right, output);
    } else if (params->mode == EC_ADD_LEFT_HALF) {
        add_left_half(params, left, right, output);
    } else {
        add_any(params, left, right, output);
    }
}
