/* SPDX-License-Identifier: Apache-2.0
 * The inner part of 3x3 convolution by Winograd's F(2, 3) along the width: 4 multiplications where two outputs of a row take 6.
 *
 * For inputs d0 to d3 and a row g0, g1, g2 of weights, the outputs y0 and y1 are
 *     2 * y0 = (d1 + d2) * (g0 + g1 + g2) + (d2 - d1) * (g0 - g1 + g2) + (d0 - d2) * 2 * g0
 *     2 * y1 = (d1 + d2) * (g0 + g1 + g2) - (d2 - d1) * (g0 - g1 + g2) - (d1 - d3) * 2 * g2
 * summed over the kernel's rows and the input channels, all in whole numbers: the result is exact, and twice the sum is what
 * the rescaling wants. Transformed inputs and weights take 10 bits, so they are halfwords, two channels a word.
 *
 * The four products are four matrix multiplications ("parts", in the order above) over rows and channel pairs. A tile is 4 output
 * pairs (8 pixels of a row) times 2 channels: 8 accumulators, two LDRD of inputs and one of weights for 8 SMLAD, 11
 * instructions and 17 cycles of a Cortex-M4 for what are 24 multiply-accumulates of the plain way. The second part's sums
 * meet the first's in registers: their sum is where the third part begins, their difference where the fourth does.
 *
 * Inputs: [tile of 8 columns][row][channel pair][part][output pair of the tile], words. Weights: [row][channel pair][part]
 * [output channel], words. Parts stand side by side so that whoever transforms needs one pointer. */
#ifndef EC_WINOGRAD_TILE_DSP_H
#define EC_WINOGRAD_TILE_DSP_H

#include "ec_rescale_dsp.h"

#define EC_WINOGRAD_CHAIN 8 /* steps in the unrolled loop: with all four parts and the finish it stays in 1 KiB of instruction cache */
#define EC_WINOGRAD_STEP_BYTES 44

/* Two output channels of a number of rows and tiles. The assembly copies the first 15 words to its stack. */
typedef struct {
    const uint32_t *x;        /* first tile, first row */
    int8_t *output;           /* first pixel, first of the two channels */
    int32_t channels;         /* bytes from a pixel to the next */
    const uint32_t *weights;  /* transformed */
    const int32_t *constants; /* of both channels, by form */
    int32_t entry;            /* into the chain, in bytes */
    int32_t passes;           /* through the chain */
    int32_t rows;
    int32_t row_bytes;        /* of x, from a row to the next */
    int32_t output_row;       /* bytes from an output row to the next */
    int32_t tiles;
    int32_t tile_bytes;       /* of x, from the end of a tile's rows to the next tile */
    int32_t output_tile;      /* bytes from the end of a tile's output rows to the next tile */
    int32_t form;             /* of rescaling: EC_RESCALE_* */
    int32_t rounding;         /* 1 + 2 * output zero point */
    int32_t steps;            /* 3 rows of channel pairs */
} ec_winograd_tiles;

void ec_winograd_tiles_dsp(const ec_winograd_tiles *tiles);

#endif
