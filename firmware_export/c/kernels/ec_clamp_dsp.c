/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_clamp_dsp.h"

#include "ec_dsp.h"
#include "ec_requant.h"

/* Four bytes, each clamped to the bytes of `low` and `high`. */
static inline uint32_t clamp_bytes(uint32_t x, uint32_t low, uint32_t high)
{
#if EC_DSP
    uint32_t result;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2\n\t" /* the greater of x and low */
            "ssub8 r12, %0, %3\n\tsel %0, %3, %0"    /* the lesser of that and high */
            : "=&r"(result)
            : "r"(x), "r"(low), "r"(high)
            : "r12");
    return result;
#else
    uint32_t result = 0;
    int lane;
    for (lane = 0; lane < 32; lane += 8) {
        const int32_t value = ec_clamp((int8_t)(uint8_t)(x >> lane), (int8_t)(uint8_t)(low >> lane), (int8_t)(uint8_t)(high >> lane));
        result |= (uint32_t)(uint8_t)value << lane;
    }
    return result;
#endif
}

void ec_clamp_dsp(int8_t *output, int32_t count, int32_t low, int32_t high)
{
    if (low != -128 || high != 127) {
        const uint32_t lows = (uint32_t)(uint8_t)low * 0x01010101u, highs = (uint32_t)(uint8_t)high * 0x01010101u;
        EC_NO_UNROLL
        for (; count >= 4; count -= 4) {
            ec_store_word(output, clamp_bytes(ec_load_word(output), lows, highs));
            output += 4;
        }
        EC_NO_UNROLL
        for (; count > 0; --count) {
            *output = (int8_t)ec_clamp(*output, low, high);
            ++output;
        }
    }
}
