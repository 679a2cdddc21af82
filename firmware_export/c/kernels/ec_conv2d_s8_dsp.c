/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_conv2d_dsp.h"

void ec_conv2d_s8_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    ec_conv2d_dsp(params, input, output, scratch, ec_conv_tile_s8_dsp, ec_conv_single_s8_dsp, EC_CONV_BLOCK_BYTES_S8);
}
