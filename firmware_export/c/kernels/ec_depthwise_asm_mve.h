/* SPDX-License-Identifier: Apache-2.0
 * EC_DEPTHWISE_TILES_MVE_PAIR(kind, vectors) defines ec_depthwise_tiles_<kind>_any_mve and _relu_mve of ec_depthwise_tiles_mve.h, in
 * assembly (for the reasons of ec_matmul_mve.h, whose rounding this is too) or as their plain C twins.
 *
 * Registers: sums in r0 r2 r4 r6 r8 r10 r12 lr; r1 table, r3 output, r5 tiles left, r7 multiplier, r9 shift, r11 bias; q0 to q3
 * weights, q4 the channel's words, q5 q6 words and then sums, q7 output offsets. [sp] is the argument. */
#ifndef EC_DEPTHWISE_ASM_MVE_H
#define EC_DEPTHWISE_ASM_MVE_H

#include "ec_depthwise_tiles_mve.h"
#include "ec_requant_mve.h"

#ifdef EC_MVE_ASSEMBLY

/* A vector of weights by the pattern at r6. */
#define EC_DEPTHWISE_VECTOR(q) \
    "vldrb.u8 q5, [r6], #16\n" \
    "ldr r8, [r6], #4\n" \
    "vmsr p0, r8\n" \
    "vpst\n" \
    "vldrbt.u8 " q ", [r2, q5]\n"

#define EC_DEPTHWISE_WEIGHTS_pair \
    EC_DEPTHWISE_VECTOR("q0") \
    "movs r8, #0\n" \
    "vshl.i32 q2, q0, #8\n" /* a row down */ \
    "vmov q1, q0\n" \
    "vshlc q1, r8, #32\n" /* a column on */ \
    "vshl.i32 q3, q1, #8\n"
#define EC_DEPTHWISE_WEIGHTS_g1 EC_DEPTHWISE_VECTOR("q0")
#define EC_DEPTHWISE_WEIGHTS_g1s2 EC_DEPTHWISE_WEIGHTS_g1
#define EC_DEPTHWISE_WEIGHTS_g2 EC_DEPTHWISE_WEIGHTS_g1 EC_DEPTHWISE_VECTOR("q1")
#define EC_DEPTHWISE_WEIGHTS_g3 EC_DEPTHWISE_WEIGHTS_g2 EC_DEPTHWISE_VECTOR("q2")
#define EC_DEPTHWISE_WEIGHTS_g4 EC_DEPTHWISE_WEIGHTS_g3 EC_DEPTHWISE_VECTOR("q3")

#define EC_DEPTHWISE_SUMS_pair \
    "vldrw.u32 q5, [q6]\n" \
    "vmladav.s8 r0, q0, q5\n" \
    "vmladav.s8 r2, q2, q5\n" \
    "vmladav.s8 r4, q1, q5\n" \
    "vmladav.s8 r6, q3, q5\n" \
    "vldrw.u32 q5, [q6, #128]\n" \
    "vmladav.s8 r8, q0, q5\n" \
    "vmladav.s8 r10, q2, q5\n" \
    "vmladav.s8 r12, q1, q5\n" \
    "vmladav.s8 lr, q3, q5\n"

/* Words lie within 508 bytes to both sides of a vector of addresses, so windows are seen from about their middles: EC_DEPTHWISE_MIDDLE_*. */
#define EC_DEPTHWISE_PART(ma, sum, q, place) \
    "vldrw.u32 q5, [q6" place "]\n" ma ".s8 " sum ", " q ", q5\n"
#define EC_DEPTHWISE_SUM_g1(sum) EC_DEPTHWISE_PART("vmladav", sum, "q0", "")
#define EC_DEPTHWISE_SUM_g2(sum) EC_DEPTHWISE_PART("vmladav", sum, "q0", "") EC_DEPTHWISE_PART("vmladava", sum, "q1", ", #256")
#define EC_DEPTHWISE_SUM_g3(sum) \
    EC_DEPTHWISE_PART("vmladav", sum, "q0", ", #-256") \
    EC_DEPTHWISE_PART("vmladava", sum, "q1", "") \
    EC_DEPTHWISE_PART("vmladava", sum, "q2", ", #256")
