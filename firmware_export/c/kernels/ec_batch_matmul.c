/* SPDX-License-Identifier: Apache-2.0
 * Product of two computed matrices. A matrix whose inner axis does not lie side by side is gathered into scratch memory first (the
 * right one once a batch, the left one row by row), so that every sum is one of ec_dense.h. Zero points are taken out of the sums:
 * sum (a - za)(b - zb) = sum a b - zb sum a - za sum b + depth za zb, modulo 2^32; what is left fits 32 bits. */
#include "ec_dense.h"
#include "ec_kernels.h"
#include "ec_requant.h"

static int32_t sum_of(const int8_t *values, int32_t count)
{
    int32_t sum = 0, i;
    EC_NO_UNROLL
    for (i = count; i != 0; --i) {
        sum += *values++;
    }
    return sum;
}

/* `count` values that lie `step` apart, side by side. */
static void gather(int8_t *target, const int8_t *source, int32_t count, int32_t step)
{
    int32_t i;
    EC_NO_UNROLL
    for (i = count; i != 0; --i) {
        *target++ = *source;
        source += step;
    }
}

void ec_batch_matmul_s8(const ec_batch_matmul_params *params, const int8_t *left, const int8_t *right, int8_t *output, void *scratch)
{
    const ec_batch_matmul_params p = *params;
    const ec_output_range range = ec_make_range(p.output_zero_point, p.activation_min, p.activation_max);
    const uint32_t both = (uint32_t)p.depth * (uint32_t)(p.left_zero_point * p.right_zero_point);
    int32_t *bias = (int32_t *)scratch;
    int8_t *right_rows = (int8_t *)(bias + p.columns), *left_row = right_rows + (p.transpose_right ? 0 : p.columns * p.depth);
    int32_t batch, i, j, k;
    for (batch = p.batches; batch != 0; --batch) {
        const int8_t *rows = p.transpose_right ? right : right_rows;
        for (j = 0; j < p.columns; ++j) {
            if (!p.transpose_right) {
                gather(right_rows + j * p.depth, right + j, p.depth, p.columns);
            }
            bias[j] = (int32_t)(both - (uint32_t)p.left_zero_point * (uint32_t)sum_of(rows + j * p.depth, p.depth));
        }
        for (i = 0; i < p.rows; ++i) {
            const int8_t *row = left + i * p.depth;
            uint32_t share;
            int32_t sums[4];
            if (p.transpose_left) {
                gather(left_row, left + i, p.depth, p.rows);
                row = left_row;
            }
            share = (uint32_t)p.right_zero_point * (uint32_t)sum_of(row, p.depth);
            for (j = 0; j + 4 <= p.columns; j += 4) {
                ec_dense_dot_4(row, rows + j * p.depth, p.depth, bias + j, sums);
                EC_NO_UNROLL
                for (k = 0; k < 4; ++k) {
                    *output++ = ec_requant_s8((int32_t)((uint32_t)sums[k] - share), p.multiplier, p.shift, range);
                }
            }
            for (; j < p.columns; ++j) {
                ec_dense_dot_1(row, rows + j * p.depth, p.depth, bias[j], sums, 8);
                *output++ = ec_requant_s8((int32_t)((uint32_t)sums[0] - share), p.multiplier, p.shift, range);
            }
        }
        left += p.rows * p.depth;
        right += p.columns * p.depth;
    }
}
