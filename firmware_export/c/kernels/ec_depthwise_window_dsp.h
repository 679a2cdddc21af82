/* SPDX-License-Identifier: Apache-2.0
 * Depthwise windows of any size, strides 1 and 2, for cores with the DSP extension.
 *
 * The words of each lane's pairs of rows stand in rows of their own. A step makes two output rows, three columns at a time, or
 * two: each word of the windows' rows is loaded once and serves up to three columns and both rows, whose weights are two words,
 * one load. A run is a row of words with the taps that move along it: with stride 1 each pair of rows has one run; with a
 * horizontal stride of 2 it has two, the even columns and the odd ones, which stand apart for that reason. The second row's
 * weights are those of the first row one or two rows further down. */
#ifndef EC_DEPTHWISE_WINDOW_DSP_H
#define EC_DEPTHWISE_WINDOW_DSP_H

#include "ec_depthwise_dsp.h"

/* A lane's constants: bytes from the first lane's words to its own, `weight_bytes` of weights, its ec_rescale_dsp.
 * Functions in assembly keep a copy on their stack: the order matters to them. */
typedef struct {
    ec_depthwise_step step;
    const int32_t *runs;     /* bytes from `words` to the first column's windows in the first lane */
    const int32_t *runs_end; /* one after the last run; at least one */
    int32_t skipped_bytes;   /* of weights, whose rows lie above the image */
    int32_t weight_bytes;
    int32_t taps[2]; /* of the runs in turn; taps[1] may be 0: one run a pair of rows */
    const uint32_t *words;
    const int32_t *threes_end; /* of the sums: columns are taken in threes up to here, then in twos */
} ec_depthwise_window_step;

typedef void ec_depthwise_window_function(const ec_depthwise_window_step *step);

ec_depthwise_window_function ec_depthwise_window_any; /* any number of taps */

/* Where the two words of a tap go; `step` words further go those of the tap one pair of rows further down. */
typedef struct {
    uint32_t *words;
    int32_t step;
} ec_depthwise_taps;

static inline void ec_depthwise_put(ec_depthwise_taps *taps, uint32_t first_row, uint32_t second_row)
{
    taps->words[0] = first_row;
    taps->words[1] = second_row;
    taps->words += taps->step;
}

/* A line of weights. Two words a tap: a pair of weights, for the first output, which begins with a pair, and a pair for the
 * second one, which begins `further` weights further down. */
void ec_depthwise_order_line(const int8_t *weights, int32_t length, int32_t further, ec_depthwise_taps taps);

/* Four channels of two rows, less the zero point, to words of both; a lane's words begin `lane_step` words after those of the lane before. */
void ec_depthwise_window_fill(const int8_t *upper, int32_t upper_step, const int8_t *lower, int32_t lower_step, uint32_t minus, int32_t columns,
                              uint32_t *words, int32_t lane_step);

/* Columns that are taken together: at least 2, or else as many as there are. */
static inline int32_t ec_depthwise_positions(int32_t columns)
{
    return columns < 2 ? 2 : columns;
}

/* How many of them are taken in threes: none of the others is left alone. */
static inline int32_t ec_depthwise_threes(int32_t columns)
{
    return columns % 3 != 1 ? columns / 3 * 3 : columns < 4 ? 0 : columns - 4;
}

/* Scratch, with pairs = kernel_height / 2 + 1 for a vertical stride of 1 and (kernel_height + 1) / 2 + 1 for 2, and positions the
 * output_width, at least 2: int32_t[positions][2] sums,
 * uint32_t[4 lanes][pairs][stride_width * (positions - 1) + kernel_width] words, 4 lanes' constants of
 * 1 + 2 * pairs * kernel_width + 4 words, int32_t[stride_width * pairs] runs, int8_t[kernel_height * kernel_width] for packed
 * weights. Weights: two columns at a time, row by row; an odd last column by itself.
 * Output and input may start at one address where padding_top < kernel_height and the output has at most as many
 * rows and columns. Every window must see rows of the image. */
void ec_depthwise_window_run(ec_depthwise_window_function *function, const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output,
                             void *scratch);

#if EC_DSP
/* Sums r3 to r8 of three columns, r3 to r6 of two; words r9 to r11 of the columns in turn, r0 the words to come, r1 the weights
 * to come, lr the next run. On the stack: the ec_depthwise_window_step, at 72 the words of this lane and block, at 76 the sums
 * to store, at 80 room for lr.
 * `runs` is what to do for a pair of rows: one or two of ec_dww_taps or ec_dww_loop, for \\columns columns. */
