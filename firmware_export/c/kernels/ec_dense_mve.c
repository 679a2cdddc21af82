/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_dense_mve.h"
#include "ec_memory.h"
#include "ec_segments_mve.h"
#include "ec_unpack_mve.h"

#ifdef EC_MVE_ASSEMBLY
#include <arm_mve.h>
#endif

/* Product of whole vectors; those of the weights lie `stride` bytes apart. */
static uint32_t dot(const int8_t *input, const int8_t *weights, int32_t stride, int32_t chunks)
{
#ifdef EC_MVE_ASSEMBLY
    int32_t sum = 0;
    EC_NO_UNROLL
    for (; chunks > 0; --chunks) {
        sum = vmladavaq_s8(sum, vldrbq_s8(input), vldrbq_s8(weights));
        input += 16;
        weights += stride;
    }
    return (uint32_t)sum;
#else
    uint32_t sum = 0;
    int32_t i;
    for (i = 0; i < 16 * chunks; ++i) {
        sum += (uint32_t)(input[i] * weights[i / 16 * stride + i % 16]);
    }
    return sum;
#endif
}

/* Outputs that do not fill a block of eight: their vectors stand together like a block's, `lanes` a chunk. */
static void multiply_tail(const ec_dense_blocks_mve *d, int32_t lanes, int32_t count, int ties, int32_t words)
{
    const int8_t *rows = (const int8_t *)d->weights;
    int32_t lane;
    for (lane = 0; lane < count; ++lane) {
        d->output[lane] = ec_dense_rescale_mve(d, d->parameters, lane, dot(d->input, rows + 16 * lane, 16 * lanes, d->chunks), ties, words);
    }
}

/* A block at a time, its weights of 4 or 2 bits unpacked. */
static void multiply_packed(const ec_dense_mve_params *p, ec_dense_blocks_mve *d, int32_t *unpacked, ec_dense_blocks_mve_function *multiply, int ties,
                            int32_t words)
{
    const int32_t *weights = p->weights;
    int32_t left = p->output_size;
    d->weights = unpacked;
    d->blocks = 1;
    for (; left > 0; left -= 8) {
        ec_unpack_mve(unpacked, weights, 2 * p->chunks, p->weight_bits);
        if (left >= 8) {
            multiply(d);
        } else {
            multiply_tail(d, 8, left, ties, words);
        }
        weights += 4 * p->weight_bits * p->chunks;
        d->parameters += words;
        d->output += 8;
    }
}

void ec_dense_mve(const ec_dense_mve_params *p, const int8_t *input, int8_t *output, void *scratch, ec_dense_blocks_mve_function *multiply, int ties,
                  int32_t words)
{
    const int32_t blocks = p->output_size / 8, left = p->output_size & 7;
    ec_dense_blocks_mve d;
    if (p->input_size & 15) { /* whole vectors are read: what lies behind the input meets weights of 0, but may not be readable */
        int8_t *copy = (int8_t *)scratch + p->unpacked_bytes;
        ec_copy_segments_mve(copy, p->input_size, input, p->input_size, p->input_size, 1);
        input = copy;
    }
    d.input = input;
    d.zero_point = p->output_zero_point;
    d.block_bytes = 128 * p->chunks;
    d.multiplier = p->multiplier;
    d.shift = p->shift;
    d.weights = p->weights;
    d.parameters = p->parameters;
    d.output = output;
    d.blocks = blocks;
    d.chunks = p->chunks;
    if (p->weight_bits != 8) {
        multiply_packed(p, &d, (int32_t *)scratch, multiply, ties, words);
    } else {
        if (blocks > 0) {
            multiply(&d);
        }
        d.weights += blocks * 32 * p->chunks;
        d.parameters += blocks * words;
        d.output += 8 * blocks;
        multiply_tail(&d, left, left, ties, words);
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        ec_clamp_mve(output, p->output_size, p->activation_min, p->activation_max);
    }
}
