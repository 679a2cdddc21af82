/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_dense.h"

void ec_dense_s2(const ec_dense_params *params, const int8_t *input, int8_t *output)
{
    ec_dense(params, input, output, 2);
}
