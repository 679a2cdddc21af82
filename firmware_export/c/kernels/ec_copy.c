/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_memory.h"

void ec_copy_s8(const ec_copy_params *params, const int8_t *input, int8_t *output)
{
    memcpy(output, input, (size_t)params->size);
}
