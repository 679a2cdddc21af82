/* SPDX-License-Identifier: Apache-2.0
 * Inputs of a tile of ec_conv_tile_dsp.h, from bytes to words of two positions. A window is `rows` runs of `words` words
 * (4 positions each) that begin `words` * 4 + `skip` bytes apart. Any address will do: single words are loaded. */
#ifndef EC_CONV_GATHER_DSP_H
#define EC_CONV_GATHER_DSP_H

#include <stdint.h>

typedef struct {
    int32_t skip;
    int32_t rows;
    int32_t words;
} ec_conv_window_shape;

/* 3 pixels, whose windows begin at a, b and c: 6 words of x for 4 positions, (0, 2) of the pixels and (1, 3) of the pixels. */
void ec_conv_gather_dsp(uint32_t *x, const int8_t *a, const int8_t *b, const int8_t *c, const ec_conv_window_shape *shape);

/* One pixel: 2 words for 4 positions. */
void ec_conv_gather_single_dsp(uint32_t *x, const int8_t *a, const ec_conv_window_shape *shape);

#endif
