/* SPDX-License-Identifier: Apache-2.0
 * The inner part of convolution on cores with the DSP extension: tiles of 3 pixels times all output channels, two at a time.
 *
 * Weights in pairs. The two weights of a channel pair share a halfword, 256 * w1 + w0, so a weight costs one byte and
 * a word holds two kernel positions of two channels. SMLAD on the word as it is sums 256 * S1 + S0; SXTB16 leaves w0
 * in each half, whose SMLAD sums S0. S1 = (first - second) / 256 needs |S1| < 2^23 and nothing of S0, for sums wrap.
 * int4 weights share a byte, 16 * w1 + w0, four positions a word: SXTB16 makes halves of it, and a mask leaves
 * 4096 * w0; |S0| < 2^19 then. Whoever packs the weights checks the sums (edgecompress/lower/c/dsp_weights.py).
 *
 * Inputs as words of two positions, gathered once a tile for all channels (ec_conv_gather_dsp.h). The input's zero
 * point is not subtracted: it stands in the bias, and padding is the zero point.
 *
 * Why 3 pixels and 2 channels: 6 accumulators, 3 input words (LDM), 2 words of weights (LDRD) and two pointers leave
 * one register for the loop. 24 multiply-accumulates take 17 instructions and 25 cycles of a Cortex-M4; 4 pixels would
 * take 24 instructions and 34 cycles for 32, because their words no longer come with one LDM (Cortex-M7, by the model of
 * bench/pipeline.py: 15 cycles for 24 against 22 for 32). The chain of blocks is entered in its middle, so that a window
 * of any size runs without a loop for the rest, and one of up to 17 blocks without a loop at all.
 *
 * A channel pair's stream is its weights, 2 (int8) or 1 (int4) words a block of 4 positions, then two ec_rescale_dsp or
 * ec_rescale_short. */
#ifndef EC_CONV_TILE_DSP_H
#define EC_CONV_TILE_DSP_H

#include "ec_conv_gather_dsp.h"
#include "ec_dsp.h"
#include "ec_requant.h"
#include "ec_rescale_dsp.h"

/* A number of tiles whose windows lie at equal distances. The assembly copies the first 19 words to its stack, so their order
 * is fixed; it has one place for an address of its own. */
typedef struct {
    int8_t *output;         /* first channel of the first pixel */
    int32_t output_step;    /* bytes from a pixel to the next: channels, rounded up to even */
    const int32_t *end;     /* of the weights */
    const uint32_t *x;      /* windows.x */
    int32_t passes;         /* through the chain of blocks */
    int32_t entry;          /* into the chain, in bytes */
    int32_t form;           /* of rescaling: EC_RESCALE_* of ec_rescale_dsp.h */
    int32_t reserved;
    const int32_t *weights; /* one stream after the other */
    ec_conv_gather *gather;
    int32_t tiles;
    int32_t advance;        /* of the windows from a tile to the next, in bytes */
    ec_conv_windows windows;
    int32_t blocks;         /* in a window */
} ec_conv_tiles;

#define EC_CHAIN_BLOCKS 16 /* of the unrolled loop */

/* Fills in what depends on the window's size; `block_bytes` is the length of a block of the chain in code. The first block stands
 * before the chain; with no other one the entry is the jump at its end. */
static inline void ec_conv_set_blocks(ec_conv_tiles *t, int32_t blocks, int32_t block_bytes)
{
    const int32_t rest = blocks - 1, partial = rest % EC_CHAIN_BLOCKS;
    t->blocks = blocks;
    t->passes = (rest + EC_CHAIN_BLOCKS - 1) / EC_CHAIN_BLOCKS;
    t->entry = partial != 0 || rest == 0 ? (EC_CHAIN_BLOCKS - partial) * block_bytes : 0;
}

#define EC_CONV_BLOCK_BYTES_S8 68
#define EC_CONV_BLOCK_BYTES_S4 76

/* Gathers and computes all tiles; computes one pixel, which ec_conv_gather_single_dsp gathered. */
typedef void ec_conv_compute(const ec_conv_tiles *tiles);

ec_conv_compute ec_conv_tiles_s8_dsp;
ec_conv_compute ec_conv_single_s8_dsp;
ec_conv_compute ec_conv_tiles_s4_dsp;
ec_conv_compute ec_conv_single_s4_dsp;

/* Outputs of two channels from the sums of their weights together (`first`) and of w0 alone, at 2^12 for int4 (`second`); returns what
 * stands behind the constants. */
static inline const int32_t *ec_conv_finish(int32_t form, const int32_t *constants, const int32_t *first, const int32_t *second, int8_t *output,
                                            int32_t output_step, const int pixels, const int bits)
{
    const int32_t words = ec_rescale_words(form);
    int32_t pixel, channel;
    for (pixel = 0; pixel < pixels; ++pixel) {
        int32_t sums[2];
        sums[0] = bits == 8 ? second[pixel] : second[pixel] >> 12;
        sums[1] = (int32_t)((uint32_t)first[pixel] - (uint32_t)sums[0]) >> bits;
        for (channel = 0; channel < 2; ++channel) {
            const int32_t *c = constants + channel * words;
            int8_t result;
            if (form == EC_RESCALE_GENERAL) {
                ec_rescale_dsp r;
                r.bias = c[0];
                r.multiplier = c[1];
                r.offset = c[2];
                r.shift = c[3];
                result = ec_rescale_dsp_one(&r, ec_doubled_sum(sums[channel], r.bias), 1);
            } else {
                ec_rescale_short r;
                r.bias = c[0];
                r.multiplier = c[1];
                result = ec_rescale_short_one(&r, sums[channel], ec_rescale_shift(form, bits));
            }
            output[pixel * output_step + channel] = result;
        }
    }
    return constants + 2 * words;
}

/* One tile, or pixel, in C; `pixels` and `bits` are constants. */
static inline void ec_conv_compute_portable(const ec_conv_tiles *tile, int8_t *output, const int pixels, const int bits)
{
    const int32_t *w = tile->weights;
    EC_NO_UNROLL
    for (; w != tile->end; output += 2) {
        const uint32_t *x = tile->x;
        int32_t first[3] = {0, 0, 0}, second[3] = {0, 0, 0}, step;
        int pixel;
        EC_NO_UNROLL
        for (step = 0; step < 2 * tile->blocks; ++step) {
            uint32_t both, one;
            if (bits == 8) {
                both = (uint32_t)*w++;
                one = ec_sxtb16(both);
            } else {
                both = step & 1 ? ec_sxtb16_odd((uint32_t)*w) : ec_sxtb16((uint32_t)*w);
                one = both << 12 & 0xf000f000u;
                w += step & 1;
            }
            for (pixel = 0; pixel < pixels; ++pixel) {
                first[pixel] = ec_smlad(both, *x, first[pixel]);
                second[pixel] = ec_smlad(one, *x++, second[pixel]);
            }
        }
        w = ec_conv_finish(tile->form, w, first, second, output, tile->output_step, pixels, bits);
    }
}

static inline void ec_conv_tiles_portable(const ec_conv_tiles *tiles, const int bits)
{
    ec_conv_windows windows = tiles->windows;
    int32_t tile;
    for (tile = 0; tile < tiles->tiles; ++tile) {
        tiles->gather(&windows);
        ec_conv_compute_portable(tiles, tiles->output + 3 * tile * tiles->output_step, 3, bits);
        windows.a += tiles->advance;
        windows.b += tiles->advance;
        windows.c += tiles->advance;
    }
}

#endif
