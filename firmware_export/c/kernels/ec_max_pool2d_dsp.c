/* SPDX-License-Identifier: Apache-2.0
 * Channels are taken in fours; the last four begin early where the channels are no multiple of four. */
#include "ec_clamp_dsp.h"
#include "ec_dsp.h"
#include "ec_kernels.h"
#include "ec_requant.h"
#include "ec_window.h"

/* The greater of each pair of bytes. */
static inline uint32_t greater_bytes(uint32_t x, uint32_t y)
{
#if EC_DSP
    uint32_t result;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(x), "r"(y));
    return result;
#else
    uint32_t result = 0;
    int lane;
    for (lane = 0; lane < 32; lane += 8) {
        const int32_t a = (int8_t)(uint8_t)(x >> lane), b = (int8_t)(uint8_t)(y >> lane);
        result |= (uint32_t)(uint8_t)(a > b ? a : b) << lane;
    }
    return result;
#endif
}

/* All channels of one output pixel, whose window has at least one row and column inside the input. */
EC_OUTLINED void window_max(const ec_pool2d_params *p, const int8_t *corner, int32_t rows, int32_t columns, int8_t *output)
{
    const int32_t channels = p->channels, row_step = (p->input_width - columns) * channels;
    int32_t channel = 0;
    while (channel < channels) {
        const int8_t *x;
        uint32_t greatest;
        int32_t row, column;
        channel = channel + 4 <= channels ? channel : channels - 4;
        x = corner + channel;
        greatest = ec_load_word(x);
        EC_NO_UNROLL
        for (row = rows; row != 0; --row) {
            EC_NO_UNROLL
            for (column = columns; column != 0; --column) {
                greatest = greater_bytes(greatest, ec_load_word(x));
                x += channels;
            }
            x += row_step;
        }
        ec_store_word(output + channel, greatest);
        channel += 4;
    }
}

void ec_max_pool2d_dsp(const ec_pool2d_params *params, const int8_t *input, int8_t *output)
{
    const ec_pool2d_params *p = params;
    int8_t *target = output;
    int32_t row, column;
    for (row = 0; row < p->output_height; ++row) {
        const ec_span rows = ec_make_span(row, p->stride_height, p->padding_top, 1, p->kernel_height, p->input_height);
        for (column = 0; column < p->output_width; ++column) {
            const ec_span columns = ec_make_span(column, p->stride_width, p->padding_left, 1, p->kernel_width, p->input_width);
            const int8_t *corner = input + ((rows.start + rows.first) * p->input_width + columns.start + columns.first) * p->channels;
            window_max(p, corner, rows.end - rows.first, columns.end - columns.first, target);
            target += p->channels;
        }
    }
    ec_clamp_dsp(output, p->output_height * p->output_width * p->channels, p->activation_min, p->activation_max);
}
