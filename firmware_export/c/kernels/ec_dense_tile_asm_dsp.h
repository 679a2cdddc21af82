/* SPDX-License-Identifier: Apache-2.0
 * What the assembly of ec_dense_tile_s8_dsp.c and its narrower siblings shares: r0 weights, r1 x, r2 and r3 the first and
 * second sums of channels 0 and 1, r4 and r5 those of channels 2 and 3, r6 to r9 inputs, r10 to r12 and lr weights. */
#ifndef EC_DENSE_TILE_ASM_DSP_H
#define EC_DENSE_TILE_ASM_DSP_H

/* The stack holds output, end, x, x_end, address in the chain. */
#define EC_QUADS_BEGIN(own)         \
    "push {r4-r11, lr}\n\t"         \
    "ldm r0, {r4-r9}\n\t"           \
    "adr.w r11, 2f + 1\n\t"         \
    "add r8, r8, r11\n\t"           \
    "push {r4-r8}\n\t"              \
    "mov r0, r9\n\t"                \
    "mov r1, r6\n\t"                \
    own                             \
    "1:\n\t"                        \
    "mov r2, #0\n\t"                \
    "mov r3, #0\n\t"                \
    "mov r4, #0\n\t"                \
    "mov r5, #0\n\t"                \
    "ldr pc, [sp, #16]\n\t"         \
    ".balign 4\n"                   \
    "2:\n\t"

/* r6 bias, r7 multiplier, r8 offset, r9 shift of the next channel: ec_rescale_dsp_one. */
#define EC_QUADS_OUTPUT(sum, doubled)               \
    "ldm r0!, {r6-r9}\n\t"                          \
    "add " #sum ", r6, " #sum ", " doubled "\n\t"   \
    "add r8, r8, " #sum ", asr #31\n\t"             \
    "smmlar " #sum ", " #sum ", r7, r8\n\t"         \
    "asr " #sum ", " #sum ", r9\n\t"                \
    "ssat " #sum ", #8, " #sum "\n\t"

/* The loop of the chain, outputs, the next quad. Constants as for EC_TILE_FINISH. */
#define EC_QUADS_END(second, part, first)           \
    "ldr r10, [sp, #12]\n\t"                        \
    "cmp r1, r10\n\t"                               \
    "bne.w 2b\n\t"                                  \
    "sub r2, r2, r3" part "\n\t"                    \
    "sub r4, r4, r5" part "\n\t"                    \
    EC_QUADS_OUTPUT(r3, second)                     \
    EC_QUADS_OUTPUT(r2, first)                      \
    EC_QUADS_OUTPUT(r5, second)                     \
    EC_QUADS_OUTPUT(r4, first)                      \
    "bfi r3, r2, #8, #8\n\t"                        \
    "bfi r5, r4, #8, #8\n\t"                        \
    "pkhbt r3, r3, r5, lsl #16\n\t"                 \
    "ldm sp, {r6, r7, r8}\n\t"                      \
    "str r3, [r6], #4\n\t"                          \
    "str r6, [sp]\n\t"                              \
    "mov r1, r8\n\t"                                \
    "cmp r0, r7\n\t"                                \
    "bne.w 1b\n\t"                                  \
    "add sp, #20\n\t"                               \
    "pop {r4-r11, pc}\n"

#endif
