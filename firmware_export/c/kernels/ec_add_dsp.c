/* SPDX-License-Identifier: Apache-2.0
 * A sum of int8 inputs has 65,536 cases: edgecompress/lower/c/dsp_simple.py chooses factors and offset such that every one
 * of them equals the reference, whose three roundings would cost three times as much. A byte in the upper half of a
 * halfword is what SMLAWx multiplies with 32 bits, and SSAT shifts for nothing. */
#include "ec_clamp_dsp.h"
#include "ec_dsp.h"
#include "ec_kernels.h"
#include "ec_requant.h"

/* The first `size` elements, a multiple of four. The sums take turns, for cores that would wait for a product. */
EC_OUTLINED void add_fours(const ec_add_dsp_params *params, const int8_t *left, const int8_t *right, int8_t *output, int32_t size)
{
    const int32_t l = params->left_factor, r = params->right_factor, offset = params->offset;
    const int8_t *end = left + size;
    EC_NO_UNROLL
    while (left != end) {
        const uint32_t a = ec_load_word(left), b = ec_load_word(right);
        const uint32_t a_even = a << 8 & 0xff00ff00u, b_even = b << 8 & 0xff00ff00u, a_odd = a & 0xff00ff00u, b_odd = b & 0xff00ff00u;
        const int32_t l0 = ec_smlawb(l, a_even, offset), l1 = ec_smlawb(l, a_odd, offset);
        const int32_t l2 = ec_smlawt(l, a_even, offset), l3 = ec_smlawt(l, a_odd, offset);
        const int32_t s0 = ec_smlawb(r, b_even, l0), s1 = ec_smlawb(r, b_odd, l1);
        const int32_t s2 = ec_smlawt(r, b_even, l2), s3 = ec_smlawt(r, b_odd, l3);
        left += 4;
        right += 4;
        EC_OPAQUE(left);
        EC_OPAQUE(right);
        output[0] = (int8_t)ec_ssat8_20(s0);
        output[1] = (int8_t)ec_ssat8_20(s1);
        output[2] = (int8_t)ec_ssat8_20(s2);
        output[3] = (int8_t)ec_ssat8_20(s3);
        output += 4;
        EC_OPAQUE(output);
    }
}

void ec_add_dsp(const ec_add_dsp_params *params, const int8_t *left, const int8_t *right, int8_t *output)
{
    int32_t i = params->size & ~3;
    add_fours(params, left, right, output, i);
    for (; i < params->size; ++i) {
        const int32_t sum = ec_smlawb(params->left_factor, (uint32_t)left[i] << 8, params->offset);
        output[i] = (int8_t)ec_ssat8_20(ec_smlawb(params->right_factor, (uint32_t)right[i] << 8, sum));
    }
    ec_clamp_dsp(output, params->size, params->activation_min, params->activation_max);
}
