/* SPDX-License-Identifier: Apache-2.0
 * Depthwise 3x3, stride 1. A step makes two output rows: the words of input rows 0 and 1 and those of rows 2 and 3 of its
 * windows lie side by side in scratch, one LDRD, and are read once for all three columns of the kernel. Every other step
 * the two change places, because the lower word of one step is the upper word of the next.
 */
#include "ec_depthwise_3x3_dsp.h"

#define PAIRS 6 /* for each column of the kernel (w0, w1), (w1, w2) */
#define COLUMN_WORDS (2 * EC_DEPTHWISE_LANES)

void ec_depthwise_3x3_step_even(ec_depthwise_step *step);
void ec_depthwise_3x3_step_odd(ec_depthwise_step *step);

#if EC_DSP
/* A kernel column's share of a sum pair: row 0 gets w0 and w1 of the upper word and w2 of the lower word's first half, row 1
 * gets w0 of the upper word's second half and w1 and w2 of the lower word. The sums of two output columns are on their way,
 * (r3, r4) and (r11, r12); a column that is finished is stored, and its registers begin the next but one. With an odd number
 * of columns, bit 3 of the sums' end, the second half of the loop comes first. */
__asm__(
    ".syntax unified\n"
    ".macro ec_dw3_begin upper, lower, sum0, sum1, a, b\n"
    "    smuad \\sum0, \\upper, \\a\n"
    "    smultb \\sum1, \\upper, \\a\n"
    "    smlabt \\sum0, \\lower, \\b, \\sum0\n"
    "    smlad \\sum1, \\lower, \\b, \\sum1\n"
    ".endm\n"
    ".macro ec_dw3_add upper, lower, sum0, sum1, a, b\n"
    "    smlad \\sum0, \\upper, \\a, \\sum0\n"
    "    smlatb \\sum1, \\upper, \\a, \\sum1\n"
    "    smlabt \\sum0, \\lower, \\b, \\sum0\n"
    "    smlad \\sum1, \\lower, \\b, \\sum1\n"
    ".endm\n"
    ".macro ec_dw3_step name, upper, lower\n"
    "    .section .text.\\name, \"ax\", %progbits\n"
    "    .balign 4\n"
    "    .global \\name\n"
    "    .type \\name, %function\n"
    "    .thumb_func\n"
    "\\name:\n"
    "    push {r4-r11, lr}\n"
    "    ldm r0, {r1-r10}\n"
    "    push {r1-r10}\n"
    "    mov r1, r6\n"
    "4:\n"
    "    ldm r1!, {r0, r5-r10}\n"
    "    ldrd r3, r2, [sp]\n"
    "    str r1, [sp, #20]\n"
    "    add r0, r3\n"
    "    lsls r3, r3, #28\n"
    "    ldrd r1, lr, [r0], #32\n"
    "    bmi 3f\n"
    "    ec_dw3_begin \\upper, \\lower, r3, r4, r5, r6\n"
    "    ldrd r1, lr, [r0], #32\n"
    "1:\n"
    "    ec_dw3_add \\upper, \\lower, r3, r4, r7, r8\n"
    "    ec_dw3_begin \\upper, \\lower, r11, r12, r5, r6\n"
    "    ldrd r1, lr, [r0], #32\n"
    "    ec_dw3_add \\upper, \\lower, r3, r4, r9, r10\n"
    "    strd r3, r4, [r2], #16\n"
    "2:\n"
    "    ec_dw3_add \\upper, \\lower, r11, r12, r7, r8\n"
    "    ec_dw3_begin \\upper, \\lower, r3, r4, r5, r6\n"
    "    ldrd r1, lr, [r0], #32\n"
    "    ec_dw3_add \\upper, \\lower, r11, r12, r9, r10\n"
    "    strd r11, r12, [r2, #-8]\n"
    "    ldr r11, [sp]\n"
    "    cmp r2, r11\n"
    "    bne 1b\n"
    "    ldr r0, [sp, #28]\n"
    "    blx r0\n"
    "    ldrd r1, r0, [sp, #20]\n"
    "    cmp r1, r0\n"
    "    bne 4b\n"
    "    add sp, sp, #40\n"
    "    pop {r4-r11, pc}\n"
    "3:\n"
    "    ec_dw3_begin \\upper, \\lower, r11, r12, r5, r6\n"
    "    ldrd r1, lr, [r0], #32\n"
    "    adds r2, r2, #8\n"
    "    b 2b\n"
    "    .size \\name, . - \\name\n"
    ".endm\n"
    "ec_dw3_step ec_depthwise_3x3_step_even, r1, lr\n"
    "ec_dw3_step ec_depthwise_3x3_step_odd, lr, r1\n"
    ".text\n");
#else
static void make_step(const ec_depthwise_step *step, int32_t upper)
{
    ec_depthwise_step s = *step;
    while (s.lane != s.lane_end) {
        const uint32_t *pairs = s.lane + 1, *words = (const uint32_t *)(const void *)s.sums_end + *s.lane / 4;
        int32_t *sums;
        for (sums = s.sums; sums != s.sums_end; sums += 2) {
            int32_t column;
            sums[0] = 0;
            sums[1] = 0;
            for (column = 0; column < 3; ++column) {
                const uint32_t *word = words + column * COLUMN_WORDS, a = pairs[2 * column], b = pairs[2 * column + 1];
                sums[0] = ec_smlabt(word[1 - upper], b, ec_smlad(word[upper], a, sums[0]));
                sums[1] = ec_smlad(word[1 - upper], b, ec_smlatb(word[upper], a, sums[1]));
            }
            words += COLUMN_WORDS;
        }
        s.lane += 1 + PAIRS;
        s.rescale(&s);
    }
}

void ec_depthwise_3x3_step_even(ec_depthwise_step *step)
{
    make_step(step, 0);
}

void ec_depthwise_3x3_step_odd(ec_depthwise_step *step)
{
    make_step(step, 1);
}
#endif

static inline void load(const int8_t *weights, uint32_t *pairs)
{
    int32_t column;
    for (column = 0; column < 3; ++column) {
        const uint32_t middle = (uint32_t)weights[3 * column + 1];
        pairs[2 * column] = ec_pack_bottoms((uint32_t)weights[3 * column], middle);
        pairs[2 * column + 1] = ec_pack_bottoms(middle, (uint32_t)weights[3 * column + 2]);
    }
}

EC_OUTLINED void fill(const ec_depthwise_source *source, const int8_t *input, int32_t row, int32_t offset, uint32_t *words)
{
    ec_depthwise_fill(source, input, row, offset, words, 2);
}

void ec_depthwise_3x3_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    const ec_depthwise_3x3_kernel kernel = {1, PAIRS, load, fill, {ec_depthwise_3x3_step_even, ec_depthwise_3x3_step_odd}};
    ec_depthwise_3x3_run(kernel, params, input, output, scratch);
}
