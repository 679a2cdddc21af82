/* SPDX-License-Identifier: Apache-2.0
 * Rescaling an operand is a function of 256 values, so it is looked up: the table of the right one holds both zero points' shares,
 * and the left one is multiplied by 2^19 where its factor is 1/2 (one of the two always is), else looked up as well. */
#include "ec_kernels.h"
#include "ec_requant_mve.h"

#define LEFT_SHIFT 20

#ifdef EC_MVE_ASSEMBLY
#include <arm_mve.h>

/* x * 2^20 rescaled, plus `offset`, for x = -128 to 127 less the zero point, in the order of the bytes as unsigned numbers. */
static void make_table(int32_t *table, int32_t zero_point, int32_t multiplier, int32_t shift, int32_t offset)
{
    int32_t x;
    EC_NO_UNROLL
    for (x = 0; x < 256; x += 4) {
        const int32x4_t values = vreinterpretq_s32_u32(vidupq_n_u32((uint32_t)(x < 128 ? x : x - 256), 1));
        int32x4_t scaled = vqrdmulhq_n_s32(vshlq_n_s32(vsubq_n_s32(values, zero_point), LEFT_SHIFT), multiplier);
        if (shift < 0) {
            scaled = vaddq_s32(scaled, vshrq_n_s32(scaled, 31));
        }
        vstrwq_s32(table + x, vaddq_n_s32(vrshlq_n_s32(scaled, shift), offset));
    }
}

typedef struct {
    const int32_t *left_table; /* where the left factor is not 1/2 */
    const int32_t *right_table;
    int32_t multiplier;
    int32_t shift;
    int32_t zero_point;
    int16x8_t lowest;
    int16x8_t highest;
} constants;

static inline int32x4_t sum(const constants *k, int32x4_t left, uint32x4_t right, const int lookup, const int ties)
{
    int32x4_t x = vldrwq_gather_shifted_offset_s32(k->right_table, right);
    if (lookup) {
        x = vaddq_s32(x, vldrwq_gather_shifted_offset_s32(k->left_table, vreinterpretq_u32_s32(left)));
    } else {
        x = vmlaq_n_s32(x, left, 1 << (LEFT_SHIFT - 1));
    }
    x = vqrdmulhq_n_s32(x, k->multiplier);
    if (ties) {
        x = vaddq_s32(x, vshrq_n_s32(x, 31));
    }
    return vrshlq_n_s32(x, k->shift);
}

/* Eight sums; lookups take the left operand's bytes as they are. */
static inline int16x8_t sums(const constants *k, int16x8_t left, uint16x8_t right, const int lookup, const int ties)
{
    const int32x4_t even = sum(k, vmovlbq_s16(left), vmovlbq_u16(right), lookup, ties);
    const int32x4_t odd = sum(k, vmovltq_s16(left), vmovltq_u16(right), lookup, ties);
    const int16x8_t both = vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(even), even), odd);
    return vminq_s16(vmaxq_s16(vqaddq_n_s16(both, (int16_t)k->zero_point), k->lowest), k->highest);
}

static inline void add(const constants *k, const int8_t *left, const int8_t *right, int8_t *output, int32_t size, const int lookup, const int ties)
{
    const constants local = *k;
    mve_pred16_t lanes;
    EC_NO_UNROLL
    for (; size >= 8; size -= 8) {
        const int16x8_t a = lookup ? vreinterpretq_s16_u16(vldrbq_u16((const uint8_t *)left)) : vldrbq_s16(left);
        vstrbq_s16(output, sums(&local, a, vldrbq_u16((const uint8_t *)right), lookup, ties));
        left += 8;
        right += 8;
        output += 8;
    }
    lanes = vctp16q((uint32_t)size);
    if (size > 0) {
        const int16x8_t a = lookup ? vreinterpretq_s16_u16(vldrbq_z_u16((const uint8_t *)left, lanes)) : vldrbq_z_s16(left, lanes);
        vstrbq_p_s16(output, sums(&local, a, vldrbq_z_u16((const uint8_t *)right, lanes), lookup, ties), lanes);
    }
}

EC_OUTLINED void add_half(const constants *k, const int8_t *left, const int8_t *right, int8_t *output, int32_t size)
{
    add(k, left, right, output, size, 0, 0);
}

EC_OUTLINED void add_half_ties(const constants *k, const int8_t *left, const int8_t *right, int8_t *output, int32_t size)
{
    add(k, left, right, output, size, 0, 1);
}

EC_OUTLINED void add_lookup(const constants *k, const int8_t *left, const int8_t *right, int8_t *output, int32_t size)
{
    add(k, left, right, output, size, 1, 0);
}

EC_OUTLINED void add_lookup_ties(const constants *k, const int8_t *left, const int8_t *right, int8_t *output, int32_t size)
{
    add(k, left, right, output, size, 1, 1);
}

void ec_add_s8_mve(const ec_add_mve_params *params, const int8_t *left, const int8_t *right, int8_t *output, void *scratch)
{
    const ec_add_mve_params *p = params;
    constants k;
    int32_t *tables = (int32_t *)scratch;
    k.right_table = tables;
    k.left_table = tables + 256;
    k.multiplier = p->output_multiplier;
    k.shift = p->output_shift;
    k.zero_point = p->output_zero_point;
    k.lowest = vdupq_n_s16((int16_t)p->activation_min);
    k.highest = vdupq_n_s16((int16_t)p->activation_max);
    if (p->left_half) {
        make_table(tables, p->right_zero_point, p->right_multiplier, p->right_shift, -p->left_zero_point * (1 << (LEFT_SHIFT - 1)));
        (p->ties ? add_half_ties : add_half)(&k, left, right, output, p->size);
    } else {
        make_table(tables, p->right_zero_point, p->right_multiplier, p->right_shift, 0);
        make_table(tables + 256, p->left_zero_point, p->left_multiplier, p->left_shift, 0);
        (p->ties ? add_lookup_ties : add_lookup)(&k, left, right, output, p->size);
    }
}

#else

static inline int32_t rescale(int32_t x, int32_t multiplier, int32_t shift, int ties)
{
    const int32_t scaled = ec_doubling_high_mul(x, multiplier);
    return shift == 0 ? scaled : (((scaled - (ties && scaled < 0)) >> (-shift - 1)) + 1) >> 1;
}

void ec_add_s8_mve(const ec_add_mve_params *params, const int8_t *left, const int8_t *right, int8_t *output, void *scratch)
{
    const ec_add_mve_params *p = params;
    int32_t *tables = (int32_t *)scratch;
    int32_t i;
    for (i = 0; i < 256; ++i) {
        const int32_t x = i < 128 ? i : i - 256, offset = p->left_half ? -p->left_zero_point * (1 << (LEFT_SHIFT - 1)) : 0;
        tables[i] = rescale((x - p->right_zero_point) * (1 << LEFT_SHIFT), p->right_multiplier, p->right_shift, 1) + offset;
        if (!p->left_half) {
            tables[256 + i] = rescale((x - p->left_zero_point) * (1 << LEFT_SHIFT), p->left_multiplier, p->left_shift, 1);
        }
    }
    for (i = 0; i < p->size; ++i) {
        const int32_t other = p->left_half ? left[i] * (1 << (LEFT_SHIFT - 1)) : tables[256 + (uint8_t)left[i]];
        const int32_t x = rescale(tables[(uint8_t)right[i]] + other, p->output_multiplier, p->output_shift, p->ties);
        output[i] = (int8_t)ec_clamp(ec_clamp(x, -32768, 32767) + p->output_zero_point, p->activation_min, p->activation_max);
    }
}

#endif
