/* SPDX-License-Identifier: Apache-2.0
 * Body of ec_depthwise_conv2d_s8, _s4 and _s2; `bits` is a constant in each of them.
 *
 * Four channels at a time (one, for a depth multiplier or the last channels): their weights are unpacked into scratch
 * as two words of 16-bit pairs a tap, then the block sweeps over all output pixels. Pixels whose windows lie inside the
 * input's columns are summed in runs, and a run is rescaled channel by channel. Windows are clipped, so padding costs
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
    int32_t *sums;           /* [EC_DEPTHWISE_CHUNK][lanes] */
    int32_t channel;         /* first output channel */
    int32_t output_channels;
    int32_t row_step;    /* bytes from one kernel row to the next in the input */
    int32_t column_step; /* and from one kernel column to the next */
    int32_t pixel_step;  /* and from one output pixel to the next */
    int32_t inside_end;  /* one after the last output column whose window ends inside the input's columns */
} ec_depthwise_block;

/* The taps that a pixel or a run of pixels sees. */
typedef struct {
    const int8_t *x; /* first tap of the first pixel */
    const uint32_t *weights;
    int32_t height;
    int32_t width;
} ec_depthwise_taps;

static inline uint32_t ec_depthwise_product(int32_t a, int32_t b)
{
    return (uint32_t)(a * b);
}

