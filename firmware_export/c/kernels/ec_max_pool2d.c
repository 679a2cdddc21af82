/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant.h"
#include "ec_window.h"

/* `lanes` channels of one output pixel; `corner` points at the first tap inside the input. */
static inline void window_max(const ec_pool2d_params *p, const int8_t *corner, int32_t rows, int32_t columns, int8_t *output, const int lanes)
{
    int32_t largest[4] = {-128, -128, -128, -128};
    int32_t row, column, lane;
    for (row = 0; row < rows; ++row) {
        const int8_t *x = corner + row * p->input_width * p->channels;
        EC_NO_UNROLL
        for (column = columns; column != 0; --column) {
            for (lane = 0; lane < lanes; ++lane) {
                largest[lane] = x[lane] > largest[lane] ? x[lane] : largest[lane];
            }
            x += p->channels;
        }
    }
    for (lane = 0; lane < lanes; ++lane) {
        output[lane] = (int8_t)ec_clamp(largest[lane], p->activation_min, p->activation_max);
    }
}

void ec_max_pool2d_s8(const ec_pool2d_params *params, const int8_t *input, int8_t *output)
{
    const ec_pool2d_params *p = params;
    int32_t row, column, channel;
    for (row = 0; row < p->output_height; ++row) {
        const ec_span rows = ec_make_span(row, p->stride_height, p->padding_top, 1, p->kernel_height, p->input_height);
        for (column = 0; column < p->output_width; ++column) {
            const ec_span columns = ec_make_span(column, p->stride_width, p->padding_left, 1, p->kernel_width, p->input_width);
            const int8_t *corner = input + ((rows.start + rows.first) * p->input_width + columns.start + columns.first) * p->channels;
            const int32_t height = rows.end - rows.first, width = columns.end - columns.first;
            for (channel = 0; channel + 4 <= p->channels; channel += 4) {
                window_max(p, corner + channel, height, width, output + channel, 4);
            }
            for (; channel < p->channels; ++channel) {
                window_max(p, corner + channel, height, width, output + channel, 1);
            }
            output += p->channels;
        }
    }
}
