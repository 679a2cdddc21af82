/* SPDX-License-Identifier: Apache-2.0
 * What all Helium kernels share: whether there is Helium, and rescaling in plain C as the vector instructions do it. */
#ifndef EC_REQUANT_MVE_H
#define EC_REQUANT_MVE_H

#include "ec_requant.h"

/* Assembly and intrinsics where the compiler knows both; else each kernel's plain C twin, which does the same on the same data. */
#if defined(__ARM_FEATURE_MVE) && (defined(__GNUC__) || defined(__clang__))
#define EC_MVE_ASSEMBLY 1
#endif

/* A channel's bias and its right shift (1 to 31) stand in one word: 32 * bias + 32 - shift. With bits 5 to 7 set, its lowest byte is
 * -shift, and of a vector of shifts VRSHL looks at no more than that. */
static inline int32_t ec_bias_mve(int32_t word)
{
    return word >> 5;
}

static inline int32_t ec_shift_mve(int32_t word)
{
    return (word & 31) - 32;
}

/* VQRDMULH, VRSHL by `shift` = -(right shift), saturating addition of the zero point; `ties` as in ec_matmul_mve.h. Right shifts are 1 to 31. */
static inline int8_t ec_requant_mve(int32_t x, int32_t multiplier, int32_t shift, int32_t zero_point, int ties)
{
    int64_t scaled = ec_doubling_high_mul(x, multiplier);
    if (ties && scaled < 0) {
        scaled -= 1;
    }
    scaled = ((scaled + ((int64_t)1 << (-shift - 1))) >> -shift) + zero_point;
    return (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);
}

#endif
