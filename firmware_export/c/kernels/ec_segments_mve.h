/* SPDX-License-Identifier: Apache-2.0
 * Pieces of images copied, filled and clamped on cores with Helium. */
#ifndef EC_SEGMENTS_MVE_H
#define EC_SEGMENTS_MVE_H

#include <stdint.h>

/* `count` pieces of `bytes` each, which begin `step` bytes apart in the source and `pitch` in the target. */
void ec_copy_segments_mve(int8_t *target, int32_t pitch, const int8_t *source, int32_t step, int32_t bytes, int32_t count);
void ec_fill_segments_mve(int8_t *target, int32_t pitch, int32_t value, int32_t bytes, int32_t count);

/* Pixels of `bytes` bytes (a multiple of 16) of three rows of an image: pixel x of row i to target + (3 * x + i) * bytes. */
void ec_copy_three_rows_mve(int8_t *target, const int8_t *first, int32_t row_bytes, int32_t bytes, int32_t count);

/* In place. */
void ec_clamp_mve(int8_t *values, int32_t count, int32_t low, int32_t high);

#endif
