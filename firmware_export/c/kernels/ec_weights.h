/* SPDX-License-Identifier: Apache-2.0
 * Weights in groups of four: int8 (4 bytes), int4 (2 bytes) or ternary (1 byte), the first value in the low bits; and
 * pairs of 16-bit values in a word. */
#ifndef EC_WEIGHTS_H
#define EC_WEIGHTS_H

#include <stdint.h>

static inline int32_t ec_row_bytes(int32_t length, int32_t bits)
{
    return bits == 8 ? length : bits == 4 ? (length + 1) / 2 : (length + 3) / 4;
}

/* Sign-extended field of `bits` bits at `position` (in bits). */
static inline int32_t ec_field(int32_t byte, int32_t position, int32_t bits)
{
    return (int32_t)((uint32_t)byte << (32 - bits - position)) >> (32 - bits);
}

/* Weight `index` of a row. */
static inline int32_t ec_weight(const int8_t *row, int32_t index, int32_t bits)
{
    if (bits == 8) {
        return row[index];
    }
    if (bits == 4) {
        return ec_field(row[index >> 1], (index & 1) * 4, 4);
    }
    return ec_field(row[index >> 2], (index & 3) * 2, 2);
}

/* Weights 0 to 3 of a group that starts on a byte. */
static inline void ec_weights4(const int8_t *group, int32_t bits, int32_t weights[4])
{
    if (bits == 8) {
        weights[0] = group[0];
        weights[1] = group[1];
        weights[2] = group[2];
        weights[3] = group[3];
    } else if (bits == 4) {
        const int32_t low = group[0], high = group[1];
        weights[0] = ec_field(low, 0, 4);
        weights[1] = low >> 4;
        weights[2] = ec_field(high, 0, 4);
        weights[3] = high >> 4;
    } else {
        const int32_t all = group[0];
        weights[0] = ec_field(all, 0, 2);
        weights[1] = ec_field(all, 2, 2);
        weights[2] = ec_field(all, 4, 2);
        weights[3] = all >> 6;
    }
}

static inline int32_t ec_low_half(uint32_t word)
{
    return (int16_t)(uint16_t)word;
}

static inline int32_t ec_high_half(uint32_t word)
{
    return (int16_t)(uint16_t)(word >> 16);
}

static inline uint32_t ec_halves(int32_t low, int32_t high)
{
    return (uint32_t)(uint16_t)low | (uint32_t)high << 16;
}

#endif
