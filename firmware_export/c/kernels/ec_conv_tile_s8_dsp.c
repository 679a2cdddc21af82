/* SPDX-License-Identifier: Apache-2.0
 * ec_conv_tile_dsp.h for int8 weights. */
#include "ec_conv_tile_dsp.h"

#if EC_DSP

#include "ec_conv_tile_asm_dsp.h"

/* A block: 4 positions of both channels, 3 pixels. 68 bytes, as ec_conv_set_blocks knows. */
#define STEP(mac, w)                \
    "ldm r1!, {r10, r11, r12}\n\t"  \
    EC_MAC_3(mac, r4, r5, r6, w)    \
    "sxtb16 " #w ", " #w "\n\t"     \
    EC_MAC_3(mac, r7, r8, r9, w)

__attribute__((naked)) void ec_conv_tiles_s8_dsp(const ec_conv_tiles *tiles __attribute__((unused)))
{
    __asm__ volatile(
        EC_TILES_BEGIN("", "")
        "1:\n\t"
        "ldrd r2, r3, [r0], #8\n\t"
        STEP(EC_FIRST, r2)
        STEP(EC_NEXT, r3)
        "ldr pc, [sp, #20]\n\t"
        ".balign 4\n"
        "2:\n\t"
        ".rept 8\n\t"
        "ldrd r2, r3, [r0], #8\n\t"
        STEP(EC_NEXT, r2)
        STEP(EC_NEXT, r3)
        ".endr\n\t"
        EC_TILES_END("subs lr, lr, #1\n\t", "11", "15", EC_SCALES_S8)
    );
}

/* 2 positions of both channels, one pixel: r2 sums 256 * S1 + S0, r3 S0. */
#define SINGLE(x, w)                      \
    "smlad r2, " #w ", " #x ", r2\n\t"    \
    "sxtb16 " #w ", " #w "\n\t"           \
    "smlad r3, " #w ", " #x ", r3\n\t"

__attribute__((naked)) void ec_conv_single_s8_dsp(const ec_conv_tiles *tiles __attribute__((unused)))
{
    __asm__ volatile(
        EC_SINGLE_BEGIN("7")
        "1:\n\t"
        "mov r2, #0\n\t"
        "mov r3, #0\n\t"
        "lsrs r12, lr, #1\n\t" /* blocks in twos; carry: one is left over */
        "bcc 2f\n\t"
        "ldrd r8, r9, [r0], #8\n\t"
        "ldrd r4, r5, [r1], #8\n\t"
        SINGLE(r4, r8)
        SINGLE(r5, r9)
        "beq 3f\n"
        "2:\n\t"
        "ldm r1!, {r4-r7}\n\t"
        "ldm r0!, {r8-r11}\n\t"
        SINGLE(r4, r8)
        SINGLE(r5, r9)
        SINGLE(r6, r10)
        SINGLE(r7, r11)
        "subs r12, r12, #1\n\t"
        "bne 2b\n"
        "3:\n\t"
        EC_SINGLE_END(EC_SCALES_S8)
    );
}

#else

void ec_conv_tiles_s8_dsp(const ec_conv_tiles *tiles)
{
    ec_conv_tiles_portable(tiles, 8);
}

void ec_conv_single_s8_dsp(const ec_conv_tiles *tiles)
{
    ec_conv_compute_portable(tiles, tiles->output, 1, 8);
}

#endif
