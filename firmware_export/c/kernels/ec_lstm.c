/* SPDX-License-Identifier: Apache-2.0
 * The rows of one unit's four gates lie together, so that one pass over the input and one over the hidden state give all
 * four, and a unit is done before the next begins: nothing but the state needs memory. */
#include "ec_dense.h"
#include "ec_gates.h"
#include "ec_memory.h"

enum { GATE_INPUT, GATE_FORGET, GATE_CELL, GATE_OUTPUT, GATES };

/* One unit's new cell state and hidden state from the sums of its gates. */
EC_OUTLINED int8_t finish_unit(const ec_lstm_params *p, const int32_t *from_input, const int32_t *from_hidden, int16_t *cell)
{
    int32_t gate[GATES], kept, added, state, i;
    EC_NO_UNROLL
    for (i = 0; i < GATES; ++i) {
        const ec_lstm_gate g = p->gates[i];
        const int32_t left = ec_saturate16(ec_requant(from_input[i], g.input_multiplier, g.input_shift));
        const int32_t right = ec_saturate16(ec_requant(from_hidden[i], g.recurrent_multiplier, g.recurrent_shift));
        const int32_t sum = ec_saturate16(left + right);
        gate[i] = i == GATE_CELL ? ec_tanh16(sum, 0) : ec_sigmoid16(sum);
    }
    kept = ec_saturate16(ec_rescale_power(gate[GATE_FORGET] * *cell, 15));
    added = ec_saturate16(ec_rescale_power(gate[GATE_INPUT] * gate[GATE_CELL], 30 + p->cell_power));
    state = ec_clamp(ec_saturate16(kept + added), p->cell_min, p->cell_max);
    *cell = (int16_t)state;
    return ec_requant_s8(gate[GATE_OUTPUT] * ec_tanh16(state, p->cell_power + 12), p->output_multiplier, p->output_shift,
                         ec_make_range(p->output_zero_point, -128, 127));
}

void ec_lstm_s8(const ec_lstm_params *params, const int8_t *input, int8_t *output, void *state)
{
    const int32_t inputs = params->inputs, units = params->units;
    int16_t *cells = (int16_t *)state;
    int8_t *remembered = (int8_t *)(cells + units);
    const int8_t *hidden = remembered;
    int32_t step, unit;
    for (step = 0; step < params->steps; ++step) {
        const int8_t *input_rows = params->input_weights, *recurrent_rows = params->recurrent_weights;
        for (unit = 0; unit < units; ++unit) {
            int32_t from_input[GATES], from_hidden[GATES];
            ec_dense_dot_4(input, input_rows, inputs, params->input_bias + GATES * unit, from_input);
            ec_dense_dot_4(hidden, recurrent_rows, units, params->recurrent_bias + GATES * unit, from_hidden);
            output[unit] = finish_unit(params, from_input, from_hidden, cells + unit);
            input_rows += GATES * inputs;
            recurrent_rows += GATES * units;
        }
        hidden = output; /* every unit read the old one, so only now may it change */
        input += inputs;
        output += units;
    }
    memcpy(remembered, hidden, (size_t)units);
}
