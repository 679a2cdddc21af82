/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_requant.h"

void ec_table_s8(const ec_table_params *params, const int8_t *input, int8_t *output)
{
    const int8_t *middle = params->table + 128;
    int32_t rest = params->size;
    EC_NO_UNROLL
    for (; rest >= 4; rest -= 4) {
        const int8_t a = middle[input[0]], b = middle[input[1]], c = middle[input[2]], d = middle[input[3]];
        output[0] = a;
        output[1] = b;
        output[2] = c;
        output[3] = d;
        input += 4;
        output += 4;
    }
    EC_NO_UNROLL
    for (; rest > 0; --rest) {
        *output++ = middle[*input++];
    }
}
