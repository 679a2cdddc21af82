/* SPDX-License-Identifier: Apache-2.0
 * ec_dense_tile_dsp.h for ternary weights, with the sums of ec_conv_tile_s2_dsp.c. */
#include "ec_dense_tile_dsp.h"

#if EC_DSP

#include "ec_dense_tile_asm_dsp.h"

/* 2 positions of both pairs: r2 and r4 sum 2^14 * S1 + U0, r12 is the halves, lr the mask. */
#define STEP(x, turn)                   \
    "and r12, lr, r10" turn "\n\t"      \
    "smlad r2, r12, " x ", r2\n\t"      \
    "and r12, lr, r11" turn "\n\t"      \
    "smlad r4, r12, " x ", r4\n\t"
#define UPDATE(all, low)                \
    "sub r12, " all ", " low "\n\t"     \
    "sbfx r12, r12, #0, #14\n\t"        \
    "add " low ", " low ", r12\n\t"

/* Minus the sum of the inputs to r2, kept at 24. */
#define OWN                             \
    "mov r2, #0\n\t"                    \
    "mov lr, #-1\n"                     \
    "7:\n\t"                            \
    "ldm r1!, {r8-r11}\n\t"             \
    "smlad r2, r8, lr, r2\n\t"          \
    "smlad r2, r9, lr, r2\n\t"          \
    "smlad r2, r10, lr, r2\n\t"         \
    "smlad r2, r11, lr, r2\n\t"         \
    "cmp r1, r7\n\t"                    \
    "bne 7b\n\t"                        \
    "str r2, [sp, #24]\n\t"             \
    "mov r1, r6\n\t"                    \
    "movw lr, #0xc003\n\t"              \
    "movt lr, #0xc003\n"

__attribute__((naked)) void ec_dense_quads_s2_dsp(const ec_dense_quads *quads __attribute__((unused)))
{
    __asm__ volatile(
        EC_QUADS_BEGIN(OWN, "ldr r2, [sp, #24]\n\tmov r3, r2\n\tmov r4, r2\n\tmov r5, r2\n\t")
        ".rept 4\n\t"
        "ldm r1!, {r6-r9}\n\t"
        "ldrd r10, r11, [r0], #8\n\t"
        STEP("r6", "")
        STEP("r7", ", ror #4")
        STEP("r8", ", ror #8")
        STEP("r9", ", ror #12")
        ".endr\n\t"
        UPDATE("r2", "r3")
        UPDATE("r4", "r5")
        EC_QUADS_END("8", "12", EC_SCALES_S2)
    );
}

#else

void ec_dense_quads_s2_dsp(const ec_dense_quads *quads)
{
    ec_dense_quads_portable(quads, 2);
}

#endif
