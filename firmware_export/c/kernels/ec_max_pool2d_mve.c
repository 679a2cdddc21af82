/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant_mve.h"
#include "ec_window.h"

#ifdef EC_MVE_ASSEMBLY
#include <arm_mve.h>
#endif

/* `channels` (1 to 16) of one output pixel; `corner` points at the first tap inside the input. */
static inline void window_max(const ec_pool2d_params *p, const int8_t *corner, int32_t rows, int32_t columns, int8_t *output, int32_t channels)
{
#ifdef EC_MVE_ASSEMBLY
    const mve_pred16_t lanes = vctp8q((uint32_t)channels);
    int8x16_t largest = vdupq_n_s8((int8_t)p->activation_min);
    for (; rows > 0; --rows) {
        const int8_t *x = corner;
        int32_t left = columns;
        EC_NO_UNROLL
        for (; left > 0; --left) {
            largest = vmaxq_s8(largest, vldrbq_z_s8(x, lanes));
            x += p->channels;
        }
        corner += p->input_width * p->channels;
    }
    vstrbq_p_s8(output, vminq_s8(largest, vdupq_n_s8((int8_t)p->activation_max)), lanes);
#else
    int32_t row, column, channel;
    for (channel = 0; channel < channels; ++channel) {
        int32_t largest = p->activation_min;
        for (row = 0; row < rows; ++row) {
            for (column = 0; column < columns; ++column) {
                const int32_t x = corner[(row * p->input_width + column) * p->channels + channel];
                largest = x > largest ? x : largest;
            }
        }
        output[channel] = (int8_t)(largest < p->activation_max ? largest : p->activation_max);
    }
#endif
}

void ec_max_pool2d_s8_mve(const ec_pool2d_params *params, const int8_t *input, int8_t *output)
{
    const ec_pool2d_params *p = params;
    int32_t row, column, channel;
    for (row = 0; row < p->output_height; ++row) {
        const ec_span rows = ec_make_span(row, p->stride_height, p->padding_top, 1, p->kernel_height, p->input_height);
        for (column = 0; column < p->output_width; ++column) {
            const ec_span columns = ec_make_span(column, p->stride_width, p->padding_left, 1, p->kernel_width, p->input_width);
            const int8_t *corner = input + ((rows.start + rows.first) * p->input_width + columns.start + columns.first) * p->channels;
            for (channel = 0; channel < p->channels; channel += 16) {
                const int32_t channels = p->channels - channel < 16 ? p->channels - channel : 16;
                window_max(p, corner + channel, rows.end - rows.first, columns.end - columns.first, output + channel, channels);
            }
            output += p->channels;
        }
    }
}
