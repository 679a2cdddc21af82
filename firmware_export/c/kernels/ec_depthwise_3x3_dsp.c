/* SPDX-License-Identifier: Apache-2.0
 * Depthwise 3x3, stride 1. A step makes two output rows: the words of input rows 0 and 1 and those of rows 2 and 3 of its
 * windows lie side by side in scratch, one LDRD, and are read once for all three columns of the kernel. Every other step
 * the two change places, because the lower word of one step is the upper word of the next.
 *
 * Scratch: uint32_t[output_width + 2][4 lanes][2], the lanes' constants, int32_t[output_width][2] sums. */
#include "ec_depthwise_dsp.h"
#include "ec_requant.h"

#define TAPS 9

/* One channel. `pairs`: for each column of the kernel (w0, w1), (w1, w2). */
typedef struct {
    uint32_t pairs[6];
    ec_depthwise_scale scale;
} lane_constants;

typedef uint32_t ring_column[EC_DEPTHWISE_LANES][2];

/* One channel of a step: sums[column][row] up to `sums_end` from the words at `words`, the lane's first. _even: the upper
 * rows come first; _odd: the lower rows do. */
void ec_depthwise_3x3_sweep_even(const uint32_t *words, const uint32_t *pairs, int32_t *sums, const int32_t *sums_end);
void ec_depthwise_3x3_sweep_odd(const uint32_t *words, const uint32_t *pairs, int32_t *sums, const int32_t *sums_end);

#if EC_DSP
/* A kernel column's share of a sum pair: row 0 gets w0 and w1 of the upper word and w2 of the lower word's first half, row 1
 * gets w0 of the upper word's second half and w1 and w2 of the lower word. The sums of two output columns are on their way,
 * (r3, r4) and (r11, r12); a column that is finished is stored, and its registers begin the next but one. With an odd number
 * of columns the second half of the loop comes first. */
__asm__(
    ".syntax unified\n"
    ".macro ec_dw3_begin upper, lower, sum0, sum1, a, b\n"
    "    smuad \\sum0, \\upper, \\a\n"
    "    smultb \\sum1, \\upper, \\a\n"
    "    smlabt \\sum0, \\lower, \\b, \\sum0\n"
    "    smlad \\sum1, \\lower, \\b, \\sum1\n"
    ".endm\n"
    ".macro ec_dw3_add upper, lower, sum0, sum1, a, b\n"
    "    smlad \\sum0, \\upper, \\a, \\sum0\n"
    "    smlatb \\sum1, \\upper, \\a, \\sum1\n"
    "    smlabt \\sum0, \\lower, \\b, \\sum0\n"
    "    smlad \\sum1, \\lower, \\b, \\sum1\n"
    ".endm\n"
    ".macro ec_dw3_sweep name, upper, lower\n"
    "    .section .text.\\name, \"ax\", %progbits\n"
    "    .balign 4\n"
    "    .global \\name\n"
    "    .type \\name, %function\n"
    "    .thumb_func\n"
    "\\name:\n"
    "    push {r3-r11, lr}\n"
    "    sub r3, r3, r2\n"
    "    ldm r1, {r5-r10}\n"
    "    lsls r3, r3, #28\n" /* bit 3, an odd number of columns, becomes the sign */
    "    ldrd r1, lr, [r0], #32\n"
    "    bmi 3f\n"
    "    ec_dw3_begin \\upper, \\lower, r3, r4, r5, r6\n"
    "    ldrd r1, lr, [r0], #32\n"
    "1:\n"
    "    ec_dw3_add \\upper, \\lower, r3, r4, r7, r8\n"
    "    ec_dw3_begin \\upper, \\lower, r11, r12, r5, r6\n"
    "    ldrd r1, lr, [r0], #32\n"
    "    ec_dw3_add \\upper, \\lower, r3, r4, r9, r10\n"
    "    strd r3, r4, [r2], #16\n"
    "2:\n"
    "    ec_dw3_add \\upper, \\lower, r11, r12, r7, r8\n"
    "    ec_dw3_begin \\upper, \\lower, r3, r4, r5, r6\n"
    "    ldrd r1, lr, [r0], #32\n"
    "    ec_dw3_add \\upper, \\lower, r11, r12, r9, r10\n"
    "    strd r11, r12, [r2, #-8]\n"
    "    ldr r11, [sp]\n"
    "    cmp r2, r11\n"
    "    bne 1b\n"
    "    pop {r3-r11, pc}\n"
    "3:\n"
    "    ec_dw3_begin \\upper, \\lower, r11, r12, r5, r6\n"
    "    ldrd r1, lr, [r0], #32\n"
    "    adds r2, r2, #8\n"
    "    b 2b\n"
    "    .size \\name, . - \\name\n"
    ".endm\n"
    "ec_dw3_sweep ec_depthwise_3x3_sweep_even, r1, lr\n"
    "ec_dw3_sweep ec_depthwise_3x3_sweep_odd, lr, r1\n"
    ".purgem ec_dw3_sweep\n"
    ".purgem ec_dw3_add\n"
    ".purgem ec_dw3_begin\n"
    ".text\n");
