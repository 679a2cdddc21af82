/* SPDX-License-Identifier: Apache-2.0
 * The DSP extension's instructions (Armv7E-M, Armv8-M) as functions, each with a portable body of the same result:
 * the host's tests run the same kernels through the portable bodies.
 *
 * EC_DSP is 1 where the instructions exist and the compiler takes GNU assembly (GCC, Clang, Arm Compiler 6); kernels
 * with a body in assembly ask the same macro. Sums are modulo 2^32, as the instructions make them. */
#ifndef EC_DSP_H
#define EC_DSP_H

#include "ec_memory.h"

#include <stdint.h>

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && (defined(__GNUC__) || defined(__clang__))
#define EC_DSP 1
#else
#define EC_DSP 0
#endif

/* The low half as a signed number, and the high half. */
static inline int32_t ec_bottom(uint32_t x)
{
    return (int16_t)(uint16_t)x;
}

static inline int32_t ec_top(uint32_t x)
{
    return (int16_t)(uint16_t)(x >> 16);
}

static inline uint32_t ec_pair(int32_t bottom, int32_t top)
{
    return (uint32_t)(uint16_t)bottom | (uint32_t)top << 16;
}

/* A word's copy that is one instruction even where -ffreestanding makes memcpy a function like any other. */
#if defined(__GNUC__) || defined(__clang__)
#define EC_COPY_WORD(target, source) __builtin_memcpy(target, source, 4)
#else
#define EC_COPY_WORD(target, source) memcpy(target, source, 4)
#endif

/* Words at any address. Every core with these instructions loads and stores single words unaligned; only LDRD, STRD, LDM
 * and STM do not, and no compiler makes those of such a copy. */
static inline uint32_t ec_load_word(const int8_t *source)
{
    uint32_t word;
    EC_COPY_WORD(&word, source);
    return word;
}

static inline void ec_store_word(int8_t *target, uint32_t word)
{
    EC_COPY_WORD(target, &word);
}

/* Bytes 0 and 2 sign-extended to halves. */
static inline uint32_t ec_sxtb16(uint32_t x)
{
#if EC_DSP
    uint32_t result;
    __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(x));
    return result;
#else
    return ec_pair((int8_t)(uint8_t)x, (int8_t)(uint8_t)(x >> 16));
#endif
}

/* Bytes 1 and 3 sign-extended to halves. */
static inline uint32_t ec_sxtb16_odd(uint32_t x)
{
#if EC_DSP
    uint32_t result;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(x));
    return result;
#else
    return ec_pair((int8_t)(uint8_t)(x >> 8), (int8_t)(uint8_t)(x >> 24));
#endif
}

/* The same added to the halves of a word, each modulo 2^16. */
static inline uint32_t ec_sxtab16(uint32_t sum, uint32_t x)
{
#if EC_DSP
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(sum), "r"(x));
    return result;
#else
    return ec_pair(ec_bottom(sum) + (int8_t)(uint8_t)x, ec_top(sum) + (int8_t)(uint8_t)(x >> 16));
#endif
}

static inline uint32_t ec_sxtab16_odd(uint32_t sum, uint32_t x)
{
#if EC_DSP
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(sum), "r"(x));
    return result;
#else
    return ec_sxtab16(sum, x >> 8);
#endif
}

/* sum + bottom * bottom + top * top. */
static inline int32_t ec_smlad(uint32_t x, uint32_t y, int32_t sum)
{
#if EC_DSP
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(ec_bottom(x) * ec_bottom(y)) + (uint32_t)(ec_top(x) * ec_top(y)));
#endif
}

/* bottom * bottom + top * top. */
static inline int32_t ec_smuad(uint32_t x, uint32_t y)
{
#if EC_DSP
    int32_t result;
    __asm__("smuad %0, %1, %2" : "=r"(result) : "r"(x), "r"(y));
    return result;
#else
    return (int32_t)((uint32_t)(ec_bottom(x) * ec_bottom(y)) + (uint32_t)(ec_top(x) * ec_top(y)));
#endif
}

/* sum + bottom * bottom, sum + top * bottom of y, sum + bottom * top of y, sum + top * top. */
static inline int32_t ec_smlabb(uint32_t x, uint32_t y, int32_t sum)
{
#if EC_DSP
    int32_t result;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(ec_bottom(x) * ec_bottom(y)));
