/* SPDX-License-Identifier: Apache-2.0
 * What the assembly of ec_conv_tile_s8_dsp.c and its narrower siblings shares.
 *
 * Registers: r0 weights, r1 inputs, r2 and r3 words of weights, r4 to r6 the first sums of the pixels, r7 to r9 the
 * second, r10 to r12 inputs, lr passes. Assembly, because C loses over a tenth here: compilers keep a frame pointer or
 * spill one of these 14. Naked functions in C files need nothing of a build system that C does not. */
#ifndef EC_CONV_TILE_ASM_DSP_H
#define EC_CONV_TILE_ASM_DSP_H

/* A naked function is one asm statement, whose text may be longer than the 4,095 characters that C99 promises; both
 * compilers that get here take any length. */
#pragma GCC diagnostic ignored "-Woverlength-strings"

/* Lets arguments that are macros become several arguments. */
#define EC_EXPAND(macro, ...) macro(__VA_ARGS__)

#define EC_FIRST(sum, w, x) "smuad " #sum ", " #w ", " #x "\n\t"
#define EC_NEXT(sum, w, x) "smlad " #sum ", " #w ", " #x ", " #sum "\n\t"
#define EC_MAC_3(mac, a, b, c, w) mac(a, w, r10) mac(b, w, r11) mac(c, w, r12)

/* Stack of ec_conv_tiles_*: the ec_conv_tiles, that is output at 0, output_step 4, end 8, x 12, passes 16, address in the chain
 * 20, address of the finish 24, what follows the chain 28, weights 32, gather 36, tiles 40, advance 44, windows 48; a
 * kernel's own words 76 to 92, rounding 92. Addresses of code are odd: Thumb. `own` runs once, with blocks at r0 + 36, and `tile` once
 * a tile; then lr is the word at 16, passes or what a kernel put there. */
#define EC_TILES_BEGIN(own, tile)     \
    "push {r4-r11, lr}\n\t"           \
    "sub sp, #96\n\t"                 \
    "mov r12, sp\n\t"                 \
    "ldm r0!, {r1-r10}\n\t"           \
    "stm r12!, {r1-r10}\n\t"          \
    "str r8, [sp, #92]\n\t"           \
    "ldm r0, {r1-r4, r8-r11, lr}\n\t" \
    "stm r12, {r1-r4, r8-r11, lr}\n\t" \
    "adr.w r11, 2f + 1\n\t"           \
    "add r6, r6, r11\n\t"             \
    "adr.w r12, 8f\n\t"               \
    "ldr r7, [r12, r7, lsl #2]\n\t"   \
    "add r7, r7, r12\n\t"             \
    "strd r6, r7, [sp, #20]\n\t"      \
    "adr.w r12, 5f + 1\n\t"           \
    "cmp r5, #2\n\t"                  \
    "it lt\n\t"                       \
    "movlt r12, r7\n\t"               \
    "str r12, [sp, #28]\n\t"          \
    own                               \
    "6:\n\t"                          \
    "add r0, sp, #48\n\t"             \
    "ldr r1, [sp, #36]\n\t"           \
    "blx r1\n\t"                      \
    tile                              \
    "ldr r0, [sp, #32]\n\t"           \
    "ldr r1, [sp, #12]\n\t"           \
    "ldr lr, [sp, #16]\n"

/* Sums to outputs in the low bytes of r4 to r9, by form. `part` brings the sums r7 to r9 to the scale at which they are part of r4
 * to r6; then `second` and `first` double the sums, `second8` and `first8` multiply them by 2^8. */
#define EC_SCALES_S8 "", "lsl #1", "asr #7", ", lsl #8", ""
#define EC_SCALES_S4 ", asr #12", "asr #11", "asr #3", ", asr #4", ", lsl #4"
#define EC_SCALES_S2 "", "lsl #1", "asr #13", ", lsl #8", ", asr #6"
#define EC_GENERAL_1(t)                     \
    "add r11, r10, " #t ", asr #31\n\t"     \
    "smmlar " #t ", " #t ", r2, r11\n\t"    \
    "asr " #t ", " #t ", r3\n\t"            \
    "ssat " #t ", #8, " #t ", asr #1\n\t"