#else
static void sweep(const uint32_t *words, const uint32_t *pairs, int32_t *sums, const int32_t *sums_end, int32_t upper)
{
    for (; sums != sums_end; sums += 2) {
        int32_t column;
        sums[0] = 0;
        sums[1] = 0;
        for (column = 0; column < 3; ++column) {
            const uint32_t *word = words + column * EC_DEPTHWISE_LANES * 2, a = pairs[2 * column], b = pairs[2 * column + 1];
            sums[0] = ec_smlabt(word[1 - upper], b, ec_smlad(word[upper], a, sums[0]));
            sums[1] = ec_smlad(word[1 - upper], b, ec_smlatb(word[upper], a, sums[1]));
        }
        words += EC_DEPTHWISE_LANES * 2;
    }
}

void ec_depthwise_3x3_sweep_even(const uint32_t *words, const uint32_t *pairs, int32_t *sums, const int32_t *sums_end)
{
    sweep(words, pairs, sums, sums_end, 0);
}

void ec_depthwise_3x3_sweep_odd(const uint32_t *words, const uint32_t *pairs, int32_t *sums, const int32_t *sums_end)
{
    sweep(words, pairs, sums, sums_end, 1);
}
#endif

static void load_lane(const ec_depthwise_dsp_params *params, int32_t channel, lane_constants *lane)
{
    int8_t unpacked[TAPS + 3];
    const int8_t *weights = ec_depthwise_weights(params, channel, TAPS, unpacked);
    int32_t column;
    EC_NO_UNROLL
    for (column = 0; column < 3; ++column) {
        lane->pairs[2 * column] = ec_pair(weights[0], weights[1]);
        lane->pairs[2 * column + 1] = ec_pair(weights[1], weights[2]);
        weights += 3;
    }
    lane->scale = ec_depthwise_scale_of(params, channel);
}

/* The columns beside the image, which no step fills. */
static void clear_borders(const ec_depthwise_dsp_params *params, ring_column *ring)
{
    const uint32_t zero_point = ec_pair(params->input_zero_point, params->input_zero_point);
    const int32_t first = params->padding_left, end = first + params->input_width;
    int32_t column, i;
    for (column = 0; column < params->output_width + 2; ++column) {
        if (column < first || column >= end) {
            for (i = 0; i < EC_DEPTHWISE_LANES * 2; ++i) {
                ring[column][i / 2][i % 2] = zero_point;
            }
        }
    }
}

void ec_depthwise_3x3_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    ring_column *ring = (ring_column *)scratch;
    lane_constants *lanes = (lane_constants *)(void *)(ring + params->output_width + 2);
    int32_t *sums = (int32_t *)(void *)(lanes + EC_DEPTHWISE_LANES);
    const int32_t *sums_end = sums + 2 * params->output_width;
    const int32_t channels = params->channels, row_bytes = params->output_width * channels;
    int32_t done = 0;
    clear_borders(params, ring);
    while (done != channels) {
        /* the last group begins early rather than end beyond the last channel; its first lanes are finished already */
        const int32_t channel = done + EC_DEPTHWISE_LANES <= channels ? done : channels - EC_DEPTHWISE_LANES, first_lane = done - channel;
        uint32_t *words = ring[params->padding_left][0];
        int32_t row, lane;
        for (lane = first_lane; lane < EC_DEPTHWISE_LANES; ++lane) {
            load_lane(params, channel + lane, &lanes[lane]);
        }
        ec_depthwise_fill(params, input, channel, -params->padding_top, words, EC_DEPTHWISE_LANES * 2, 2);
        for (row = 0; row < params->output_height; row += 2) {
            int8_t *target = output + row * row_bytes + channel;
            const int32_t row_step = row + 1 < params->output_height ? row_bytes : 0;
            ec_depthwise_fill(params, input, channel, row + 2 - params->padding_top, words + (row + 2) / 2 % 2, EC_DEPTHWISE_LANES * 2, 2);
            for (lane = first_lane; lane < EC_DEPTHWISE_LANES; ++lane) {
                if (row % 4 == 0) {
                    ec_depthwise_3x3_sweep_even(ring[0][lane], lanes[lane].pairs, sums, sums_end);
                } else {
                    ec_depthwise_3x3_sweep_odd(ring[0][lane], lanes[lane].pairs, sums, sums_end);
                }
                ec_depthwise_rescale_rows(params, &lanes[lane].scale, sums, target + lane, row_step);
            }
        }
        done = channel + EC_DEPTHWISE_LANES;
    }
}
