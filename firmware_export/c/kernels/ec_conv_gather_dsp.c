/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_conv_gather_dsp.h"
#include "ec_dsp.h"
#include "ec_requant.h"

#if EC_DSP

#include "ec_conv_gather_asm_dsp.h"

__attribute__((naked)) void ec_conv_gather_dsp(const ec_conv_windows *windows __attribute__((unused)))
{
    __asm__ volatile(
        EC_GATHER_BEGIN
        "1:\n\t"
        "lsrs lr, r6, #1\n\t" /* words in twos; carry: one is left over */
        "bcc 2f\n\t"
        EC_GATHER_4
        "beq 3f\n"
        "2:\n\t"
        EC_GATHER_4
        EC_GATHER_4
        "subs lr, lr, #1\n\t"
        "bne 2b\n"
        "3:\n\t"
        EC_GATHER_SKIP
        "subs r5, r5, #1\n\t"
        "bne 1b\n\t"
        "pop {r4-r11, pc}\n"
    );
}

#else

void ec_conv_gather_dsp(const ec_conv_windows *windows)
{
    int pixel;
    for (pixel = 0; pixel < 3; ++pixel) {
        const int8_t *source = pixel == 0 ? windows->a : pixel == 1 ? windows->b : windows->c;
        uint32_t *x = windows->x + pixel;
        int32_t row, word;
        for (row = 0; row < windows->rows; ++row) {
            const int8_t *bytes = source + row * (4 * windows->words + windows->skip);
            for (word = 0; word < windows->words; ++word) {
                const uint32_t four = ec_load_word(bytes + 4 * word);
                x[0] = ec_sxtb16(four);
                x[3] = ec_sxtb16_odd(four);
                x += 6;
            }
        }
    }
}

#endif

void ec_conv_gather_single_dsp(const ec_conv_windows *windows)
{
    const int8_t *source = windows->a;
    uint32_t *x = windows->x;
    int32_t row, word;
    EC_NO_UNROLL
    for (row = windows->rows; row != 0; --row) {
        EC_NO_UNROLL
        for (word = windows->words; word != 0; --word) {
            const uint32_t four = ec_load_word(source);
            x[0] = ec_sxtb16(four);
            x[1] = ec_sxtb16_odd(four);
            x += 2;
            source += 4;
        }
        source += windows->skip;
    }
}