#define EC_GENERAL_3(a, b, c, scale)        \
    "ldr r10, [sp, #92]\n\t"                \
    "ldm r0!, {r1, r2, r3}\n\t"             \
    "lsl r10, r10, r3\n\t"                  \
    "add " #a ", r1, " #a ", " scale "\n\t" \
    "add " #b ", r1, " #b ", " scale "\n\t" \
    "add " #c ", r1, " #c ", " scale "\n\t" \
    EC_GENERAL_1(a) EC_GENERAL_1(b) EC_GENERAL_1(c)
#define EC_SHORT_1(t, bias, multiplier, scale, shift) \
    "add " #t ", " bias ", " #t scale "\n\t" \
    "smmul " #t ", " #t ", " multiplier "\n\t" \
    "ssat " #t ", #8, " #t ", asr #" shift "\n\t"

#define EC_DIFFERENCES(part)                \
    "sub r4, r4, r7" part "\n\t"            \
    "sub r5, r5, r8" part "\n\t"            \
    "sub r6, r6, r9" part "\n\t"
#define EC_FINISH_GENERAL(part, second, first, second8, first8) \
    EC_DIFFERENCES(part)                    \
    EC_GENERAL_3(r7, r8, r9, second)        \
    EC_GENERAL_3(r4, r5, r6, first)
#define EC_FINISH_SHORT(shift, part, second, first, second8, first8) \
    EC_DIFFERENCES(part)                    \
    "ldm r0!, {r1, r2, r3, r10}\n\t"        \
    EC_SHORT_1(r7, "r1", "r2", second8, shift) \
    EC_SHORT_1(r8, "r1", "r2", second8, shift) \
    EC_SHORT_1(r9, "r1", "r2", second8, shift) \
    EC_SHORT_1(r4, "r3", "r10", first8, shift) \
    EC_SHORT_1(r5, "r3", "r10", first8, shift) \
    EC_SHORT_1(r6, "r3", "r10", first8, shift)

/* Outputs to memory, the next two channels. */
#define EC_TILE_STORE                       \
    "bfi r7, r4, #8, #8\n\t"                \
    "bfi r8, r5, #8, #8\n\t"                \
    "bfi r9, r6, #8, #8\n\t"                \
    "ldm sp, {r1, r2, r3, r10, lr}\n\t"     \
    "strh r8, [r1, r2]\n\t"                 \
    "strh r9, [r1, r2, lsl #1]\n\t"         \
    "strh r7, [r1], #2\n\t"                 \
    "str r1, [sp]\n\t"                      \
    "cmp r0, r3\n\t"                        \
    "mov r1, r10\n\t"                       \
    "bne.w 1b\n\t"

/* The end of the chain, its loop (`loop` counts: not zero to go on), the ways to finish by form with the shifts
 * of ec_rescale_shift, the next tile. */
