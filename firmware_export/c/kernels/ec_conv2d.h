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
#include "ec_weights.h"
#include "ec_window.h"

typedef struct {
    const int8_t *base; /* input element of tap (0, 0), maybe outside the input: only dereferenced for taps inside */
    ec_span rows;
    ec_span columns;
} ec_conv_window;

static inline int32_t ec_low_half(uint32_t word)
{
    return (int16_t)(uint16_t)word;
}

static inline int32_t ec_high_half(uint32_t word)
{
    return (int16_t)(uint16_t)(word >> 16);
}

static inline uint32_t *ec_conv_gather(uint32_t *patch, const int8_t *first, const int8_t *second, int32_t count, int32_t zero_point)
{
    int32_t i;
    EC_NO_UNROLL
    for (i = count >> 1; i > 0; --i) {
        patch[0] = (uint32_t)(uint16_t)(first[0] - zero_point) | (uint32_t)(second[0] - zero_point) << 16;
        patch[1] = (uint32_t)(uint16_t)(first[1] - zero_point) | (uint32_t)(second[1] - zero_point) << 16;
        first += 2;
        second += 2;
        patch += 2;
    }
    if (count & 1) {
        *patch++ = (uint32_t)(uint16_t)(first[0] - zero_point) | (uint32_t)(second[0] - zero_point) << 16;
    }
    return patch;
}

static inline int ec_conv_is_inside(const ec_span *span, int32_t taps)
{
    return span->first == 0 && span->end == taps;
}

/* Input channels of one tap, or the row of zero points for a tap in the padding. */
static inline const int8_t *ec_conv_tap(const ec_conv2d_params *p, const int8_t *input, const int8_t *padding, const ec_span *rows,
                                        const ec_span *columns, int32_t row, int32_t column)
{
    if (row < rows->first || row >= rows->end || column < columns->first || column >= columns->end) {
        return padding;
    }
    return input + ((rows->start + row * p->dilation_height) * p->input_width + columns->start + column * p->dilation_width) * p->input_channels;
}

/* Fills the patch with the windows of output pixels `first` and `second`; `input` points at the group's first channel. */
static inline void ec_conv_gather_pair(const ec_conv2d_params *p, const int8_t *input, const int8_t *padding, int32_t first_row, int32_t first_column,
                                       int32_t second_row, int32_t second_column, uint32_t *patch)
{
    const ec_span rows_a = ec_make_span(first_row, p->stride_height, p->padding_top, p->dilation_height, p->kernel_height, p->input_height);
    const ec_span rows_b = ec_make_span(second_row, p->stride_height, p->padding_top, p->dilation_height, p->kernel_height, p->input_height);
    const ec_span columns_a = ec_make_span(first_column, p->stride_width, p->padding_left, p->dilation_width, p->kernel_width, p->input_width);
    const ec_span columns_b = ec_make_span(second_column, p->stride_width, p->padding_left, p->dilation_width, p->kernel_width, p->input_width);
    const int32_t channels = p->input_channels / p->groups;
    const int whole_rows = p->groups == 1 && p->dilation_width == 1 && ec_conv_is_inside(&columns_a, p->kernel_width)
        && ec_conv_is_inside(&columns_b, p->kernel_width) && ec_conv_is_inside(&rows_a, p->kernel_height)
        && ec_conv_is_inside(&rows_b, p->kernel_height);
    int32_t row, column;
    for (row = 0; row < p->kernel_height; ++row) {
        if (whole_rows) {
            const int8_t *a = ec_conv_tap(p, input, padding, &rows_a, &columns_a, row, 0);
            const int8_t *b = ec_conv_tap(p, input, padding, &rows_b, &columns_b, row, 0);
            patch = ec_conv_gather(patch, a, b, p->kernel_width * channels, p->input_zero_point);
            continue;
        }
        for (column = 0; column < p->kernel_width; ++column) {
            const int8_t *a = ec_conv_tap(p, input, padding, &rows_a, &columns_a, row, column);
            const int8_t *b = ec_conv_tap(p, input, padding, &rows_b, &columns_b, row, column);
            patch = ec_conv_gather(patch, a, b, channels, p->input_zero_point);
        }
    }
}

/* Adds the products of `length` patch words with weight rows a and b: sums = {a0, a1, b0, b1}, the digit is the pixel. */
static inline void ec_conv_dot_2x2(const uint32_t *patch, const int8_t *a, const int8_t *b, int32_t length, int32_t sums[4], const int bits)
{
    const int32_t step = bits / 2;
    int32_t a0 = sums[0], a1 = sums[1], b0 = sums[2], b1 = sums[3];
    int32_t i;
    EC_NO_UNROLL
    for (i = length >> 2; i > 0; --i) {
        int32_t u[4], v[4];
        ec_weights4(a, bits, u);
        ec_weights4(b, bits, v);
        a0 += u[0] * ec_low_half(patch[0]);
        a1 += u[0] * ec_high_half(patch[0]);
        b0 += v[0] * ec_low_half(patch[0]);
        b1 += v[0] * ec_high_half(patch[0]);
        a0 += u[1] * ec_low_half(patch[1]);
        a1 += u[1] * ec_high_half(patch[1]);
        b0 += v[1] * ec_low_half(patch[1]);
        b1 += v[1] * ec_high_half(patch[1]);
        a0 += u[2] * ec_low_half(patch[2]);
        a1 += u[2] * ec_high_half(patch[2]);
        b0 += v[2] * ec_low_half(patch[2]);
        b1 += v[2] * ec_high_half(patch[2]);
        a0 += u[3] * ec_low_half(patch[3]);
        a1 += u[3] * ec_high_half(patch[3]);
        b0 += v[3] * ec_low_half(patch[3]);
        b1 += v[3] * ec_high_half(patch[3]);
        patch += 4;
        a += step;
        b += step;
    }
    EC_NO_UNROLL
    for (i = 0; i < (length & 3); ++i) {
        const int32_t u = ec_weight(a, i, bits), v = ec_weight(b, i, bits);
        a0 += u * ec_low_half(patch[i]);
        a1 += u * ec_high_half(patch[i]);
        b0 += v * ec_low_half(patch[i]);
        b1 += v * ec_high_half(patch[i]);
    }
    sums[0] = a0;
    sums[1] = a1;
    sums[2] = b0;
    sums[3] = b1;
}

