/* SPDX-License-Identifier: Apache-2.0
 * Body of ec_depthwise_conv2d_s8, _s4 and _s2; `bits` is a constant in each of them.
 *
 * Four channels at a time (one, for a depth multiplier or the last channels): their weights are unpacked into scratch
 * as two words of 16-bit pairs a tap, then the block sweeps over all output pixels. Where a window lies inside the
 * input's columns, two neighbouring pixels share each weight that is loaded. Windows are clipped, so padding costs
 * nothing; the zero point's share of the taps that remain is taken off the bias, once for all rows clipped alike.
 * Sums wrap at 32 bits for that reason; the final sum fits, the graph's checks guarantee it. */
#ifndef EC_DEPTHWISE_CONV2D_H
#define EC_DEPTHWISE_CONV2D_H

#include "ec_kernels.h"
#include "ec_requant.h"
#include "ec_rescale.h"
#include "ec_weights.h"
#include "ec_window.h"

/* One block of channels on its way over the image. */
typedef struct {
    const ec_depthwise_conv2d_params *p;
    const int8_t *input;     /* at the block's first input channel */
    int8_t *output;          /* at the block's first output channel */
    const uint32_t *weights; /* [tap][2]: channels 0 and 1, channels 2 and 3 */
    int32_t channel;         /* first output channel */
    int32_t output_channels;
    int32_t row_step;    /* bytes from one kernel row to the next in the input */
    int32_t column_step; /* and from one kernel column to the next */
} ec_depthwise_block;

static inline uint32_t ec_depthwise_product(int32_t a, int32_t b)
{
    return (uint32_t)(a * b);
}

static inline void ec_depthwise_unpack(const ec_depthwise_conv2d_params *p, int32_t channel, int32_t channels, uint32_t *weights, const int lanes,
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
            weights[0] = ec_halves(w[0], w[1]);
            weights[1] = ec_halves(w[2], w[3]);
        } else {
            weights[0] = ec_halves(ec_weight(row, channel, bits), 0);
        }
        weights += 2;
        row += row_bytes;
    }
}