#define EC_DEPTHWISE_SUM_g4(sum) \
    EC_DEPTHWISE_PART("vmladav", sum, "q0", ", #-384") \
    EC_DEPTHWISE_PART("vmladava", sum, "q1", ", #-128") \
    EC_DEPTHWISE_PART("vmladava", sum, "q2", ", #128") \
    EC_DEPTHWISE_PART("vmladava", sum, "q3", ", #384")
#define EC_DEPTHWISE_STEPS(sum_of) \
    "ldr r0, [sp]\n" /* the last sum's register is free for the step until its turn comes */ \
    "ldr lr, [r0, #40]\n" \
    ".irp sum, r0, r2, r4, r6, r8, r10, r12\n" sum_of("\\sum") \
    "vadd.i32 q6, q6, lr\n" \
    ".endr\n" sum_of("lr")
#define EC_DEPTHWISE_SUMS_g1 EC_DEPTHWISE_STEPS(EC_DEPTHWISE_SUM_g1)
#define EC_DEPTHWISE_SUMS_g2 EC_DEPTHWISE_STEPS(EC_DEPTHWISE_SUM_g2)
#define EC_DEPTHWISE_SUMS_g3 EC_DEPTHWISE_STEPS(EC_DEPTHWISE_SUM_g3)
#define EC_DEPTHWISE_SUMS_g4 EC_DEPTHWISE_STEPS(EC_DEPTHWISE_SUM_g4)
#define EC_DEPTHWISE_SUMS_g1s2 \
    EC_DEPTHWISE_PART("vmladav", "r0", "q0", ", #-448") \
    EC_DEPTHWISE_PART("vmladav", "r2", "q0", ", #-320") \
    EC_DEPTHWISE_PART("vmladav", "r4", "q0", ", #-192") \
    EC_DEPTHWISE_PART("vmladav", "r6", "q0", ", #-64") \
    EC_DEPTHWISE_PART("vmladav", "r8", "q0", ", #64") \
    EC_DEPTHWISE_PART("vmladav", "r10", "q0", ", #192") \
    EC_DEPTHWISE_PART("vmladav", "r12", "q0", ", #320") \
    EC_DEPTHWISE_PART("vmladav", "lr", "q0", ", #448")

#define EC_DEPTHWISE_ROUND_relu ""
#define EC_DEPTHWISE_ROUND_any /* without a free vector: -1 where negative */ \
    "mvn r0, #0\n" \
    "vpt.s32 lt, q5, zr\n" \
    "vaddt.i32 q5, q5, r0\n" \
    "vpt.s32 lt, q6, zr\n" \
    "vaddt.i32 q6, q6, r0\n"

#define EC_DEPTHWISE_STORE_WHOLE "vstrb.16 q5, [r0, q7]\n"
#define EC_DEPTHWISE_STORE_PARTIAL \
    "vmsr p0, r2\n" \
    "vpst\n" \
    "vstrbt.16 q5, [r0, q7]\n"

#define EC_DEPTHWISE_LOOP(label, kind, ties, store) \
    label ":\n" EC_DEPTHWISE_SUMS_##kind \
    "vmov q5[2], q5[0], r0, r4\n" \
    "vmov q5[3], q5[1], r2, r6\n" \
    "vmov q6[2], q6[0], r8, r12\n" \
    "vmov q6[3], q6[1], r10, lr\n" \
    "vadd.i32 q5, q5, r11\n" \
    "vadd.i32 q6, q6, r11\n" \
    "vqrdmulh.s32 q5, q5, r7\n" \
    "vqrdmulh.s32 q6, q6, r7\n" EC_DEPTHWISE_ROUND_##ties \
    "vrshl.s32 q5, r9\n" \
    "vrshl.s32 q6, r9\n" \
    "ldm r1!, {r0, r2, r4, r6}\n" \
    "vqmovnb.s32 q5, q5\n" \
    "vqmovnt.s32 q5, q6\n" \
    "add r0, r0, r3\n" \
    "vqadd.s16 q5, q5, r4\n" \
    "vadd.i32 q6, q4, r6\n" \
    "vqmovnb.s16 q5, q5\n" store \
    "subs r5, r5, #1\n" \
    "bne.w " label "b\n"

