/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_conv_gather_dsp.h"
#include "ec_dsp.h"
#include "ec_requant.h"

#if EC_DSP

/* 4 positions of 3 pixels: r1, r2, r3 inputs, r0 words. */
#define GATHER_4                        \
    "ldr r10, [r1], #4\n\t"             \
    "ldr r11, [r2], #4\n\t"             \
    "ldr r12, [r3], #4\n\t"             \
    "sxtb16 r7, r10\n\t"                \
    "sxtb16 r8, r11\n\t"                \
    "sxtb16 r9, r12\n\t"                \
    "sxtb16 r10, r10, ror #8\n\t"       \
    "sxtb16 r11, r11, ror #8\n\t"       \
    "sxtb16 r12, r12, ror #8\n\t"       \
    "stm r0!, {r7-r12}\n\t"

__attribute__((naked)) void ec_conv_gather_dsp(uint32_t *x __attribute__((unused)), const int8_t *a __attribute__((unused)),
                                               const int8_t *b __attribute__((unused)), const int8_t *c __attribute__((unused)),
                                               const ec_conv_window_shape *shape __attribute__((unused)))
{
    __asm__ volatile(
        "push {r4-r11, lr}\n\t"
        "ldr r12, [sp, #36]\n\t"
        "ldm r12, {r4, r5, r6}\n" /* skip, rows, words */
        "1:\n\t"
        "lsrs lr, r6, #1\n\t" /* words in twos; carry: one is left over */
        "bcc 2f\n\t"
        GATHER_4
        "beq 3f\n"
        "2:\n\t"
        GATHER_4
        GATHER_4
        "subs lr, lr, #1\n\t"
        "bne 2b\n"
        "3:\n\t"
        "add r1, r1, r4\n\t"
        "add r2, r2, r4\n\t"
        "add r3, r3, r4\n\t"
        "subs r5, r5, #1\n\t"
        "bne 1b\n\t"
        "pop {r4-r11, pc}\n"
    );
}

#else

void ec_conv_gather_dsp(uint32_t *x, const int8_t *a, const int8_t *b, const int8_t *c, const ec_conv_window_shape *shape)
{
    const int8_t *pixels[3];
    int32_t row, word, pixel;
    pixels[0] = a;
    pixels[1] = b;
    pixels[2] = c;
    for (row = 0; row < shape->rows; ++row) {
        for (word = 0; word < shape->words; ++word) {
            for (pixel = 0; pixel < 3; ++pixel) {
                const uint32_t bytes = ec_load_word(pixels[pixel] + 4 * word);
                x[pixel] = ec_sxtb16(bytes);
                x[3 + pixel] = ec_sxtb16_odd(bytes);
            }
            x += 6;
        }
        for (pixel = 0; pixel < 3; ++pixel) {
            pixels[pixel] += row + 1 < shape->rows ? 4 * shape->words + shape->skip : 0;
        }
    }
}

#endif

void ec_conv_gather_single_dsp(uint32_t *x, const int8_t *a, const ec_conv_window_shape *shape)
{
    int32_t row, word;
    EC_NO_UNROLL
    for (row = shape->rows; row != 0; --row) {
        EC_NO_UNROLL
        for (word = shape->words; word != 0; --word) {
            const uint32_t bytes = ec_load_word(a);
            x[0] = ec_sxtb16(bytes);
            x[1] = ec_sxtb16_odd(bytes);
            x += 2;
            a += 4;
        }
        a += shape->skip;
    }
}
