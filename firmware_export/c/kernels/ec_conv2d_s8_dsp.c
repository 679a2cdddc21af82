/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_conv2d_dsp.h"

void ec_conv2d_s8_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    static const ec_conv_functions functions = {ec_conv_tiles_s8_dsp, ec_conv_single_s8_dsp, ec_conv_gather_dsp,
                                                ec_conv_gather_single_dsp, 8};
    ec_conv2d_dsp(params, input, output, scratch, &functions);
}
