/* SPDX-License-Identifier: Apache-2.0
 * The inner part of convolution on cores with the DSP extension: tiles of 3 pixels times all output channels, two at a time.
 *
 * Weights in pairs. The two weights of a channel pair share a halfword, 256 * w1 + w0, so a weight costs one byte and
 * a word holds two kernel positions of two channels. SMLAD on the word as it is sums 256 * S1 + S0; SXTB16 leaves w0
 * in each half, whose SMLAD sums S0. S1 = (first - second) / 256 needs |S1| < 2^23 and nothing of S0, for sums wrap.
 * int4 weights share a byte, 16 * w1 + w0, four positions a word: SXTB16 makes halves of it, and a mask leaves
 * 4096 * w0; |S0| < 2^19 then. Ternary ones share 4 bits and get by with one sum: see ec_conv_tile_s2_dsp.c. Whoever
 * packs the weights checks the sums (edgecompress/lower/c/dsp_weights.py).
 *
 * Inputs as words of two positions, gathered once a tile for all channels (ec_conv_gather_dsp.h). The input's zero
 * point is not subtracted: it stands in the bias, and padding is the zero point.
 *
 * Why 3 pixels and 2 channels: 6 accumulators, 3 input words (LDM), 2 words of weights (LDRD) and two pointers leave
 * one register for the loop. 24 multiply-accumulates take 17 instructions and 25 cycles of a Cortex-M4; 4 pixels would
 * take 24 instructions and 34 cycles for 32, because their words no longer come with one LDM (Cortex-M7, by the model of
 * bench/pipeline.py: 15 cycles for 24 against 22 for 32). The chain of blocks is entered in its middle, so that a window
 * of any size runs without a loop for the rest, and one of up to 9 blocks without a loop at all.
 * A longer chain saves hardly anything and would not stay in 1 KiB of instruction cache with the code that finishes a tile:
 * with 16 blocks the flash waits of an STM32L4 or F4 cost more than the whole computation.
 *
 * A channel pair's stream is its weights, 2 (int8) or 1 (int4) words a block of 4 positions or a word for two blocks
 * (ternary), then the constants of both channels by form. */
#ifndef EC_CONV_TILE_DSP_H
#define EC_CONV_TILE_DSP_H

#include "ec_conv_gather_dsp.h"
#include "ec_dsp.h"
#include "ec_requant.h"
#include "ec_rescale_dsp.h"

/* A number of tiles whose windows lie at equal distances. The assembly copies the first 19 words to its stack, so their order
 * is fixed. */
typedef struct {
    int8_t *output;         /* first channel of the first pixel */
    int32_t output_step;    /* bytes from a pixel to the next: channels, rounded up to even */
    const int32_t *end;     /* of the weights */
    uint32_t *x;            /* windows.x */
    int32_t passes;         /* through the chain of blocks */
    int32_t entry;          /* into the chain, in bytes */
    int32_t form;           /* of rescaling: EC_RESCALE_* of ec_rescale_dsp.h */
    int32_t rounding;       /* 1 + 2 * output zero point */
    const int32_t *weights; /* one stream after the other */
    ec_conv_gather *gather;
    int32_t tiles;
    int32_t advance;        /* of the windows from a tile to the next, in bytes */
    ec_conv_windows windows;
    int32_t blocks;         /* in a window */
} ec_conv_tiles;

/* The unrolled loop, by the bits of a weight: blocks of 4 positions (ternary: 8) and their length in code. */
#define EC_CHAIN_BLOCKS 8
#define EC_CHAIN_WORDS_S2 4

/* Fills in what depends on the window's size. Except for ternary weights the first block stands before the chain; with no
 * other one the entry is the jump at its end. */
static inline void ec_conv_set_blocks(ec_conv_tiles *t, int32_t blocks, int32_t bits)
{
    const int32_t block_bytes = bits == 8 ? 68 : bits == 4 ? 76 : 84, chain = bits == 2 ? EC_CHAIN_WORDS_S2 : EC_CHAIN_BLOCKS;
    const int32_t rest = bits == 2 ? (blocks + 1) / 2 : blocks - 1, partial = rest % chain;
    t->blocks = blocks;
    t->passes = (rest + chain - 1) / chain;
    t->entry = partial != 0 || rest == 0 ? (chain - partial) * block_bytes : 0;
}

/* Gathers and computes all tiles; computes one pixel, which ec_conv_gather_single_dsp gathered. */
typedef void ec_conv_compute(const ec_conv_tiles *tiles);

