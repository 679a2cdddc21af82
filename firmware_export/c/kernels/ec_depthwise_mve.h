/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution around one of the functions of ec_depthwise_tiles_mve.h. */
#ifndef EC_DEPTHWISE_MVE_H
#define EC_DEPTHWISE_MVE_H

#include "ec_depthwise_asm_mve.h"
#include "ec_kernels.h"

/* `middle`: EC_DEPTHWISE_MIDDLE_*; `pair`: not 0 for the function _pair. */
void ec_depthwise_mve(const ec_depthwise_mve_params *p, const int8_t *input, int8_t *output, void *scratch, ec_depthwise_tiles_mve_function *tiles,
                      int32_t middle, int32_t pair);

#define EC_DEPTHWISE_ENTRY_MVE(kind, ties, pair) \
    void ec_depthwise_##kind##_##ties##_mve(const ec_depthwise_mve_params *params, const int8_t *input, int8_t *output, void *scratch) \
    { \
        ec_depthwise_mve(params, input, output, scratch, ec_depthwise_tiles_##kind##_##ties##_mve, EC_DEPTHWISE_MIDDLE_##kind, pair); \
    }

#endif
