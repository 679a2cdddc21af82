/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_mve.h"

EC_DEPTHWISE_TILES_MVE_PAIR(g1s2, 1)
EC_DEPTHWISE_ENTRY_MVE(g1s2, any, 0)
EC_DEPTHWISE_ENTRY_MVE(g1s2, relu, 0)
