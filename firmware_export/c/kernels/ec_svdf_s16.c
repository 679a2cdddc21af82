/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_svdf.h"

void ec_svdf_s16(const ec_svdf_params *params, const int8_t *input, int8_t *output, void *state)
{
    ec_svdf(params, input, output, state, 16);
}
