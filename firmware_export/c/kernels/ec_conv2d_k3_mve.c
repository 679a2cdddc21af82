/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_conv2d_mve.h"
#include "ec_matmul_asm_mve.h"

EC_MATMUL_MVE_PAIR(k3, k)
EC_CONV2D_MVE(k3_any)
EC_CONV2D_MVE(k3_relu)
