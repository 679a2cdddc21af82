/* SPDX-License-Identifier: Apache-2.0
 * Change of scale and zero point: one product, with a factor and an offset for which all 256 outputs equal the reference's
 * (edgecompress/lower/c/dsp_simple.py), as ec_add_dsp.c does it. */
#include "ec_clamp_dsp.h"
#include "ec_dsp.h"
#include "ec_kernels.h"
#include "ec_requant.h"

/* The first `size` elements, a multiple of four. */
EC_OUTLINED void rescale_fours(const ec_requantize_dsp_params *params, const int8_t *input, int8_t *output, int32_t size)
{
    const int32_t factor = params->factor, offset = params->offset;
    const int8_t *end = input + size;
    EC_NO_UNROLL
    while (input != end) {
        const uint32_t x = ec_load_word(input), even = x << 8 & 0xff00ff00u, odd = x & 0xff00ff00u;
        const int32_t s0 = ec_smlawb(factor, even, offset), s1 = ec_smlawb(factor, odd, offset);
        const int32_t s2 = ec_smlawt(factor, even, offset), s3 = ec_smlawt(factor, odd, offset);
        input += 4;
        EC_OPAQUE(input);
        output[0] = (int8_t)ec_ssat8_20(s0);
        output[1] = (int8_t)ec_ssat8_20(s1);
        output[2] = (int8_t)ec_ssat8_20(s2);
        output[3] = (int8_t)ec_ssat8_20(s3);
        output += 4;
        EC_OPAQUE(output);
    }
}

void ec_requantize_dsp(const ec_requantize_dsp_params *params, const int8_t *input, int8_t *output)
{
    int32_t i = params->size & ~3;
    rescale_fours(params, input, output, i);
    for (; i < params->size; ++i) {
        output[i] = (int8_t)ec_ssat8_20(ec_smlawb(params->factor, (uint32_t)input[i] << 8, params->offset));
    }
    ec_clamp_dsp(output, params->size, params->activation_min, params->activation_max);
}