#define EC_TILES_END(loop, shift1, shift2, scales) \
    "ldr.w pc, [sp, #28]\n\t"               \
    ".balign 4\n"                           \
    "8:\n\t"                                \
    ".word 3f - 8b + 1, 4f - 8b + 1, 9f - 8b + 1\n" \
    "5:\n\t"                                \
    loop                                    \
    "bne.w 2b\n\t"                          \
    "ldr pc, [sp, #24]\n\t"                 \
    ".balign 4\n"                           \
    "3:\n\t"                                \
    EC_EXPAND(EC_FINISH_GENERAL, scales)    \
    EC_TILE_STORE                           \
    "b 7f\n\t"                              \
    ".balign 4\n"                           \
    "9:\n\t"                                \
    EC_EXPAND(EC_FINISH_SHORT, shift2, scales) \
    EC_TILE_STORE                           \
    "b 7f\n\t"                              \
    ".balign 4\n"                           \
    "4:\n\t"                                \
    EC_EXPAND(EC_FINISH_SHORT, shift1, scales) \
    EC_TILE_STORE                           \
    "7:\n\t"                                \
    "ldr r1, [sp]\n\t"                      \
    "add r1, r1, r2, lsl #1\n\t"            \
    "str r1, [sp]\n\t"                      \
    "add r12, sp, #52\n\t"                  \
    "ldm r12, {r1, r2, r3}\n\t"             \
    "ldrd r4, r5, [sp, #40]\n\t"            \
    "add r1, r1, r5\n\t"                    \
    "add r2, r2, r5\n\t"                    \
    "add r3, r3, r5\n\t"                    \
    "stm r12, {r1, r2, r3}\n\t"             \
    "subs r4, r4, #1\n\t"                   \
    "str r4, [sp, #40]\n\t"                 \
    "bne.w 6b\n\t"                          \
    "add sp, #96\n\t"                       \
    "pop {r4-r11, pc}\n"

/* One pixel: the stack holds output, rounding, end, x, blocks, the shift of a short form (general: 0),
 * which is 4 * form + `shift`. */
#define EC_SINGLE_BEGIN(shift)              \
    "push {r4-r11, lr}\n\t"                 \
    "ldm r0, {r3-r6}\n\t"                   \
    "ldr r7, [r0, #76]\n\t"                 \
    "ldrd r8, r4, [r0, #24]\n\t"            \
    "lsls r8, r8, #2\n\t"                   \
    "it ne\n\t"                             \
    "addne r8, r8, #" shift "\n\t"          \
    "push {r3-r8}\n\t"                      \
    "ldr r0, [r0, #32]\n\t"                 \
    "mov r1, r6\n\t"                        \
    "mov lr, r7\n"

#define EC_SINGLE_GENERAL(t, scale)         \
    "ldr r7, [sp, #4]\n\t"                  \
    "ldm r0!, {r4-r6}\n\t"                  \
    "lsl r7, r7, r6\n\t"                    \
    "add " #t ", r4, " #t ", " scale "\n\t" \
    "add r7, r7, " #t ", asr #31\n\t"       \
    "smmlar " #t ", " #t ", r5, r7\n\t"     \
    "asr " #t ", " #t ", r6\n\t"            \
    "asr " #t ", " #t ", #1\n\t"

#define EC_SINGLE_OUTPUTS(part, second, first, second8, first8) \
    "sub r2, r2, r3" part "\n\t"            \
    "ldr r8, [sp, #20]\n\t"                 \
    "cmp r8, #0\n\t"                        \
    "bne.w 4f\n\t"                          \
    EC_SINGLE_GENERAL(r3, second)           \
    EC_SINGLE_GENERAL(r2, first)            \
    "b 5f\n"                                \
    "4:\n\t"                                \
    "ldm r0!, {r4-r7}\n\t"                  \
    "add r3, r4, r3" second8 "\n\t"         \
    "smmul r3, r3, r5\n\t"                  \
    "asr r3, r3, r8\n\t"                    \
    "add r2, r6, r2" first8 "\n\t"          \
    "smmul r2, r2, r7\n\t"                  \
    "asr r2, r2, r8\n"                      \
    "5:\n\t"                                \
    "ssat r3, #8, r3\n\t"                   \
    "ssat r2, #8, r2\n\t"

#define EC_SINGLE_END(scales)               \
    EC_EXPAND(EC_SINGLE_OUTPUTS, scales)    \
    "bfi r3, r2, #8, #8\n\t"                \
    "ldm sp, {r4-r7, lr}\n\t"               \
    "strh r3, [r4], #2\n\t"                 \
    "str r4, [sp]\n\t"                      \
    "cmp r0, r6\n\t"                        \
    "mov r1, r7\n\t"                        \
    "bne.w 1b\n\t"                          \
    "add sp, #24\n\t"                       \
    "pop {r4-r11, pc}\n"

#endif
