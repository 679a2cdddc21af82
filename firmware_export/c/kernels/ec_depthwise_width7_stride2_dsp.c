/* SPDX-License-Identifier: Apache-2.0
 * Depthwise windows of 7 columns and any number of rows, horizontal stride 2. */
#include "ec_depthwise_window_dsp.h"

void ec_depthwise_width7_stride2_dsp_step(const ec_depthwise_window_step *step);

EC_DEPTHWISE_WINDOW_FUNCTION(ec_depthwise_width7_stride2_dsp_step, "    ec_dww_taps \\columns, 4\n    ec_dww_taps \\columns, 3\n");

void ec_depthwise_width7_stride2_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    ec_depthwise_window_run(ec_depthwise_width7_stride2_dsp_step, params, input, output, scratch);
}
