/* SPDX-License-Identifier: Apache-2.0
 * Fully connected layer around one of the functions of ec_dense_blocks_mve.h. */
#ifndef EC_DENSE_MVE_H
#define EC_DENSE_MVE_H

#include "ec_dense_blocks_mve.h"
#include "ec_kernels.h"

void ec_dense_mve(const ec_dense_mve_params *p, const int8_t *input, int8_t *output, void *scratch, ec_dense_blocks_mve_function *multiply, int ties);

#endif
