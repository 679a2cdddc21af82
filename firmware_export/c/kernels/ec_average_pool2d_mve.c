/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_sum_mve.h"
#include "ec_window.h"

void ec_average_pool2d_s8_mve(const ec_pool2d_params *params, const int8_t *input, int8_t *output)
{
    const ec_pool2d_params *p = params;
    const int32_t row_bytes = p->input_width * p->channels;
    int32_t row, column, channel, i;
    for (row = 0; row < p->output_height; ++row) {
        const ec_span rows = ec_make_span(row, p->stride_height, p->padding_top, 1, p->kernel_height, p->input_height);
        for (column = 0; column < p->output_width; ++column) {
            const ec_span columns = ec_make_span(column, p->stride_width, p->padding_left, 1, p->kernel_width, p->input_width);
            const int8_t *corner = input + (rows.start + rows.first) * row_bytes + (columns.start + columns.first) * p->channels;
            const int32_t height = rows.end - rows.first, width = columns.end - columns.first;
            const int32_t count = height * width > 0 ? height * width : 1, half = count / 2;
            const int32_t joined = width == p->input_width; /* the window's rows lie end to end */
            for (channel = 0; channel < p->channels; channel += 8) {
                const int32_t channels = p->channels - channel < 8 ? p->channels - channel : 8;
                int32_t sums[8];
                ec_sum_mve(corner + channel, joined ? 1 : height, row_bytes, joined ? height * width : width, p->channels, channels, sums);
                EC_NO_UNROLL
                for (i = 0; i < channels; ++i) { /* to nearest, ties away from zero */
                    const int32_t sum = sums[EC_SUM_PLACE(i)];
                    const int32_t mean = sum > 0 ? (sum + half) / count : -((half - sum) / count);
                    output[channel + i] = (int8_t)ec_clamp(mean, p->activation_min, p->activation_max);
                }
            }
            output += p->channels;
        }
    }
}
