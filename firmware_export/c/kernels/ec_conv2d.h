/* SPDX-License-Identifier: Apache-2.0
 * Body of ec_conv2d_s8, _s4 and _s2; `bits` is a constant in each of them.
 *
 * The windows of two output pixels are gathered into a patch of words, the first pixel's x - input_zero_point in the
 * low half, the second's in the high half; padding becomes zeros. Then two output channels at a time run over the
 * patch: four accumulators, one word and two weights loaded for four products. */
#ifndef EC_CONV2D_H
#define EC_CONV2D_H

#include "ec_kernels.h"
#include "ec_memory.h"
#include "ec_requant.h"
#include "ec_rescale.h"
#include "ec_weights.h"
#include "ec_window.h"

/* `count` words from two runs of input. */
EC_OUTLINED uint32_t *ec_conv_gather_run(uint32_t *patch, const int8_t *first, const int8_t *second, int32_t count, int32_t zero_point)
{
    int32_t i;
    EC_NO_UNROLL
    for (i = count >> 2; i != 0; --i) {
        patch[0] = ec_halves(first[0] - zero_point, second[0] - zero_point);
        patch[1] = ec_halves(first[1] - zero_point, second[1] - zero_point);
        patch[2] = ec_halves(first[2] - zero_point, second[2] - zero_point);
        patch[3] = ec_halves(first[3] - zero_point, second[3] - zero_point);
        first += 4;
        second += 4;
        patch += 4;
        EC_OPAQUE(first);
        EC_OPAQUE(second);
        EC_OPAQUE(patch);
    }
    EC_NO_UNROLL
    for (i = count & 3; i != 0; --i) {
        *patch++ = ec_halves(*first++ - zero_point, *second++ - zero_point);
    }
    return patch;
}

/* Window of one output pixel: the taps inside the input and the address of tap (0, 0), which need not be inside. */
typedef struct {
    ec_span rows;
    ec_span columns;
    const int8_t *corner;
} ec_conv_window;

static inline ec_conv_window ec_conv_make_window(const ec_conv2d_params *p, const int8_t *input, const int32_t pixel[2])
{
    ec_conv_window w;
    w.rows = ec_make_span(pixel[0], p->stride_height, p->padding_top, p->dilation_height, p->kernel_height, p->input_height);
    w.columns = ec_make_span(pixel[1], p->stride_width, p->padding_left, p->dilation_width, p->kernel_width, p->input_width);
    w.corner = input + (w.rows.start * p->input_width + w.columns.start) * p->input_channels;
    return w;
}

static inline int ec_conv_is_inside(const ec_conv2d_params *p, const ec_conv_window *w)
{
    return w->rows.first == 0 && w->rows.end == p->kernel_height && w->columns.first == 0 && w->columns.end == p->kernel_width;
}

/* Writes one pixel's window into a patch of zeros: into the low halves (clearing the high ones) or the high halves. */
static inline void ec_conv_gather_half(const ec_conv2d_params *p, const ec_conv_window *w, uint32_t *patch, int32_t channels, const int high)
{
    const int32_t column_step = p->dilation_width * p->input_channels, row_step = p->dilation_height * p->input_width * p->input_channels;
    const int joined = column_step == channels; /* neighbouring taps are neighbours in memory */
    const int32_t columns = w->columns.end - w->columns.first, zero_point = p->input_zero_point;
    const int32_t runs = joined ? 1 : columns, count = joined ? columns * channels : channels;
    int32_t row, run, i;
    EC_NO_UNROLL
    for (row = w->rows.first; row < w->rows.end; ++row) {
        const int8_t *x = w->corner + row * row_step + w->columns.first * column_step;
        uint32_t *target = patch + (row * p->kernel_width + w->columns.first) * channels;
        EC_NO_UNROLL
        for (run = runs; run != 0; --run) {
            EC_NO_UNROLL
            for (i = 0; i < count; ++i) {
                const uint32_t value = (uint32_t)(x[i] - zero_point);
                target[i] = high ? target[i] | value << 16 : (uint32_t)(uint16_t)value;
            }
            x += column_step;
            target += channels;
        }
    }
}

