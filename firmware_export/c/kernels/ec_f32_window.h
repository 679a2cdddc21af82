/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC_F32_WINDOW_H
#define EC_F32_WINDOW_H

#include "ec_f32_functions.h"
#include "ec_window.h"

/* Taps of one output pixel that lie inside the input, and where tap (0, 0) would be. */
typedef struct {
    ec_span rows;
    ec_span columns;
    int32_t corner; /* in numbers from the input's start, may be negative */
} ec_f32_place;

static inline ec_f32_place ec_f32_make_place(const ec_f32_window *w, int32_t row, int32_t column)
{
    ec_f32_place place;
    place.rows = ec_make_span(row, w->stride_height, w->padding_top, w->dilation_height, w->kernel_height, w->input_height);
    place.columns = ec_make_span(column, w->stride_width, w->padding_left, w->dilation_width, w->kernel_width, w->input_width);
    place.corner = (place.rows.start * w->input_width + place.columns.start) * w->input_channels;
    return place;
}

#endif
