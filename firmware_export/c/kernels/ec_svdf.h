/* SPDX-License-Identifier: Apache-2.0
 * Body of ec_svdf_s16 and ec_svdf_s8; `bits`, the width of state and time weights, is a constant in each of them. Sums
 * wrap at 32 bits: those of the features because their bias holds the zero point's share, those over time as defined. */
#ifndef EC_SVDF_H
#define EC_SVDF_H

#include "ec_dense.h"

/* Appends `newest` to a filter's memory, whose oldest entry leaves, and returns its product with the time weights. */
static inline uint32_t ec_svdf_remember(void *memory, const void *weights, int32_t length, int32_t newest, const int bits)
{
    uint32_t sum = 0;
    int32_t i;
    if (bits == 16) {
        int16_t *row = (int16_t *)memory;
        const int16_t *w = (const int16_t *)weights;
        EC_NO_UNROLL
        for (i = length - 1; i != 0; --i) {
            row[0] = row[1];
            sum += ec_dense_product(*row++, *w++);
        }
        *row = (int16_t)newest;
        return sum + ec_dense_product(newest, *w);
    } else {
        int8_t *row = (int8_t *)memory;
        const int8_t *w = (const int8_t *)weights;
        EC_NO_UNROLL
        for (i = length - 1; i != 0; --i) {
            row[0] = row[1];
            sum += ec_dense_product(*row++, *w++);
        }
        *row = (int8_t)newest;
        return sum + ec_dense_product(newest, *w);
    }
}

static inline void ec_svdf(const ec_svdf_params *params, const int8_t *input, int8_t *output, void *state, const int bits)
{
    const ec_svdf_params p = *params;
    const ec_output_range range = ec_make_range(p.output_zero_point, -128, 127);
    const int32_t limit = 1 << (bits - 1), row_bytes = p.memory * (bits / 8);
    const int8_t *features = p.feature_weights, *times = (const int8_t *)p.time_weights;
    int8_t *memory = (int8_t *)state;
    const int32_t filters = p.units * p.rank, whole = filters & ~3;
    int32_t block[4], unit, filter = 0, turn;
    for (unit = 0; unit < p.units; ++unit) {
        uint32_t sum = (uint32_t)p.bias[unit];
        for (turn = 0; turn < p.rank; ++turn) {
            int32_t feature;
            if (filter >= whole) {
                ec_dense_dot_1(input, features + filter * p.inputs, p.inputs, p.feature_bias[filter], block + (filter & 3), 8);
            } else if ((filter & 3) == 0) {
                ec_dense_dot_4(input, features + filter * p.inputs, p.inputs, p.feature_bias + filter, block);
            }
            feature = ec_clamp(ec_requant(block[filter & 3], p.feature_multiplier, p.feature_shift), -limit, limit - 1);
            sum += ec_svdf_remember(memory, times, p.memory, feature, bits);
            memory += row_bytes;
            times += row_bytes;
            ++filter;
        }
        output[unit] = ec_requant_s8((int32_t)sum, p.output_multiplier, p.output_shift, range);
    }
}

#endif
