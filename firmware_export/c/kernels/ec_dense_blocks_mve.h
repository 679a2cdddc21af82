/* SPDX-License-Identifier: Apache-2.0
 * Blocks of eight outputs of a fully connected layer on cores with Helium, and EC_DENSE_BLOCKS_MVE(name, ties, factors), which
 * defines the function in assembly (for the reasons of ec_matmul_mve.h) or as its plain C twin.
 *
 * A block of weights is [chunks][8 outputs][16 bytes]. A block of parameters is 16 words: bias and shift[8] as in ec_requant_mve.h,
 * multiplier[8]; of a layer with one factor for all only the biases. `ties` is any or relu as in ec_matmul_mve.h, `factors` is
 * channel or tensor. */
#ifndef EC_DENSE_BLOCKS_MVE_H
#define EC_DENSE_BLOCKS_MVE_H

#include "ec_requant_mve.h"

typedef struct {
    const int8_t *input; /* 16 * chunks bytes */
    int32_t zero_point;
    int32_t block_bytes; /* 128 * chunks */
    int32_t multiplier;  /* of all outputs, and their negative right shift; unused where each has its own */
    int32_t shift;
    const int32_t *weights;
    const int32_t *parameters;
    int8_t *output;
    int32_t blocks; /* at least 1 */
    int32_t chunks;
} ec_dense_blocks_mve;

typedef void ec_dense_blocks_mve_function(const ec_dense_blocks_mve *d);
ec_dense_blocks_mve_function ec_dense_blocks_channel_any_mve, ec_dense_blocks_channel_relu_mve, ec_dense_blocks_tensor_any_mve,
    ec_dense_blocks_tensor_relu_mve;

#define EC_DENSE_TIES_relu 0
#define EC_DENSE_TIES_any 1
#define EC_DENSE_WORDS_channel 16
#define EC_DENSE_WORDS_tensor 8

/* One output from its sum of products; `words` of a block of parameters say where its factor is. */
static inline int8_t ec_dense_rescale_mve(const ec_dense_blocks_mve *d, const int32_t *parameters, int32_t lane, uint32_t sum, int ties, int32_t words)
{
    const int32_t word = parameters[lane];
    if (words == EC_DENSE_WORDS_tensor) {
        return ec_requant_mve((int32_t)(sum + (uint32_t)word), d->multiplier, d->shift, d->zero_point, ties);
    }
    return ec_requant_mve((int32_t)(sum + (uint32_t)ec_bias_mve(word)), parameters[8 + lane], ec_shift_mve(word), d->zero_point, ties);
}

#ifdef EC_MVE_ASSEMBLY

/* Registers: sums in r0 r2 r4 r6 r8 r10 r12 lr; r1 input, r5 weights, r11 the block's end, r3 parameters, r7 output, r9 blocks left. */
#define EC_DENSE_CHUNK(ma) \
    "vldrb.u8 q0, [r1], #16\n" \
    "vldrw.u32 q1, [r5], #16\n" \
    "vldrw.u32 q2, [r5], #16\n" \
    ma ".s8 r0, q0, q1\n" \
    "vldrw.u32 q1, [r5], #16\n" \
    ma ".s8 r2, q0, q2\n" \
    "vldrw.u32 q2, [r5], #16\n" \
    ma ".s8 r4, q0, q1\n" \
    "vldrw.u32 q1, [r5], #16\n" \
    ma ".s8 r6, q0, q2\n" \
    "vldrw.u32 q2, [r5], #16\n" \
    ma ".s8 r8, q0, q1\n" \
    "vldrw.u32 q1, [r5], #16\n" \
    ma ".s8 r10, q0, q2\n" \
    "vldrw.u32 q2, [r5], #16\n" \
    ma ".s8 r12, q0, q1\n" \
    ma ".s8 lr, q0, q2\n"

#define EC_DENSE_ROUND_relu ""
#define EC_DENSE_ROUND_any \
    "vshr.s32 q2, q0, #31\n" \
    "vshr.s32 q3, q1, #31\n" \
    "vadd.i32 q0, q0, q2\n" \
    "vadd.i32 q1, q1, q3\n"

/* Bias and rescaling; leaves the input in r1, the zero point in r2 and block_bytes in r4. */
#define EC_DENSE_RESCALE_channel(ties) \
    "vldrw.u32 q4, [r3], #16\n" \
    "vldrw.u32 q5, [r3], #16\n" \
    "vshr.s32 q2, q4, #5\n" \
    "vshr.s32 q3, q5, #5\n" \
    "vadd.i32 q0, q0, q2\n" \
    "vldrw.u32 q2, [r3], #16\n" \
    "vadd.i32 q1, q1, q3\n" \
    "vldrw.u32 q3, [r3], #16\n" \
    "vorr.i32 q4, #0xe0\n" \
    "vorr.i32 q5, #0xe0\n" \
    "vqrdmulh.s32 q0, q0, q2\n" \
    "vqrdmulh.s32 q1, q1, q3\n" EC_DENSE_ROUND_##ties \
    "vrshl.s32 q0, q0, q4\n" \
    "vrshl.s32 q1, q1, q5\n" \
    "ldr r0, [sp, #68]\n" \
    "ldm r0, {r1, r2, r4}\n"
