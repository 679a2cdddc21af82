/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_conv2d.h"

void ec_depthwise_conv2d_s8(const ec_depthwise_conv2d_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    ec_depthwise_conv2d(params, input, output, scratch, 8);
}
