/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_conv2d_mve.h"
#include "ec_matmul_asm_mve.h"

EC_MATMUL_MVE_PAIR(n, n)
EC_CONV2D_MVE(n_any)
EC_CONV2D_MVE(n_relu)
