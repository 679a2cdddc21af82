/* SPDX-License-Identifier: Apache-2.0
 * ec_conv_tile_dsp.h for int4 weights: 19 instructions for 24 multiply-accumulates, and half the flash. */
#include "ec_conv_tile_dsp.h"

#if EC_DSP

#include "ec_conv_tile_asm_dsp.h"

/* A block: a word of 4 positions of both channels, 3 pixels. 76 bytes, as ec_conv_set_blocks knows. lr is the
 * mask of both high digits, 0xf000f000, and r3 first 16 * w1 + w0 in each half, then 4096 * w0. */
#define STEP(mac, extend, shift)            \
    "ldm r1!, {r10, r11, r12}\n\t"          \
    "sxtb16 r3, r2" extend "\n\t"           \
    EC_MAC_3(mac, r4, r5, r6, r3)           \
    "and r3, lr, r2, lsl #" shift "\n\t"    \
    EC_MAC_3(mac, r7, r8, r9, r3)
#define BLOCK(mac)                          \
    "ldr r2, [r0], #4\n\t"                  \
    STEP(mac, "", "12")                     \
    STEP(EC_NEXT, ", ror #8", "4")

/* The mask takes the place of the passes, so a loop of the chain ends where the inputs do. */
#define OWN                                 \
    "mov r1, #0xf000f000\n\t"               \
    "str r1, [sp, #16]\n\t"                 \
    "ldr r1, [r0, #36]\n\t" /* blocks */    \
    "ldr r2, [sp, #12]\n\t"                 \
    "add r1, r1, r1, lsl #1\n\t"            \
    "add r1, r2, r1, lsl #3\n\t"            \
    "str r1, [sp, #76]\n"

__attribute__((naked)) void ec_conv_tiles_s4_dsp(const ec_conv_tiles *tiles __attribute__((unused)))
{
    __asm__ volatile(
        EC_TILES_BEGIN(OWN, "")
        "1:\n\t"
        BLOCK(EC_FIRST)
        "ldr pc, [sp, #20]\n\t"
        ".balign 4\n"
        "2:\n\t"
        ".rept 8\n\t"
        BLOCK(EC_NEXT)
        ".endr\n\t"
        EC_TILES_END("ldr r10, [sp, #76]\n\tcmp r1, r10\n\t", "8", "12", EC_SCALES_S4)
    );
}

/* A block of one pixel: r2 sums 16 * S1 + S0, r3 4096 * S0, r11 is the mask. */
#define SINGLE(x0, x1, w)                       \
    "sxtb16 r10, " #w "\n\t"                    \
    "smlad r2, r10, " #x0 ", r2\n\t"            \
    "and r10, r11, " #w ", lsl #12\n\t"         \
    "smlad r3, r10, " #x0 ", r3\n\t"            \
    "sxtb16 r10, " #w ", ror #8\n\t"            \
    "smlad r2, r10, " #x1 ", r2\n\t"            \
    "and r10, r11, " #w ", lsl #4\n\t"          \
    "smlad r3, r10, " #x1 ", r3\n\t"

__attribute__((naked)) void ec_conv_single_s4_dsp(const ec_conv_tiles *tiles __attribute__((unused)))
{
    __asm__ volatile(
        EC_SINGLE_BEGIN("4")
        "mov r11, #0xf000f000\n"
        "1:\n\t"
        "mov r2, #0\n\t"
        "mov r3, #0\n\t"
        "lsrs r12, lr, #1\n\t" /* blocks in twos; carry: one is left over */
        "bcc 2f\n\t"
        "ldr r8, [r0], #4\n\t"
        "ldrd r4, r5, [r1], #8\n\t"
        SINGLE(r4, r5, r8)
        "beq 3f\n"
        "2:\n\t"
        "ldm r1!, {r4-r7}\n\t"
        "ldrd r8, r9, [r0], #8\n\t"
        SINGLE(r4, r5, r8)
        SINGLE(r6, r7, r9)
        "subs r12, r12, #1\n\t"
        "bne 2b\n"
        "3:\n\t"
        EC_SINGLE_END(EC_SCALES_S4)
    );
}

#else

void ec_conv_tiles_s4_dsp(const ec_conv_tiles *tiles)
{
    ec_conv_tiles_portable(tiles, 4);
}

void ec_conv_single_s4_dsp(const ec_conv_tiles *tiles)
{
    ec_conv_compute_portable(tiles, tiles->output, 1, 4);
}

#endif
