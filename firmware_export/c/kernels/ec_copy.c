/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_memory.h"

/* The output may begin before the input and overlap with it: pieces no longer than the distance between the two never do. */
void ec_copy_s8(const ec_copy_params *params, const int8_t *input, int8_t *output)
{
    const size_t ahead = (size_t)((uintptr_t)input - (uintptr_t)output);
    size_t rest = (size_t)params->size;
    if (ahead == 0) {
        return;
    }
    for (; rest > ahead; rest -= ahead) {
        memcpy(output, input, ahead);
        input += ahead;
        output += ahead;
    }
    memcpy(output, input, rest);
}
