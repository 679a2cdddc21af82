/* SPDX-License-Identifier: Apache-2.0
 * Inputs of the tiles of ec_conv_tile_dsp.h, from bytes to words of two positions. 4 consecutive bytes of the input are 4
 * positions, a block: the words (0, 2) and (1, 3), which SXTB16 gives without more ado. Any address will do: single
 * words are loaded. */
#ifndef EC_CONV_GATHER_DSP_H
#define EC_CONV_GATHER_DSP_H

#include <stdint.h>

/* Windows of three pixels: runs of whole words in the input. The assembly reads the fields in this order. */
typedef struct {
    uint32_t *x;      /* what is gathered: 6 words a block, first words of the pixels, then second words */
    const int8_t *a;
    const int8_t *b;
    const int8_t *c;
    int32_t skip;     /* bytes from the end of a run to the next one */
    int32_t rows;     /* runs */
    int32_t words;    /* of a run */
} ec_conv_windows;

typedef void ec_conv_gather(const ec_conv_windows *windows);

/* Any windows; and one pixel, which is `a`: 2 words a block. */
ec_conv_gather ec_conv_gather_dsp;
ec_conv_gather ec_conv_gather_single_dsp;

/* Three runs of 9 bytes, the first layer of most image models: 2 words of each, then the last bytes of the runs as a word
 * of 4 positions, the last of them of no meaning. `words` is 2, `skip` counts from the end of the second word. */
ec_conv_gather ec_conv_gather_rgb_dsp;
ec_conv_gather ec_conv_gather_rgb_single_dsp;

#endif