static inline void ec_depthwise_unpack(const ec_depthwise_conv2d_params *p, int32_t channel, int32_t channels, uint32_t *weights, const int lanes,
                                       const int bits)
{
    const int32_t row_bytes = ec_row_bytes(channels, bits);
    const int8_t *row = p->weights;
    int32_t tap = p->kernel_height * p->kernel_width;
    EC_NO_UNROLL
    for (; tap != 0; --tap) {
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

static inline ec_depthwise_taps ec_depthwise_make_taps(const ec_depthwise_block *b, const ec_span *rows, const ec_span *columns)
{
    const ec_depthwise_conv2d_params *p = b->p;
    ec_depthwise_taps taps;
    taps.x = b->input + (rows->start * p->input_width + columns->start) * p->input_channels + rows->first * b->row_step
        + columns->first * b->column_step;
    taps.weights = b->weights + (rows->first * p->kernel_width + columns->first) * 2;
    taps.height = rows->end - rows->first;
    taps.width = columns->end - columns->first;
    return taps;
}

/* bias - zero_point * sum of the taps' weights, for whole kernel rows. */
static inline void ec_depthwise_fold(const ec_depthwise_block *b, const ec_span *rows, uint32_t folded[4], const int lanes)
{
    const int32_t *bias = b->p->bias + b->channel;
    const uint32_t *w = b->weights + rows->first * b->p->kernel_width * 2;
    int32_t taps = (rows->end - rows->first) * b->p->kernel_width, lane, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    int32_t sums[4];
    EC_NO_UNROLL
    for (; taps != 0; --taps) {
        s0 += ec_low_half(w[0]);
        if (lanes == 4) {
            s1 += ec_high_half(w[0]);
            s2 += ec_low_half(w[1]);
            s3 += ec_high_half(w[1]);
        }
        w += 2;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    for (lane = 0; lane < lanes; ++lane) {
        folded[lane] = (uint32_t)bias[lane] - (uint32_t)(b->p->input_zero_point * sums[lane]);
    }
}

/* sums[lane] of one pixel whose window is clipped: the zero point is taken off each input instead. */
static inline void ec_depthwise_sum_clipped(const ec_depthwise_block *b, const ec_depthwise_taps *taps, const int lanes)
{
    const int32_t zero_point = b->p->input_zero_point, width = taps->width, column_step = b->column_step;
    const int32_t row_step = b->row_step - width * column_step;
    const int32_t skipped = (b->p->kernel_width - width) * 2;
    const int32_t *bias = b->p->bias + b->channel;
    const int8_t *x = taps->x;
    const uint32_t *w = taps->weights;
    int32_t s0 = bias[0], s1 = 0, s2 = 0, s3 = 0, row, column;
    if (lanes == 4) {
        s1 = bias[1];
        s2 = bias[2];
        s3 = bias[3];
    }
    EC_NO_UNROLL
    for (row = taps->height; row != 0; --row) {
        EC_NO_UNROLL
        for (column = width; column != 0; --column) {
            s0 += (x[0] - zero_point) * ec_low_half(w[0]);
            if (lanes == 4) {
                s1 += (x[1] - zero_point) * ec_high_half(w[0]);
                s2 += (x[2] - zero_point) * ec_low_half(w[1]);
                s3 += (x[3] - zero_point) * ec_high_half(w[1]);
            }
            x += column_step;
            w += 2;
        }
        x += row_step;
        w += skipped;
    }
    b->sums[0] = s0;
    if (lanes == 4) {
        b->sums[1] = s1;
        b->sums[2] = s2;
        b->sums[3] = s3;
    }
}

EC_OUTLINED void ec_depthwise_sum_clipped_x4(const ec_depthwise_block *b, const ec_depthwise_taps *taps)
{
    ec_depthwise_sum_clipped(b, taps, 4);
}

EC_OUTLINED void ec_depthwise_sum_clipped_x1(const ec_depthwise_block *b, const ec_depthwise_taps *taps)
{
    ec_depthwise_sum_clipped(b, taps, 1);
}

/* sums[pixel][lane] of `pixels` neighbours whose windows are inside the input's columns. */
static inline void ec_depthwise_sum(const ec_depthwise_block *b, const ec_depthwise_taps *taps, const uint32_t *folded, int32_t pixels,
                                    const int lanes)
{
    const int32_t width = taps->width, column_step = b->column_step, pixel_step = b->pixel_step;
    const int32_t row_step = b->row_step - width * column_step;
    const int8_t *pixel = taps->x;
    int32_t *sums = b->sums;
    EC_NO_UNROLL
    for (; pixels != 0; --pixels) {
        const int8_t *x = pixel;
        const uint32_t *w = taps->weights;
        uint32_t s0 = folded[0], s1 = folded[1], s2 = folded[2], s3 = folded[3];
        int32_t row = taps->height, column;
        EC_NO_UNROLL
        for (; row != 0; --row) {
            EC_NO_UNROLL
            for (column = width; column != 0; --column) {
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
        }
        sums[0] = (int32_t)s0;
        if (lanes == 4) {
            sums[1] = (int32_t)s1;
            sums[2] = (int32_t)s2;
            sums[3] = (int32_t)s3;
        }
        sums += lanes;
        pixel += pixel_step;
    }
}

EC_OUTLINED void ec_depthwise_sum_x4(const ec_depthwise_block *b, const ec_depthwise_taps *taps, const uint32_t *folded, int32_t pixels)
{
    ec_depthwise_sum(b, taps, folded, pixels, 4);
}

EC_OUTLINED void ec_depthwise_sum_x1(const ec_depthwise_block *b, const ec_depthwise_taps *taps, const uint32_t *folded, int32_t pixels)
{
    ec_depthwise_sum(b, taps, folded, pixels, 1);
}

/* The same for windows of three columns, whose loop over columns is written out. */
EC_OUTLINED void ec_depthwise_sum_x4_by_3(const ec_depthwise_block *b, const ec_depthwise_taps *taps, const uint32_t *folded, int32_t pixels)
{
    const int32_t column_step = b->column_step, row_step = b->row_step, pixel_step = b->pixel_step;
    const int8_t *pixel = taps->x;
    int32_t *sums = b->sums;
    EC_NO_UNROLL
    for (; pixels != 0; --pixels) {
        const int8_t *x = pixel;
        const uint32_t *w = taps->weights;
        uint32_t s0 = folded[0], s1 = folded[1], s2 = folded[2], s3 = folded[3];
        int32_t row = taps->height;
        EC_NO_UNROLL
        for (; row != 0; --row) {
            const int8_t *y = x + column_step, *z;
            EC_OPAQUE(y);
            z = y + column_step;
            s0 += ec_depthwise_product(x[0], ec_low_half(w[0]));
            s1 += ec_depthwise_product(x[1], ec_high_half(w[0]));
            s2 += ec_depthwise_product(x[2], ec_low_half(w[1]));
            s3 += ec_depthwise_product(x[3], ec_high_half(w[1]));
            s0 += ec_depthwise_product(y[0], ec_low_half(w[2]));
            s1 += ec_depthwise_product(y[1], ec_high_half(w[2]));
            s2 += ec_depthwise_product(y[2], ec_low_half(w[3]));
            s3 += ec_depthwise_product(y[3], ec_high_half(w[3]));
            s0 += ec_depthwise_product(z[0], ec_low_half(w[4]));
            s1 += ec_depthwise_product(z[1], ec_high_half(w[4]));
            s2 += ec_depthwise_product(z[2], ec_low_half(w[5]));
            s3 += ec_depthwise_product(z[3], ec_high_half(w[5]));
            x += row_step;
            w += 6;
        }
        sums[0] = (int32_t)s0;
        sums[1] = (int32_t)s1;
        sums[2] = (int32_t)s2;
        sums[3] = (int32_t)s3;
        sums += 4;
        pixel += pixel_step;
    }
}

/* Sums and rescales `pixels` neighbours whose windows are inside the input's columns. */
static inline void ec_depthwise_run(const ec_depthwise_block *b, const ec_depthwise_taps *taps, const uint32_t *folded, int32_t pixels,
                                    int8_t *output, const int lanes)
{
    if (lanes == 1) {
        ec_depthwise_sum_x1(b, taps, folded, pixels);
    } else if (taps->width == 3) {
        ec_depthwise_sum_x4_by_3(b, taps, folded, pixels);
    } else {
        ec_depthwise_sum_x4(b, taps, folded, pixels);
    }
    ec_rescale_block(&b->p->rescale, b->sums, lanes, b->channel, pixels, output, b->output_channels);
}

static inline void ec_depthwise_clipped(const ec_depthwise_block *b, const ec_depthwise_taps *taps, int8_t *output, const int lanes)
{
    if (lanes == 1) {
        ec_depthwise_sum_clipped_x1(b, taps);
    } else {
        ec_depthwise_sum_clipped_x4(b, taps);
    }
    ec_rescale_singles(&b->p->rescale, b->sums, b->channel, lanes, output);
}

/* All pixels of one output row. */
static inline void ec_depthwise_row(const ec_depthwise_block *b, const ec_span *rows, const uint32_t folded[4], int8_t *output, const int lanes)
{
    const ec_depthwise_conv2d_params *p = b->p;
    int32_t column = 0;
    EC_NO_UNROLL
    while (column < p->output_width) {
        const ec_span columns = ec_make_span(column, p->stride_width, p->padding_left, p->dilation_width, p->kernel_width, p->input_width);
        const ec_depthwise_taps taps = ec_depthwise_make_taps(b, rows, &columns);
        int32_t pixels = 1;
        if (taps.width == p->kernel_width) {
            pixels = b->inside_end - column < EC_DEPTHWISE_CHUNK ? b->inside_end - column : EC_DEPTHWISE_CHUNK;
            ec_depthwise_run(b, &taps, folded, pixels, output, lanes);
        } else {
            ec_depthwise_clipped(b, &taps, output, lanes);
        }
        output += pixels * b->output_channels;
        column += pixels;
    }
}

static inline void ec_depthwise_sweep(const ec_depthwise_block *b, const int lanes)
{
    const ec_depthwise_conv2d_params *p = b->p;
    int8_t *output = b->output;
    uint32_t folded[4] = {0, 0, 0, 0};
    int32_t row, first = -1, end = -1;
    EC_NO_UNROLL
    for (row = 0; row < p->output_height; ++row) {
        const ec_span rows = ec_make_span(row, p->stride_height, p->padding_top, p->dilation_height, p->kernel_height, p->input_height);
        if (rows.first != first || rows.end != end) {
            ec_depthwise_fold(b, &rows, folded, lanes);
            first = rows.first;
            end = rows.end;
        }
        ec_depthwise_row(b, &rows, folded, output, lanes);
        output += p->output_width * b->output_channels;
    }
}

EC_OUTLINED void ec_depthwise_sweep_x4(const ec_depthwise_block *b)
{
    ec_depthwise_sweep(b, 4);
}

EC_OUTLINED void ec_depthwise_sweep_x1(const ec_depthwise_block *b)
{
    ec_depthwise_sweep(b, 1);
}

static inline void ec_depthwise_conv2d(const ec_depthwise_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch, const int bits)
{
    ec_depthwise_block b;
    uint32_t *weights = (uint32_t *)scratch;
    const int32_t room = p->input_width - (p->kernel_width - 1) * p->dilation_width - 1 + p->padding_left;
    const int32_t inside = room < 0 ? 0 : room / p->stride_width + 1;
    int32_t channel = 0;
    b.inside_end = inside < p->output_width ? inside : p->output_width;
    b.p = p;
    b.weights = weights;
    b.sums = (int32_t *)(weights + 2 * p->kernel_height * p->kernel_width);
    b.output_channels = p->input_channels * p->depth_multiplier;
    b.row_step = p->dilation_height * p->input_width * p->input_channels;
    b.column_step = p->dilation_width * p->input_channels;
    b.pixel_step = p->stride_width * p->input_channels;
    while (p->depth_multiplier == 1 && channel + 4 <= b.output_channels) {
        b.channel = channel;
        b.input = input + channel;
        b.output = output + channel;
        ec_depthwise_unpack(p, channel, b.output_channels, weights, 4, bits);
        ec_depthwise_sweep_x4(&b);
        channel += 4;
    }
    while (channel < b.output_channels) {
        b.channel = channel;
        b.input = input + channel / p->depth_multiplier;
        b.output = output + channel;
        ec_depthwise_unpack(p, channel, b.output_channels, weights, 1, bits);
        ec_depthwise_sweep_x1(&b);
        channel += 1;
    }
}

#endif
