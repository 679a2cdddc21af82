/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_memory.h"

void ec_pad_s8(const ec_pad_params *params, const int8_t *input, int8_t *output)
{
    const ec_pad_params p = *params;
    int32_t row;
    memset(output, p.value, (size_t)p.top_bytes);
    output += p.top_bytes;
    for (row = 0; row < p.rows; ++row) {
        memset(output, p.value, (size_t)p.left_bytes);
        output += p.left_bytes;
        memcpy(output, input, (size_t)p.row_bytes);
        output += p.row_bytes;
        input += p.row_bytes;
        memset(output, p.value, (size_t)p.right_bytes);
        output += p.right_bytes;
    }
    memset(output, p.value, (size_t)p.bottom_bytes);
}
