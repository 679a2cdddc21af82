/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_matmul_asm_mve.h"

EC_MATMUL_MVE_PAIR(k1, k)
