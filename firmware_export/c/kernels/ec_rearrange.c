/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_memory.h"
#include "ec_requant.h"

static inline void copy_apart(int8_t *target, const int8_t *source, int32_t count, int32_t step)
{
    int32_t position = 0, i;
    EC_NO_UNROLL
    for (i = 0; i < count; ++i) {
        target[i] = source[position];
        position += step;
    }
}

void ec_rearrange_s8(const ec_rearrange_params *params, const int8_t *input, int8_t *output)
{
    const ec_rearrange_params p = *params;
    int32_t turn[EC_REARRANGE_AXES] = {0, 0, 0, 0, 0, 0}, position = p.offset, axis;
    do {
        if (p.run_step == 1) {
            memcpy(output, input + position, (size_t)p.run);
        } else {
            copy_apart(output, input + position, p.run, p.run_step);
        }
        output += p.run;
        for (axis = 0; axis < p.axes; ++axis) { /* to the next run: an axis that is through starts again, the next one moves */
            position += p.step[axis];
            if (++turn[axis] < p.size[axis]) {
                break;
            }
            turn[axis] = 0;
            position -= p.step[axis] * p.size[axis];
        }
    } while (axis < p.axes);
}
