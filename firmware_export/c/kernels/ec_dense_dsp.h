/* SPDX-License-Identifier: Apache-2.0
 * Body of ec_dense_s8_dsp and its narrower siblings: inputs to words once, then four outputs at a time; one or two that
 * remain are a pair as in ec_conv_tile_dsp.h, three a quad with an output of no meaning. A pair has
 * general constants where the quads share theirs. */
#ifndef EC_DENSE_DSP_H
#define EC_DENSE_DSP_H

#include "ec_clamp_dsp.h"
#include "ec_dense_tile_dsp.h"
#include "ec_kernels.h"

/* Units of 8 inputs. */
EC_OUTLINED uint32_t *ec_dense_expand(uint32_t *x, const int8_t *input, int32_t units)
{
    EC_NO_UNROLL
    for (; units != 0; --units) {
        const uint32_t a = ec_load_word(input), b = ec_load_word(input + 4);
        x[0] = ec_sxtb16(a);
        x[1] = ec_sxtb16_odd(a);
        x[2] = ec_sxtb16(b);
        x[3] = ec_sxtb16_odd(b);
        input += 8;
        x += 4;
    }
    return x;
}

EC_OUTLINED void ec_dense_copy(int8_t *target, const int8_t *source, int32_t count)
{
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < count; ++i) {
        target[i] = source[i];
    }
}

static inline void ec_dense_dsp(const ec_dense_dsp_params *p, const int8_t *input, int8_t *output, void *scratch, ec_dense_compute *compute_quads,
                                ec_conv_compute *compute_pair, const int bits)
{
    uint32_t *x = (uint32_t *)scratch;
    const int32_t units = (p->input_size + 7) / 8, whole = p->output_size / 4, rest = p->output_size & 3;
    const int32_t quad_words = units * bits + 4 * ec_rescale_words(p->form), partial = units % EC_DENSE_CHAIN;
    int8_t *const all = output;
    int8_t spare[4], last[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    ec_dense_quads quads;
    ec_dense_copy(last, input + (p->input_size & ~7), p->input_size & 7);
    ec_dense_expand(ec_dense_expand(x, input, p->input_size / 8), last, units - p->input_size / 8);
    quads.x = x;
    quads.x_end = x + 4 * units;
    quads.entry = partial == 0 ? 0 : (EC_DENSE_CHAIN - partial) * ec_dense_unit_bytes(bits);
    quads.form = p->form;
    quads.multiplier = p->multiplier;
    quads.shift = p->shift;
    quads.rounding = p->rounding;
    quads.weights = p->weights;
    if (whole > 0) {
        quads.output = output;
        quads.end = quads.weights + whole * quad_words;
        compute_quads(&quads);
        quads.weights = quads.end;
        output += 4 * whole;
    }
    if (rest == 3) {
        quads.output = spare;
        quads.end = quads.weights + quad_words;
        compute_quads(&quads);
        ec_dense_copy(output, spare, rest);
    } else if (rest != 0) {
        ec_conv_tiles pair;
        pair.form = p->form == EC_RESCALE_SHARED ? EC_RESCALE_GENERAL : p->form;
        pair.rounding = p->rounding;
        pair.output = spare;
        pair.output_step = 0;
        pair.end = quads.weights + units * bits / 2 + 2 * ec_rescale_words(pair.form);
        pair.x = x;
        pair.weights = quads.weights;
        pair.blocks = 2 * units;
        compute_pair(&pair);
        ec_dense_copy(output, spare, rest);
    }
    ec_clamp_dsp(all, p->output_size, p->activation_min, p->activation_max);
}

#endif
