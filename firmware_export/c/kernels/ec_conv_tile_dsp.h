/* SPDX-License-Identifier: Apache-2.0
 * The inner part of convolution on cores with the DSP extension: 3 pixels times all output channels, two at a time.
 *
 * Weights in pairs. The two weights of a channel pair share a halfword, 256 * w1 + w0, so a weight costs one byte and
 * a word holds two kernel positions of two channels. SMLAD on the word as it is sums 256 * S1 + S0; SXTB16 leaves w0
 * in each half, whose SMLAD sums S0. S1 = (first - second) / 256 needs |S1| < 2^23 and nothing of S0, for sums wrap.
 * int4 weights share a byte, 16 * w1 + w0, four positions a word: SXTB16 makes halves of it, and a mask leaves
 * 4096 * w0; |S0| < 2^19 then. Whoever packs the weights checks the sums (dsp_weights.py).
 *
 * Inputs as words of two positions, gathered once a tile for all channels (ec_conv_gather_dsp.h): 4 consecutive bytes
 * make the pairs (0, 2) and (1, 3), which SXTB16 gives without more ado, each for pixels 0, 1, 2 in turn. The input's
 * zero point is not subtracted: it stands in the bias, and padding is the zero point.
 *
 * Why 3 pixels and 2 channels: 6 accumulators, 3 input words (LDM), 2 words of weights (LDRD) and two pointers leave
 * one register for the loop, and 24 multiply-accumulates take 17 instructions and 25 cycles of a Cortex-M4. 4 pixels
 * would be 24 instructions and 34 cycles for 32: their words no longer come with one LDM. The chain of blocks is
 * entered in its middle, so that a window of any size runs without a loop for the rest.
 *
 * A channel pair's stream is its weights, 2 (int8) or 1 (int4) words a block of 4 positions, then two ec_rescale_dsp. */
#ifndef EC_CONV_TILE_DSP_H
#define EC_CONV_TILE_DSP_H

#include "ec_dsp.h"
#include "ec_rescale_dsp.h"

/* The assembly reads the first 8 fields in this order. */
typedef struct {
    int8_t *output;          /* first channel of the first pixel */
    int32_t output_step;     /* bytes from a pixel to the next */
    const int32_t *end;      /* of the weights */
    const uint32_t *x;       /* gathered inputs: 6 words a block (ec_conv_tile), 2 (ec_conv_single) */
    int32_t passes;          /* through the chain of blocks */
    int32_t entry;           /* into the chain, in bytes */
    int32_t negatives;       /* 0 where the activation's lower end is the zero point */
    const int32_t *weights;  /* one stream after the other */
    int32_t blocks;          /* words of 4 positions in a window */
} ec_conv_tile;

#define EC_CHAIN_BLOCKS 8 /* of the unrolled loop */

/* Fills in the last five fields; `block_bytes` is the length of a block of the chain in code. */
static inline void ec_conv_tile_size(ec_conv_tile *t, int32_t blocks, int32_t block_bytes)
{
    /* the first block stands before the chain; with no other one the entry is the jump behind the loop's end */
    const int32_t rest = blocks - 1, partial = rest % EC_CHAIN_BLOCKS;
    t->blocks = blocks;
    t->passes = (rest + EC_CHAIN_BLOCKS - 1) / EC_CHAIN_BLOCKS;
    t->entry = partial != 0 ? (EC_CHAIN_BLOCKS - partial) * block_bytes : rest == 0 ? EC_CHAIN_BLOCKS * block_bytes + 8 : 0;
}

/* Two channels of three pixels and one pixel; output must be even in channels. */
void ec_conv_tile_s8_dsp(const ec_conv_tile *tile);
void ec_conv_single_s8_dsp(const ec_conv_tile *tile);
void ec_conv_tile_s4_dsp(const ec_conv_tile *tile);
void ec_conv_single_s4_dsp(const ec_conv_tile *tile);

#endif
