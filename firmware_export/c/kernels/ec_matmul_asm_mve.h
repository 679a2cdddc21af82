/* SPDX-License-Identifier: Apache-2.0
 * EC_MATMUL_MVE_PAIR(suffix, variant) defines the two functions ec_matmul_<suffix>_any_mve and _relu_mve of ec_matmul_mve.h, in
 * assembly or as their plain C twins; `variant` is k, s or n.
 *
 * Registers: accumulators of pixel 0 in r0 r2 r4 r6, of pixel 1 in r8 r10 r12 lr; r1 r3 pixels, r5 weights, r7 output, r9 pairs left,
 * r11 what the variant wants; q0 q1 pixels, q2 q3 weights, q4 multipliers, q5 shifts, q6 biases, q7 output offsets. The frame holds
 * the first twelve words of *m, and for _n where its first chunk's code is. */
#ifndef EC_MATMUL_ASM_MVE_H
#define EC_MATMUL_ASM_MVE_H

#include "ec_matmul_mve.h"
#include "ec_requant_mve.h"

#ifdef EC_MVE_ASSEMBLY

/* One chunk: `p` and `w` load pixels and weights, `ma` multiplies and adds; the operands are addresses. */
#define EC_MATMUL_VECTORS(p, w, ma, p0, p1, w0, w1, w2, w3) \
    p " q0, " p0 "\n" \
    w " q2, " w0 "\n" \
    p " q1, " p1 "\n" \
    ma " r0, q0, q2\n" \
    w " q3, " w1 "\n" \
    ma " r8, q1, q2\n" \
    ma " r2, q0, q3\n" \
    w " q2, " w2 "\n" \
    ma " r10, q1, q3\n" \
    ma " r4, q0, q2\n" \
    w " q3, " w3 "\n" \
    ma " r12, q1, q2\n" \
    ma " r6, q0, q3\n" \
    ma " lr, q1, q3\n"

/* `ma` is vmladav for the first, vmladava for the others. */
#define EC_MATMUL_CHUNK(ma, p0, p1, w0, w1, w2, w3) EC_MATMUL_VECTORS("vldrb.u8", "vldrw.u32", ma ".s8", p0, p1, w0, w1, w2, w3)

/* Chunks 0 to 3 with fixed offsets; p0 and p1 say how the pixel's pointer is used. */
#define EC_MATMUL_CHUNK0(p0, p1) EC_MATMUL_CHUNK("vmladav", p0, p1, "[r5]", "[r5, #16]", "[r5, #32]", "[r5, #48]")
#define EC_MATMUL_CHUNK1(p0, p1) EC_MATMUL_CHUNK("vmladava", p0, p1, "[r5, #64]", "[r5, #80]", "[r5, #96]", "[r5, #112]")
#define EC_MATMUL_CHUNK2(p0, p1) EC_MATMUL_CHUNK("vmladava", p0, p1, "[r5, #128]", "[r5, #144]", "[r5, #160]", "[r5, #176]")
#define EC_MATMUL_CHUNK3(p0, p1) EC_MATMUL_CHUNK("vmladava", p0, p1, "[r5, #192]", "[r5, #208]", "[r5, #224]", "[r5, #240]")
/* A chunk anywhere: all pointers advance. */
#define EC_MATMUL_CHUNK_ON(ma) EC_MATMUL_CHUNK(ma, "[r1], #16", "[r3], #16", "[r5], #16", "[r5], #16", "[r5], #16", "[r5], #16")
/* A half chunk, widened to 16 bits: it is the first. */
#define EC_MATMUL_HALF_ON \
    EC_MATMUL_VECTORS("vldrb.s16", "vldrb.s16", "vmladav.s16", "[r1], #8", "[r3], #8", "[r5], #8", "[r5], #8", "[r5], #8", "[r5], #8")

#define EC_MATMUL_TIES_relu ""
#define EC_MATMUL_TIES_any \
    "vshr.s32 q2, q0, #31\n" \
    "vshr.s32 q3, q1, #31\n" \
    "vadd.i32 q0, q0, q2\n" \
    "vadd.i32 q1, q1, q3\n"

/* The frame's constants after a tile: zero point in r0, output step in r2; and whatever moves the pointers on. */
#define EC_MATMUL_RELOAD_k "ldrd r0, r2, [sp]\n"
#define EC_MATMUL_RELOAD_s \
    "ldrd r0, r2, [sp]\n" \
    "add r1, r1, r11\n" \
    "add r3, r3, r11\n"
#define EC_MATMUL_RELOAD_n \
    "ldm sp, {r0, r2, r4, r5}\n" \
    "add r1, r1, r4\n" \
    "add r3, r3, r4\n"