#define EC_DEPTHWISE_TILES_MVE(name, kind, ties, vectors) \
    __asm__(".syntax unified\n" \
            ".thumb\n" \
            ".pushsection .text." #name ",\"ax\",%progbits\n" \
            ".balign 4\n" \
            ".global " #name "\n" \
            ".type " #name ",%function\n" \
            ".thumb_func\n" #name ":\n" \
            "push {r0, r4-r11, lr}\n" \
            "vpush {d8-d15}\n" \
            "sub sp, sp, #8\n" \
            "str r0, [sp]\n" \
            "vldrw.u32 q7, [r0, #60]\n" \
            "1:\n" \
            "ldrd r2, r4, [r0, #4]\n" \
            "ldr r6, [r0, #36]\n" EC_DEPTHWISE_WEIGHTS_##kind \
            "add r2, r2, r4\n" \
            "str r2, [r0, #4]\n" \
            "ldr r2, [r0, #12]\n" \
            "ldrd r11, r7, [r2], #8\n" \
            "str r2, [r0, #12]\n" \
            "orn r9, r11, #31\n" \
            "asr r11, r11, #5\n" \
            "ldrd r2, r3, [r0, #16]\n" \
            "vldrw.u32 q4, [r0, #44]\n" \
            "vadd.i32 q4, q4, r2\n" \
            "adds r2, r2, #4\n" \
            "adds r4, r3, #1\n" \
            "strd r2, r4, [r0, #16]\n" \
            "ldrd r1, r5, [r0, #24]\n" \
            "ldr r2, [r1], #4\n" \
            "vadd.i32 q6, q4, r2\n" \
            "cmp r5, #0\n" \
            "beq.w 3f\n" EC_DEPTHWISE_LOOP("2", kind, ties, EC_DEPTHWISE_STORE_WHOLE) \
            "ldr r0, [sp]\n" \
            "3:\n" \
            "ldr r5, [r0, #32]\n" \
            "cmp r5, #0\n" \
            "beq.w 5f\n" EC_DEPTHWISE_LOOP("4", kind, ties, EC_DEPTHWISE_STORE_PARTIAL) \
            "ldr r0, [sp]\n" \
            "5:\n" \
            "ldr r2, [r0]\n" \
            "subs r2, r2, #1\n" \
            "str r2, [r0]\n" \
            "bne.w 1b\n" \
            "add sp, sp, #8\n" \
            "vpop {d8-d15}\n" \
            "pop {r0, r4-r11, pc}\n" \
            ".size " #name ", .-" #name "\n" \
            ".popsection\n");

#else /* the same in plain C */

#define EC_DEPTHWISE_TIES_relu 0
#define EC_DEPTHWISE_TIES_any 1

/* The byte `index` of a vector of weights. */
static inline int32_t ec_depthwise_weight(const ec_depthwise_tiles_mve *t, int32_t vector, int32_t index)
{
    const ec_depthwise_pattern_mve *pattern = t->patterns + vector;
    return pattern->valid >> index & 1u ? t->weights[pattern->tap[index]] : 0;
}

/* Sum of one output: `shift` is by how many bytes the weights of a vector are moved. */
static inline int32_t ec_depthwise_sum(const ec_depthwise_tiles_mve *t, const int8_t *words, int32_t vectors, int32_t shift)
{
    uint32_t sum = (uint32_t)ec_bias_mve(t->factors[0]);
    int32_t vector, i;
    for (vector = 0; vector < vectors; ++vector) {
        for (i = shift; i < 16; ++i) {
            sum += (uint32_t)(words[256 * vector + 64 * (i / 4) + i % 4] * ec_depthwise_weight(t, vector, i - shift));
        }
    }
    return (int32_t)sum;
}

