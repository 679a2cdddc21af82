/* SPDX-License-Identifier: Apache-2.0
 * What the 3x3 kernels of both strides share: the ring of words and the way over the image. A step makes two output rows from
 * stride + 1 words a column and lane, its slots; the last one is the first one of the next step.
 *
 * Scratch: int32_t[output_width][2] sums, uint32_t[(output_width - 1) * stride + 3][4 lanes][stride + 1] words, four lanes'
 * constants: bytes from the end of the sums to the lane's first word, `pairs` words of weights, its rescaling. Output and input
 * may start at one address where padding_top < 3 and the output has at most as many rows and columns. */
#ifndef EC_DEPTHWISE_3X3_DSP_H
#define EC_DEPTHWISE_3X3_DSP_H

#include "ec_depthwise_dsp.h"

#define EC_DEPTHWISE_TAPS 9

/* The input as the filling of words sees it. */
typedef struct {
    uint32_t minus; /* less the zero point, twice */
    int32_t row_bytes;
    int32_t step; /* from pixel to pixel */
    uint32_t height;
    int32_t columns;
    uint32_t zero_points; /* a pixel */
} ec_depthwise_source;

/* Input rows `row` and `row + 1` of four channels less their zero point; row `row` begins at input + offset. Lane l of column x
 * goes to words[(4 * x + l) * slots]. Rows outside the image are 0, as if one pixel of zero points were read again and again. */
static inline void ec_depthwise_fill(const ec_depthwise_source *source, const int8_t *input, int32_t row, int32_t offset, uint32_t *words,
                                     const int32_t slots)
{
    const ec_depthwise_source s = *source;
    const int8_t *upper = (const int8_t *)&source->zero_points, *lower = upper;
    int32_t upper_step = 0, lower_step = 0, columns;
    if ((uint32_t)row < s.height) {
        upper = input + offset;
        upper_step = s.step;
    }
    if ((uint32_t)(row + 1) < s.height) {
        lower = input + offset + s.row_bytes;
        lower_step = s.step;
    }
    EC_NO_UNROLL
    for (columns = s.columns; columns != 0; --columns) {
        const uint32_t a = ec_load_word(upper), b = ec_load_word(lower);
        const uint32_t low = ec_pack_bottoms(a, b), high = ec_pack_tops(a, b);
        words[0] = ec_sxtab16(s.minus, low);
        words[slots] = ec_sxtab16_odd(s.minus, low);
        words[2 * slots] = ec_sxtab16(s.minus, high);
        words[3 * slots] = ec_sxtab16_odd(s.minus, high);
        upper += upper_step;
        lower += lower_step;
        words += 4 * slots;
    }
}

/* What a stride has of its own. step[0] finds the slots from top to bottom, step[1] from bottom to top. */
typedef struct {
    int32_t stride;
    int32_t pairs;
    void (*load)(const int8_t *weights, uint32_t *pairs);
    void (*fill)(const ec_depthwise_source *source, const int8_t *input, int32_t row, int32_t offset, uint32_t *words);
    void (*step[2])(ec_depthwise_step *step);
} ec_depthwise_3x3_kernel;

static inline void ec_depthwise_3x3_run(const ec_depthwise_3x3_kernel kernel, const ec_depthwise_dsp_params *p, const int8_t *input, int8_t *output,
                                        void *scratch)
{
    const int32_t stride = kernel.stride, slots = stride + 1, lane_words = 1 + kernel.pairs + EC_DEPTHWISE_SCALE_WORDS;
    const int32_t channels = p->channels, row_bytes = p->output_width * channels, left = p->padding_left;
    const int32_t columns = (p->output_width - 1) * stride + 3, column_words = EC_DEPTHWISE_LANES * slots;
    int32_t *sums = (int32_t *)scratch;
    uint32_t *ring = (uint32_t *)(sums + 2 * p->output_width), *image = ring + left * column_words, *lanes = ring + columns * column_words;
    int32_t done = 0, lane;
    ec_depthwise_source source;
    ec_depthwise_step step;
    source.minus = ec_pair(-p->input_zero_point, -p->input_zero_point);
    source.row_bytes = p->input_width * channels;
    source.step = channels;
    source.height = (uint32_t)p->input_height;
    source.columns = left + p->input_width < columns ? p->input_width : columns - left; /* those that matter */
    source.zero_points = (uint8_t)p->input_zero_point * 0x01010101u;
    ec_depthwise_begin(&step, p, sums, p->output_width, channels);
    step.lane_end = lanes + EC_DEPTHWISE_LANES * lane_words;
    for (lane = 0; lane < EC_DEPTHWISE_LANES; ++lane) {
        lanes[lane * lane_words] = (uint32_t)(4 * lane * slots);
    }
    memset(ring, 0, (size_t)(columns * column_words) * sizeof *ring); /* for the columns beside the image, which no step fills */
    while (done != channels) {
        /* the last group begins early rather than end beyond the last channel; its first lanes are finished already */
        const int32_t channel = done + EC_DEPTHWISE_LANES <= channels ? done : channels - EC_DEPTHWISE_LANES;
        const int8_t *first = input + channel;
        uint32_t *constants = lanes + (done - channel) * lane_words;
        int32_t row = -p->padding_top, offset = row * source.row_bytes, rest, odd = 0, slot;
        step.lane = constants;
        step.output = output + done;
        EC_NO_UNROLL
        for (; done != channel + EC_DEPTHWISE_LANES; ++done) {
            int8_t unpacked[EC_DEPTHWISE_TAPS];
            kernel.load(ec_depthwise_weights(p, done, EC_DEPTHWISE_TAPS, unpacked), constants + 1);
            ec_depthwise_load_scale(p, done, constants + 1 + kernel.pairs);
            constants += lane_words;
        }
        kernel.fill(&source, first, row, offset, image);
        EC_NO_UNROLL
        for (rest = p->output_height; rest > 0; rest -= 2) {
            for (slot = 1; slot < slots; ++slot) {
                row += 2;
                offset += 2 * source.row_bytes;
                kernel.fill(&source, first, row, offset, image + (odd != 0 ? stride - slot : slot));
            }
            step.row_step = rest > 1 ? row_bytes : 0;
            if (odd != 0) {
                kernel.step[1](&step);
            } else {
                kernel.step[0](&step);
            }
            step.output += 2 * row_bytes;
            odd = 1 - odd;
        }
    }
}

#endif