#endif
}

static inline int32_t ec_smlatb(uint32_t x, uint32_t y, int32_t sum)
{
#if EC_DSP
    int32_t result;
    __asm__("smlatb %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(ec_top(x) * ec_bottom(y)));
#endif
}

static inline int32_t ec_smlabt(uint32_t x, uint32_t y, int32_t sum)
{
#if EC_DSP
    int32_t result;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(ec_bottom(x) * ec_top(y)));
#endif
}

static inline int32_t ec_smlatt(uint32_t x, uint32_t y, int32_t sum)
{
#if EC_DSP
    int32_t result;
    __asm__("smlatt %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(ec_top(x) * ec_top(y)));
#endif
}

/* (x * y + 2^31) >> 32, of the 64-bit product. */
static inline int32_t ec_smmulr(int32_t x, int32_t y)
{
#if EC_DSP
    int32_t result;
    __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(x), "r"(y));
    return result;
#else
    return (int32_t)(((int64_t)x * y + ((int64_t)1 << 31)) >> 32);
#endif
}

/* sum + ec_smmulr(x, y). */
static inline int32_t ec_smmlar(int32_t x, int32_t y, int32_t sum)
{
#if EC_DSP
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)ec_smmulr(x, y));
#endif
}

/* sum + (x * bottom half >> 16), sum + (x * top half >> 16), of the 48-bit products. */
static inline int32_t ec_smlawb(int32_t x, uint32_t y, int32_t sum)
{
#if EC_DSP
    int32_t result;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(int32_t)((int64_t)x * ec_bottom(y) >> 16));
#endif
}

static inline int32_t ec_smlawt(int32_t x, uint32_t y, int32_t sum)
{
#if EC_DSP
    int32_t result;
    __asm__("smlawt %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(int32_t)((int64_t)x * ec_top(y) >> 16));
#endif
}

/* x >> 20, clamped to -128..127. */
static inline int32_t ec_ssat8_20(int32_t x)
{
#if EC_DSP
    int32_t result;
    __asm__("ssat %0, #8, %1, asr #20" : "=r"(result) : "r"(x));
    return result;
#else
    return (x >> 20) < -128 ? -128 : (x >> 20) > 127 ? 127 : x >> 20;
#endif
}

/* x clamped to -128..127. */
static inline int32_t ec_ssat8(int32_t x)
{
#if EC_DSP
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x));
    return result;
#else
    return x < -128 ? -128 : x > 127 ? 127 : x;
#endif
}

/* How many zeros stand below the lowest 1 of a word that has one. */
static inline int32_t ec_trailing_zeros(uint32_t x)
{
#if EC_DSP
    int32_t result;
    __asm__("rbit %0, %1\n\tclz %0, %0" : "=r"(result) : "r"(x));
    return result;
#else
    int32_t count = 0;
    for (; (x & 1) == 0; x >>= 1) {
        ++count;
    }
    return count;
#endif
}

/* Sums and differences of halves, each modulo 2^16. */
static inline uint32_t ec_sadd16(uint32_t x, uint32_t y)
{
#if EC_DSP
    uint32_t result;
    __asm__("sadd16 %0, %1, %2" : "=r"(result) : "r"(x), "r"(y));
    return result;
#else
    return ec_pair(ec_bottom(x) + ec_bottom(y), ec_top(x) + ec_top(y));
#endif
}

static inline uint32_t ec_ssub16(uint32_t x, uint32_t y)
{
#if EC_DSP
    uint32_t result;
    __asm__("ssub16 %0, %1, %2" : "=r"(result) : "r"(x), "r"(y));
    return result;
#else
    return ec_pair(ec_bottom(x) - ec_bottom(y), ec_top(x) - ec_top(y));
#endif
}

/* Bottom half of x below bottom half of y; top half of x below top half of y. */
static inline uint32_t ec_pack_bottoms(uint32_t x, uint32_t y)
{
#if EC_DSP
    uint32_t result;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(x), "r"(y));
    return result;
#else
    return (x & 0xffffu) | y << 16;
#endif
}

static inline uint32_t ec_pack_tops(uint32_t x, uint32_t y)
{
#if EC_DSP
    uint32_t result;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(y), "r"(x));
    return result;
#else
    return x >> 16 | (y & 0xffff0000u);
#endif
}

#endif
