/* SPDX-License-Identifier: Apache-2.0
 * Pixels of four rows as the depthwise tiles want them. */
#ifndef EC_INTERLEAVE_MVE_H
#define EC_INTERLEAVE_MVE_H

#include <stdint.h>

/* `columns` columns of [16 channels][4 rows], `pitch` (at least 64) bytes apart; pixels of row i begin step[i] bytes apart and have
 * `lanes` (1 to 16) channels, behind which nothing is read. */
void ec_interleave_mve(int8_t *target, const int8_t *const source[4], const int32_t step[4], int32_t columns, int32_t pitch, int32_t lanes);

#endif
