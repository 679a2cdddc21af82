/* SPDX-License-Identifier: Apache-2.0
 * Depthwise windows of any number of rows and columns. */
#include "ec_depthwise_window_dsp.h"

void ec_depthwise_window_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    ec_depthwise_window_run(ec_depthwise_window_any, params, input, output, scratch);
}
