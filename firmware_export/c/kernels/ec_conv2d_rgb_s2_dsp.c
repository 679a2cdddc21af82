/* SPDX-License-Identifier: Apache-2.0
 * A window of 3 rows of 9 bytes, such as 3x3 over 3 channels, in 7 blocks of positions instead of the 9 that whole words take. */
#include "ec_conv2d_dsp.h"

void ec_conv2d_rgb_s2_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    static const ec_conv_functions functions = {ec_conv_tiles_s2_dsp, ec_conv_single_s2_dsp, ec_conv_gather_rgb_dsp,
                                                ec_conv_gather_rgb_single_dsp, 2};
    ec_conv2d_dsp(params, input, output, scratch, &functions);
}
