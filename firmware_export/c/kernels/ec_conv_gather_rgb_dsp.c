/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_conv_gather_dsp.h"
#include "ec_dsp.h"

#if EC_DSP

#include "ec_conv_gather_asm_dsp.h"

/* Last bytes of the first run wait in r5, r6 and lr, those of the second go to their place at once. */
__attribute__((naked)) void ec_conv_gather_rgb_dsp(const ec_conv_windows *windows __attribute__((unused)))
{
    __asm__ volatile(
        EC_GATHER_BEGIN
        EC_GATHER_4
        EC_GATHER_4
        "ldrsb r5, [r1]\n\t"
        "ldrsb r6, [r2]\n\t"
        "ldrsb lr, [r3]\n\t"
        EC_GATHER_SKIP
        EC_GATHER_4
        EC_GATHER_4
        "ldrsb r7, [r1]\n\t"
        "ldrsb r8, [r2]\n\t"
        "ldrsb r9, [r3]\n\t"
        "str r7, [r0, #60]\n\t"
        "str r8, [r0, #64]\n\t"
        "str r9, [r0, #68]\n\t"
        EC_GATHER_SKIP
        EC_GATHER_4
        EC_GATHER_4
        "ldrsb r7, [r1]\n\t"
        "ldrsb r8, [r2]\n\t"
        "ldrsb r9, [r3]\n\t"
        "pkhbt r7, r5, r7, lsl #16\n\t"
        "pkhbt r8, r6, r8, lsl #16\n\t"
        "pkhbt r9, lr, r9, lsl #16\n\t"
        "stm r0, {r7-r9}\n\t"
        "pop {r4-r11, pc}\n"
    );
}

#else

void ec_conv_gather_rgb_dsp(const ec_conv_windows *windows)
{
    int pixel;
    ec_conv_gather_dsp(windows);
    for (pixel = 0; pixel < 3; ++pixel) {
        const int8_t *last = (pixel == 0 ? windows->a : pixel == 1 ? windows->b : windows->c) + 8;
        const int32_t step = 8 + windows->skip;
        windows->x[36 + pixel] = ec_pair(last[0], last[2 * step]);
        windows->x[39 + pixel] = (uint32_t)last[step];
    }
}

#endif

void ec_conv_gather_rgb_single_dsp(const ec_conv_windows *windows)
{
    const int8_t *last = windows->a + 8;
    const int32_t step = 8 + windows->skip;
    ec_conv_gather_single_dsp(windows);
    windows->x[12] = ec_pair(last[0], last[2 * step]);
    windows->x[13] = (uint32_t)last[step];
}