EC_OUTLINED void ec_conv_gather_clipped(const ec_conv2d_params *p, const ec_conv_window *a, const ec_conv_window *b, uint32_t *patch)
{
    const int32_t channels = p->input_channels / p->groups;
    memset(patch, 0, (size_t)(p->kernel_height * p->kernel_width * channels) * sizeof *patch);
    ec_conv_gather_half(p, a, patch, channels, 0);
    ec_conv_gather_half(p, b, patch, channels, 1);
}

/* Fills the patch with the windows of output pixels `first` and `second`; `input` points at the group's first channel. */
EC_OUTLINED void ec_conv_gather_pair(const ec_conv2d_params *p, const int8_t *input, const int32_t first[2], const int32_t second[2],
                                     uint32_t *patch)
{
    const ec_conv_window a = ec_conv_make_window(p, input, first);
    const ec_conv_window b = ec_conv_make_window(p, input, second);
    if (p->groups == 1 && p->dilation_width == 1 && ec_conv_is_inside(p, &a) && ec_conv_is_inside(p, &b)) {
        const int32_t row_step = p->dilation_height * p->input_width * p->input_channels, count = p->kernel_width * p->input_channels;
        int32_t row;
        EC_NO_UNROLL
        for (row = 0; row < p->kernel_height; ++row) {
            patch = ec_conv_gather_run(patch, a.corner + row * row_step, b.corner + row * row_step, count, p->input_zero_point);
        }
    } else {
        ec_conv_gather_clipped(p, &a, &b, patch);
    }
}

/* sums[channel][pixel] = bias + products, for `channels` weight rows two at a time and both pixels of the patch.
 * An odd last channel runs as a pair with itself, so sums must have room for an even number. */
EC_OUTLINED void ec_conv_multiply_pair(const uint32_t *patch, const int8_t *weights, const int32_t *bias, int32_t channels, int32_t length,
                                       int32_t *sums, const int bits)
{
    const int32_t row_bytes = ec_row_bytes(length, bits);
    EC_NO_UNROLL
    for (; channels > 0; channels -= 2) {
        const int32_t other = channels > 1;
        const uint32_t *words = patch;
        const int8_t *a = weights, *b = weights + other * row_bytes;
        int32_t a0 = bias[0], a1 = a0, b0 = bias[other], b1 = b0, i;
        EC_NO_UNROLL
        for (i = length >> 2; i > 0; --i) {
            int32_t u[4], v[4];
            ec_weights4(a, bits, u);
            ec_weights4(b, bits, v);
            a0 += u[0] * ec_low_half(words[0]);
            a1 += u[0] * ec_high_half(words[0]);
            b0 += v[0] * ec_low_half(words[0]);
            b1 += v[0] * ec_high_half(words[0]);
            a0 += u[1] * ec_low_half(words[1]);
            a1 += u[1] * ec_high_half(words[1]);
            b0 += v[1] * ec_low_half(words[1]);
            b1 += v[1] * ec_high_half(words[1]);
            a0 += u[2] * ec_low_half(words[2]);
            a1 += u[2] * ec_high_half(words[2]);
            b0 += v[2] * ec_low_half(words[2]);
            b1 += v[2] * ec_high_half(words[2]);
            a0 += u[3] * ec_low_half(words[3]);
            a1 += u[3] * ec_high_half(words[3]);
            b0 += v[3] * ec_low_half(words[3]);
            b1 += v[3] * ec_high_half(words[3]);
            words += 4;
            a += bits / 2;
            b += bits / 2;
        }
        EC_NO_UNROLL
        for (i = 0; i < (length & 3); ++i) {
            const int32_t u = ec_weight(a, i, bits), v = ec_weight(b, i, bits);
            a0 += u * ec_low_half(words[i]);
            a1 += u * ec_high_half(words[i]);
            b0 += v * ec_low_half(words[i]);
            b1 += v * ec_high_half(words[i]);
        }
        sums[0] = a0;
        sums[1] = a1;
        sums[2] = b0;
        sums[3] = b1;
        sums += 4;
        bias += 2;
        weights += 2 * row_bytes;
    }
}

