/* SPDX-License-Identifier: Apache-2.0
 * Depthwise 3x3, stride 2. An output row needs the words of input rows 0 and 1 of its windows and the first half of those
 * of rows 2 and 3, with which the next output row begins: a step makes two output rows of three words a column, and its
 * last words are the first ones of the next step, which runs through them from the other end. */
#include "ec_depthwise_3x3_dsp.h"

#define PAIRS 5 /* (w0, w1) of each column of the kernel, w2 of columns 0 and 1, w2 of column 2 */
#define COLUMN_WORDS (3 * EC_DEPTHWISE_LANES)

void ec_depthwise_3x3_stride2_step_even(ec_depthwise_step *step);
void ec_depthwise_3x3_stride2_step_odd(ec_depthwise_step *step);

#if EC_DSP
/* r0 words, r2 sums, r12 their end, r3 and r4 the sums of both rows, r5 to r9 the weights. A column of windows shares its
 * last input column with the next one. */
__asm__(
    ".syntax unified\n"
    ".macro ec_dw3s2_load first, second, third\n"
    "    ldrd \\first, \\second, [r0], #48\n"
    "    ldr \\third, [r0, #-40]\n"
    ".endm\n"
    ".macro ec_dw3s2_add upper, middle, lower, pair, single, last\n"
    "    smlad r3, \\upper, \\pair, r3\n"
    "    smlad r4, \\middle, \\pair, r4\n"
    "    \\single r3, \\middle, \\last, r3\n"
    "    \\single r4, \\lower, \\last, r4\n"
    ".endm\n"
    ".macro ec_dw3s2_step name, upper, lower\n"
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
    "1:\n"
    "    ldm r1!, {r0, r5-r9}\n"
    "    ldrd r12, r2, [sp]\n"
    "    str r1, [sp, #20]\n"
    "    add r0, r12\n"
    "    ec_dw3s2_load r1, r10, r11\n"
    "2:\n"
    "    smuad r3, \\upper, r5\n"
    "    smuad r4, r10, r5\n"
    "    smlabb r3, r10, r8, r3\n"
    "    smlabb r4, \\lower, r8, r4\n"
    "    ec_dw3s2_load r1, r10, r11\n"
    "    ec_dw3s2_add \\upper, r10, \\lower, r6, smlabt, r8\n"
    "    ec_dw3s2_load r1, r10, r11\n"
    "    ec_dw3s2_add \\upper, r10, \\lower, r7, smlabb, r9\n"
    "    strd r3, r4, [r2], #8\n"
    "    cmp r2, r12\n"
    "    bne 2b\n"
    "    ldr r0, [sp, #28]\n"
    "    blx r0\n"
    "    ldrd r1, r0, [sp, #20]\n"
    "    cmp r1, r0\n"
    "    bne 1b\n"
    "    add sp, sp, #40\n"
    "    pop {r4-r11, pc}\n"
    "    .size \\name, . - \\name\n"
    ".endm\n"
    "ec_dw3s2_step ec_depthwise_3x3_stride2_step_even, r1, r11\n"
    "ec_dw3s2_step ec_depthwise_3x3_stride2_step_odd, r11, r1\n"
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
                const uint32_t *word = words + column * COLUMN_WORDS;
                const uint32_t last = column == 2 ? pairs[4] : column == 1 ? pairs[3] >> 16 : pairs[3];
                sums[0] = ec_smlabb(word[1], last, ec_smlad(word[upper], pairs[column], sums[0]));
                sums[1] = ec_smlabb(word[2 - upper], last, ec_smlad(word[1], pairs[column], sums[1]));
            }
            words += 2 * COLUMN_WORDS;
        }
        s.lane += 1 + PAIRS;
        s.rescale(&s);
    }
}

void ec_depthwise_3x3_stride2_step_even(ec_depthwise_step *step)
{
    make_step(step, 0);
}

void ec_depthwise_3x3_stride2_step_odd(ec_depthwise_step *step)
{
    make_step(step, 2);
}
#endif

static inline void load(const int8_t *weights, uint32_t *pairs)
{
    int32_t column;
    for (column = 0; column < 3; ++column) {
        pairs[column] = ec_pack_bottoms((uint32_t)weights[3 * column], (uint32_t)weights[3 * column + 1]);
    }
    pairs[3] = ec_pack_bottoms((uint32_t)weights[2], (uint32_t)weights[5]);
    pairs[4] = (uint32_t)weights[8];
}

EC_OUTLINED void fill(const ec_depthwise_source *source, const int8_t *input, int32_t row, int32_t offset, uint32_t *words)
{
    ec_depthwise_fill(source, input, row, offset, words, 3);
}

void ec_depthwise_3x3_stride2_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    const ec_depthwise_3x3_kernel kernel = {2, PAIRS, load, fill, {ec_depthwise_3x3_stride2_step_even, ec_depthwise_3x3_stride2_step_odd}};
    ec_depthwise_3x3_run(kernel, params, input, output, scratch);
}
