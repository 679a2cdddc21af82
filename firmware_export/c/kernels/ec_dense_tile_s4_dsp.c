/* SPDX-License-Identifier: Apache-2.0
 * ec_dense_tile_dsp.h for int4 weights. */
#include "ec_dense_tile_dsp.h"

#if EC_DSP

#include "ec_dense_tile_asm_dsp.h"

/* 2 positions of a pair of channels: r12 is 16 * w1 + w0 in each half, then 4096 * w0; lr is the mask 0xf000f000. */
#define PAIR(first, second, w, x, extend, shift)                \
    "sxtb16 r12, " #w extend "\n\t"                             \
    "smlad " #first ", r12, " #x ", " #first "\n\t"             \
    "and r12, lr, " #w ", lsl #" shift "\n\t"                   \
    "smlad " #second ", r12, " #x ", " #second "\n\t"
/* 4 positions of both pairs. */
#define HALF(x0, x1)                                            \
    "ldrd r10, r11, [r0], #8\n\t"                               \
    PAIR(r2, r3, r10, x0, "", "12")                             \
    PAIR(r4, r5, r11, x0, "", "12")                             \
    PAIR(r2, r3, r10, x1, ", ror #8", "4")                      \
    PAIR(r4, r5, r11, x1, ", ror #8", "4")

__attribute__((naked)) void ec_dense_quads_s4_dsp(const ec_dense_quads *quads __attribute__((unused)))
{
    __asm__ volatile(
        EC_QUADS_BEGIN("mov lr, #0xf000f000\n", EC_QUADS_ZERO)
        ".rept 4\n\t"
        "ldm r1!, {r6-r9}\n\t"
        HALF(r6, r7)
        HALF(r8, r9)
        ".endr\n\t"
        EC_QUADS_END("8", "12", EC_SCALES_S4)
    );
}

#else

void ec_dense_quads_s4_dsp(const ec_dense_quads *quads)
{
    ec_dense_quads_portable(quads, 4);
}

#endif
