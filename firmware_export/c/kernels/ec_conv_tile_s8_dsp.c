/* SPDX-License-Identifier: Apache-2.0
 * ec_conv_tile_dsp.h for int8 weights. */
#include "ec_conv_tile_dsp.h"

#if EC_DSP

/* Two steps: 2 positions of both channels each, 3 pixels. r0 weights, r1 inputs; r4 to r6 sum 256 * S1 + S0 of the
 * pixels, r7 to r9 S0. `mac` is FIRST, which starts the sums, or NEXT. 68 bytes. */
#define FIRST(sum, w, x) "smuad " #sum ", " #w ", " #x "\n\t"
#define NEXT(sum, w, x) "smlad " #sum ", " #w ", " #x ", " #sum "\n\t"
#define STEP(mac, w)                  \
    "ldm r1!, {r10, r11, r12}\n\t"    \
    mac(r4, w, r10)                   \
    mac(r5, w, r11)                   \
    mac(r6, w, r12)                   \
    "sxtb16 " #w ", " #w "\n\t"       \
    mac(r7, w, r10)                   \
    mac(r8, w, r11)                   \
    mac(r9, w, r12)
#define BLOCK_BYTES 68

/* r3 is K plus the sign of t for the next pixel: see ec_rescale_dsp.h */
#define RESCALE(t)                \
    "smmlar " #t ", " #t ", r2, r3\n\t" \
    "asr " #t ", " #t ", r10\n\t"       \
    "ssat " #t ", #8, " #t "\n\t"
#define RESCALE_SIGNED(t)               \
    "add r11, r3, " #t ", asr #31\n\t"  \
    "smmlar " #t ", " #t ", r2, r11\n\t" \
    "asr " #t ", " #t ", r10\n\t"       \
    "ssat " #t ", #8, " #t "\n\t"

/* Both channels from sums to bytes in the low halves of r7, r8, r9. */
#define FINISH(rescale)                                   \
    "sub r4, r4, r7\n\t"                                  \
    "sub r5, r5, r8\n\t"                                  \
    "sub r6, r6, r9\n\t"                                  \
    "ldm r0!, {r1, r2, r3, r10}\n\t"                      \
    "add r7, r1, r7, lsl #1\n\t"                          \
    "add r8, r1, r8, lsl #1\n\t"                          \
    "add r9, r1, r9, lsl #1\n\t"                          \
    rescale(r7) rescale(r8) rescale(r9)                   \
    "ldm r0!, {r1, r2, r3, r10}\n\t"                      \
    "add r4, r1, r4, asr #7\n\t"                          \
    "add r5, r1, r5, asr #7\n\t"                          \
    "add r6, r1, r6, asr #7\n\t"                          \
    rescale(r4) rescale(r5) rescale(r6)                   \
    "bfi r7, r4, #8, #8\n\t"                              \
    "bfi r8, r5, #8, #8\n\t"                              \
    "bfi r9, r6, #8, #8\n\t"

/* Stack: output, output_step, end, x, passes, address in the chain, negatives. */
__attribute__((naked)) void ec_conv_tile_s8_dsp(const ec_conv_tile *tile __attribute__((unused)))
{
    __asm__ volatile(
        "push {r4-r11, lr}\n\t"
        "ldm r0, {r3-r10}\n\t"
        "adr.w r11, 2f + 1\n\t"
        "add r8, r8, r11\n\t"
        "push {r3-r9}\n\t"
        "mov r0, r10\n\t"
        "mov r1, r6\n\t"
        "mov lr, r7\n"
        "1:\n\t"
        "ldrd r2, r3, [r0], #8\n\t"
        STEP(FIRST, r2)
        STEP(FIRST_NEXT, r3)
        "ldr pc, [sp, #20]\n\t"
        ".balign 4\n"
        "2:\n\t"
        ".rept 8\n\t"
        "ldrd r2, r3, [r0], #8\n\t"
        STEP(NEXT, r2)
        STEP(NEXT, r3)
        ".endr\n\t"
        "subs.w lr, lr, #1\n\t"
        "bne.w 2b\n\t"
    );
}
#endif
