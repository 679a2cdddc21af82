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
static void tail(const ec_dense_mve_params *p, const int8_t *input, const int32_t *weights, const int32_t *parameters, int8_t *output, int32_t lanes,
                 int32_t count, int ties)
{
    const int8_t *rows = (const int8_t *)weights, *shifts = (const int8_t *)(parameters + 16);
    int32_t lane;
    for (lane = 0; lane < count; ++lane) {
        const uint32_t sum = (uint32_t)parameters[lane] + dot(input, rows + 16 * lane, 16 * lanes, p->chunks);
        output[lane] = ec_requant_mve((int32_t)sum, parameters[8 + lane], shifts[lane], p->output_zero_point, ties);
    }
}

void ec_dense_mve(const ec_dense_mve_params *p, const int8_t *input, int8_t *output, void *scratch, ec_dense_blocks_mve_function *multiply, int ties)
{
    const int32_t blocks = p->output_size / 8, left = p->output_size & 7, words = 4 * p->weight_bits * p->chunks;
    int32_t *unpacked = (int32_t *)scratch;
    const int32_t *weights = p->weights, *parameters = p->parameters;
    ec_dense_blocks_mve d;
    if (p->input_size & 15) { /* whole vectors are read: what lies behind the input meets weights of 0, but may not be readable */
        int8_t *copy = (int8_t *)scratch + p->unpacked_bytes;
        ec_copy_segments_mve(copy, p->input_size, input, p->input_size, p->input_size, 1);
        input = copy;
    }
    d.input = input;
    d.zero_point = p->output_zero_point;
    d.block_bytes = 128 * p->chunks;
    d.chunks = p->chunks;
    if (p->weight_bits == 8) {
        d.weights = weights;
        d.parameters = parameters;
        d.output = output;
        d.blocks = blocks;
        if (blocks > 0) {
            multiply(&d);
        }
        tail(p, input, weights + blocks * words, parameters + 18 * blocks, output + 8 * blocks, left, left, ties);
    } else {
        int32_t block;
        for (block = 0; block < blocks + (left > 0); ++block) {
            ec_unpack_mve(unpacked, weights + block * words, 2 * p->chunks, p->weight_bits);
            d.weights = unpacked;
            d.parameters = parameters + 18 * block;
            d.output = output + 8 * block;
            d.blocks = 1;
            if (block < blocks) {
                multiply(&d);
            } else {
                tail(p, input, unpacked, d.parameters, d.output, 8, left, ties);
            }
        }
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        ec_clamp_mve(output, p->output_size, p->activation_min, p->activation_max);
    }
}