ec_conv_compute ec_conv_tiles_s8_dsp;
ec_conv_compute ec_conv_single_s8_dsp;
ec_conv_compute ec_conv_tiles_s4_dsp;
ec_conv_compute ec_conv_single_s4_dsp;
ec_conv_compute ec_conv_tiles_s2_dsp;
ec_conv_compute ec_conv_single_s2_dsp;

/* Outputs of two channels from their sums [channel][pixel]; returns what stands behind the constants. */
static inline const int32_t *ec_conv_finish(int32_t form, int32_t rounding, const int32_t *constants, int32_t sums[2][3], int8_t *output,
                                            int32_t output_step, const int pixels, const int bits)
{
    const int32_t words = ec_rescale_words(form);
    int32_t pixel, channel;
    for (channel = 0; channel < 2; ++channel) {
        const int32_t *c = constants + channel * words;
        for (pixel = 0; pixel < pixels; ++pixel) {
            int8_t *target = output + pixel * output_step + channel;
            if (form == EC_RESCALE_GENERAL) {
                const ec_rescale_dsp r = ec_rescale_load(c[0], c[1], c[2], rounding);
                *target = ec_rescale_dsp_one(&r, ec_doubled_sum(sums[channel][pixel], r.bias), 1);
            } else {
                ec_rescale_short r;
                r.bias = c[0];
                r.multiplier = c[1];
                *target = ec_rescale_short_one(&r, sums[channel][pixel], ec_rescale_shift(form, bits));
            }
        }
    }
    return constants + 2 * words;
}

/* Sums of a channel pair from `steps` pairs of positions; the steps of pixel p are at x[p], x[p + pixels] and so on. Weights of step
 * s begin at w[s * stride]: s8 a word a step, s4 a word for 2, s2 a word for 4. */
static inline void ec_conv_sums(const int32_t *w, int32_t stride, const uint32_t *x, int32_t steps, int32_t sums[2][3], const int pixels,
                                const int bits)
{
    int32_t first[3] = {0, 0, 0}, second[3] = {0, 0, 0}, step;
    int pixel;
    EC_NO_UNROLL
    for (step = 0; step < steps; ++step) {
        const uint32_t word = (uint32_t)w[step * bits / 8 * stride];
        for (pixel = 0; pixel < pixels; ++pixel) {
            const uint32_t input = x[step * pixels + pixel];
            if (bits == 8) {
                first[pixel] = ec_smlad(word, input, first[pixel]);
                second[pixel] = ec_smlad(ec_sxtb16(word), input, second[pixel]);
            } else if (bits == 4) {
                const uint32_t both = step & 1 ? ec_sxtb16_odd(word) : ec_sxtb16(word);
                first[pixel] = ec_smlad(both, input, first[pixel]);
                second[pixel] = ec_smlad(both << 12 & 0xf000f000u, input, second[pixel]);
            } else {
                /* w0 + 1 in bits 0 and 1, w1 in bits 14 and 15; the sum of the inputs is taken off both sums */
                const int turn = step % 4 * 4;
                const uint32_t fields = (turn == 0 ? word : word >> turn | word << (32 - turn)) & 0xc003c003u;
                first[pixel] = ec_smlad(fields, input, ec_smlad(0xffffffffu, input, first[pixel]));
                if (step % 16 == 15 || step == steps - 1) {
                    const uint32_t change = ((uint32_t)first[pixel] - (uint32_t)second[pixel]) << 18;
                    second[pixel] += (int32_t)change >> 18;
                }
            }
        }
    }
    for (pixel = 0; pixel < pixels; ++pixel) {
        sums[0][pixel] = bits == 4 ? second[pixel] >> 12 : second[pixel];
        sums[1][pixel] = (int32_t)((uint32_t)first[pixel] - (uint32_t)sums[0][pixel]) >> (bits == 2 ? 14 : bits);
    }
}

/* Words of weights of a channel pair for a number of blocks. */
static inline int32_t ec_conv_pair_words(int32_t blocks, int bits)
{
    return (blocks * bits + 3) / 4;
}

/* One tile, or pixel, in C; `pixels` and `bits` are constants. */
static inline void ec_conv_compute_portable(const ec_conv_tiles *tile, int8_t *output, const int pixels, const int bits)
{
    const int32_t *w = tile->weights;
    const int32_t steps = bits == 2 ? (tile->blocks + 1) / 2 * 4 : 2 * tile->blocks;
    EC_NO_UNROLL
    for (; w != tile->end; output += 2) {
        int32_t sums[2][3];
        ec_conv_sums(w, 1, tile->x, steps, sums, pixels, bits);
        w += ec_conv_pair_words(tile->blocks, bits);
        w = ec_conv_finish(tile->form, tile->rounding, w, sums, output, tile->output_step, pixels, bits);
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
