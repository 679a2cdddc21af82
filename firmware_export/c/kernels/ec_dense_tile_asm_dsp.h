/* SPDX-License-Identifier: Apache-2.0
 * What the assembly of ec_dense_tile_s8_dsp.c and its narrower siblings shares: r0 weights, r1 x, r2 and r3 the first and
 * second sums of channels 0 and 1, r4 and r5 those of channels 2 and 3, r6 to r9 inputs, r10 to r12 and lr weights. */
#ifndef EC_DENSE_TILE_ASM_DSP_H
#define EC_DENSE_TILE_ASM_DSP_H

#include "ec_conv_tile_asm_dsp.h"

/* The stack holds output, end, x, x_end, address in the chain, form, a kernel's own word, multiplier, shift, rounding. `own` runs once, with x in r6 and
 * x_end in r7; `zero` begins the sums of a quad. */
#define EC_QUADS_BEGIN(own, zero)   \
    "push {r4-r11, lr}\n\t"         \
    "ldm r0!, {r4-r10}\n\t"         \
    "ldm r0, {r1-r3}\n\t"           \
    "push {r1-r3}\n\t"              \
    "adr.w r11, 2f + 1\n\t"         \
    "add r8, r8, r11\n\t"           \
    "push {r4-r10}\n\t"             \
    "mov r0, r10\n\t"               \
    "mov r1, r6\n\t"                \
    own                             \
    "1:\n\t"                        \
    zero                            \
    "ldr pc, [sp, #16]\n\t"         \
    ".balign 4\n"                   \
    "2:\n\t"

#define EC_QUADS_ZERO "mov r2, #0\n\tmov r3, #0\n\tmov r4, #0\n\tmov r5, #0\n\t"

#define EC_QUADS_SHORT(shift, second8, first8)              \
    EC_SHORT_1(r3, "r6", "r7", second8, shift)              \
    EC_SHORT_1(r2, "r8", "r9", first8, shift)               \
    EC_SHORT_1(r5, "r10", "r11", second8, shift)            \
    EC_SHORT_1(r4, "r12", "r1", first8, shift)
#define EC_QUADS_GENERAL(t, scale)                          \
    "ldr r9, [sp, #36]\n\t"                                 \
    "ldm r0!, {r6-r8}\n\t"                                  \
    "lsl r9, r9, r8\n\t"                                    \
    "add " #t ", r6, " #t ", " scale "\n\t"                 \
    "add r9, r9, " #t ", asr #31\n\t"                       \
    "smmlar " #t ", " #t ", r7, r9\n\t"                     \
    "asr " #t ", " #t ", r8\n\t"                            \
    "ssat " #t ", #8, " #t ", asr #1\n\t"
#define EC_QUADS_SHARED(t, bias, scale)                     \
    "add " #t ", " bias ", " #t ", " scale "\n\t"           \
    "add r1, r12, " #t ", asr #31\n\t"                      \
    "smmlar " #t ", " #t ", r10, r1\n\t"                    \
    "asr " #t ", " #t ", r11\n\t"                           \
    "ssat " #t ", #8, " #t ", asr #1\n\t"

#define EC_QUADS_OUTPUTS(shift1, shift2, part, second, first, second8, first8) \
    "sub r2, r2, r3" part "\n\t"                            \
    "sub r4, r4, r5" part "\n\t"                            \
    "ldr r10, [sp, #20]\n\t"                                \
    "cmp r10, #3\n\t"                                       \
    "beq.w 6f\n\t"                                          \
    "cmp r10, #1\n\t"                                       \
    "bhs.w 3f\n\t"                                          \
    EC_QUADS_GENERAL(r3, second)                            \
    EC_QUADS_GENERAL(r2, first)                             \
    EC_QUADS_GENERAL(r5, second)                            \
    EC_QUADS_GENERAL(r4, first)                             \
    "b 5f\n"                                                \
    "6:\n\t"                                                \
    "ldm r0!, {r6-r9}\n\t"                                  \
    "ldrd r10, r11, [sp, #28]\n\t"                          \
    "ldr r12, [sp, #36]\n\t"                                \
    "lsl r12, r12, r11\n\t"                                 \
    EC_QUADS_SHARED(r3, "r6", second)                       \
    EC_QUADS_SHARED(r2, "r7", first)                        \
    EC_QUADS_SHARED(r5, "r8", second)                       \
    EC_QUADS_SHARED(r4, "r9", first)                        \
    "b 5f\n"                                                \
    "3:\n\t"                                                \
    "ldm r0!, {r6-r12}\n\t"                                 \
    "ldr r1, [r0], #4\n\t"                                  \
    "bhi.w 4f\n\t"                                          \
    EC_QUADS_SHORT(shift1, second8, first8)                 \
    "b 5f\n"                                                \
    "4:\n\t"                                                \
    EC_QUADS_SHORT(shift2, second8, first8)                 \
    "5:\n\t"

/* The loop of the chain, outputs, the next quad. Arguments as for EC_TILES_END. */
#define EC_QUADS_END(shift1, shift2, scales)                \
    "ldr r10, [sp, #12]\n\t"                                \
    "cmp r1, r10\n\t"                                       \
    "bne.w 2b\n\t"                                          \
    EC_EXPAND(EC_QUADS_OUTPUTS, shift1, shift2, scales)                     \
    "bfi r3, r2, #8, #8\n\t"                                \
    "bfi r5, r4, #8, #8\n\t"                                \
    "pkhbt r3, r3, r5, lsl #16\n\t"                         \
    "ldm sp, {r6, r7, r8}\n\t"                              \
    "str r3, [r6], #4\n\t"                                  \
    "str r6, [sp]\n\t"                                      \
    "mov r1, r8\n\t"                                        \
    "cmp r0, r7\n\t"                                        \
    "bne.w 1b\n\t"                                          \
    "add sp, #40\n\t"                                       \
    "pop {r4-r11, pc}\n"

#endif
