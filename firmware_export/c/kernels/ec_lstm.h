/* SPDX-License-Identifier: Apache-2.0
 * What ec_lstm_s8 and ec_lstm_s8_dsp share: from the sums of a unit's gates to its new state. */
#ifndef EC_LSTM_H
#define EC_LSTM_H

#include "ec_gates.h"
#include "ec_kernels.h"

enum { EC_GATE_INPUT, EC_GATE_FORGET, EC_GATE_CELL, EC_GATE_OUTPUT, EC_GATES };

/* `doubled` as in ec_scale, `shift` the right shift less 1: negative for none or a left shift. */
static inline int32_t ec_lstm_rescale(int32_t x, int32_t doubled, int32_t shift)
{
    return shift >= 0 ? ec_rounding_shift_right(ec_scale(x, doubled), shift + 1) : ec_scale((int32_t)((uint32_t)x << (-1 - shift)), doubled);
}

static inline int32_t ec_lstm_gate_sum(const ec_lstm_gate *g, int32_t from_input, int32_t from_hidden)
{
    return ec_saturate16(ec_saturate16(ec_lstm_rescale(from_input, g->input_multiplier, g->input_shift)) +
                         ec_saturate16(ec_lstm_rescale(from_hidden, g->recurrent_multiplier, g->recurrent_shift)));
}

/* One unit's new hidden state; its cell state is updated. */
EC_OUTLINED int8_t ec_lstm_finish(const ec_lstm_params *p, const int32_t *from_input, const int32_t *from_hidden, int16_t *cell)
{
    const ec_lstm_gate *g = p->gates;
    const int32_t i = ec_sigmoid16(ec_lstm_gate_sum(g + EC_GATE_INPUT, from_input[EC_GATE_INPUT], from_hidden[EC_GATE_INPUT]));
    const int32_t f = ec_sigmoid16(ec_lstm_gate_sum(g + EC_GATE_FORGET, from_input[EC_GATE_FORGET], from_hidden[EC_GATE_FORGET]));
    const int32_t c = ec_tanh16(ec_lstm_gate_sum(g + EC_GATE_CELL, from_input[EC_GATE_CELL], from_hidden[EC_GATE_CELL]), 0);
    const int32_t o = ec_sigmoid16(ec_lstm_gate_sum(g + EC_GATE_OUTPUT, from_input[EC_GATE_OUTPUT], from_hidden[EC_GATE_OUTPUT]));
    const int32_t kept = ec_saturate16(ec_rescale_power(f * *cell, 15));
    const int32_t added = ec_saturate16(ec_rescale_power(i * c, 30 + p->cell_power));
    const int32_t state = ec_clamp(ec_saturate16(kept + added), p->cell_min, p->cell_max);
    const int32_t hidden = ec_lstm_rescale(o * ec_tanh16(state, p->cell_power + 12), p->output_multiplier, p->output_shift);
    *cell = (int16_t)state;
    return ec_narrow(hidden, ec_make_range(p->output_zero_point, -128, 127));
}

#endif