static inline void ec_depthwise_plain(ec_depthwise_tiles_mve *t, int32_t pair, int32_t vectors, int32_t step, int32_t middle, int ties)
{
    for (; t->channels > 0; --t->channels) {
        const ec_depthwise_tile_mve *tile = (const ec_depthwise_tile_mve *)(t->table + 1);
        int32_t left, lane, place = t->table[0];
        for (left = t->whole + t->partial; left > 0; --left) {
            for (lane = 0; lane < 8; ++lane) { /* the order in which narrowing leaves the sums */
                const int32_t index = pair ? (lane & 1) * 2 + lane / 4 : (lane & 1) * 4 + lane / 2;
                const int8_t *words = t->buffer + place - middle + index * step;
                if (left > t->partial || (tile->lanes >> (2 * lane) & 1u)) {
                    const int32_t sum = ec_depthwise_sum(t, words, vectors, pair ? lane / 2 % 2 : 0);
                    t->output[tile->output + t->offsets[lane]] = ec_requant_mve(sum, t->factors[1], ec_shift_mve(t->factors[0]), tile->zero_point, ties);
                }
            }
            place = tile->next;
            ++tile;
        }
        t->weights += t->taps;
        t->factors += 2;
        t->buffer += 4;
        t->output += 1;
    }
}

#define EC_DEPTHWISE_PLAIN_pair(t, vectors, ties) ec_depthwise_plain(t, 1, vectors, 64, EC_DEPTHWISE_MIDDLE_pair, ties)
#define EC_DEPTHWISE_PLAIN_g1s2(t, vectors, ties) ec_depthwise_plain(t, 0, vectors, 128, EC_DEPTHWISE_MIDDLE_g1s2, ties)
#define EC_DEPTHWISE_PLAIN_g1(t, vectors, ties) ec_depthwise_plain(t, 0, vectors, (t)->step, EC_DEPTHWISE_MIDDLE_g1, ties)
#define EC_DEPTHWISE_PLAIN_g2(t, vectors, ties) ec_depthwise_plain(t, 0, vectors, (t)->step, EC_DEPTHWISE_MIDDLE_g2, ties)
#define EC_DEPTHWISE_PLAIN_g3(t, vectors, ties) ec_depthwise_plain(t, 0, vectors, (t)->step, EC_DEPTHWISE_MIDDLE_g3, ties)
#define EC_DEPTHWISE_PLAIN_g4(t, vectors, ties) ec_depthwise_plain(t, 0, vectors, (t)->step, EC_DEPTHWISE_MIDDLE_g4, ties)

#define EC_DEPTHWISE_TILES_MVE(name, kind, ties, vectors) \
    void name(ec_depthwise_tiles_mve *t) \
    { \
        EC_DEPTHWISE_PLAIN_##kind(t, vectors, EC_DEPTHWISE_TIES_##ties); \
    }

#endif

/* From a tile's first word to the word that the table means. */
#define EC_DEPTHWISE_MIDDLE_pair 0
#define EC_DEPTHWISE_MIDDLE_g1s2 448
#define EC_DEPTHWISE_MIDDLE_g1 0
#define EC_DEPTHWISE_MIDDLE_g2 0
#define EC_DEPTHWISE_MIDDLE_g3 256
#define EC_DEPTHWISE_MIDDLE_g4 384

#define EC_DEPTHWISE_TILES_MVE_PAIR(kind, vectors) \
    EC_DEPTHWISE_TILES_MVE(ec_depthwise_tiles_##kind##_any_mve, kind, any, vectors) \
    EC_DEPTHWISE_TILES_MVE(ec_depthwise_tiles_##kind##_relu_mve, kind, relu, vectors)

#endif
