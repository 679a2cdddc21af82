/* SPDX-License-Identifier: Apache-2.0
 * Sigmoid and tanh of recurrent layers on int16 numbers, bit for bit as edgecompress/ir/sigmoid16.py. */
#ifndef EC_GATES_H
#define EC_GATES_H

#include "ec_requant.h"

/* sigmoid(i / 24) in Q0.16, lifted by half of what a chord misses; one table serves both functions, for
 * tanh(x) = 2 * sigmoid(2 * x) - 1. */
static const uint16_t ec_sigmoid_table[256] = {
    32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794, 41432, 42064, 42688,
    43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443, 48964, 49475, 49975, 50464, 50942, 51409,
    51865, 52311, 52745, 53169, 53581, 53983, 54374, 54755, 55125, 55485, 55834, 56174, 56503, 56823, 57133, 57433,
    57724, 58007, 58280, 58544, 58800, 59048, 59288, 59519, 59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110,
    61279, 61441, 61599, 61750, 61896, 62036, 62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990, 63090, 63186,
    63279, 63368, 63454, 63536, 63615, 63691, 63765, 63835, 63903, 63968, 64030, 64090, 64148, 64204, 64257, 64308,
    64357, 64405, 64450, 64494, 64536, 64576, 64614, 64652, 64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900,
    64926, 64950, 64974, 64997, 65019, 65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179, 65194, 65208,
    65221, 65234, 65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337, 65345, 65352, 65360, 65367,
    65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425, 65429, 65433, 65438, 65442, 65445, 65449,
    65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474, 65476, 65479, 65481, 65483, 65485, 65488, 65489, 65491,
    65493, 65495, 65497, 65498, 65500, 65501, 65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513,
    65514, 65515, 65516, 65517, 65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524,
    65525, 65525, 65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529, 65529, 65530, 65530,
    65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532, 65532, 65532, 65532, 65533, 65533, 65533,
    65533, 65533, 65533, 65533, 65533, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535,
};

/* Table at distance / 2^bits, times 2^bits; the caller saturates from entry 255 on. */
static inline int32_t ec_sigmoid_between(uint32_t distance, const int bits)
{
    const uint16_t *entry = ec_sigmoid_table + (distance >> bits);
    const uint32_t rest = distance & ((1u << bits) - 1u);
    return (int32_t)(((uint32_t)entry[0] << bits) + rest * ((uint32_t)entry[1] - entry[0]));
}

static inline uint32_t ec_magnitude(int32_t x)
{
    return x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
}

/* Q3.12 to Q0.15. */
static inline int32_t ec_sigmoid16(int32_t x)
{
    const int32_t scaled = x * 3;
    const uint32_t distance = ec_magnitude(scaled);
    const int32_t value = distance >> 9 >= 255 ? 0x7FFF << 10 : ec_sigmoid_between(distance, 9);
    return (scaled >= 0 ? value + 512 : (1 << 25) - value + 511) >> 10;
}

/* x * 2^(shift - 12) to Q0.15; shift in [-15, 14]. */
static inline int32_t ec_tanh16(int32_t x, int32_t shift)
{
    const int32_t scaled = shift >= 0 ? x * (3 << shift) : (x * 3 + (1 << (-shift - 1))) >> -shift;
    const uint32_t distance = ec_magnitude(scaled);
    const int32_t value = (distance >> 8 >= 255 ? 0xFFFF << 8 : ec_sigmoid_between(distance, 8)) - (1 << 23);
    return (scaled >= 0 ? value + 128 : 127 - value) >> 8;
}

/* x / 2^exponent as a rescaling by a power of two rounds it: the first halving to nearest with ties up, the rest with
 * ties away from zero. 2 <= exponent <= 32; x below INT32_MAX. */
static inline int32_t ec_rescale_power(int32_t x, int32_t exponent)
{
    return ec_rounding_shift_right((x + 1) >> 1, exponent - 1);
}

static inline int32_t ec_saturate16(int32_t x)
{
    return ec_clamp(x, -32768, 32767);
}

#endif