/* Before a block's pairs. */
#define EC_MATMUL_BLOCK_k ""
#define EC_MATMUL_BLOCK_s "ldr r11, [sp, #8]\n"
#define EC_MATMUL_BLOCK_n \
    "ldr r11, [sp, #16]\n" \
    "add r11, r11, r5\n"

/* _n: the address of the chunk at which the loop of eight is entered, so that all but the first one run, and that of the first one,
 * whole or half. */
#define EC_MATMUL_START_k ""
#define EC_MATMUL_START_s ""
#define EC_MATMUL_START_n \
    "add r1, r5, #32\n" /* block_bytes to chunks, the half one included */ \
    "lsrs r1, r1, #6\n" \
    "rsb r1, r1, #1\n" \
    "and r1, r1, #7\n" \
    "movs r2, #56\n" \
    "mul r1, r1, r2\n" \
    "adr.w r2, 3f\n" \
    "add r1, r1, r2\n" \
    "orr r1, r1, #1\n" \
    "adr.w r2, 4f\n" \
    "tst r5, #32\n" \
    "beq 6f\n" \
    "adr.w r2, 5f\n" \
    "6:\n" \
    "orr r2, r2, #1\n" \
    "strd r1, r2, [sp, #44]\n"

#define EC_MATMUL_MVE(name, variant, ties, chunks_code) \
    __asm__(".syntax unified\n" \
            ".thumb\n" \
            ".pushsection .text." #name ",\"ax\",%progbits\n" \
            ".balign 4\n" \
            ".global " #name "\n" \
            ".type " #name ",%function\n" \
            ".thumb_func\n" #name ":\n" \
            "push {r4-r11, lr}\n" \
            "vpush {d8-d15}\n" \
            "sub sp, sp, #52\n" \
            "ldm r0!, {r1-r12}\n" \
            "stm sp, {r1-r12}\n" \
            "vldrw.u32 q7, [r0]\n" EC_MATMUL_START_##variant \
            "1:\n" \
            "ldr r0, [sp, #36]\n" \
            "vldrw.u32 q5, [r0], #16\n" \
            "vldrw.u32 q4, [r0], #16\n" \
            "vshr.s32 q6, q5, #5\n" \
            "vorr.i32 q5, #0xe0\n" \
            "str r0, [sp, #36]\n" \
            "ldr r7, [sp, #40]\n" \
            "add r0, r7, #4\n" \
            "str r0, [sp, #40]\n" \
            "ldrd r1, r3, [sp, #20]\n" \
            "ldr r9, [sp, #28]\n" \
            "ldr r5, [sp, #12]\n" EC_MATMUL_BLOCK_##variant \
            "2:\n" chunks_code \
            "vmov q0[2], q0[0], r0, r4\n" \
            "vmov q0[3], q0[1], r2, r6\n" \
            "vmov q1[2], q1[0], r8, r12\n" \
            "vmov q1[3], q1[1], r10, lr\n" \
            "vadd.i32 q0, q0, q6\n" \
            "vadd.i32 q1, q1, q6\n" \
            "vqrdmulh.s32 q0, q0, q4\n" \
            "vqrdmulh.s32 q1, q1, q4\n" EC_MATMUL_TIES_##ties \
            "vrshl.s32 q0, q0, q5\n" \
            "vrshl.s32 q1, q1, q5\n" \
            "vqmovnb.s32 q0, q0\n" \
            "vqmovnt.s32 q0, q1\n" EC_MATMUL_RELOAD_##variant \
            "vqadd.s16 q0, q0, r0\n" \
            "vqmovnb.s16 q0, q0\n" \
            "vstrb.16 q0, [r7, q7]\n" \
            "add r7, r7, r2\n" \
            "subs r9, r9, #1\n" \
            "bne.w 2b\n" \
            "ldr r2, [sp, #16]\n" \
            "add r5, r5, r2\n" \
            "str r5, [sp, #12]\n" \
            "ldr r0, [sp, #32]\n" \
            "subs r0, r0, #1\n" \
            "str r0, [sp, #32]\n" \
            "bne.w 1b\n" \
            "add sp, sp, #52\n" \
            "vpop {d8-d15}\n" \
            "pop {r4-r11, pc}\n" \
            ".size " #name ", .-" #name "\n" \
            ".popsection\n");

#define EC_MATMUL_CODE_k1 EC_MATMUL_CHUNK0("[r1], #32", "[r3], #32")
#define EC_MATMUL_CODE_k2 EC_MATMUL_CHUNK0("[r1], #16", "[r3], #16") EC_MATMUL_CHUNK1("[r1], #48", "[r3], #48")
#define EC_MATMUL_CODE_k3 \
    EC_MATMUL_CHUNK0("[r1], #16", "[r3], #16") \
    EC_MATMUL_CHUNK1("[r1], #16", "[r3], #16") \
    EC_MATMUL_CHUNK2("[r1], #64", "[r3], #64")
