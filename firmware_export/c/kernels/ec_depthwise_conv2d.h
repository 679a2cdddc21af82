/* SPDX-License-Identifier: Apache-2.0
 * Body of ec_depthwise_conv2d_s8, _s4 and _s2; `bits` is a constant in each of them.
 *
 * Four channels at a time (one, for a depth multiplier or the last channels): their weights are unpacked into scratch
 * as [tap][4], then the block sweeps over all output pixels. Where a window lies inside the input's columns, two
 * neighbouring pixels share each weight that is loaded. Windows are clipped, so padding costs nothing; the zero
 * point's share of the taps that remain is taken off the bias, once for all rows that are clipped alike. */
#ifndef EC_DEPTHWISE_CONV2D_H
#define EC_DEPTHWISE_CONV2D_H

#include "ec_kernels.h"
#include "ec_requant.h"
#include "ec_weights.h"
#include "ec_window.h"

/* One block of channels on its way over the image. */
typedef struct {
    const ec_depthwise_conv2d_params *p;
    const int8_t *input;   /* at the block's first input channel */
    int8_t *output;        /* at the block's first output channel */
    const int8_t *weights; /* [tap][lanes], unpacked */
    int32_t channel;       /* first output channel */
    int32_t output_channels;
    ec_output_range range;
} ec_depthwise_block;

static inline void ec_depthwise_unpack(const ec_depthwise_conv2d_params *p, int32_t channel, int32_t channels, int8_t *weights, const int lanes,
                                       const int bits)
{
    const int32_t row_bytes = ec_row_bytes(channels, bits);
    const int8_t *row = p->weights;
    int32_t tap;
    EC_NO_UNROLL
    for (tap = p->kernel_height * p->kernel_width; tap > 0; --tap) {
        if (lanes == 4) {
            int32_t w[4];
            ec_weights4(row + channel * bits / 8, bits, w);
            weights[0] = (int8_t)w[0];
            weights[1] = (int8_t)w[1];
            weights[2] = (int8_t)w[2];
            weights[3] = (int8_t)w[3];
        } else {
            weights[0] = (int8_t)ec_weight(row, channel, bits);
        }
        weights += lanes;
        row += row_bytes;
    }
}

/* bias - zero_point * sum of the weights of the taps in both spans. */
static inline void ec_depthwise_fold(const ec_depthwise_block *b, const ec_span *rows, const ec_span *columns, uint32_t folded[4], const int lanes)
{
    int32_t row, column, lane;
    int32_t sums[4] = {0, 0, 0, 0};
    for (row = rows->first; row < rows->end; ++row) {
        const int8_t *w = b->weights + (row * b->p->kernel_width + columns->first) * lanes;
        EC_NO_UNROLL
        for (column = columns->first; column < columns->end; ++column) {
            for (lane = 0; lane < lanes; ++lane) {
                sums[lane] += w[lane];
            }
            w += lanes;
        }
    }
    for (lane = 0; lane < lanes; ++lane) {
        folded[lane] = (uint32_t)b->p->bias[b->channel + lane] - (uint32_t)(b->p->input_zero_point * sums[lane]);
    }
}

static inline void ec_depthwise_store(const ec_depthwise_block *b, const uint32_t *sums, int8_t *output, const int lanes)
{
    int32_t lane;
    for (lane = 0; lane < lanes; ++lane) {
        const int32_t channel = b->channel + lane;
        output[lane] = ec_requant_s8((int32_t)sums[lane], b->p->multiplier[channel], b->p->shift[channel], b->range);
    }
}

/* One pixel over the taps in both spans. */
static inline void ec_depthwise_single(const ec_depthwise_block *b, const ec_span *rows, const ec_span *columns, const uint32_t folded[4],
                                       int8_t *output, const int lanes)
{
    const ec_depthwise_conv2d_params *p = b->p;
    const int32_t step = p->dilation_width * p->input_channels;
    uint32_t sums[4];
    int32_t row, column, lane;
    for (lane = 0; lane < lanes; ++lane) {
        sums[lane] = folded[lane];
    }
    for (row = rows->first; row < rows->end; ++row) {
        const int8_t *x = b->input
            + ((rows->start + row * p->dilation_height) * p->input_width + columns->start + columns->first * p->dilation_width) * p->input_channels;
        const int8_t *w = b->weights + (row * p->kernel_width + columns->first) * lanes;
        EC_NO_UNROLL
        for (column = columns->end - columns->first; column > 0; --column) {
            for (lane = 0; lane < lanes; ++lane) {
                sums[lane] += (uint32_t)(w[lane] * x[lane]);
            }
            x += step;
            w += lanes;
        }
    }
    ec_depthwise_store(b, sums, output, lanes);
}

