/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_dense_blocks_mve.h"
#include "ec_dense_mve.h"

EC_DENSE_BLOCKS_MVE(ec_dense_blocks_any_mve, any)

void ec_dense_any_mve(const ec_dense_mve_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    ec_dense_mve(params, input, output, scratch, ec_dense_blocks_any_mve, EC_DENSE_TIES_any);
}
