/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_mve.h"

EC_DEPTHWISE_TILES_MVE_PAIR(g3, 3)
EC_DEPTHWISE_ENTRY_MVE(g3, any, 0)
EC_DEPTHWISE_ENTRY_MVE(g3, relu, 0)
