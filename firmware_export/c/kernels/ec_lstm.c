/* SPDX-License-Identifier: Apache-2.0
 * The rows of one unit's four gates lie together, so that one pass over the input and one over the hidden state give all
 * four, and a unit is done before the next begins: nothing but the state needs memory. */
#include "ec_lstm.h"

#include "ec_dense.h"
#include "ec_memory.h"

void ec_lstm_s8(const ec_lstm_params *params, const int8_t *input, int8_t *output, void *state)
{
    const int32_t inputs = params->inputs, units = params->units;
    int16_t *cells = (int16_t *)state;
    int8_t *remembered = (int8_t *)(cells + units);
    const int8_t *hidden = remembered;
    int32_t step, unit;
    for (step = 0; step < params->steps; ++step) {
        const int8_t *input_rows = (const int8_t *)params->input_weights, *recurrent_rows = (const int8_t *)params->recurrent_weights;
        EC_NO_UNROLL
        for (unit = 0; unit < units; ++unit) {
            int32_t from_input[EC_GATES], from_hidden[EC_GATES];
            ec_dense_dot_4(input, input_rows, inputs, params->input_bias + EC_GATES * unit, from_input);
            ec_dense_dot_4(hidden, recurrent_rows, units, params->recurrent_bias + EC_GATES * unit, from_hidden);
            output[unit] = ec_lstm_finish(params, from_input, from_hidden, cells + unit);
            input_rows += EC_GATES * inputs;
            recurrent_rows += EC_GATES * units;
        }
        hidden = output; /* every unit read the old one, so only now may it change */
        input += inputs;
        output += units;
    }
    memcpy(remembered, hidden, (size_t)units);
}
