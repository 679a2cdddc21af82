/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_window.h"

void ec_f32_depthwise_conv2d(const ec_f32_depthwise_conv2d_params *params, const float *input, float *output)
{
    const ec_f32_window *w = &params->window;
    const int32_t multiplier = w->output_channels / w->input_channels;
    int32_t row, column, channel, tap_row, tap_column, copy;
    for (row = 0; row < w->output_height; ++row) {
        for (column = 0; column < w->output_width; ++column) {
            const ec_f32_place place = ec_f32_make_place(w, row, column);
            for (channel = 0; channel < w->input_channels; ++channel) {
                for (copy = 0; copy < multiplier; ++copy) {
                    const int32_t out = channel * multiplier + copy;
                    float sum = params->bias[out];
                    for (tap_row = place.rows.first; tap_row < place.rows.end; ++tap_row) {
                        const int32_t step = w->dilation_width * w->input_channels;
                        const float *x = input + (place.corner + tap_row * w->dilation_height * w->input_width * w->input_channels +
                                                  place.columns.first * step + channel);
                        const float *v = params->weights + (tap_row * w->kernel_width + place.columns.first) * w->output_channels + out;
                        for (tap_column = place.columns.first; tap_column < place.columns.end; ++tap_column) {
                            sum += *x * *v;
                            x += step;
                            v += w->output_channels;
                        }
                    }
                    output[out] = ec_f32_clamp(sum, &params->bounds);
                }
            }
            output += w->output_channels;
        }
    }
}
