/* SPDX-License-Identifier: Apache-2.0
 * Four outputs at a time of a fully connected layer, on cores with the DSP extension.
 *
 * Weights are paired as in ec_conv_tile_dsp.h. With one input vector every weight is used once, so what counts is how many
 * come with one LDM: 8 positions are 4 words of x and twice 4 words of weights, of the channels (0, 1) and (2, 3) in turn;
 * 32 multiply-accumulates take 27 instructions and 39 cycles of a Cortex-M4. All 14 registers are used.
 *
 * A quad's stream: for 8 positions the words (0, 2), (1, 3), (4, 6), (5, 7), each of both pairs (int4: a word of each pair for
 * positions 0 to 3, then for 4 to 7; ternary: a word of each pair), and at its end the constants of four channels by form. */
#ifndef EC_DENSE_TILE_DSP_H
#define EC_DENSE_TILE_DSP_H

#include "ec_conv_tile_dsp.h"

#define EC_DENSE_CHAIN 4 /* units of 8 positions in the unrolled loop */

/* Length of a unit in code, by the bits of a weight. */
static inline int32_t ec_dense_unit_bytes(int32_t bits)
{
    return bits == 8 ? 108 : bits == 4 ? 140 : 72;
}

/* The assembly reads the fields in this order. */
typedef struct {
    int8_t *output;
    const int32_t *end; /* of the weights */
    const uint32_t *x;  /* 4 words a unit */
    const uint32_t *x_end;
    int32_t entry;      /* into the chain, in bytes */
    int32_t form;       /* of rescaling: EC_RESCALE_* */
    const int32_t *weights;
    int32_t multiplier; /* of the shared form, and its shift less 1 */
    int32_t shift;
    int32_t rounding;   /* 1 + 2 * output zero point */
} ec_dense_quads;

typedef void ec_dense_compute(const ec_dense_quads *quads);

ec_dense_compute ec_dense_quads_s8_dsp;
ec_dense_compute ec_dense_quads_s4_dsp;
ec_dense_compute ec_dense_quads_s2_dsp;

/* Four outputs of the shared form. */
static inline const int32_t *ec_dense_finish_shared(const ec_dense_quads *quads, const int32_t *bias, int32_t sums[2][2][3], int8_t *output)
{
    int32_t channel;
    for (channel = 0; channel < 4; ++channel) {
        const ec_rescale_dsp r = ec_rescale_load(bias[channel], quads->multiplier, quads->shift, quads->rounding);
        output[channel] = ec_rescale_dsp_one(&r, ec_doubled_sum(sums[channel >> 1][channel & 1][0], r.bias), 1);
    }
    return bias + 4;
}

/* The same in C. */
static inline void ec_dense_quads_portable(const ec_dense_quads *quads, const int bits)
{
    const int32_t steps = (int32_t)(quads->x_end - quads->x);
    const int32_t *w = quads->weights;
    int8_t *output = quads->output;
    EC_NO_UNROLL
    for (; w != quads->end; output += 4) {
        int32_t sums[2][2][3];
        ec_conv_sums(w, 2, quads->x, steps, sums[0], 1, bits);
        ec_conv_sums(w + 1, 2, quads->x, steps, sums[1], 1, bits);
        w += steps * bits / 4;
        if (quads->form == EC_RESCALE_SHARED) {
            w = ec_dense_finish_shared(quads, w, sums, output);
        } else {
            w = ec_conv_finish(quads->form, quads->rounding, w, sums[0], output, 0, 1, bits);
            w = ec_conv_finish(quads->form, quads->rounding, w, sums[1], output + 2, 0, 1, bits);
        }
    }
}

#endif
