/* SPDX-License-Identifier: Apache-2.0
 * memcpy and memset, declared here because a freestanding tool chain need not ship <string.h>; every one provides the
 * functions themselves. */
#ifndef EC_MEMORY_H
#define EC_MEMORY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

void *memcpy(void *target, const void *source, size_t size);
void *memset(void *target, int value, size_t size);

#ifdef __cplusplus
}
#endif

#endif