/* Two neighbouring pixels whose windows lie inside the input's columns. */
static inline void ec_depthwise_pair(const ec_depthwise_block *b, const ec_span *rows, int32_t start_column, const uint32_t folded[4],
                                     int8_t *output, const int lanes)
{
    const ec_depthwise_conv2d_params *p = b->p;
    const int32_t step = p->dilation_width * p->input_channels;
    const int32_t neighbour = p->stride_width * p->input_channels;
    uint32_t first[4], second[4];
    int32_t row, column, lane;
    for (lane = 0; lane < lanes; ++lane) {
        first[lane] = second[lane] = folded[lane];
    }
    for (row = rows->first; row < rows->end; ++row) {
        const int8_t *x = b->input + ((rows->start + row * p->dilation_height) * p->input_width + start_column) * p->input_channels;
        const int8_t *y = x + neighbour;
        const int8_t *w = b->weights + row * p->kernel_width * lanes;
        EC_NO_UNROLL
        for (column = p->kernel_width; column > 0; --column) {
            for (lane = 0; lane < lanes; ++lane) {
                first[lane] += (uint32_t)(w[lane] * x[lane]);
                second[lane] += (uint32_t)(w[lane] * y[lane]);
            }
            x += step;
            y += step;
            w += lanes;
        }
    }
    ec_depthwise_store(b, first, output, lanes);
    ec_depthwise_store(b, second, output + b->output_channels, lanes);
}

/* All pixels of one output row; `folded` belongs to windows that are inside the columns. */
static inline void ec_depthwise_row(const ec_depthwise_block *b, const ec_span *rows, const uint32_t folded[4], int8_t *output, const int lanes)
{
    const ec_depthwise_conv2d_params *p = b->p;
    int32_t column = 0;
    while (column < p->output_width) {
        const ec_span columns = ec_make_span(column, p->stride_width, p->padding_left, p->dilation_width, p->kernel_width, p->input_width);
        const int32_t reach = columns.start + p->stride_width + (p->kernel_width - 1) * p->dilation_width;
        if (columns.start >= 0 && reach < p->input_width && column + 1 < p->output_width) {
            ec_depthwise_pair(b, rows, columns.start, folded, output, lanes);
            output += 2 * b->output_channels;
            column += 2;
            continue;
        }
        if (columns.first == 0 && columns.end == p->kernel_width) {
            ec_depthwise_single(b, rows, &columns, folded, output, lanes);
        } else {
            uint32_t clipped[4];
            ec_depthwise_fold(b, rows, &columns, clipped, lanes);
            ec_depthwise_single(b, rows, &columns, clipped, output, lanes);
        }
        output += b->output_channels;
        column += 1;
    }
}

static inline void ec_depthwise_sweep(const ec_depthwise_block *b, const int lanes)
{
    const ec_depthwise_conv2d_params *p = b->p;
    int8_t *output = b->output;
    uint32_t folded[4];
    ec_span all;
    int32_t row, first = -1, end = -1;
    all.first = 0;
    all.end = p->kernel_width;
    all.start = 0;
    for (row = 0; row < p->output_height; ++row) {
        const ec_span rows = ec_make_span(row, p->stride_height, p->padding_top, p->dilation_height, p->kernel_height, p->input_height);
        if (rows.first != first || rows.end != end) {
            ec_depthwise_fold(b, &rows, &all, folded, lanes);
            first = rows.first;
            end = rows.end;
        }
        ec_depthwise_row(b, &rows, folded, output, lanes);
        output += p->output_width * b->output_channels;
    }
}

static inline void ec_depthwise_conv2d(const ec_depthwise_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch, const int bits)
{
    ec_depthwise_block b;
    int8_t *weights = (int8_t *)scratch;
    int32_t channel = 0;
    b.p = p;
    b.weights = weights;
    b.output_channels = p->input_channels * p->depth_multiplier;
    b.range = ec_make_range(p->output_zero_point, p->activation_min, p->activation_max);
    for (; p->depth_multiplier == 1 && channel + 4 <= b.output_channels; channel += 4) {
        b.channel = channel;
        b.input = input + channel;
        b.output = output + channel;
        ec_depthwise_unpack(p, channel, b.output_channels, weights, 4, bits);
        ec_depthwise_sweep(&b, 4);
    }
    for (; channel < b.output_channels; ++channel) {
        b.channel = channel;
        b.input = input + channel / p->depth_multiplier;
        b.output = output + channel;
        ec_depthwise_unpack(p, channel, b.output_channels, weights, 1, bits);
        ec_depthwise_sweep(&b, 1);
    }
}

#endif
