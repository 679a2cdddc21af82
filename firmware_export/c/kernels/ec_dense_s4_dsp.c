/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_dense_dsp.h"

void ec_dense_s4_dsp(const ec_dense_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    ec_dense_dsp(params, input, output, scratch, ec_dense_quads_s4_dsp, ec_conv_single_s4_dsp, 4);
}
