/* SPDX-License-Identifier: Apache-2.0
 * Fully connected layer around one of the functions of ec_dense_blocks_mve.h. */
#ifndef EC_DENSE_MVE_H
#define EC_DENSE_MVE_H

#include "ec_dense_blocks_mve.h"
#include "ec_kernels.h"

void ec_dense_mve(const ec_dense_mve_params *p, const int8_t *input, int8_t *output, void *scratch, ec_dense_blocks_mve_function *multiply, int ties,
                  int32_t words);

#define EC_DENSE_ENTRY_MVE(factors, ties) \
    EC_DENSE_BLOCKS_MVE(ec_dense_blocks_##factors##_##ties##_mve, ties, factors) \
    void ec_dense_##factors##_##ties##_mve(const ec_dense_mve_params *params, const int8_t *input, int8_t *output, void *scratch) \
    { \
        ec_dense_mve(params, input, output, scratch, ec_dense_blocks_##factors##_##ties##_mve, EC_DENSE_TIES_##ties, EC_DENSE_WORDS_##factors); \
    }

#endif
