/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant.h"

void ec_table_s8(const ec_table_params *params, const int8_t *input, int8_t *output)
{
    const int8_t *middle = params->table + 128;
    const int32_t size = params->size;
    int32_t i;
    EC_NO_UNROLL
    for (i = 0; i < size; ++i) {
        output[i] = middle[input[i]];
    }
}
