/* SPDX-License-Identifier: Apache-2.0
 * Weights of 4 or 2 bits to bytes on cores with Helium. */
#ifndef EC_UNPACK_MVE_H
#define EC_UNPACK_MVE_H

#include <stdint.h>

/* `groups` groups of 64 weights. A group of 4 bits is two vectors of 16 bytes: the low nibbles of the first are weights 0 to 15,
 * its high nibbles 16 to 31, the second holds the rest alike. A group of 2 bits is one vector, from the low bits up. */
void ec_unpack_mve(int32_t *target, const int32_t *packed, int32_t groups, int32_t bits);

#endif
