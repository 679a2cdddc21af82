/* SPDX-License-Identifier: Apache-2.0
 * The part of a sliding window that lies inside the input. */
#ifndef EC_WINDOW_H
#define EC_WINDOW_H

#include <stdint.h>

typedef struct {
    int32_t first; /* first tap inside the input */
    int32_t end;   /* one after the last tap inside; equal to first for a window wholly in the padding */
    int32_t start; /* input coordinate of tap 0, may be negative */
} ec_span;

/* Taps tap * dilation + position * stride - padding in [0, size). */
static inline ec_span ec_make_span(int32_t position, int32_t stride, int32_t padding, int32_t dilation, int32_t taps, int32_t size)
{
    ec_span span;
    int32_t room;
    span.start = position * stride - padding;
    room = size - span.start;
    if (span.start >= 0 && (taps - 1) * dilation < room) {
        span.first = 0;
        span.end = taps;
        return span;
    }
    span.first = span.start < 0 ? (dilation - 1 - span.start) / dilation : 0;
    span.end = room > 0 ? (room + dilation - 1) / dilation : 0;
    span.end = span.end < taps ? span.end : taps;
    span.end = span.end > span.first ? span.end : span.first;
    return span;
}

#endif
