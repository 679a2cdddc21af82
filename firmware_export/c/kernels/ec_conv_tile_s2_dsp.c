/* SPDX-License-Identifier: Apache-2.0
 * ec_conv_tile_dsp.h for ternary weights: 5.75 instructions for 12 multiply-accumulates with the inputs' loads, against 8.5
 * for int8, and a quarter of the flash.
 *
 * A word holds 8 positions of both channels. Turned right by 0, 4, 8 or 12 bits and masked with 0xc003c003 it gives the halves
 * 2^14 * w1 + u0 of two positions, u0 = w0 + 1 being one of 0, 1, 2. One SMLAD then sums for both channels: A = 2^14 * S1 + U0.
 * Over 32 positions U0 changes by -8192 to 8128, so it can be kept up to date from the low 14 bits of A, once every 4
 * words. Both sums begin at minus the sum of the inputs, which makes S0 of U0; that sum is the same for all channels. */
#include "ec_conv_tile_dsp.h"

#if EC_DSP

#include "ec_conv_tile_asm_dsp.h"

/* A word, 3 pixels, 84 bytes as ec_conv_set_blocks knows: r4 to r6 are A, r3 the halves, lr the mask. */
#define STEP(turn)                          \
    "and r3, lr, r2" turn "\n\t"            \
    "ldm r1!, {r10, r11, r12}\n\t"          \
    EC_MAC_3(EC_NEXT, r4, r5, r6, r3)
#define WORD                                \
    "ldr r2, [r0], #4\n\t"                  \
    STEP("")                                \
    STEP(", ror #4")                        \
    STEP(", ror #8")                        \
    STEP(", ror #12")
#define UPDATE(all, low)                    \
    "sub r3, " all ", " low "\n\t"          \
    "sbfx r3, r3, #0, #14\n\t"              \
    "add " low ", " low ", r3\n\t"

/* The mask to 16, the end of the inputs to 76. */
#define OWN                                 \
    "movw r1, #0xc003\n\t"                  \
    "movt r1, #0xc003\n\t"                  \
    "str r1, [sp, #16]\n\t"                 \
    "ldr r1, [r0, #36]\n\t" /* blocks */    \
    "ldr r2, [sp, #12]\n\t"                 \
    "add r1, r1, #1\n\t"                    \
    "lsr r1, r1, #1\n\t"                    \
    "add r1, r1, r1, lsl #1\n\t"            \
    "add r1, r2, r1, lsl #4\n\t"            \
    "str r1, [sp, #76]\n"

/* Minus the sums of the inputs to 80, two steps at a time. */
#define SUM_INPUTS                          \
    "ldm r1!, {r7-r12}\n\t"                 \
    "smlad r4, r7, r2, r4\n\t"              \
    "smlad r5, r8, r2, r5\n\t"              \
    "smlad r6, r9, r2, r6\n\t"              \
    "smlad r4, r10, r2, r4\n\t"             \
    "smlad r5, r11, r2, r5\n\t"             \
    "smlad r6, r12, r2, r6\n\t"
#define TILE                                \
    "ldr r1, [sp, #12]\n\t"                 \
    "ldr r3, [sp, #76]\n\t"                 \
    "mov r2, #-1\n\t"                       \
    "mov r4, #0\n\t"                        \
    "mov r5, #0\n\t"                        \
    "mov r6, #0\n"                          \
    "10:\n\t"                               \
    SUM_INPUTS                              \
    SUM_INPUTS                              \
    "cmp r1, r3\n\t"                        \
    "bne 10b\n\t"                           \
    "add r12, sp, #80\n\t"                  \
    "stm r12, {r4, r5, r6}\n\t"

__attribute__((naked)) void ec_conv_tiles_s2_dsp(const ec_conv_tiles *tiles __attribute__((unused)))
{
    __asm__ volatile(
        EC_TILES_BEGIN(OWN, TILE)
        "1:\n\t"
        "add r12, sp, #80\n\t"
        "ldm r12, {r4, r5, r6}\n\t"
        "ldm r12, {r7, r8, r9}\n\t"
        "ldr pc, [sp, #20]\n\t"
        ".balign 4\n"
        "2:\n\t"
        WORD WORD WORD WORD
        UPDATE("r4", "r7")
        UPDATE("r5", "r8")
        UPDATE("r6", "r9")
        EC_TILES_END("ldr r10, [sp, #76]\n\tcmp r1, r10\n\t", "8", "12", EC_SCALES_S2)
    );
}

/* A word of one pixel: r2 is A, r3 becomes U0, r11 the mask. */
#define SINGLE(turn, x)                     \
    "and r9, r11, r8" turn "\n\t"           \
    "smlad r2, r9, " x ", r2\n\t"

static __attribute__((naked)) void ec_conv_single_s2_even(const ec_conv_tiles *tiles __attribute__((unused)))
{
    __asm__ volatile(
        EC_SINGLE_BEGIN("4")
        "add lr, lr, #1\n\t"
        "lsr lr, lr, #1\n\t"
        "str lr, [sp, #16]\n\t" /* words instead of blocks */
        "mov r11, #-1\n\t"
        "mov r12, lr\n\t"
        "mov r2, #0\n"
        "6:\n\t"
        "ldm r1!, {r4-r7}\n\t"
        "smlad r2, r4, r11, r2\n\t"
        "smlad r2, r5, r11, r2\n\t"
        "smlad r2, r6, r11, r2\n\t"
        "smlad r2, r7, r11, r2\n\t"
        "subs r12, r12, #1\n\t"
        "bne 6b\n\t"
        "mov r10, r2\n\t"
        "ldr r1, [sp, #12]\n\t"
        "movw r11, #0xc003\n\t"
        "movt r11, #0xc003\n"
        "1:\n\t"
        "mov r2, r10\n\t"
        "mov r3, r10\n\t"
        "mov r12, lr\n"
        "2:\n\t"
        "ldr r8, [r0], #4\n\t"
        "ldm r1!, {r4-r7}\n\t"
        SINGLE("", "r4")
        SINGLE(", ror #4", "r5")
        SINGLE(", ror #8", "r6")
        SINGLE(", ror #12", "r7")
        "sub r9, r2, r3\n\t"
        "sbfx r9, r9, #0, #14\n\t"
        "add r3, r3, r9\n\t"
        "subs r12, r12, #1\n\t"
        "bne 2b\n\t"
        EC_SINGLE_END(EC_SCALES_S2)
    );
}

#else

void ec_conv_tiles_s2_dsp(const ec_conv_tiles *tiles)
{
    ec_conv_tiles_portable(tiles, 2);
}

static void ec_conv_single_s2_even(const ec_conv_tiles *tiles)
{
    ec_conv_compute_portable(tiles, tiles->output, 1, 2);
}

#endif

/* Words hold two blocks: where the last one holds one, the other's inputs must be 0. */
void ec_conv_single_s2_dsp(const ec_conv_tiles *tiles)
{
    if ((tiles->blocks & 1) != 0) {
        tiles->x[2 * tiles->blocks] = 0;
        tiles->x[2 * tiles->blocks + 1] = 0;
    }
    ec_conv_single_s2_even(tiles);
}
