/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_pool_dsp.h"
#include "ec_requant.h"
#include "ec_window.h"

/* total / count to nearest, ties away from zero. */
static inline int32_t rounded_divide(int32_t total, int32_t count)
{
    return (total + (total > 0 ? count / 2 : -(count / 2))) / count;
}

/* All channels of one output pixel: `runs` of `pixels` neighbours, at most EC_POOL_PART, at the first of which `corner` points. */
static void mean(const ec_pool2d_params *p, const int8_t *corner, int32_t runs, int32_t pixels, int8_t *output)
{
    const int32_t channels = p->channels, run_step = (p->input_width - pixels) * channels, count = runs * pixels;
    int32_t channel = 0;
    while (channel < channels) {
        const int8_t *run;
        int32_t totals[4] = {0, 0, 0, 0}, rest = runs, lane;
        channel = channel + 4 <= channels ? channel : channels - 4;
        run = corner + channel;
        while (rest != 0) {
            uint32_t even = 0, odd = 0;
            int32_t room = EC_POOL_PART;
            for (; rest != 0 && room >= pixels; --rest) {
                run = ec_pool_add(run, pixels, channels, &even, &odd) + run_step;
                room -= pixels;
            }
            ec_pool_take(even, odd, totals);
        }
        EC_NO_UNROLL
        for (lane = 0; lane < 4; ++lane) {
            output[channel++] = (int8_t)ec_clamp(rounded_divide(totals[lane], count), p->activation_min, p->activation_max);
        }
    }
}

void ec_average_pool2d_dsp(const ec_pool2d_params *params, const int8_t *input, int8_t *output)
{
    const ec_pool2d_params *p = params;
    int32_t row, column;
    for (row = 0; row < p->output_height; ++row) {
        const ec_span rows = ec_make_span(row, p->stride_height, p->padding_top, 1, p->kernel_height, p->input_height);
        for (column = 0; column < p->output_width; ++column) {
            const ec_span columns = ec_make_span(column, p->stride_width, p->padding_left, 1, p->kernel_width, p->input_width);
            const int8_t *corner = input + ((rows.start + rows.first) * p->input_width + columns.start + columns.first) * p->channels;
            int32_t height = rows.end - rows.first, width = columns.end - columns.first;
            if (width == p->input_width && height * width <= EC_POOL_PART) { /* whole rows are one run */
                width *= height;
                height = 1;
            }
            mean(p, corner, height, width, output);
            output += p->channels;
        }
    }
}
