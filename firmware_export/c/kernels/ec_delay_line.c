/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_memory.h"

void ec_delay_line_s8(const ec_delay_line_params *params, const int8_t *input, int8_t *output, void *state)
{
    memcpy(output, state, (size_t)params->kept);
    memcpy(output + params->kept, input, (size_t)params->size);
    memcpy(state, output + params->size, (size_t)params->kept); /* the end of the output, which may be older than the input */
}