#define EC_DENSE_RESCALE_tensor(ties) \
    "vldrw.u32 q2, [r3], #16\n" \
    "vldrw.u32 q3, [r3], #16\n" \
    "vadd.i32 q0, q0, q2\n" \
    "vadd.i32 q1, q1, q3\n" \
    "ldr r0, [sp, #68]\n" \
    "ldm r0, {r1, r2, r4, r6, r8}\n" \
    "vqrdmulh.s32 q0, q0, r6\n" \
    "vqrdmulh.s32 q1, q1, r6\n" EC_DENSE_ROUND_##ties \
    "vrshl.s32 q0, r8\n" \
    "vrshl.s32 q1, r8\n"

#define EC_DENSE_BLOCKS_MVE(name, ties, factors) \
    __asm__(".syntax unified\n" \
            ".thumb\n" \
            ".pushsection .text." #name ",\"ax\",%progbits\n" \
            ".balign 4\n" \
            ".global " #name "\n" \
            ".type " #name ",%function\n" \
            ".thumb_func\n" #name ":\n" \
            "push {r0, r4-r11, lr}\n" \
            "vpush {d8-d15}\n" \
            "sub sp, sp, #4\n" \
            "ldr r1, [r0, #36]\n" /* where to enter the loop of four chunks, so that chunks - 1 of them run in all */ \
            "adr.w r2, 4f\n" \
            "cmp r1, #1\n" \
            "beq 1f\n" \
            "rsb r1, r1, #1\n" \
            "and r1, r1, #3\n" \
            "movs r3, #68\n" \
            "mul r1, r1, r3\n" \
            "adr.w r2, 3f\n" \
            "add r2, r2, r1\n" \
            "1:\n" \
            "orr r2, r2, #1\n" \
            "str r2, [sp]\n" \
            "movs r2, #0\n" /* outputs of the 16-bit lanes: 0 4 1 5 2 6 3 7 */ \
            "movt r2, #4\n" \
            "add r4, r2, #0x00010001\n" \
            "add r6, r4, #0x00010001\n" \
            "add r8, r6, #0x00010001\n" \
            "vmov q7[2], q7[0], r2, r6\n" \
            "vmov q7[3], q7[1], r4, r8\n" \
            "ldr r1, [r0]\n" \
            "ldr r4, [r0, #8]\n" \
            "ldr r5, [r0, #20]\n" \
            "add r11, r5, r4\n" \
            "ldr r3, [r0, #24]\n" \
            "ldr r7, [r0, #28]\n" \
            "ldr r9, [r0, #32]\n" \
            "2:\n" EC_DENSE_CHUNK("vmladav") \
            "ldr.w pc, [sp]\n" \
            ".balign 4\n" \
            "3:\n" \
            ".rept 4\n" EC_DENSE_CHUNK("vmladava") \
            ".endr\n" \
            "cmp r5, r11\n" \
            "bne.w 3b\n" \
            ".balign 4\n" \
            "4:\n" \
            "vmov q0[2], q0[0], r0, r4\n" \
            "vmov q0[3], q0[1], r2, r6\n" \
            "vmov q1[2], q1[0], r8, r12\n" \
            "vmov q1[3], q1[1], r10, lr\n" EC_DENSE_RESCALE_##factors(ties) \
            "vqmovnb.s32 q0, q0\n" \
            "vqmovnt.s32 q0, q1\n" \
            "add r11, r11, r4\n" \
            "vqadd.s16 q0, q0, r2\n" \
            "vqmovnb.s16 q0, q0\n" \
            "vstrb.16 q0, [r7, q7]\n" \
            "adds r7, r7, #8\n" \
            "subs r9, r9, #1\n" \
            "bne.w 2b\n" \
            "add sp, sp, #4\n" \
            "vpop {d8-d15}\n" \
            "pop {r0, r4-r11, pc}\n" \
            ".size " #name ", .-" #name "\n" \
            ".popsection\n");

#else /* the same in plain C */

static inline void ec_dense_blocks_plain(const ec_dense_blocks_mve *d, int ties, int32_t words)
{
    int32_t block, lane, i;
    for (block = 0; block < d->blocks; ++block) {
        const int32_t *parameters = d->parameters + words * block;
        const int8_t *weights = (const int8_t *)d->weights + block * d->block_bytes;
        for (lane = 0; lane < 8; ++lane) {
            uint32_t sum = 0;
            for (i = 0; i < 16 * d->chunks; ++i) {
                sum += (uint32_t)(d->input[i] * weights[i / 16 * 128 + 16 * lane + i % 16]);
            }
            d->output[8 * block + lane] = ec_dense_rescale_mve(d, parameters, lane, sum, ties, words);
        }
    }
}

#define EC_DENSE_BLOCKS_MVE(name, ties, factors) \
    void name(const ec_dense_blocks_mve *d) \
    { \
        ec_dense_blocks_plain(d, EC_DENSE_TIES_##ties, EC_DENSE_WORDS_##factors); \
    }

#endif
#endif
