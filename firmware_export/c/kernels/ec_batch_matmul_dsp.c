/* SPDX-License-Identifier: Apache-2.0
 * ec_batch_matmul_s8 for cores with the DSP extension. Both matrices become rows of halfwords less their zero points, four elements in
 * two words: elements 0 and 2, then 1 and 3, as SXTAB16 makes them; a row is filled up with zeros. The right matrix is unpacked once a
 * batch, two rows of the left one at a time. Two rows by two columns share what is loaded: 4 loads and 4 SMLAD for 8 products. */
#include "ec_dsp.h"
#include "ec_kernels.h"
#include "ec_requant.h"

/* `count` bytes that lie `step` apart, less the zero point, as 2 * ceil(count / 4) words. */
static void unpack(uint32_t *words, const int8_t *source, int32_t count, int32_t step, int32_t zero_point)
{
    const uint32_t offset = ec_pair(-zero_point, -zero_point);
    int32_t lanes[4], rest = count, i;
#if defined(__clang__) /* gcc moves the comparison of `step` out of the loop and warns that it then ignores the annotation */
    EC_NO_UNROLL
#endif
    for (; step == 1 && rest >= 4; rest -= 4) {
        const uint32_t four = ec_load_word(source);
        words[0] = ec_sxtab16(offset, four);
        words[1] = ec_sxtab16_odd(offset, four);
        words += 2;
        source += 4;
    }
    EC_NO_UNROLL
    for (; rest >= 4; rest -= 4) {
        words[0] = ec_pair(source[0] - zero_point, source[2 * step] - zero_point);
        words[1] = ec_pair(source[step] - zero_point, source[3 * step] - zero_point);
        words += 2;
        source += 4 * step;
    }
    if (rest != 0) {
        EC_NO_UNROLL
        for (i = 0; i < 4; ++i) {
            lanes[i] = i < rest ? source[i * step] - zero_point : 0;
        }
        words[0] = ec_pair(lanes[0], lanes[2]);
        words[1] = ec_pair(lanes[1], lanes[3]);
    }
}

/* Two rows by two columns; rows and columns lie `words` apart. In assembly, as compilers move the sums about and add up four pointers. */
static inline void dot_2x2(const uint32_t *left, const uint32_t *right, int32_t words, int32_t sums[4])
{
    const uint32_t *a = left, *b = left + words, *c = right, *d = right + words, *end = b;
    int32_t ac = 0, ad = 0, bc = 0, bd = 0;
#if EC_DSP
    uint32_t x, y, z, w;
#define DOT_STEP \
    "ldr %[x], [%[a]], #4\n\t" \
    "ldr %[y], [%[b]], #4\n\t" \
    "ldr %[z], [%[c]], #4\n\t" \
    "ldr %[w], [%[d]], #4\n\t" \
    "smlad %[ac], %[x], %[z], %[ac]\n\t" \
    "smlad %[bc], %[y], %[z], %[bc]\n\t" \
    "smlad %[ad], %[x], %[w], %[ad]\n\t" \
    "smlad %[bd], %[y], %[w], %[bd]\n\t"
    __asm__ volatile(
        "1:\n\t"
        DOT_STEP
        DOT_STEP
        "cmp %[a], %[end]\n\t"
        "bne 1b"
        : [a] "+&r"(a), [b] "+&r"(b), [c] "+&r"(c), [d] "+&r"(d), [ac] "+r"(ac), [ad] "+r"(ad), [bc] "+r"(bc), [bd] "+r"(bd), [x] "=&r"(x), [y] "=&r"(y),
          [z] "=&r"(z), [w] "=&r"(w)
        : [end] "r"(end)
        : "cc", "memory");
#undef DOT_STEP
#else
    EC_NO_UNROLL
    for (; a != end; ++a, ++b, ++c, ++d) {
        ac = ec_smlad(*a, *c, ac);
        bc = ec_smlad(*b, *c, bc);
        ad = ec_smlad(*a, *d, ad);
        bd = ec_smlad(*b, *d, bd);
    }
#endif
    sums[0] = ac;
    sums[1] = ad;
    sums[2] = bc;
    sums[3] = bd;
}

EC_OUTLINED int32_t dot_1(const uint32_t *left, const uint32_t *right, int32_t words)
{
    int32_t sum = 0;
    EC_NO_UNROLL
    for (; words != 0; words -= 2) {
        sum = ec_smlad(left[0], right[0], sum);
        sum = ec_smlad(left[1], right[1], sum);
        left += 2;
        right += 2;
    }
    return sum;
}

/* A sum to an output. With right shifts of at least 2 the zero point is added before the last bit is shifted out, as in ec_rescale.h. */
static inline int8_t to_output(int32_t sum, const ec_batch_matmul_params *p, ec_output_range range, int32_t is_small)
{
    if (is_small) {
        const int32_t x = ec_scale(sum, (int32_t)((uint32_t)p->multiplier << 1));
        return (int8_t)ec_clamp((((x + (x >> 31)) >> (-p->shift - 1)) + 1 + 2 * p->output_zero_point) >> 1, p->activation_min, p->activation_max);
    }
    return ec_requant_s8(sum, p->multiplier, p->shift, range);
}

void ec_batch_matmul_s8_dsp(const ec_batch_matmul_params *params, const int8_t *left, const int8_t *right, int8_t *output, void *scratch)
{
    const ec_batch_matmul_params p = *params;
    const ec_output_range range = ec_make_range(p.output_zero_point, p.activation_min, p.activation_max);
    const int32_t words = 2 * ((p.depth + 3) / 4), is_small = p.shift <= -2 && p.multiplier >= 1 << 30;
    const int32_t left_row = p.transpose_left ? 1 : p.depth, left_step = p.transpose_left ? p.rows : 1;
    const int32_t right_row = p.transpose_right ? p.depth : 1, right_step = p.transpose_right ? 1 : p.columns;
    uint32_t *rows = (uint32_t *)scratch, *columns = rows + 2 * words;
    int32_t batch, i, j, pair;
    for (batch = p.batches; batch != 0; --batch) {
        for (j = 0; j < p.columns; ++j) {
            unpack(columns + j * words, right + j * right_row, p.depth, right_step, p.right_zero_point);
        }
        for (i = 0; i < p.rows; i += pair) {
            pair = p.rows - i > 1 ? 2 : 1;
            for (j = 0; j < pair; ++j) {
                unpack(rows + j * words, left + (i + j) * left_row, p.depth, left_step, p.left_zero_point);
            }
            for (j = 0; pair == 2 && j + 2 <= p.columns; j += 2) {
                int32_t sums[4];
                dot_2x2(rows, columns + j * words, words, sums);
                output[j] = to_output(sums[0], &p, range, is_small);
                output[j + 1] = to_output(sums[1], &p, range, is_small);
                output[p.columns + j] = to_output(sums[2], &p, range, is_small);
                output[p.columns + j + 1] = to_output(sums[3], &p, range, is_small);
            }
            for (; j < p.columns; ++j) {
                output[j] = to_output(dot_1(rows, columns + j * words, words), &p, range, is_small);
                if (pair == 2) {
                    output[p.columns + j] = to_output(dot_1(rows + words, columns + j * words, words), &p, range, is_small);
                }
            }
            output += pair * p.columns;
        }
        left += p.rows * p.depth;
        right += p.columns * p.depth;
    }
}