/* bias - zero_point * sum of the weights of the taps in both spans. */
static inline void ec_depthwise_fold(const ec_depthwise_block *b, const ec_span *rows, const ec_span *columns, uint32_t folded[4], const int lanes)
{
    const int32_t *bias = b->p->bias + b->channel;
    int32_t row, column, lane, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    int32_t sums[4];
    EC_NO_UNROLL
    for (row = rows->first; row < rows->end; ++row) {
        const uint32_t *w = b->weights + (row * b->p->kernel_width + columns->first) * 2;
        EC_NO_UNROLL
        for (column = columns->end - columns->first; column > 0; --column) {
            s0 += ec_low_half(w[0]);
            if (lanes == 4) {
                s1 += ec_high_half(w[0]);
                s2 += ec_low_half(w[1]);
                s3 += ec_high_half(w[1]);
            }
            w += 2;
        }
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    for (lane = 0; lane < lanes; ++lane) {
        folded[lane] = (uint32_t)bias[lane] - (uint32_t)(b->p->input_zero_point * sums[lane]);
    }
}

static inline const int8_t *ec_depthwise_corner(const ec_depthwise_block *b, const ec_span *rows, int32_t column)
{
    return b->input + ((rows->start + rows->first * b->p->dilation_height) * b->p->input_width + column) * b->p->input_channels;
}

/* sums[lane] of one pixel over `height` x `width` taps; x and w point at the first of them. */
static inline void ec_depthwise_sum_single(const ec_depthwise_block *b, const int8_t *x, const uint32_t *w, int32_t height, int32_t width,
                                           const uint32_t *folded, int32_t *sums, const int lanes)
{
    const int32_t row_step = b->row_step - width * b->column_step, column_step = b->column_step;
    const int32_t weight_step = 2 * (b->p->kernel_width - width);
    uint32_t s0 = folded[0], s1 = folded[1], s2 = folded[2], s3 = folded[3];
    EC_NO_UNROLL
    for (; height > 0; --height) {
        int32_t column;
        EC_NO_UNROLL
        for (column = width; column > 0; --column) {
            s0 += ec_depthwise_product(x[0], ec_low_half(w[0]));
            if (lanes == 4) {
                s1 += ec_depthwise_product(x[1], ec_high_half(w[0]));
                s2 += ec_depthwise_product(x[2], ec_low_half(w[1]));
                s3 += ec_depthwise_product(x[3], ec_high_half(w[1]));
            }
            x += column_step;
            w += 2;
        }
        x += row_step;
        w += weight_step;
    }
    sums[0] = (int32_t)s0;
    if (lanes == 4) {
        sums[1] = (int32_t)s1;
        sums[2] = (int32_t)s2;
        sums[3] = (int32_t)s3;
    }
}

/* sums[lane][pixel] of two pixels over `height` whole kernel rows; y is the second pixel's x. */
static inline void ec_depthwise_sum_pair(const ec_depthwise_block *b, const int8_t *x, const int8_t *y, const uint32_t *w, int32_t height,
                                         const uint32_t *folded, int32_t *sums, const int lanes)
{
    const int32_t width = b->p->kernel_width, column_step = b->column_step;
    const int32_t row_step = b->row_step - width * column_step;
    uint32_t s0 = folded[0], s1 = folded[1], s2 = folded[2], s3 = folded[3];
    uint32_t t0 = s0, t1 = s1, t2 = s2, t3 = s3;
    EC_NO_UNROLL
    for (; height > 0; --height) {
        int32_t column;
        EC_NO_UNROLL
        for (column = width; column > 0; --column) {
            uint32_t pair = w[0];
            s0 += ec_depthwise_product(x[0], ec_low_half(pair));
            t0 += ec_depthwise_product(y[0], ec_low_half(pair));
            if (lanes == 4) {
                s1 += ec_depthwise_product(x[1], ec_high_half(pair));
                t1 += ec_depthwise_product(y[1], ec_high_half(pair));
                pair = w[1];
                s2 += ec_depthwise_product(x[2], ec_low_half(pair));
                t2 += ec_depthwise_product(y[2], ec_low_half(pair));
                s3 += ec_depthwise_product(x[3], ec_high_half(pair));
                t3 += ec_depthwise_product(y[3], ec_high_half(pair));
            }
            x += column_step;
            y += column_step;
            w += 2;
        }
        x += row_step;
        y += row_step;
    }
    sums[0] = (int32_t)s0;
    sums[1] = (int32_t)t0;
    if (lanes == 4) {
        sums[2] = (int32_t)s1;
        sums[3] = (int32_t)t1;
        sums[4] = (int32_t)s2;
        sums[5] = (int32_t)t2;
        sums[6] = (int32_t)s3;
        sums[7] = (int32_t)t3;
    }
}

EC_OUTLINED void ec_depthwise_single(const ec_depthwise_block *b, const ec_span *rows, const ec_span *columns, const uint32_t *folded,
                                     int8_t *output, const int lanes)
{
    const int8_t *x = ec_depthwise_corner(b, rows, columns->start + columns->first * b->p->dilation_width);
    const uint32_t *w = b->weights + (rows->first * b->p->kernel_width + columns->first) * 2;
    int32_t sums[4];
    ec_depthwise_sum_single(b, x, w, rows->end - rows->first, columns->end - columns->first, folded, sums, lanes);
    ec_rescale_singles(&b->p->rescale, sums, b->channel, lanes, output);
}

EC_OUTLINED void ec_depthwise_pair(const ec_depthwise_block *b, const ec_span *rows, const int8_t *x, const uint32_t *folded, int8_t *output,
                                   const int lanes)
{
    const int8_t *y = x + b->p->stride_width * b->p->input_channels;
    const uint32_t *w = b->weights + rows->first * b->p->kernel_width * 2;
    int32_t sums[8];
    ec_depthwise_sum_pair(b, x, y, w, rows->end - rows->first, folded, sums, lanes);
    ec_rescale_pairs(&b->p->rescale, sums, b->channel, lanes, output, output + b->output_channels);
}

/* All pixels of one output row; `folded` belongs to windows that are inside the columns. */
static inline void ec_depthwise_row(const ec_depthwise_block *b, const ec_span *rows, const uint32_t folded[4], int8_t *output, const int lanes)
{
    const ec_depthwise_conv2d_params *p = b->p;
    const int32_t last_pair = p->input_width - p->stride_width - (p->kernel_width - 1) * p->dilation_width; /* first start column too far right */
    int32_t column = 0;
    EC_NO_UNROLL
    while (column < p->output_width) {
        const int32_t start = column * p->stride_width - p->padding_left;
        if (start >= 0 && start < last_pair && column + 1 < p->output_width) {
            ec_depthwise_pair(b, rows, ec_depthwise_corner(b, rows, start), folded, output, lanes);
            output += 2 * b->output_channels;
            column += 2;
        } else {
            const ec_span columns = ec_make_span(column, p->stride_width, p->padding_left, p->dilation_width, p->kernel_width, p->input_width);
            const uint32_t *bias = folded;
            uint32_t clipped[4];
            if (columns.first != 0 || columns.end != p->kernel_width) {
                ec_depthwise_fold(b, rows, &columns, clipped, lanes);
                bias = clipped;
            }
            ec_depthwise_single(b, rows, &columns, bias, output, lanes);
            output += b->output_channels;
            column += 1;
        }
    }
}

EC_OUTLINED void ec_depthwise_sweep(const ec_depthwise_block *b, const int lanes)
{
    const ec_depthwise_conv2d_params *p = b->p;
    int8_t *output = b->output;
    uint32_t folded[4] = {0, 0, 0, 0};
    ec_span all;
    int32_t row, first = -1, end = -1;
    all.first = 0;
    all.end = p->kernel_width;
    all.start = 0;
    EC_NO_UNROLL
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
    uint32_t *weights = (uint32_t *)scratch;
    int32_t channel = 0;
    b.p = p;
    b.weights = weights;
    b.output_channels = p->input_channels * p->depth_multiplier;
    b.row_step = p->dilation_height * p->input_width * p->input_channels;
    b.column_step = p->dilation_width * p->input_channels;
    EC_NO_UNROLL
    for (; p->depth_multiplier == 1 && channel + 4 <= b.output_channels; channel += 4) {
        b.channel = channel;
        b.input = input + channel;
        b.output = output + channel;
        ec_depthwise_unpack(p, channel, b.output_channels, weights, 4, bits);
        ec_depthwise_sweep(&b, 4);
    }
    EC_NO_UNROLL
    for (; channel < b.output_channels; ++channel) {
        b.channel = channel;
        b.input = input + channel / p->depth_multiplier;
        b.output = output + channel;
        ec_depthwise_unpack(p, channel, b.output_channels, weights, 1, bits);
        ec_depthwise_sweep(&b, 1);
    }
}

#endif
