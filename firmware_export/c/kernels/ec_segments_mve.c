/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_memory.h"
#include "ec_requant_mve.h"
#include "ec_segments_mve.h"

#ifdef EC_MVE_ASSEMBLY
#include <arm_mve.h>

static inline int32_t lesser(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static void copy_columns(int8_t *target, int32_t pitch, const int8_t *source, int32_t step, int32_t count)
{
    EC_NO_UNROLL
    for (; count > 0; --count) {
        vstrbq_s8(target, vldrbq_s8(source));
        target += pitch;
        source += step;
    }
}

static void copy_run(int8_t *target, const int8_t *source, int32_t vectors)
{
    EC_NO_UNROLL
    for (; vectors > 0; --vectors) {
        vstrbq_s8(target, vldrbq_s8(source));
        target += 16;
        source += 16;
    }
}

static void copy_narrow_columns(int8_t *target, int32_t pitch, const int8_t *source, int32_t step, int32_t bytes, int32_t count)
{
    const mve_pred16_t lanes = vctp8q((uint32_t)bytes);
    EC_NO_UNROLL
    for (; count > 0; --count) {
        vstrbq_p_s8(target, vldrbq_z_s8(source, lanes), lanes);
        target += pitch;
        source += step;
    }
}

void ec_copy_segments_mve(int8_t *target, int32_t pitch, const int8_t *source, int32_t step, int32_t bytes, int32_t count)
{
    int32_t done = 0;
    if (count > 0 && pitch == bytes && step == bytes) { /* one piece: walk along it instead of across it */
        bytes *= count;
        copy_run(target, source, bytes / 16);
        done = bytes & ~15;
        count = 1;
    }
    for (; done + 16 <= bytes; done += 16) {
        copy_columns(target + done, pitch, source + done, step, count);
    }
    if (done < bytes) {
        copy_narrow_columns(target + done, pitch, source + done, step, bytes - done, count);
    }
}

static inline void copy_three(int8_t *target, const int8_t *a, const int8_t *b, const int8_t *c, const int32_t bytes, int32_t count)
{
    EC_NO_UNROLL
    for (; count > 0; --count) {
        vstrbq_s8(target, vldrbq_s8(a));
        vstrbq_s8(target + bytes, vldrbq_s8(b));
        vstrbq_s8(target + 2 * bytes, vldrbq_s8(c));
        a += bytes;
        b += bytes;
        c += bytes;
        target += 3 * bytes;
    }
}

void ec_copy_three_rows_mve(int8_t *target, const int8_t *first, int32_t row_bytes, int32_t bytes, int32_t count)
{
    int32_t done;
    if (bytes == 16) { /* constants fit the addressing modes */
        copy_three(target, first, first + row_bytes, first + 2 * row_bytes, 16, count);
        return;
    }
    for (done = 0; done < bytes; done += 16) {
        copy_three(target + done, first + done, first + row_bytes + done, first + 2 * row_bytes + done, bytes, count);
    }
}

void ec_fill_segments_mve(int8_t *target, int32_t pitch, int32_t value, int32_t bytes, int32_t count)
{
    const int8x16_t values = vdupq_n_s8((int8_t)value);
    EC_NO_UNROLL
    for (; count > 0; --count) {
        int8_t *place = target;
        int32_t left = bytes;
        EC_NO_UNROLL
        for (; left > 0; left -= 16) {
            vstrbq_p_s8(place, values, vctp8q((uint32_t)lesser(left, 16)));
            place += 16;
        }
        target += pitch;
    }
}

void ec_clamp_mve(int8_t *values, int32_t count, int32_t low, int32_t high)
{
    const int8x16_t lowest = vdupq_n_s8((int8_t)low), highest = vdupq_n_s8((int8_t)high);
    mve_pred16_t lanes;
    EC_NO_UNROLL
    for (; count >= 16; count -= 16) {
        vstrbq_s8(values, vminq_s8(vmaxq_s8(vldrbq_s8(values), lowest), highest));
        values += 16;
    }
    lanes = vctp8q((uint32_t)count);
    vstrbq_p_s8(values, vminq_s8(vmaxq_s8(vldrbq_z_s8(values, lanes), lowest), highest), lanes);
}

#else

void ec_copy_segments_mve(int8_t *target, int32_t pitch, const int8_t *source, int32_t step, int32_t bytes, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; ++i) {
        memcpy(target + i * pitch, source + i * step, (size_t)bytes);
    }
}

void ec_copy_three_rows_mve(int8_t *target, const int8_t *first, int32_t row_bytes, int32_t bytes, int32_t count)
{
    int32_t i;
    for (i = 0; i < 3; ++i) {
        ec_copy_segments_mve(target + i * bytes, 3 * bytes, first + i * row_bytes, bytes, bytes, count);
    }
}

void ec_fill_segments_mve(int8_t *target, int32_t pitch, int32_t value, int32_t bytes, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; ++i) {
        memset(target + i * pitch, value, (size_t)bytes);
    }
}

void ec_clamp_mve(int8_t *values, int32_t count, int32_t low, int32_t high)
{
    int32_t i;
    for (i = 0; i < count; ++i) {
        values[i] = (int8_t)ec_clamp(values[i], low, high);
    }
}

#endif
