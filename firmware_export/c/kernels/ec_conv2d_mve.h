/* SPDX-License-Identifier: Apache-2.0
 * Convolution around one of the functions of ec_matmul_mve.h. */
#ifndef EC_CONV2D_MVE_H
#define EC_CONV2D_MVE_H

#include "ec_kernels.h"
#include "ec_matmul_mve.h"

void ec_conv2d_mve(const ec_conv2d_mve_params *p, const int8_t *input, int8_t *output, void *scratch, ec_matmul_mve_function *matmul);

/* An entry for each, so that a program holds only those that it calls. */
#define EC_CONV2D_MVE(variant) \
    void ec_conv2d_##variant##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch) \
    { \
        ec_conv2d_mve(params, input, output, scratch, ec_matmul_##variant##_mve); \
    }

#endif
