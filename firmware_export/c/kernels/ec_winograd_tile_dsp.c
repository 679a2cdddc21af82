/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_winograd_tile_dsp.h"

#include "ec_dsp.h"

#if EC_DSP

#include "ec_conv_tile_asm_dsp.h"

/* r0 weights, r1 inputs, r2 and r3 weights of the two channels, r4 to r7 sums of the first channel, r8 to r11 of the second, r12
 * and lr inputs. */
#define STEP                                \
    "ldrd r2, r3, [r0], #32\n\t"            \
    "ldrd r12, lr, [r1], #8\n\t"            \
    "smlad r4, r2, r12, r4\n\t"             \
    "smlad r5, r2, lr, r5\n\t"              \
    "smlad r8, r3, r12, r8\n\t"             \
    "smlad r9, r3, lr, r9\n\t"              \
    "ldrd r12, lr, [r1], #56\n\t"           \
    "smlad r6, r2, r12, r6\n\t"             \
    "smlad r7, r2, lr, r7\n\t"              \
    "smlad r10, r3, r12, r10\n\t"           \
    "smlad r11, r3, lr, r11\n\t"

/* Runs the chain for a part and goes on at label `back`. */
#define PART(weights, x, back)              \
    "adr.w r2, " back " + 1\n\t"            \
    "ldr r3, [sp, #56]\n\t"                 \
    "ldr r0, [sp, #44]\n\t"                 \
    "ldr r1, [sp, #32]\n\t"                 \
    "strd r2, r3, [sp, #92]\n\t"            \
    "add r0, r0, #" weights "\n\t"          \
    "add r1, r1, #" x "\n\t"                \
    "ldr pc, [sp, #52]\n\t"                 \
    ".balign 4\n"
#define ZERO                                \
    "mov r4, #0\n\t"                        \
    "mov r5, #0\n\t"                        \
    "mov r6, #0\n\t"                        \
    "mov r7, #0\n\t"                        \
    "mov r8, #0\n\t"                        \
    "mov r9, #0\n\t"                        \
    "mov r10, #0\n\t"                       \
    "mov r11, #0\n\t"

/* The difference of first and second part to `first`, their sum to `second`. */
#define MEET(first, second)                 \
    "sub " first ", " first ", " second "\n\t" \
    "add " second ", " first ", " second ", lsl #1\n\t"
#define MEET_4(at, at2, a, b, c, d)         \
    "ldrd r2, r3, [sp, #" at "]\n\t"        \
    "ldrd r12, lr, [sp, #" at2 "]\n\t"      \
    MEET("r2", a) MEET("r3", b) MEET("r12", c) MEET("lr", d) \
    "strd r2, r3, [sp, #" at "]\n\t"        \
    "strd r12, lr, [sp, #" at2 "]\n\t"

#define GENERAL_1(t)                        \
    "add " t ", r2, " t "\n\t"              \
    "add r1, lr, " t ", asr #31\n\t"        \
    "smmlar " t ", " t ", r3, r1\n\t"       \
    "asr " t ", " t ", r12\n\t"             \
    "ssat " t ", #8, " t ", asr #1\n\t"
#define GENERAL_4(a, b, c, d)               \
    "ldr lr, [sp, #88]\n\t"                 \
    "ldm r0!, {r2, r3, r12}\n\t"            \
    "lsl lr, lr, r12\n\t"                   \
    GENERAL_1(a) GENERAL_1(b) GENERAL_1(c) GENERAL_1(d)
#define SHORT_1(t, bias, multiplier, shift) \
    "add " t ", " bias ", " t ", lsl #7\n\t" \
    "smmul " t ", " t ", " multiplier "\n\t" \
    "ssat " t ", #8, " t ", asr #" shift "\n\t"
