/* SPDX-License-Identifier: Apache-2.0
 * Sums over windows for eight channels at a time on cores with Helium. */
#ifndef EC_SUM_MVE_H
#define EC_SUM_MVE_H

#include "ec_requant_mve.h"

#ifdef EC_MVE_ASSEMBLY
#include <arm_mve.h>
#endif

#define EC_SUM_PIXELS 255 /* as many as 16 bits can add up */

/* Channel c of the eight stands at EC_SUM_PLACE(c): even ones first, as widening leaves them. */
#define EC_SUM_PLACE(c) (((c) & 1) * 4 + (c) / 2)

/* `channels` (1 to 8) sums of rows * columns pixels. */
static inline void ec_sum_mve(const int8_t *corner, int32_t rows, int32_t row_bytes, int32_t columns, int32_t column_bytes, int32_t channels, int32_t sums[8])
{
#ifdef EC_MVE_ASSEMBLY
    const mve_pred16_t lanes = vctp16q((uint32_t)channels);
    int32x4_t even = vdupq_n_s32(0), odd = vdupq_n_s32(0);
    for (; rows > 0; --rows) {
        const int8_t *x = corner;
        int32_t left = columns;
        while (left > 0) {
            int32_t count = left < EC_SUM_PIXELS ? left : EC_SUM_PIXELS;
            int16x8_t part = vdupq_n_s16(0);
            left -= count;
            EC_NO_UNROLL
            for (; count > 0; --count) {
                part = vaddq_s16(part, vldrbq_z_s16(x, lanes));
                x += column_bytes;
            }
            even = vaddq_s32(even, vmovlbq_s16(part));
            odd = vaddq_s32(odd, vmovltq_s16(part));
        }
        corner += row_bytes;
    }
    vstrwq_s32(sums, even);
    vstrwq_s32(sums + 4, odd);
#else
    int32_t row, column, channel;
    for (channel = 0; channel < 8; ++channel) {
        sums[channel] = 0;
    }
    for (row = 0; row < rows; ++row) {
        for (column = 0; column < columns; ++column) {
            for (channel = 0; channel < channels; ++channel) {
                sums[EC_SUM_PLACE(channel)] += corner[row * row_bytes + column * column_bytes + channel];
            }
        }
    }
#endif
}

#endif
