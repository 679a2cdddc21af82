/* SPDX-License-Identifier: Apache-2.0
 * ec_dense_tile_dsp.h for int8 weights. */
#include "ec_dense_tile_dsp.h"

#if EC_DSP

#include "ec_dense_tile_asm_dsp.h"

/* 2 positions of a pair of channels. */
#define PAIR(first, second, w, x)                               \
    "smlad " #first ", " #w ", " #x ", " #first "\n\t"          \
    "sxtb16 " #w ", " #w "\n\t"                                 \
    "smlad " #second ", " #w ", " #x ", " #second "\n\t"
/* 4 positions of both pairs. */
#define HALF(x0, x1)                                            \
    "ldm r0!, {r10, r11, r12, lr}\n\t"                          \
    PAIR(r2, r3, r10, x0)                                       \
    PAIR(r4, r5, r11, x0)                                       \
    PAIR(r2, r3, r12, x1)                                       \
    PAIR(r4, r5, lr, x1)

__attribute__((naked)) void ec_dense_quads_s8_dsp(const ec_dense_quads *quads __attribute__((unused)))
{
    __asm__ volatile(
        EC_QUADS_BEGIN("", EC_QUADS_ZERO)
        ".rept 4\n\t"
        "ldm r1!, {r6-r9}\n\t"
        HALF(r6, r7)
        HALF(r8, r9)
        ".endr\n\t"
        EC_QUADS_END("11", "15", EC_SCALES_S8)
    );
}

#else

void ec_dense_quads_s8_dsp(const ec_dense_quads *quads)
{
    ec_dense_quads_portable(quads, 8);
}

#endif