#define SHORT_8(shift)                      \
    "ldm r0, {r2, r3, r12, lr}\n\t"         \
    SHORT_1("r4", "r2", "r3", shift)        \
    SHORT_1("r5", "r2", "r3", shift)        \
    SHORT_1("r6", "r2", "r3", shift)        \
    SHORT_1("r7", "r2", "r3", shift)        \
    SHORT_1("r8", "r12", "lr", shift)       \
    SHORT_1("r9", "r12", "lr", shift)       \
    SHORT_1("r10", "r12", "lr", shift)      \
    SHORT_1("r11", "r12", "lr", shift)

/* Stack: sums of the first part, then differences, at 0; the ec_winograd_tiles from 32 (x 32, output 36, channels 40, weights 44,
 * constants 48, entry 52, passes 56, rows 60, row_bytes 64, output_row 68, tiles 72, tile_bytes 76, output_tile 80,
 * form 84, rounding 88); where a part returns to 92; passes left 96; rows left 100. */
__attribute__((naked)) void ec_winograd_tiles_dsp(const ec_winograd_tiles *tiles __attribute__((unused)))
{
    __asm__ volatile(
        "push {r4-r11, lr}\n\t"
        "sub sp, #104\n\t"
        "add r12, sp, #32\n\t"
        "ldm r0!, {r1-r8}\n\t"
        "adr.w r11, 2f + 1\n\t"
        "add r6, r6, r11\n\t"
        "stm r12!, {r1-r8}\n\t"
        "ldm r0, {r1-r7}\n\t"
        "stm r12, {r1-r7}\n"
        "10:\n\t" /* a tile */
        "ldr r2, [sp, #60]\n\t"
        "str r2, [sp, #100]\n"
        "11:\n\t" /* a row */
        ZERO
        PART("0", "0", "12f")
        "12:\n\t"
        "stm sp, {r4-r11}\n\t"
        ZERO
        PART("8", "16", "13f")
        "13:\n\t"
        MEET_4("0", "8", "r4", "r5", "r6", "r7")
        MEET_4("16", "24", "r8", "r9", "r10", "r11")
        PART("16", "32", "14f")
        "14:\n\t"
        "mov r2, #0\n\t"
        "b 20f\n"
        "15:\n\t" /* the even outputs are done */
        "ldm sp, {r4-r11}\n\t"
        PART("24", "48", "18f")
        "18:\n\t"
        "mov r2, #1\n"
        /* Eight doubled sums to outputs by form, two channels of every second pixel: r2 is 0 for the even ones, 1 for the odd ones. */
        "20:\n\t"
        "str r2, [sp, #92]\n\t"
        "ldr r1, [sp, #84]\n\t"
        "ldr r0, [sp, #48]\n\t"
        "cmp r1, #1\n\t"
        "beq 21f\n\t"
        "bhi 22f\n\t"
        GENERAL_4("r4", "r5", "r6", "r7")
        GENERAL_4("r8", "r9", "r10", "r11")
        "b 23f\n"
        "22:\n\t"
        SHORT_8("15")
        "b 23f\n"
        "21:\n\t"
        SHORT_8("11")
        "23:\n\t"
        "bfi r4, r8, #8, #8\n\t"
        "bfi r5, r9, #8, #8\n\t"
        "bfi r6, r10, #8, #8\n\t"
        "bfi r7, r11, #8, #8\n\t"
        "ldr r0, [sp, #92]\n\t"
        "ldrd r1, r2, [sp, #36]\n\t" /* output, channels */
        "mla r3, r0, r2, r1\n\t"
        "lsl r2, r2, #1\n\t"
        "strh r4, [r3]\n\t"
        "strh r5, [r3, r2]\n\t"
        "strh r6, [r3, r2, lsl #1]\n\t"
        "add r3, r3, r2, lsl #1\n\t"
        "strh r7, [r3, r2]\n\t"
        "cmp r0, #0\n\t"
        "beq.w 15b\n\t"
        /* the next row */
        "ldr r0, [sp, #32]\n\t"
        "ldrd r2, r3, [sp, #64]\n\t"
        "add r0, r0, r2\n\t"
        "add r1, r1, r3\n\t"
        "strd r0, r1, [sp, #32]\n\t"
        "ldr r2, [sp, #100]\n\t"
        "subs r2, r2, #1\n\t"
        "str r2, [sp, #100]\n\t"
        "bne.w 11b\n\t"
        /* the next tile */
        "ldrd r2, r3, [sp, #76]\n\t"
        "add r0, r0, r2\n\t"
        "add r1, r1, r3\n\t"
        "strd r0, r1, [sp, #32]\n\t"
        "ldr r2, [sp, #72]\n\t"
        "subs r2, r2, #1\n\t"
        "str r2, [sp, #72]\n\t"
        "bne.w 10b\n\t"
        "add sp, #104\n\t"
        "pop {r4-r11, pc}\n\t"
        ".balign 4\n"
        "2:\n\t"
        ".rept 8\n\t"
        STEP
        ".endr\n\t"
        "ldr r2, [sp, #96]\n\t"
        "subs r2, r2, #1\n\t"
        "str r2, [sp, #96]\n\t"
        "bne.w 2b\n\t"
        "ldr pc, [sp, #92]\n\t"
    );
}

