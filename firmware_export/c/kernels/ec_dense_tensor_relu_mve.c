/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_dense_mve.h"

EC_DENSE_ENTRY_MVE(tensor, relu)
