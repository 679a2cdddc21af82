/* SPDX-License-Identifier: Apache-2.0
 * What the convolutions of the DSP extension share: ec_conv2d_s8_dsp and its siblings are this with other functions. */
#ifndef EC_CONV2D_DSP_H
#define EC_CONV2D_DSP_H

#include "ec_conv_tile_dsp.h"
#include "ec_kernels.h"

typedef struct {
    ec_conv_compute *tiles;
    ec_conv_compute *single;
    ec_conv_gather *gather;
    ec_conv_gather *gather_single;
    int32_t bits; /* of a weight */
} ec_conv_functions;

void ec_conv2d_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch, const ec_conv_functions *functions);

#endif