#else

/* One part: adds to sums[channel][pair]. */
static void add_part(const ec_winograd_tiles *t, const uint32_t *x, int part, int32_t sums[2][4])
{
    int32_t step;
    int channel, pair;
    for (step = 0; step < t->steps; ++step) {
        const uint32_t *weights = t->weights + 8 * step + 2 * part, *inputs = x + 16 * step + 4 * part;
        for (channel = 0; channel < 2; ++channel) {
            for (pair = 0; pair < 4; ++pair) {
                sums[channel][pair] = ec_smlad(weights[channel], inputs[pair], sums[channel][pair]);
            }
        }
    }
}

/* Outputs of every second pixel from doubled sums. */
static void finish(const ec_winograd_tiles *t, int32_t sums[2][4], int8_t *output)
{
    const int32_t words = ec_rescale_words(t->form);
    int channel, pair;
    for (channel = 0; channel < 2; ++channel) {
        const int32_t *c = t->constants + channel * words;
        for (pair = 0; pair < 4; ++pair) {
            const int32_t sum = sums[channel][pair] / 2;
            int8_t *target = output + 2 * pair * t->channels + channel;
            if (t->form == EC_RESCALE_GENERAL) {
                const ec_rescale_dsp r = ec_rescale_load(c[0], c[1], c[2], t->rounding);
                *target = ec_rescale_dsp_one(&r, ec_doubled_sum(sum, r.bias), 1);
            } else {
                ec_rescale_short r;
                r.bias = c[0];
                r.multiplier = c[1];
                *target = ec_rescale_short_one(&r, sum, ec_rescale_shift(t->form, 8));
            }
        }
    }
}

static void compute_tile(const ec_winograd_tiles *t, const uint32_t *x, int8_t *output)
{
    int32_t both[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}}, second[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}}, odd[2][4];
    int channel, pair;
    add_part(t, x, 0, both);
    add_part(t, x, 1, second);
    for (channel = 0; channel < 2; ++channel) {
        for (pair = 0; pair < 4; ++pair) {
            odd[channel][pair] = (int32_t)((uint32_t)both[channel][pair] - (uint32_t)second[channel][pair]);
            both[channel][pair] = (int32_t)((uint32_t)both[channel][pair] + (uint32_t)second[channel][pair]);
        }
    }
    add_part(t, x, 2, both);
    finish(t, both, output);
    add_part(t, x, 3, odd);
    finish(t, odd, output + t->channels);
}

void ec_winograd_tiles_dsp(const ec_winograd_tiles *t)
{
    const uint32_t *x = t->x;
    int8_t *output = t->output;
    int32_t tile, row;
    for (tile = 0; tile < t->tiles; ++tile) {
        for (row = 0; row < t->rows; ++row) {
            compute_tile(t, x, output);
            x += t->row_bytes / 4;
            output += t->output_row;
        }
        x += t->tile_bytes / 4;
        output += t->output_tile;
    }
}

#endif
