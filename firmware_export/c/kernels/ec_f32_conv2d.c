/* SPDX-License-Identifier: Apache-2.0
 * Four output channels at a time share each loaded input: four independent sums keep the FPU's pipeline full without
 * changing the order of any of them. */
#include "ec_f32_window.h"

/* `count` (at most 4) channels of one pixel. `width` is a constant in each call, so that the loops over it vanish. */
static inline void ec_f32_conv2d_channels(const ec_f32_conv2d_params *p, const ec_f32_place *place, const float *input, const float *weights,
                                          const float *bias, float *output, const int width)
{
    const ec_f32_window *w = &p->window;
    const int32_t channels = w->input_channels / p->groups, length = w->kernel_height * w->kernel_width * channels;
    float sums[4];
    int32_t row, column, i;
    int k;
    for (k = 0; k < width; ++k) {
        sums[k] = bias[k];
    }
    for (row = place->rows.first; row < place->rows.end; ++row) {
        for (column = place->columns.first; column < place->columns.end; ++column) {
            const float *x = input + (place->corner + (row * w->dilation_height * w->input_width + column * w->dilation_width) * w->input_channels);
            const float *v = weights + (row * w->kernel_width + column) * channels;
            for (i = 0; i < channels; ++i) {
                for (k = 0; k < width; ++k) {
                    sums[k] += x[i] * v[k * length + i];
                }
            }
        }
    }
    for (k = 0; k < width; ++k) {
        output[k] = ec_f32_clamp(sums[k], &p->bounds);
    }
}

void ec_f32_conv2d(const ec_f32_conv2d_params *params, const float *input, float *output)
{
    const ec_f32_window *w = &params->window;
    const int32_t outs = w->output_channels / params->groups, ins = w->input_channels / params->groups;
    const int32_t length = w->kernel_height * w->kernel_width * ins;
    int32_t row, column, group, out;
    for (row = 0; row < w->output_height; ++row) {
        for (column = 0; column < w->output_width; ++column) {
            const ec_f32_place place = ec_f32_make_place(w, row, column);
            for (group = 0; group < params->groups; ++group) {
                const float *x = input + group * ins;
                for (out = group * outs; out + 4 <= (group + 1) * outs; out += 4) {
                    ec_f32_conv2d_channels(params, &place, x, params->weights + out * length, params->bias + out, output + out, 4);
                }
                for (; out < (group + 1) * outs; ++out) {
                    ec_f32_conv2d_channels(params, &place, x, params->weights + out * length, params->bias + out, output + out, 1);
                }
            }
            output += w->output_channels;
        }
    }
}