#define EC_MATMUL_CODE_k4 \
    EC_MATMUL_CHUNK0("[r1], #16", "[r3], #16") \
    EC_MATMUL_CHUNK1("[r1], #16", "[r3], #16") \
    EC_MATMUL_CHUNK2("[r1], #16", "[r3], #16") \
    EC_MATMUL_CHUNK3("[r1], #80", "[r3], #80")
#define EC_MATMUL_CODE_s1 EC_MATMUL_CHUNK0("[r1]", "[r3]")
#define EC_MATMUL_CODE_s2 EC_MATMUL_CODE_s1 EC_MATMUL_CHUNK1("[r1, #16]", "[r3, #16]")
#define EC_MATMUL_CODE_s3 EC_MATMUL_CODE_s2 EC_MATMUL_CHUNK2("[r1, #32]", "[r3, #32]")
#define EC_MATMUL_CODE_s4 EC_MATMUL_CODE_s3 EC_MATMUL_CHUNK3("[r1, #48]", "[r3, #48]")
#define EC_MATMUL_CODE_n \
    "ldr.w pc, [sp, #48]\n" \
    ".balign 4\n" \
    "4:\n" EC_MATMUL_CHUNK_ON("vmladav") \
    "ldr.w pc, [sp, #44]\n" \
    "5:\n" EC_MATMUL_HALF_ON \
    "ldr.w pc, [sp, #44]\n" \
    "3:\n" \
    ".rept 8\n" EC_MATMUL_CHUNK_ON("vmladava") \
    ".endr\n" \
    "cmp r5, r11\n" \
    "bne.w 3b\n"

#else /* the same in plain C */

#define EC_MATMUL_STEP_k(m) ((m)->block_bytes / 2)
#define EC_MATMUL_STEP_s(m) (m)->pixel_step
#define EC_MATMUL_STEP_n(m) ((m)->pixel_step + (m)->block_bytes / 4)
#define EC_MATMUL_TIES_relu 0
#define EC_MATMUL_TIES_any 1

static inline void ec_matmul_channel(const ec_matmul_mve *m, const int8_t *pixel, const int8_t *weights, int32_t lane, int8_t *output, int ties)
{
    const int32_t word = m->parameters[lane], chunks = m->block_bytes / 64, first = m->block_bytes % 64 / 4;
    uint32_t sum = (uint32_t)ec_bias_mve(word);
    int32_t chunk, i;
    for (i = 0; i < first; ++i) {
        sum += (uint32_t)(pixel[i] * weights[first * lane + i]);
    }
    pixel += first;
    weights += 4 * first;
    for (chunk = 0; chunk < chunks; ++chunk) {
        for (i = 0; i < 16; ++i) {
            sum += (uint32_t)(pixel[16 * chunk + i] * weights[64 * chunk + 16 * lane + i]);
        }
    }
    *output = ec_requant_mve((int32_t)sum, m->parameters[4 + lane], ec_shift_mve(word), m->zero_point, ties);
}

static inline void ec_matmul_plain(ec_matmul_mve *m, int32_t step, int ties)
{
    int32_t pair, lane;
    for (; m->blocks > 0; --m->blocks) {
        for (pair = 0; pair < m->pairs; ++pair) {
            for (lane = 0; lane < 4; ++lane) {
                int8_t *output = m->output + pair * m->output_step;
                const int8_t *weights = (const int8_t *)m->weights;
                ec_matmul_channel(m, m->pixel0 + pair * step, weights, lane, output + (m->offsets[lane] & 0xffffu), ties);
                ec_matmul_channel(m, m->pixel1 + pair * step, weights, lane, output + (m->offsets[lane] >> 16), ties);
            }
        }
        m->weights += m->block_bytes / 4;
        m->parameters += 8;
        m->output += 4;
    }
}

#define EC_MATMUL_MVE(name, variant, ties, chunks_code) \
    void name(ec_matmul_mve *m) \
    { \
        ec_matmul_plain(m, EC_MATMUL_STEP_##variant(m), EC_MATMUL_TIES_##ties); \
    }

#endif

/* Both kinds of rescaling of one variant. */
#define EC_MATMUL_MVE_PAIR(suffix, variant) \
    EC_MATMUL_MVE(ec_matmul_##suffix##_any_mve, variant, any, EC_MATMUL_CODE_##suffix) \
    EC_MATMUL_MVE(ec_matmul_##suffix##_relu_mve, variant, relu, EC_MATMUL_CODE_##suffix)

#endif
