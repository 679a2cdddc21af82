/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_dsp.h"

#include "ec_requant.h"
#include "ec_weights.h"

ec_depthwise_scale ec_depthwise_scale_of(const ec_depthwise_dsp_params *params, int32_t channel)
{
    ec_depthwise_scale scale;
    scale.bias = params->bias[channel];
    scale.multiplier = params->multiplier[channel];
    scale.shift = params->shift[channel];
    scale.offset = (1 + 2 * params->output_zero_point) * (1 << (scale.shift - 1));
    return scale;
}

const int8_t *ec_depthwise_weights(const ec_depthwise_dsp_params *params, int32_t channel, int32_t count, int8_t *unpacked)
{
    const int32_t bits = params->weight_bits;
    const int8_t *row = params->weights + channel * ec_row_bytes(count, bits);
    int32_t i;
    if (bits == 8) {
        return row;
    }
    EC_NO_UNROLL
    for (i = 0; i < count; ++i) {
        unpacked[i] = (int8_t)ec_weight(row, i, bits);
    }
    return unpacked;
}

/* Four channels of two input rows to words of both. */
static inline void fill_rows(const int8_t *upper, int32_t upper_step, const int8_t *lower, int32_t lower_step, int32_t columns, uint32_t *words,
                             int32_t column_step, int32_t lane_step)
{
    uint32_t *second = words + lane_step, *third = second + lane_step, *fourth = third + lane_step;
    EC_NO_UNROLL
    for (; columns != 0; --columns) {
        const uint32_t a = ec_load_word(upper), b = ec_load_word(lower);
        const uint32_t a_even = ec_sxtb16(a), b_even = ec_sxtb16(b), a_odd = ec_sxtb16_odd(a), b_odd = ec_sxtb16_odd(b);
        *words = ec_pack_bottoms(a_even, b_even);
        *second = ec_pack_bottoms(a_odd, b_odd);
        *third = ec_pack_tops(a_even, b_even);
        *fourth = ec_pack_tops(a_odd, b_odd);
        upper += upper_step;
        lower += lower_step;
        words += column_step;
        second += column_step;
        third += column_step;
        fourth += column_step;
    }
}

void ec_depthwise_fill(const ec_depthwise_dsp_params *params, const int8_t *input, int32_t channel, int32_t row, uint32_t *words, int32_t column_step,
                       int32_t lane_step)
{
    const int32_t channels = params->channels, row_bytes = params->input_width * channels;
    const uint32_t zero_point = (uint8_t)params->input_zero_point * 0x01010101u;
    int8_t zeros[4]; /* a row of zero points: a pixel that is read again and again */
    const int8_t *rows[2];
    int32_t steps[2], i;
    ec_store_word(zeros, zero_point);
    for (i = 0; i < 2; ++i) {
        const int inside = row + i >= 0 && row + i < params->input_height;
        rows[i] = inside ? input + (row + i) * row_bytes + channel : zeros;
        steps[i] = inside ? channels : 0;
    }
    fill_rows(rows[0], steps[0], rows[1], steps[1], params->input_width, words, column_step, lane_step);
}

static inline int32_t rescale(int32_t sum, const ec_depthwise_scale *s, int32_t low, int32_t high, const int mode)
{
    const int32_t doubled = (int32_t)((uint32_t)s->bias + (uint32_t)sum * 2u);
    int32_t result;
    /* Halves are rounded away from zero: down for negative sums, which rectified ones need not know. */
    result = ec_smmlar(doubled, s->multiplier, mode == EC_DEPTHWISE_RECTIFIED ? s->offset : s->offset + (doubled >> 31)) >> s->shift;
    return mode == EC_DEPTHWISE_CLAMPED ? ec_clamp(result, low, high) : ec_ssat8(result);
}

static inline void rescale_rows(const ec_depthwise_dsp_params *p, const ec_depthwise_scale *scale, const int32_t *sums, int8_t *output,
                                int32_t row_step, const int mode)
{
    const ec_depthwise_scale s = *scale;
    const int32_t low = p->activation_min, high = p->activation_max, channels = p->channels;
    int32_t columns = p->output_width;
    EC_NO_UNROLL
    for (; columns != 0; --columns) {
        const int32_t first = rescale(sums[0], &s, low, high, mode), second = rescale(sums[1], &s, low, high, mode);
        output[row_step] = (int8_t)second; /* before the first row, which overwrites it where there is no second */
        output[0] = (int8_t)first;
        sums += 2;
        output += channels;
    }
}

void ec_depthwise_rescale_rows(const ec_depthwise_dsp_params *params, const ec_depthwise_scale *scale, const int32_t *sums, int8_t *output,
                               int32_t row_step)
{
    if (params->mode == EC_DEPTHWISE_RECTIFIED) {
        rescale_rows(params, scale, sums, output, row_step, EC_DEPTHWISE_RECTIFIED);
    } else if (params->mode == EC_DEPTHWISE_WHOLE) {
        rescale_rows(params, scale, sums, output, row_step, EC_DEPTHWISE_WHOLE);
    } else {
        rescale_rows(params, scale, sums, output, row_step, EC_DEPTHWISE_CLAMPED);
    }
}
