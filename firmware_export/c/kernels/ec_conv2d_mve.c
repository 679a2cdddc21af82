/* SPDX-License-Identifier: Apache-2.0
 * Windows become contiguous pixels in a strip of scratch memory, padded with the input's zero point (whose share the bias holds):
 * along a row of outputs each input column is `kernel_height` pieces, along a column of outputs each input row is one piece.
 * Neighbouring windows share what they have in common, so the strip is a row of overlapping windows and not one patch a pixel. */
#include "ec_conv2d_mve.h"
#include "ec_segments_mve.h"
#include "ec_unpack_mve.h"

typedef struct {
    const ec_conv2d_mve_params *p;
    ec_matmul_mve_function *matmul;
    int8_t *strip;
    int8_t *tails;   /* outputs of channels that do not fill a block */
    int32_t *unpacked; /* a block of weights of 4 or 2 bits */
} context;

static inline int32_t lesser(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t greater(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* A run of pixels in memory and of their outputs. */
typedef struct {
    const int8_t *pixels;
    int32_t pixel_stride;
    int32_t count;
    int8_t *output;
    int32_t output_stride;
} run;

static void multiply_pairs(const context *c, const run *r, int32_t pairs, const int32_t *weights, const int32_t *parameters, int32_t blocks)
{
    const ec_conv2d_mve_params *p = c->p;
    ec_matmul_mve m;
    uint32_t lane;
    m.zero_point = p->output_zero_point;
    m.output_step = 2 * r->output_stride;
    m.pixel_step = 2 * r->pixel_stride - (p->stepwise ? p->window_bytes : 0);
    m.weights = weights;
    m.block_bytes = 4 * p->window_bytes;
    m.pixel0 = r->pixels;
    m.pixel1 = r->pixels + r->pixel_stride;
    m.pairs = pairs;
    m.blocks = blocks;
    m.parameters = parameters;
    m.output = r->output;
    m.entry = 0;
    for (lane = 0; lane < 4; ++lane) {
        m.offsets[lane] = (((uint32_t)r->output_stride + lane) << 16) + lane;
    }
    c->matmul(&m);
}

static void multiply_blocks(const context *c, const run *r, const int32_t *weights, const int32_t *parameters, int32_t blocks)
{
    if (r->count > 1) {
        multiply_pairs(c, r, r->count / 2, weights, parameters, blocks);
    }
    if (r->count & 1) { /* the last pixel is its own partner */
        run last = *r;
        last.pixels += (r->count - 1) * r->pixel_stride;
        last.output += (r->count - 1) * r->output_stride;
        last.pixel_stride = 0;
        last.output_stride = 0;
        multiply_pairs(c, &last, 1, weights, parameters, blocks);
    }
}

/* `blocks` blocks of channels from `first` on. */
static void multiply(const context *c, const run *r, int32_t first, int32_t blocks)
{
    const ec_conv2d_mve_params *p = c->p;
    const int32_t words = p->weight_bits * p->window_bytes / 8;
    const int32_t *weights = p->weights + first * words, *parameters = p->parameters + 8 * first;
    run part = *r;
    if (p->weight_bits == 8) {
        multiply_blocks(c, r, weights, parameters, blocks);
        return;
    }
    for (; blocks > 0; --blocks) {
        ec_unpack_mve(c->unpacked, weights, p->window_bytes / 16, p->weight_bits);
        multiply_blocks(c, &part, c->unpacked, parameters, 1);
        weights += words;
        parameters += 8;
        part.output += 4;
    }
}

/* All channels of a run of pixels. */
static void multiply_run(const context *c, const run *r)
{
    const int32_t blocks = c->p->output_channels / 4, channels = c->p->output_channels & 3;
    if (blocks > 0) {
        multiply(c, r, 0, blocks);
    }
    if (channels > 0) { /* the block goes to scratch memory, the channels that exist from there to their places */
        run tail = *r;
        tail.output = c->tails;
        tail.output_stride = 4;
        multiply(c, &tail, blocks, 1);
        ec_copy_segments_mve(r->output + 4 * blocks, r->output_stride, c->tails, 4, channels, r->count);
    }
}

/* 1x1 without padding: any pixels one after the other. */
static void run_points(const context *c, const int8_t *input, int8_t *output)
{
    const ec_conv2d_mve_params *p = c->p;
    const int32_t total = p->output_height * p->output_width, channels = p->input_channels, bytes = p->window_bytes;
    const int32_t width = p->stride_height == 1 && p->stride_width == 1 ? total : p->output_width; /* pixels that lie evenly apart */
    const int8_t *row = input;
    int32_t done, column = 0;
    run r;
    r.pixel_stride = bytes;
    r.output_stride = p->output_channels;
    for (done = 0; done < total; done += r.count) {
        int32_t copied, count;
        r.count = lesser(p->tile, total - done);
        r.pixels = c->strip;
        r.output = output + done * p->output_channels;
        for (copied = 0; copied < r.count; copied += count) {
            count = lesser(r.count - copied, width - column);
            ec_copy_segments_mve(c->strip + copied * bytes, bytes, row + column * p->stride_width * channels, p->stride_width * channels, channels, count);
            column += count;
            if (column == width) {
                column = 0;
                row += p->stride_height * p->input_width * channels;
            }
        }
        multiply_run(c, &r);
    }
}

/* The pixels lie in the input as the tiles want them. */
static void run_direct(const context *c, const int8_t *input, int8_t *output)
{
    run r;
    r.pixels = input;
    r.pixel_stride = c->p->input_channels;
    r.count = c->p->output_height * c->p->output_width;
    r.output = output;
    r.output_stride = c->p->output_channels;
    multiply_run(c, &r);
}

/* Which columns of a strip that begins at input column `first` lie in the input: [left, end). */
static inline void find_columns(const ec_conv2d_mve_params *p, int32_t first, int32_t columns, int32_t *left, int32_t *end)
{
    *left = lesser(greater(-first, 0), columns);
    *end = greater(lesser(p->input_width - first, columns), *left);
}

/* Padding to the left and to the right. */
static void fill_row_sides(const context *c, int32_t first, int32_t columns)
{
    const ec_conv2d_mve_params *p = c->p;
    const int32_t pitch = p->kernel_height * p->input_channels;
    int32_t left, end;
    find_columns(p, first, columns, &left, &end);
    ec_fill_segments_mve(c->strip, 0, p->input_zero_point, left * pitch, 1);
    ec_fill_segments_mve(c->strip + end * pitch, 0, p->input_zero_point, (columns - end) * pitch, 1);
}

/* Input columns from `first` on, each as a piece of every kernel row of output row `y`. */
static void fill_row_strip(const context *c, const int8_t *input, int32_t y, int32_t first, int32_t columns)
{
    const ec_conv2d_mve_params *p = c->p;
    const int32_t channels = p->input_channels, pitch = p->kernel_height * channels, row_bytes = p->input_width * channels;
    const int32_t top = y * p->stride_height - p->padding_top;
    int32_t tap, left, end;
    int8_t *target;
    find_columns(p, first, columns, &left, &end);
    target = c->strip + left * pitch;
    first += left;
    columns = end - left;
    if (p->kernel_height == 3 && (channels & 15) == 0 && top >= 0 && top + 3 <= p->input_height) {
        ec_copy_three_rows_mve(target, input + top * row_bytes + first * channels, row_bytes, channels, columns);
        return;
    }
    for (tap = 0; tap < p->kernel_height; ++tap) {
        const int32_t row = top + tap;
        if (row < 0 || row >= p->input_height) {
            ec_fill_segments_mve(target + tap * channels, pitch, p->input_zero_point, channels, columns);
        } else {
            ec_copy_segments_mve(target + tap * channels, pitch, input + row * row_bytes + first * channels, channels, channels, columns);
        }
    }
}

static void run_rows(const context *c, const int8_t *input, int8_t *output)
{
    const ec_conv2d_mve_params *p = c->p;
    int32_t y, x;
    run r;
    r.pixels = c->strip;
    r.pixel_stride = p->stride_width * p->kernel_height * p->input_channels;
    r.output_stride = p->output_channels;
    for (y = 0; y < p->output_height; ++y) {
        for (x = 0; x < p->output_width; x += r.count) {
            int32_t first, columns;
            r.count = lesser(p->tile, p->output_width - x);
            r.output = output + (y * p->output_width + x) * p->output_channels;
            first = x * p->stride_width - p->padding_left;
            columns = (r.count - 1) * p->stride_width + p->kernel_width;
            if (y == 0 || p->tile < p->output_width) { /* else they stay from row to row */
                fill_row_sides(c, first, columns);
            }
            fill_row_strip(c, input, y, first, columns);
            multiply_run(c, &r);
        }
    }
}

/* Input rows from `first` on, each as the piece that output column `x` looks at. */
static void fill_column_strip(const context *c, const int8_t *input, int32_t x, int32_t first, int32_t rows)
{
    const ec_conv2d_mve_params *p = c->p;
    const int32_t channels = p->input_channels, pitch = p->kernel_width * channels, column = x * p->stride_width - p->padding_left;
    const int32_t left = lesser(greater(-column, 0), p->kernel_width), end = greater(lesser(p->input_width - column, p->kernel_width), left);
    const int32_t top = lesser(greater(-first, 0), rows), bottom = greater(lesser(p->input_height - first, rows), top);
    int8_t *target = c->strip + top * pitch;
    ec_fill_segments_mve(c->strip, pitch * top, p->input_zero_point, pitch * top, 1);
    if (left > 0) {
        ec_fill_segments_mve(target, pitch, p->input_zero_point, left * channels, bottom - top);
    }
    ec_copy_segments_mve(target + left * channels, pitch, input + ((first + top) * p->input_width + column + left) * channels,
                         p->input_width * channels, (end - left) * channels, bottom - top);
    if (end < p->kernel_width) {
        ec_fill_segments_mve(target + end * channels, pitch, p->input_zero_point, (p->kernel_width - end) * channels, bottom - top);
    }
    ec_fill_segments_mve(c->strip + bottom * pitch, 0, p->input_zero_point, pitch * (rows - bottom), 1);
}

static void run_columns(const context *c, const int8_t *input, int8_t *output)
{
    const ec_conv2d_mve_params *p = c->p;
    int32_t y, x;
    run r;
    r.pixels = c->strip;
    r.pixel_stride = p->stride_height * p->kernel_width * p->input_channels;
    r.output_stride = p->output_width * p->output_channels;
    for (x = 0; x < p->output_width; ++x) {
        for (y = 0; y < p->output_height; y += r.count) {
            r.count = lesser(p->tile, p->output_height - y);
            r.output = output + (y * p->output_width + x) * p->output_channels;
            fill_column_strip(c, input, x, y * p->stride_height - p->padding_top, (r.count - 1) * p->stride_height + p->kernel_height);
            multiply_run(c, &r);
        }
    }
}

static int apart(const int8_t *a, int32_t a_bytes, const int8_t *b, int32_t b_bytes)
{
    return (uintptr_t)a + (uintptr_t)a_bytes <= (uintptr_t)b || (uintptr_t)b + (uintptr_t)b_bytes <= (uintptr_t)a;
}

void ec_conv2d_mve(const ec_conv2d_mve_params *p, const int8_t *input, int8_t *output, void *scratch, ec_matmul_mve_function *matmul)
{
    const int32_t input_bytes = p->input_height * p->input_width * p->input_channels;
    const int32_t output_bytes = p->output_height * p->output_width * p->output_channels;
    context c;
    c.p = p;
    c.matmul = matmul;
    c.strip = (int8_t *)scratch;
    c.tails = c.strip + p->strip_bytes;
    c.unpacked = (int32_t *)((uint8_t *)scratch + p->strip_bytes + p->tail_bytes);
    if (p->sweep == EC_SWEEP_ROWS) {
        run_rows(&c, input, output);
    } else if (p->sweep == EC_SWEEP_COLUMNS) {
        run_columns(&c, input, output);
    } else if (p->stride_height == 1 && p->stride_width == 1 && p->input_channels == p->window_bytes && apart(input, input_bytes, output, output_bytes)) {
        run_direct(&c, input, output);
    } else {
        run_points(&c, input, output);
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        ec_clamp_mve(output, output_bytes, p->activation_min, p->activation_max);
    }
}