/* The same for the pixel in the low halves: sums[channel]. */
EC_OUTLINED void ec_conv_multiply_single(const uint32_t *patch, const int8_t *weights, const int32_t *bias, int32_t channels, int32_t length,
                                         int32_t *sums, const int bits)
{
    const int32_t row_bytes = ec_row_bytes(length, bits);
    EC_NO_UNROLL
    for (; channels > 0; channels -= 2) {
        const int32_t other = channels > 1;
        const uint32_t *words = patch;
        const int8_t *a = weights, *b = weights + other * row_bytes;
        int32_t a0 = bias[0], b0 = bias[other], i;
        EC_NO_UNROLL
        for (i = length >> 2; i > 0; --i) {
            int32_t u[4], v[4];
            ec_weights4(a, bits, u);
            ec_weights4(b, bits, v);
            a0 += u[0] * ec_low_half(words[0]);
            b0 += v[0] * ec_low_half(words[0]);
            a0 += u[1] * ec_low_half(words[1]);
            b0 += v[1] * ec_low_half(words[1]);
            a0 += u[2] * ec_low_half(words[2]);
            b0 += v[2] * ec_low_half(words[2]);
            a0 += u[3] * ec_low_half(words[3]);
            b0 += v[3] * ec_low_half(words[3]);
            words += 4;
            a += bits / 2;
            b += bits / 2;
        }
        EC_NO_UNROLL
        for (i = 0; i < (length & 3); ++i) {
            a0 += ec_weight(a, i, bits) * ec_low_half(words[i]);
            b0 += ec_weight(b, i, bits) * ec_low_half(words[i]);
        }
        sums[0] = a0;
        sums[1] = b0;
        sums += 2;
        bias += 2;
        weights += 2 * row_bytes;
    }
}

/* Output channels [channel, end) of a gathered pixel pair, or of one pixel if `second` is null. */
static inline void ec_conv_outputs(const ec_conv2d_params *p, const uint32_t *patch, int32_t channel, int32_t end, int32_t length, int32_t *sums,
                                   int8_t *first, int8_t *second, const int bits)
{
    const int8_t *weights = p->weights + channel * ec_row_bytes(length, bits);
    EC_NO_UNROLL
    while (channel < end) {
        const int32_t count = end - channel < EC_CONV2D_CHUNK ? end - channel : EC_CONV2D_CHUNK;
        if (second) {
            ec_conv_multiply_pair(patch, weights, p->bias + channel, count, length, sums, bits);
            ec_rescale_pairs(&p->rescale, sums, channel, count, first + channel, second + channel);
        } else {
            ec_conv_multiply_single(patch, weights, p->bias + channel, count, length, sums, bits);
            ec_rescale_singles(&p->rescale, sums, channel, count, first + channel);
        }
        weights += count * ec_row_bytes(length, bits);
        channel += count;
    }
}

static inline void ec_conv_advance(int32_t pixel[2], int32_t width)
{
    if (++pixel[1] == width) {
        pixel[1] = 0;
        ++pixel[0];
    }
}

/* All pixels of one group; pixels run on from row to row, so that only the last one can be without a partner. */
static inline void ec_conv_group(const ec_conv2d_params *p, const int8_t *input, int8_t *output, int32_t group, int32_t length, uint32_t *patch,
                                 const int bits)
{
    const int32_t channels = p->output_channels / p->groups;
    const int32_t channel = group * channels, end = channel + channels;
    int32_t *sums = (int32_t *)(patch + length);
    int32_t pixels = p->output_height * p->output_width;
    int32_t next[2] = {0, 0};
    EC_NO_UNROLL
    for (; pixels > 0; pixels -= 2) {
        const int8_t *partner = pixels > 1 ? input + length : input;
        int32_t first[2];
        first[0] = next[0];
        first[1] = next[1];
        if (p->pointwise) {
            ec_conv_gather_run(patch, input, partner, length, p->input_zero_point);
            input += 2 * length;
        } else {
            if (pixels > 1) {
                ec_conv_advance(next, p->output_width);
            }
            ec_conv_gather_pair(p, input, first, next, patch);
            ec_conv_advance(next, p->output_width);
        }
        ec_conv_outputs(p, patch, channel, end, length, sums, output, pixels > 1 ? output + p->output_channels : 0, bits);
        output += 2 * p->output_channels;
    }
}

static inline void ec_conv2d(const ec_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch, const int bits)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t length = p->kernel_height * p->kernel_width * channels;
    int32_t group;
    EC_NO_UNROLL
    for (group = 0; group < p->groups; ++group) {
        ec_conv_group(p, input + group * channels, output, group, length, (uint32_t *)scratch, bits);
    }
}

#endif
