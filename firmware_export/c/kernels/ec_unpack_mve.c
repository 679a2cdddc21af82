/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_requant_mve.h"
#include "ec_unpack_mve.h"
#include "ec_weights.h"

#ifdef EC_MVE_ASSEMBLY
#include <arm_mve.h>

void ec_unpack_mve(int32_t *target, const int32_t *packed, int32_t groups, int32_t bits)
{
    int8_t *bytes = (int8_t *)target;
    const int8_t *source = (const int8_t *)packed;
    if (bits == 4) {
        EC_NO_UNROLL
        for (groups *= 2; groups > 0; --groups) {
            const int8x16_t both = vldrbq_s8(source);
            vstrbq_s8(bytes, vshrq_n_s8(vshlq_n_s8(both, 4), 4));
            vstrbq_s8(bytes + 16, vshrq_n_s8(both, 4));
            source += 16;
            bytes += 32;
        }
        return;
    }
    EC_NO_UNROLL
    for (; groups > 0; --groups) {
        const int8x16_t all = vldrbq_s8(source);
        vstrbq_s8(bytes, vshrq_n_s8(vshlq_n_s8(all, 6), 6));
        vstrbq_s8(bytes + 16, vshrq_n_s8(vshlq_n_s8(all, 4), 6));
        vstrbq_s8(bytes + 32, vshrq_n_s8(vshlq_n_s8(all, 2), 6));
        vstrbq_s8(bytes + 48, vshrq_n_s8(all, 6));
        source += 16;
        bytes += 64;
    }
}

#else

void ec_unpack_mve(int32_t *target, const int32_t *packed, int32_t groups, int32_t bits)
{
    int8_t *bytes = (int8_t *)target;
    const int8_t *source = (const int8_t *)packed;
    const int32_t fields = 8 / bits;
    int32_t i;
    for (i = 0; i < 64 * groups; ++i) { /* weight i % 16 of vector i / 16; `fields` vectors share 16 bytes */
        bytes[i] = (int8_t)ec_field(source[i / 16 / fields * 16 + i % 16], i / 16 % fields * bits, bits);
    }
}

#endif