#define EC_DEPTHWISE_WINDOW_FUNCTION(name, runs) \
    __asm__( \
        ".syntax unified\n" \
        ".macro ec_dww_tap columns, a, b, c\n" \
        "    .if \\columns == 3\n" \
        "    ldr \\c, [r0], #4\n" \
        "    .else\n" \
        "    ldr \\b, [r0], #4\n" \
        "    .endif\n" \
        "    ldrd r2, r12, [r1], #8\n" \
        "    smlad r3, \\a, r2, r3\n" \
        "    smlad r4, \\a, r12, r4\n" \
        "    smlad r5, \\b, r2, r5\n" \
        "    smlad r6, \\b, r12, r6\n" \
        "    .if \\columns == 3\n" \
        "    smlad r7, \\c, r2, r7\n" \
        "    smlad r8, \\c, r12, r8\n" \
        "    .endif\n" \
        ".endm\n" \
        ".macro ec_dww_begin columns\n" \
        "    ldr r0, [lr], #4\n" \
        "    ldr r2, [sp, #72]\n" \
        "    add r0, r2\n" \
        "    .if \\columns == 3\n" \
        "    ldrd r9, r10, [r0], #8\n" \
        "    .else\n" \
        "    ldr r9, [r0], #4\n" \
        "    .endif\n" \
        ".endm\n" \
        ".macro ec_dww_taps columns, count\n" \
        "    ec_dww_begin \\columns\n" \
        "    ec_dww_more \\columns, \\count, r9, r10, r11\n" \
        ".endm\n" \
        ".macro ec_dww_more columns, count, a, b, c\n" \
        "    .if \\count\n" \
        "    ec_dww_tap \\columns, \\a, \\b, \\c\n" \
        "    .if \\columns == 3\n" \
        "    ec_dww_more 3, \\count - 1, \\b, \\c, \\a\n" \
        "    .else\n" \
        "    ec_dww_more 2, \\count - 1, \\b, \\a, \\c\n" \
        "    .endif\n" \
        "    .endif\n" \
        ".endm\n" \
        ".macro ec_dww_loop columns, taps\n" /* any number; `step` at a time, then the rest of -step to -1 */ \
        "    .set ec_dww_step, \\columns\n" \
        "    ec_dww_begin \\columns\n" \
        "    str lr, [sp, #80]\n" \
        "    ldr lr, [sp, #\\taps]\n" \
        "    subs lr, lr, #ec_dww_step\n" \
        "    blo 6f\n" \
        "5:\n" \
        "    ec_dww_more \\columns, \\columns, r9, r10, r11\n" \
        "    subs lr, lr, #ec_dww_step\n" \
        "    bhs 5b\n" \
        "6:\n" \
        "    adds lr, lr, #ec_dww_step - 1\n" \
        "    bmi 7f\n" \
        "    ec_dww_tap \\columns, r9, r10, r11\n" \
        "    .if \\columns == 3\n" \
        "    beq 7f\n" \
        "    ec_dww_tap 3, r10, r11, r9\n" \
        "    .endif\n" \
        "7:\n" \
        "    ldr lr, [sp, #80]\n" \
        ".endm\n" \
        ".macro ec_dww_runs columns\n" runs ".endm\n" \
        ".macro ec_dww_block columns\n" \
        "2:\n" \
        "    ldr lr, [sp, #40]\n" \
        "    ldr r1, [sp, #20]\n" \
        "    ldr r2, [sp, #48]\n" \
        "    mov r3, #0\n" \
        "    mov r4, #0\n" \
        "    mov r5, #0\n" \
        "    mov r6, #0\n" \
        "    .if \\columns == 3\n" \
        "    mov r7, #0\n" \
        "    mov r8, #0\n" \
        "    .endif\n" \
        "    add r1, r2\n" \
        "3:\n" \
        "    ec_dww_runs \\columns\n" \
        "    ldr r2, [sp, #44]\n" \
        "    cmp lr, r2\n" \
        "    bne 3b\n" \
        "    ldrd r0, r2, [sp, #72]\n" \
        "    .if \\columns == 3\n" \
        "    ldr r1, [sp, #68]\n" \
        "    stm r2!, {r3-r8}\n" \
        "    adds r0, r0, #12\n" \
        "    .else\n" \
        "    ldr r1, [sp]\n" \
        "    stm r2!, {r3-r6}\n" \
        "    adds r0, r0, #8\n" \
        "    .endif\n" \
        "    strd r0, r2, [sp, #72]\n" \
        "    cmp r2, r1\n" \
        "    blo 2b\n" \
        ".endm\n" \
        "    .section .text." #name ", \"ax\", %progbits\n" \
        "    .balign 4\n" \
        "    .global " #name "\n" \
        "    .type " #name ", %function\n" \
        "    .thumb_func\n" \
        #name ":\n" \
        "    push {r4-r11, lr}\n" \
        "    sub sp, sp, #84\n" \
        "    mov r12, sp\n" \
        "    ldm r0!, {r1-r9}\n" \
        "    stm r12!, {r1-r9}\n" \
        "    ldm r0!, {r1-r9}\n" \
        "    stm r12!, {r1-r9}\n" \
        "    ldr r1, [sp, #20]\n" \
        "1:\n" \
        "    ldr r0, [r1], #4\n" \
        "    ldrd r3, r4, [sp, #64]\n" \
        "    ldr r2, [sp, #4]\n" \
        "    add r0, r3\n" \
        "    str r1, [sp, #20]\n" \
        "    strd r0, r2, [sp, #72]\n" \
        "    cmp r2, r4\n" \
        "    beq 4f\n" \
        "    ec_dww_block 3\n" \
        "    ldr r0, [sp]\n" \
        "    cmp r2, r0\n" \
        "    beq 8f\n" \
        "4:\n" \
        "    ec_dww_block 2\n" \
        "8:\n" \
        "    ldr r1, [sp, #20]\n" \
        "    ldr r0, [sp, #52]\n" \
        "    ldr r2, [sp, #28]\n" \
        "    add r1, r0\n" \
        "    str r1, [sp, #20]\n" \
        "    blx r2\n" \
        "    ldrd r1, r0, [sp, #20]\n" \
        "    cmp r1, r0\n" \
        "    bne 1b\n" \
        "    add sp, sp, #84\n" \
        "    pop {r4-r11, pc}\n" \
        "    .size " #name ", . - " #name "\n" \
        ".text\n")
#else
ec_depthwise_window_function ec_depthwise_window_sums;

#define EC_DEPTHWISE_WINDOW_FUNCTION(name, runs) \
    void name(const ec_depthwise_window_step *step) \
    { \
        ec_depthwise_window_sums(step); \
    } \
    void name(const ec_depthwise_window_step *step)
#endif

#endif
