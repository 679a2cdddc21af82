/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_mve.h"

EC_DEPTHWISE_TILES_MVE_PAIR(pair, 1)
EC_DEPTHWISE_ENTRY_MVE(pair, any, 1)
EC_DEPTHWISE_ENTRY_MVE(pair, relu, 1)
