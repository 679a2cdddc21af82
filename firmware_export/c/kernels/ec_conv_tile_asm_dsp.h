/* SPDX-License-Identifier: Apache-2.0
 * What the assembly of ec_conv_tile_s8_dsp.c and its narrower siblings shares.
 *
 * Registers: r0 weights, r1 inputs, r2 and r3 words of weights, r4 to r6 the first sums of the pixels, r7 to r9 the
 * second, r10 to r12 inputs, lr passes. Assembly, because C loses over a tenth here: compilers keep a frame pointer or
 * spill one of these 14. Naked functions in C files need nothing of a build system that C does not. */
#ifndef EC_CONV_TILE_ASM_DSP_H
#define EC_CONV_TILE_ASM_DSP_H

#define EC_FIRST(sum, w, x) "smuad " #sum ", " #w ", " #x "\n\t"
#define EC_NEXT(sum, w, x) "smlad " #sum ", " #w ", " #x ", " #sum "\n\t"
#define EC_MAC_3(mac, a, b, c, w) mac(a, w, r10) mac(b, w, r11) mac(c, w, r12)

/* Stack of ec_conv_tiles_*: the ec_conv_tiles, that is output at 0, output_step 4, end 8, x 12, passes 16, address in the chain 20, address of the
 * finish 24, what follows the chain 28, weights 32, gather 36, tiles 40, advance 44, windows 48; a kernel's own word 76.
 * Addresses of code are odd: Thumb. Passes of the chain are counted in lr. */
#define EC_TILES_BEGIN(own)           \
    "push {r4-r11, lr}\n\t"           \
    "sub sp, #80\n\t"                 \
    "mov r12, sp\n\t"                 \
    "ldm r0!, {r1-r10}\n\t"           \
    "stm r12!, {r1-r10}\n\t"          \
    "ldm r0, {r1-r4, r8-r11, lr}\n\t" \
    "stm r12, {r1-r4, r8-r11, lr}\n\t" \
    "adr.w r11, 2f + 1\n\t"           \
    "add r6, r6, r11\n\t"             \
    "cmp r7, #0\n\t"                  \
    "adr.w r7, 3f + 1\n\t"            \
    "it ne\n\t"                       \
    "adrne.w r7, 4f + 1\n\t"          \
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
    "ldr r0, [sp, #32]\n\t"           \
    "ldr r1, [sp, #12]\n\t"           \
    "ldr lr, [sp, #16]\n"

/* r1 bias, r2 multiplier, r3 offset, r10 shift: ec_rescale_dsp_one of three sums. */
#define EC_RESCALE(t)                       \
    "smmlar " #t ", " #t ", r2, r3\n\t"     \
    "asr " #t ", " #t ", r10\n\t"           \
    "ssat " #t ", #8, " #t "\n\t"
#define EC_RESCALE_NEGATIVES(t)             \
    "add r11, r3, " #t ", asr #31\n\t"      \
    "smmlar " #t ", " #t ", r2, r11\n\t"    \
    "asr " #t ", " #t ", r10\n\t"           \
    "ssat " #t ", #8, " #t "\n\t"

/* Sums to outputs, the next two channels or the end. `second` doubles the sums r7 to r9; `part` brings them to the scale
 * at which they are part of r4 to r6, and `first` then doubles these. */
#define EC_TILE_FINISH(rescale, second, part, first) \
    "sub r4, r4, r7" part "\n\t"            \
    "sub r5, r5, r8" part "\n\t"            \
    "sub r6, r6, r9" part "\n\t"            \
    "ldm r0!, {r1, r2, r3, r10}\n\t"        \
    "add r7, r1, r7, " second "\n\t"        \
    "add r8, r1, r8, " second "\n\t"        \
    "add r9, r1, r9, " second "\n\t"        \
    rescale(r7) rescale(r8) rescale(r9)     \
    "ldm r0!, {r1, r2, r3, r10}\n\t"        \
    "add r4, r1, r4, " first "\n\t"         \
    "add r5, r1, r5, " first "\n\t"         \
    "add r6, r1, r6, " first "\n\t"         \
    rescale(r4) rescale(r5) rescale(r6)     \
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

/* The end of the chain, its loop (`loop` counts: not zero to go on), both ways to finish, the next tile. */
#define EC_TILES_END(loop, second, part, first) \
    "ldr.w pc, [sp, #28]\n\t"               \
    ".balign 4\n"                           \
    "5:\n\t"                                \
    loop                                    \
    "bne.w 2b\n\t"                          \
    "ldr pc, [sp, #24]\n\t"                 \
    ".balign 4\n"                           \
    "4:\n\t"                                \
    EC_TILE_FINISH(EC_RESCALE_NEGATIVES, second, part, first) \
    "b 7f\n\t"                              \
    ".balign 4\n"                           \
    "3:\n\t"                                \
    EC_TILE_FINISH(EC_RESCALE, second, part, first) \
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
    "add sp, #80\n\t"                       \
    "pop {r4-r11, pc}\n"

/* One pixel: the stack holds output, output_step, end, x, blocks. Negatives are always corrected, which is never wrong. */
#define EC_SINGLE_BEGIN                     \
    "push {r4-r11, lr}\n\t"                 \
    "ldm r0, {r3-r6}\n\t"                   \
    "ldr r7, [r0, #76]\n\t"                 \
    "push {r3-r7}\n\t"                      \
    "ldr r0, [r0, #32]\n\t"                 \
    "mov r1, r6\n\t"                        \
    "mov lr, r7\n"

#define EC_SINGLE_RESCALE(t)                \
    "add r6, r6, " #t ", asr #31\n\t"       \
    "smmlar " #t ", " #t ", r5, r6\n\t"     \
    "asr " #t ", " #t ", r7\n\t"            \
    "ssat " #t ", #8, " #t "\n\t"

#define EC_SINGLE_END(second, part, first)  \
    "sub r2, r2, r3" part "\n\t"            \
    "ldm r0!, {r4-r7}\n\t"                  \
    "add r3, r4, r3, " second "\n\t"        \
    EC_SINGLE_RESCALE(r3)                   \
    "ldm r0!, {r4-r7}\n\t"                  \
    "add r2, r4, r2, " first "\n\t"         \
    EC_SINGLE_RESCALE(r2)                   \
    "bfi r3, r2, #8, #8\n\t"                \
    "ldm sp, {r4-r7, lr}\n\t"               \
    "strh r3, [r4], #2\n\t"                 \
    "str r4, [sp]\n\t"                      \
    "cmp r0, r6\n\t"                        \
    "mov r1, r7\n\t"                        \
    "bne 1b\n\t"                            \
    "add sp, #20\n\t"                       \
    "pop {r4-r11, pc}\n"

#endif
