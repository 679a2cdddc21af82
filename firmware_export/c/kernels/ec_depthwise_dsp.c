/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_dsp.h"

#include "ec_requant.h"
#include "ec_weights.h"

void ec_depthwise_begin(ec_depthwise_step *step, const ec_depthwise_dsp_params *params, int32_t *sums, int32_t count,
                        ec_depthwise_rescale *const rescale[3])
{
    step->sums_end = sums + count;
    step->sums = sums;
    step->channels = params->channels;
    step->rescale = rescale[params->mode];
    step->activation_min = params->activation_min;
    step->activation_max = params->activation_max;
}

const int8_t *ec_depthwise_unpack(const ec_depthwise_dsp_params *params, int32_t channel, int32_t count, int8_t *unpacked)
{
    const int32_t bits = params->weight_bits;
    const int8_t *row = params->weights + channel * ec_row_bytes(count, bits);
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < count; ++i) {
        unpacked[i] = (int8_t)ec_weight(row, i, bits);
    }
    return unpacked;
}

void ec_depthwise_fill(const ec_depthwise_dsp_params *params, const int8_t *input, int32_t row, uint32_t *words)
{
    const int32_t channels = params->channels, row_bytes = params->input_width * channels, height = params->input_height;
    const int8_t *upper = input + row * row_bytes, *lower = upper + row_bytes;
    int32_t upper_step = channels, lower_step = channels, columns = params->input_width;
    int8_t zeros[4]; /* a row of zero points: one pixel, read again and again */
    if (row < 0 || row + 1 >= height) {
        ec_store_word(zeros, (uint8_t)params->input_zero_point * 0x01010101u);
        if (row < 0 || row >= height) {
            upper = zeros;
            upper_step = 0;
        }
        if (row + 1 < 0 || row + 1 >= height) {
            lower = zeros;
            lower_step = 0;
        }
    }
    EC_NO_UNROLL
    do {
        const uint32_t a = ec_load_word(upper), b = ec_load_word(lower);
        const uint32_t low = ec_pack_bottoms(a, b), high = ec_pack_tops(a, b);
        words[0] = ec_sxtb16(low);
        words[2] = ec_sxtb16_odd(low);
        words[4] = ec_sxtb16(high);
        words[6] = ec_sxtb16_odd(high);
        upper += upper_step;
        lower += lower_step;
        words += 8;
    } while (--columns != 0);
}

#if EC_DSP
/* r2 sums, r3 to r6 the ec_depthwise_scale, r7 output, r8 row_step, r9 channels. Two columns at a time, an odd one first;
 * a row that is not there has its outputs stored before those of the first row, at their place. The sums take turns, for
 * cores that would wait for a product. */
