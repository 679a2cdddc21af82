/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_conv2d.h"

void ec_conv2d_s4(const ec_conv2d_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    ec_conv2d(params, input, output, scratch, 4);
}
