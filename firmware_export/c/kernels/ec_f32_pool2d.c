/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_window.h"

static float ec_f32_pool_one(const ec_f32_pool2d_params *p, const ec_f32_place *place, const float *input)
{
    const ec_f32_window *w = &p->window;
    const int32_t count = (place->rows.end - place->rows.first) * (place->columns.end - place->columns.first);
    float total = p->function == EC_F32_AVERAGE ? 0.0f : p->bounds.low; /* no maximum is lower in the end */
    int32_t row, column;
    for (row = place->rows.first; row < place->rows.end; ++row) {
        for (column = place->columns.first; column < place->columns.end; ++column) {
            const float x = input[place->corner + (row * w->input_width + column) * w->input_channels];
            if (p->function == EC_F32_AVERAGE) {
                total += x;
            } else if (x > total) {
                total = x;
            }
        }
    }
    return p->function == EC_F32_AVERAGE ? total / (float)count : total;
}

void ec_f32_pool2d(const ec_f32_pool2d_params *params, const float *input, float *output)
{
    const ec_f32_window *w = &params->window;
    int32_t row, column, channel;
    for (row = 0; row < w->output_height; ++row) {
        for (column = 0; column < w->output_width; ++column) {
            const ec_f32_place place = ec_f32_make_place(w, row, column);
            for (channel = 0; channel < w->input_channels; ++channel) {
                *output++ = ec_f32_clamp(ec_f32_pool_one(params, &place, input + channel), &params->bounds);
            }
        }
    }
}
