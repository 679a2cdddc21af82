/* SPDX-License-Identifier: Apache-2.0
 * Activation ranges that are narrower than int8: kernels saturate to int8 and clamp what they wrote afterwards. Few
 * layers need it, a ReLU is the lower end of int8 in most models. */
#ifndef EC_CLAMP_DSP_H
#define EC_CLAMP_DSP_H

#include <stdint.h>

/* Clamps `count` bytes; the range -128 to 127 costs nothing. */
void ec_clamp_dsp(int8_t *output, int32_t count, int32_t low, int32_t high);

#endif
