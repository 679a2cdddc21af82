/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_dsp.h"

#include "ec_requant.h"
#include "ec_weights.h"

void ec_depthwise_begin(ec_depthwise_step *step, const ec_depthwise_dsp_params *params, int32_t *sums, int32_t columns, int32_t column_step)
{
    step->sums_end = sums + 2 * columns;
    step->sums = sums;
    step->column_step = column_step;
    step->rescale = params->rescale;
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

#if EC_DSP
/* r2 sums, r3 to r6 the lane's constants, r7 output, r8 row_step, r9 column_step. Two columns at a time, an odd one first;
 * a row that is not there has its outputs stored before those of the first row, at their place. The sums take turns, for
 * cores that would wait for a product. */
__asm__(
    ".syntax unified\n"
    ".macro ec_dw_each operation, registers:vararg\n"
    "    .irp sum, \\registers\n"
    "    \\operation \\sum\n"
    "    .endr\n"
    ".endm\n"
    ".macro ec_dw_add_bias_8 sum\n"
    "    add \\sum, r3, \\sum, lsl #8\n"
    ".endm\n"
    ".macro ec_dw_multiply_short sum\n"
    "    smmul \\sum, \\sum, r4\n"
    ".endm\n"
    ".macro ec_dw_saturate_11 sum\n"
    "    ssat \\sum, #8, \\sum, asr #11\n"
    ".endm\n"
    ".macro ec_dw_saturate_15 sum\n"
    "    ssat \\sum, #8, \\sum, asr #15\n"
    ".endm\n"
    ".macro ec_dw_short_11 registers:vararg\n"
    "    ec_dw_each ec_dw_add_bias_8, \\registers\n"
    "    ec_dw_each ec_dw_multiply_short, \\registers\n"
    "    ec_dw_each ec_dw_saturate_11, \\registers\n"
    ".endm\n"
    ".macro ec_dw_short_15 registers:vararg\n"
    "    ec_dw_each ec_dw_add_bias_8, \\registers\n"
    "    ec_dw_each ec_dw_multiply_short, \\registers\n"
    "    ec_dw_each ec_dw_saturate_15, \\registers\n"
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
    ".macro ec_dw_rectified registers:vararg\n"
    "    ec_dw_each ec_dw_add_bias, \\registers\n"
    "    ec_dw_each ec_dw_multiply, \\registers\n"
    "    ec_dw_each ec_dw_shift, \\registers\n"
    "    ec_dw_each ec_dw_saturate, \\registers\n"
    ".endm\n"
    ".macro ec_dw_whole registers:vararg\n"
    "    ec_dw_each ec_dw_add_bias, \\registers\n"
    "    ec_dw_each ec_dw_multiply_away, \\registers\n"
    "    ec_dw_each ec_dw_shift, \\registers\n"
    "    ec_dw_each ec_dw_saturate, \\registers\n"
    ".endm\n"
    ".macro ec_dw_clamped registers:vararg\n"
    "    ec_dw_each ec_dw_add_bias, \\registers\n"
    "    ec_dw_each ec_dw_multiply_away, \\registers\n"
    "    ec_dw_each ec_dw_shift, \\registers\n"
    "    ec_dw_each ec_dw_clamp, \\registers\n"
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
    ".macro ec_dw_rows name, scale, load_end\n"
    "    ec_dw_enter \\name\n"
    "    lsls r0, r12, #28\n" /* bit 3 of the end: an odd number of columns */
    "    bpl 2f\n"
    "    ldrd r0, r1, [r2], #8\n"
    "    \\scale r0, r1\n"
    "    ec_dw_store r0, r1\n"
    "    b 3f\n"
    "2:\n"
    "    ldm r2!, {r0, r1, r10, r11}\n"
    "    \\scale r0, r1, r10, r11\n"
    "    ec_dw_store r0, r1\n"
    "    ec_dw_store r10, r11\n"
    "3:\n"
    "    \\load_end\n"
    "    cmp r2, r12\n"
    "    bne 2b\n"
    "    bx lr\n"
    "    .size \\name, . - \\name\n"
    ".endm\n"
    "ec_dw_rows ec_depthwise_rescale_11, ec_dw_short_11\n"
    "ec_dw_rows ec_depthwise_rescale_15, ec_dw_short_15\n"
    "ec_dw_rows ec_depthwise_rescale_rectified, ec_dw_rectified\n"
    "ec_dw_rows ec_depthwise_rescale_whole, ec_dw_whole, \"ldr r12, [sp]\"\n"
    "ec_dw_enter ec_depthwise_rescale_clamped\n"
    "    ldrd r10, r11, [sp, #32]\n"
    "2:\n"
    "    ldrd r0, r1, [r2], #8\n"
    "    ec_dw_clamped r0, r1\n"
    "    ec_dw_store r0, r1\n"
    "    ldr r12, [sp]\n"
    "    cmp r2, r12\n"
    "    bne 2b\n"
    "    bx lr\n"
    "    .size ec_depthwise_rescale_clamped, . - ec_depthwise_rescale_clamped\n"
    ".text\n");
#else
enum form { SHORT_11, SHORT_15, RECTIFIED, WHOLE, CLAMPED };

static int8_t rescale(int32_t sum, const ec_depthwise_step *step, enum form form)
{
    ec_rescale_dsp scale;
    ec_rescale_short short_scale;
    int8_t result;
    if (form == SHORT_11 || form == SHORT_15) {
        memcpy(&short_scale, step->lane, sizeof short_scale);
        return ec_rescale_short_one(&short_scale, sum, form == SHORT_11 ? 11 : 15);
    }
    memcpy(&scale, step->lane, sizeof scale);
    result = ec_rescale_dsp_one(&scale, ec_doubled_sum(sum, scale.bias), form != RECTIFIED);
    return form == CLAMPED ? (int8_t)ec_clamp(result, step->activation_min, step->activation_max) : result;
}

static void rescale_rows(ec_depthwise_step *step, enum form form)
{
    const int32_t *sums;
    int8_t *output = step->output;
    for (sums = step->sums; sums != step->sums_end; sums += 2) {
        output[step->row_step] = rescale(sums[1], step, form);
        output[0] = rescale(sums[0], step, form);
        output += step->column_step;
    }
    step->output += 1;
    step->lane += EC_DEPTHWISE_SCALE_WORDS;
}

void ec_depthwise_rescale_11(ec_depthwise_step *step)
{
    rescale_rows(step, SHORT_11);
}

void ec_depthwise_rescale_15(ec_depthwise_step *step)
{
    rescale_rows(step, SHORT_15);
}

void ec_depthwise_rescale_rectified(ec_depthwise_step *step)
{
    rescale_rows(step, RECTIFIED);
}

void ec_depthwise_rescale_whole(ec_depthwise_step *step)
{
    rescale_rows(step, WHOLE);
}

void ec_depthwise_rescale_clamped(ec_depthwise_step *step)
{
    rescale_rows(step, CLAMPED);
}
#endif