/* The same for a single pixel, in the low halves: sums = {a, b}. */
static inline void ec_conv_dot_1x2(const uint32_t *patch, const int8_t *a, const int8_t *b, int32_t length, int32_t sums[2], const int bits)
{
    const int32_t step = bits / 2;
    int32_t a0 = sums[0], b0 = sums[1];
    int32_t i;
    EC_NO_UNROLL
    for (i = length >> 2; i > 0; --i) {
        int32_t u[4], v[4];
        ec_weights4(a, bits, u);
        ec_weights4(b, bits, v);
        a0 += u[0] * ec_low_half(patch[0]);
        b0 += v[0] * ec_low_half(patch[0]);
        a0 += u[1] * ec_low_half(patch[1]);
        b0 += v[1] * ec_low_half(patch[1]);
        a0 += u[2] * ec_low_half(patch[2]);
        b0 += v[2] * ec_low_half(patch[2]);
        a0 += u[3] * ec_low_half(patch[3]);
        b0 += v[3] * ec_low_half(patch[3]);
        patch += 4;
        a += step;
        b += step;
    }
    EC_NO_UNROLL
    for (i = 0; i < (length & 3); ++i) {
        a0 += ec_weight(a, i, bits) * ec_low_half(patch[i]);
        b0 += ec_weight(b, i, bits) * ec_low_half(patch[i]);
    }
    sums[0] = a0;
    sums[1] = b0;
}

/* Output channels [channel, end) of the gathered pixel pair. An odd last channel runs as a pair with itself. */
static inline void ec_conv_pair(const ec_conv2d_params *p, const uint32_t *patch, int32_t channel, int32_t end, int32_t length, ec_output_range range,
                                int8_t *first, int8_t *second, const int bits)
{
    const int32_t row_bytes = ec_row_bytes(length, bits);
    const int8_t *weights = p->weights + channel * row_bytes;
    for (; channel < end; channel += 2) {
        const int32_t other = channel + 1 < end ? channel + 1 : channel;
        int32_t sums[4];
        sums[0] = sums[1] = p->bias[channel];
        sums[2] = sums[3] = p->bias[other];
        ec_conv_dot_2x2(patch, weights, weights + (other - channel) * row_bytes, length, sums, bits);
        first[channel] = ec_requant_s8(sums[0], p->multiplier[channel], p->shift[channel], range);
        second[channel] = ec_requant_s8(sums[1], p->multiplier[channel], p->shift[channel], range);
        first[other] = ec_requant_s8(sums[2], p->multiplier[other], p->shift[other], range);
        second[other] = ec_requant_s8(sums[3], p->multiplier[other], p->shift[other], range);
        weights += 2 * row_bytes;
    }
}

static inline void ec_conv_single(const ec_conv2d_params *p, const uint32_t *patch, int32_t channel, int32_t end, int32_t length,
                                  ec_output_range range, int8_t *output, const int bits)
{
    const int32_t row_bytes = ec_row_bytes(length, bits);
    const int8_t *weights = p->weights + channel * row_bytes;
    for (; channel < end; channel += 2) {
        const int32_t other = channel + 1 < end ? channel + 1 : channel;
        int32_t sums[2];
        sums[0] = p->bias[channel];
        sums[1] = p->bias[other];
        ec_conv_dot_1x2(patch, weights, weights + (other - channel) * row_bytes, length, sums, bits);
        output[channel] = ec_requant_s8(sums[0], p->multiplier[channel], p->shift[channel], range);
        output[other] = ec_requant_s8(sums[1], p->multiplier[other], p->shift[other], range);
        weights += 2 * row_bytes;
    }
}

static inline void ec_conv2d(const ec_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch, const int bits)
{
    const ec_output_range range = ec_make_range(p->output_zero_point, p->activation_min, p->activation_max);
    const int32_t channels = p->input_channels / p->groups;
    const int32_t outputs = p->output_channels / p->groups;
    const int32_t length = p->kernel_height * p->kernel_width * channels;
    const int32_t pixels = p->output_height * p->output_width;
    uint32_t *patch = (uint32_t *)scratch;
    int8_t *padding = (int8_t *)(patch + length);
    int32_t group;
    if (p->padded) {
        memset(padding, p->input_zero_point, (size_t)channels);
    }
    for (group = 0; group < p->groups; ++group) {
        const int8_t *source = input + group * channels;
        int8_t *target = output;
        int32_t row = 0, column = 0, pixel;
        for (pixel = 0; pixel < pixels; pixel += 2) {
            const int32_t first_row = row, first_column = column;
            const int is_pair = pixel + 1 < pixels;
            if (is_pair && ++column == p->output_width) {
                column = 0;
                ++row;
            }
            ec_conv_gather_pair(p, source, padding, first_row, first_column, row, column, patch);
            if (is_pair) {
                ec_conv_pair(p, patch, group * outputs, (group + 1) * outputs, length, range, target, target + p->output_channels, bits);
            } else {
                ec_conv_single(p, patch, group * outputs, (group + 1) * outputs, length, range, target, bits);
            }
            target += 2 * p->output_channels;
            if (++column == p->output_width) {
                column = 0;
                ++row;
            }
        }
    }
}

#endif
