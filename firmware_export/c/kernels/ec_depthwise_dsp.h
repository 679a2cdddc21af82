/* SPDX-License-Identifier: Apache-2.0
 * What the depthwise kernels of the DSP extension share.
 *
 * SMLAD multiplies two pairs of halves, so each kernel first brings four channels into scratch as words of two input rows:
 * the upper one in the low half, the lower one in the high half. Such words serve two output rows and all columns of the
 * kernel. Whatever lies outside the image is filled with the input's zero point, whose share the folded bias takes off
 * again: no window is clipped.
 *
 * In place: the four channels of a group are finished before the next ones are looked at, and within a group the rows that
 * a step reads are copied before the rows that it writes. The output may therefore begin where the input begins, provided
 * that the written pixels never get ahead of the copied ones (the emitters prove that), but not at any other place below:
 * bytes of one group would land on channels of another that have not been read. */
#ifndef EC_DEPTHWISE_DSP_H
#define EC_DEPTHWISE_DSP_H

#include "ec_dsp.h"
#include "ec_kernels.h"

#define EC_DEPTHWISE_LANES 4

/* Rescaling of one channel: clamp((ec_smmlar(2 * sum + bias, multiplier, offset) >> shift)). */
typedef struct {
    int32_t bias; /* doubled */
    int32_t multiplier;
    int32_t offset; /* rounds the shift and adds the output's zero point: (1 << (shift - 1)) + (zero_point << shift) */
    int32_t shift;
} ec_depthwise_scale;

/* The rescaling of one channel. */
ec_depthwise_scale ec_depthwise_scale_of(const ec_depthwise_dsp_params *params, int32_t channel);

/* The weights of one channel as bytes: where they are, or unpacked into `unpacked`, which has room for a multiple of four. */
const int8_t *ec_depthwise_weights(const ec_depthwise_dsp_params *params, int32_t channel, int32_t count, int8_t *unpacked);

/* Input rows `row` and `row + 1` of the four channels from `channel` on as words: lane l of column x goes to
 * words[x * column_step + l * lane_step], steps in words. Rows outside the image are filled with the zero point. */
void ec_depthwise_fill(const ec_depthwise_dsp_params *params, const int8_t *input, int32_t channel, int32_t row, uint32_t *words, int32_t column_step,
                       int32_t lane_step);

/* Sums of two output rows, [column][row], to one channel of the output. The second row lies `row_step` bytes after the
 * first; 0 leaves it out. */
void ec_depthwise_rescale_rows(const ec_depthwise_dsp_params *params, const ec_depthwise_scale *scale, const int32_t *sums, int8_t *output,
                               int32_t row_step);

#endif
