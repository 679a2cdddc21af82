/* SPDX-License-Identifier: Apache-2.0
 * Body of ec_dense_s8, _s4 and _s2; `bits` is a constant in each of them. Four outputs (int8 weights) or two (packed
 * weights, whose unpacking needs registers) share every input that is loaded. Sums wrap at 32 bits because the bias
 * holds the zero point's share; the final sum fits, the graph's checks guarantee it. */
#ifndef EC_DENSE_H
#define EC_DENSE_H

#include "ec_kernels.h"
#include "ec_requant.h"
#include "ec_rescale.h"
#include "ec_weights.h"

static inline uint32_t ec_dense_product(int32_t a, int32_t b)
{
    return (uint32_t)(a * b);
}

/* One output. */
EC_OUTLINED void ec_dense_dot_1(const int8_t *input, const int8_t *row, int32_t length, int32_t bias, int32_t sums[1], const int bits)
{
    uint32_t sum = (uint32_t)bias;
    int32_t i;
    EC_NO_UNROLL
    for (i = length >> 2; i != 0; --i) {
        int32_t w[4];
        ec_weights4(row, bits, w);
        sum += ec_dense_product(input[0], w[0]);
        sum += ec_dense_product(input[1], w[1]);
        sum += ec_dense_product(input[2], w[2]);
        sum += ec_dense_product(input[3], w[3]);
        input += 4;
        row += bits / 2;
    }
    EC_NO_UNROLL
    for (i = 0; i < (length & 3); ++i) {
        sum += ec_dense_product(input[i], ec_weight(row, i, bits));
    }
    sums[0] = (int32_t)sum;
}

/* Two outputs; rows lie `row_bytes` apart. */
EC_OUTLINED void ec_dense_dot_2(const int8_t *input, const int8_t *rows, int32_t length, const int32_t *bias, int32_t sums[2], const int bits)
{
    const int8_t *a = rows, *b = rows + ec_row_bytes(length, bits);
    uint32_t first = (uint32_t)bias[0], second = (uint32_t)bias[1];
    int32_t i;
    EC_NO_UNROLL
    for (i = length >> 2; i != 0; --i) {
        int32_t u[4], v[4];
        ec_weights4(a, bits, u);
        ec_weights4(b, bits, v);
        first += ec_dense_product(input[0], u[0]);
        second += ec_dense_product(input[0], v[0]);
        first += ec_dense_product(input[1], u[1]);
        second += ec_dense_product(input[1], v[1]);
        first += ec_dense_product(input[2], u[2]);
        second += ec_dense_product(input[2], v[2]);
        first += ec_dense_product(input[3], u[3]);
        second += ec_dense_product(input[3], v[3]);
        input += 4;
        a += bits / 2;
        b += bits / 2;
    }
    EC_NO_UNROLL
    for (i = 0; i < (length & 3); ++i) {
        first += ec_dense_product(input[i], ec_weight(a, i, bits));
        second += ec_dense_product(input[i], ec_weight(b, i, bits));
    }
    sums[0] = (int32_t)first;
    sums[1] = (int32_t)second;
}

/* Four outputs of int8 rows that lie `length` apart. */
EC_OUTLINED void ec_dense_dot_4(const int8_t *input, const int8_t *rows, int32_t length, const int32_t *bias, int32_t sums[4])
{
    const int8_t *a = rows, *b = a + length, *c = b + length, *d = c + length;
    uint32_t s0 = (uint32_t)bias[0], s1 = (uint32_t)bias[1], s2 = (uint32_t)bias[2], s3 = (uint32_t)bias[3];
    int32_t i;
    EC_OPAQUE(b);
    EC_OPAQUE(c);
    EC_OPAQUE(d);
    EC_NO_UNROLL
    for (i = length >> 2; i != 0; --i) {
        s0 += ec_dense_product(input[0], a[0]);
        s1 += ec_dense_product(input[0], b[0]);
        s2 += ec_dense_product(input[0], c[0]);
        s3 += ec_dense_product(input[0], d[0]);
        s0 += ec_dense_product(input[1], a[1]);
        s1 += ec_dense_product(input[1], b[1]);
        s2 += ec_dense_product(input[1], c[1]);
        s3 += ec_dense_product(input[1], d[1]);
        s0 += ec_dense_product(input[2], a[2]);
        s1 += ec_dense_product(input[2], b[2]);
        s2 += ec_dense_product(input[2], c[2]);
        s3 += ec_dense_product(input[2], d[2]);
        s0 += ec_dense_product(input[3], a[3]);
        s1 += ec_dense_product(input[3], b[3]);
        s2 += ec_dense_product(input[3], c[3]);
        s3 += ec_dense_product(input[3], d[3]);
        input += 4;
        a += 4;
        b += 4;
        c += 4;
        d += 4;
    }
    EC_NO_UNROLL
    for (i = 0; i < (length & 3); ++i) {
        s0 += ec_dense_product(input[i], a[i]);
        s1 += ec_dense_product(input[i], b[i]);
        s2 += ec_dense_product(input[i], c[i]);
        s3 += ec_dense_product(input[i], d[i]);
    }
    sums[0] = (int32_t)s0;
    sums[1] = (int32_t)s1;
    sums[2] = (int32_t)s2;
    sums[3] = (int32_t)s3;
}

static inline void ec_dense(const ec_dense_params *p, const int8_t *input, int8_t *output, const int bits)
{
    const int32_t row_bytes = ec_row_bytes(p->input_size, bits);
    const int32_t block = bits == 8 ? 4 : 2;
    const int8_t *rows = p->weights;
    int32_t sums[4], i;
    EC_NO_UNROLL
    for (i = 0; i + block <= p->output_size; i += block) {
        if (bits == 8) {
            ec_dense_dot_4(input, rows, p->input_size, p->bias + i, sums);
        } else {
            ec_dense_dot_2(input, rows, p->input_size, p->bias + i, sums, bits);
        }
        ec_rescale_singles(&p->rescale, sums, i, block, output + i);
        rows += block * row_bytes;
    }
    EC_NO_UNROLL
    for (; i < p->output_size; ++i) {
        ec_dense_dot_1(input, rows, p->input_size, p->bias[i], sums, bits);
        ec_rescale_singles(&p->rescale, sums, i, 1, output + i);
        rows += row_bytes;
    }
}

#endif