__asm__(
    ".syntax unified\n"
    ".macro ec_dw_each operation, registers:vararg\n"
    "    .irp sum, \\registers\n"
    "    \\operation \\sum\n"
    "    .endr\n"
    ".endm\n"
    ".macro ec_dw_add_bias sum\n"
    "    add \\sum, r3, \\sum, lsl #1\n"
    ".endm\n"
    ".macro ec_dw_multiply sum\n"
    "    smmlar \\sum, \\sum, r4, r5\n"
    ".endm\n"
    ".macro ec_dw_multiply_away sum\n" /* halves away from zero: down for negative sums, which rectified ones need not know */
    "    add r12, r5, \\sum, asr #31\n"
    "    smmlar \\sum, \\sum, r4, r12\n"
    ".endm\n"
    ".macro ec_dw_shift sum\n"
    "    asr \\sum, \\sum, r6\n"
    ".endm\n"
    ".macro ec_dw_saturate sum\n"
    "    ssat \\sum, #8, \\sum\n"
    ".endm\n"
    ".macro ec_dw_clamp sum\n"
    "    cmp \\sum, r10\n"
    "    it lt\n"
    "    movlt \\sum, r10\n"
    "    cmp \\sum, r11\n"
    "    it gt\n"
    "    movgt \\sum, r11\n"
    ".endm\n"
    ".macro ec_dw_scale multiply, limit, registers:vararg\n"
    "    ec_dw_each ec_dw_add_bias, \\registers\n"
    "    ec_dw_each \\multiply, \\registers\n"
    "    ec_dw_each ec_dw_shift, \\registers\n"
    "    ec_dw_each \\limit, \\registers\n"
    ".endm\n"
    ".macro ec_dw_store first, second\n"
    "    strb \\second, [r7, r8]\n"
    "    strb \\first, [r7]\n"
    "    add r7, r9\n"
    ".endm\n"
    ".macro ec_dw_enter name\n"
    "    .section .text.\\name, \"ax\", %progbits\n"
    "    .balign 4\n"
    "    .global \\name\n"
    "    .type \\name, %function\n"
    "    .thumb_func\n"
    "\\name:\n"
    "    ldr r0, [sp, #20]\n"
    "    ldrd r12, r2, [sp]\n"
    "    ldm r0!, {r3-r6}\n"
    "    ldr r7, [sp, #8]\n"
    "    ldrd r8, r9, [sp, #12]\n"
    "    str r0, [sp, #20]\n"
    "    adds r0, r7, #1\n"
    "    str r0, [sp, #8]\n"
    ".endm\n"
    ".macro ec_dw_rows name, multiply, limit, load_end\n"
    "    ec_dw_enter \\name\n"
    "    lsls r0, r12, #28\n" /* bit 3 of the end: an odd number of columns */
    "    bpl 2f\n"
    "    ldrd r0, r1, [r2], #8\n"
    "    ec_dw_scale \\multiply, \\limit, r0, r1\n"
    "    ec_dw_store r0, r1\n"
    "    b 3f\n"
    "2:\n"
    "    ldm r2!, {r0, r1, r10, r11}\n"
    "    ec_dw_scale \\multiply, \\limit, r0, r1, r10, r11\n"
    "    ec_dw_store r0, r1\n"
    "    ec_dw_store r10, r11\n"
    "3:\n"
    "    \\load_end\n"
    "    cmp r2, r12\n"
    "    bne 2b\n"
    "    bx lr\n"
    "    .size \\name, . - \\name\n"
    ".endm\n"
    "ec_dw_rows ec_depthwise_rescale_rows_rectified, ec_dw_multiply, ec_dw_saturate\n"
    "ec_dw_rows ec_depthwise_rescale_rows_whole, ec_dw_multiply_away, ec_dw_saturate, \"ldr r12, [sp]\"\n"
    "ec_dw_enter ec_depthwise_rescale_rows_clamped\n"
    "    ldrd r10, r11, [sp, #32]\n"
    "2:\n"
    "    ldrd r0, r1, [r2], #8\n"
    "    ec_dw_scale ec_dw_multiply_away, ec_dw_clamp, r0, r1\n"
    "    ec_dw_store r0, r1\n"
    "    ldr r12, [sp]\n"
    "    cmp r2, r12\n"
    "    bne 2b\n"
    "    bx lr\n"
    "    .size ec_depthwise_rescale_rows_clamped, . - ec_depthwise_rescale_rows_clamped\n"
    ".text\n");
#else
static int32_t rescale(int32_t sum, const ec_depthwise_scale *s, const ec_depthwise_step *step, int32_t mode)
{
    const int32_t doubled = (int32_t)((uint32_t)s->bias + (uint32_t)sum * 2u);
    const int32_t offset = mode == EC_DEPTHWISE_RECTIFIED ? s->offset : s->offset + (doubled >> 31);
    const int32_t result = ec_smmlar(doubled, s->multiplier, offset) >> s->shift;
    return mode == EC_DEPTHWISE_CLAMPED ? ec_clamp(result, step->activation_min, step->activation_max) : ec_ssat8(result);
}

static void rescale_rows(ec_depthwise_step *step, int32_t mode)
{
    const ec_depthwise_scale *scale = (const ec_depthwise_scale *)(const void *)step->lane;
    const int32_t *sums;
    int8_t *output = step->output;
    for (sums = step->sums; sums != step->sums_end; sums += 2) {
        output[step->row_step] = (int8_t)rescale(sums[1], scale, step, mode);
        output[0] = (int8_t)rescale(sums[0], scale, step, mode);
        output += step->channels;
    }
    step->output += 1;
    step->lane += sizeof *scale;
}

void ec_depthwise_rescale_rows_rectified(ec_depthwise_step *step)
{
    rescale_rows(step, EC_DEPTHWISE_RECTIFIED);
}

void ec_depthwise_rescale_rows_whole(ec_depthwise_step *step)
{
    rescale_rows(step, EC_DEPTHWISE_WHOLE);
}

void ec_depthwise_rescale_rows_clamped(ec_depthwise_step *step)
{
    rescale_rows(step, EC_DEPTHWISE_CLAMPED);
}
#endif
