/* SPDX-License-Identifier: Apache-2.0
 * Four outputs at a time of a fully connected layer, on cores with the DSP extension.
 *
 * Weights are paired as in ec_conv_tile_dsp.h. With one input vector every weight is used once, so what counts is how many
 * come with one LDM: 8 positions are 4 words of x and twice 4 words of weights, of the channels (0, 1) and (2, 3) in turn;
 * 32 multiply-accumulates take 27 instructions and 39 cycles of a Cortex-M4. All 14 registers are used.
 *
 * A quad's stream: for 8 positions the words (0, 2), (1, 3), (4, 6), (5, 7), each of both pairs (int4: a word of each pair for
 * positions 0 to 3, then for 4 to 7), and at its end four ec_rescale_dsp or ec_rescale_short. */
#ifndef EC_DENSE_TILE_DSP_H
#define EC_DENSE_TILE_DSP_H

#include "ec_conv_tile_dsp.h"

#define EC_DENSE_CHAIN 8 /* units of 8 positions in the unrolled loop */
#define EC_DENSE_UNIT_BYTES_S8 108
#define EC_DENSE_UNIT_BYTES_S4 140

/* The assembly reads the fields in this order. */
typedef struct {
    int8_t *output;
    const int32_t *end; /* of the weights */
    const uint32_t *x;  /* 4 words a unit */
    const uint32_t *x_end;
    int32_t entry;      /* into the chain, in bytes */
    int32_t form;       /* of rescaling: EC_RESCALE_* */
    const int32_t *weights;
} ec_dense_quads;

typedef void ec_dense_compute(const ec_dense_quads *quads);

ec_dense_compute ec_dense_quads_s8_dsp;
ec_dense_compute ec_dense_quads_s4_dsp;

/* The same in C. */
static inline void ec_dense_quads_portable(const ec_dense_quads *quads, const int bits)
{
    const int32_t *w = quads->weights;
    int8_t *output = quads->output;
    EC_NO_UNROLL
    for (; w != quads->end; output += 4) {
        const uint32_t *x;
        int32_t first[2] = {0, 0}, second[2] = {0, 0};
        int pair, step;
        EC_NO_UNROLL
        for (x = quads->x; x != quads->x_end; x += 4) {
            for (step = 0; step < 4; ++step) {
                for (pair = 0; pair < 2; ++pair) {
                    const uint32_t word = (uint32_t)w[bits == 8 ? 2 * step + pair : step / 2 * 2 + pair];
                    const uint32_t both = bits == 8 ? word : step & 1 ? ec_sxtb16_odd(word) : ec_sxtb16(word);
                    first[pair] = ec_smlad(both, x[step], first[pair]);
                    second[pair] = ec_smlad(bits == 8 ? ec_sxtb16(word) : both << 12 & 0xf000f000u, x[step], second[pair]);
                }
            }
            w += bits;
        }
        for (pair = 0; pair < 2; ++pair) {
            w = ec_conv_finish(quads->form, w, &first[pair], &second[pair], output + 2 * pair, 0, 1, bits);
        }
    }
}

#endif
