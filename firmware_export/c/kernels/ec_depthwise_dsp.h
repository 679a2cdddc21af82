/* SPDX-License-Identifier: Apache-2.0
 * What the depthwise kernels of the DSP extension share.
 *
 * SMLAD multiplies two pairs of halves, so each kernel first brings four channels into scratch as words of two input rows:
 * the upper one in the low half, the lower one in the high half. Such words serve two output rows and all columns of the
 * kernel. SXTAB16 takes the zero point off on the way, so that whatever lies outside the image is 0. The sums of two output
 * rows of one channel, a lane, stand in scratch until they are rescaled: the multiplications need every register.
 *
 * In place: the four channels of a group are finished before the next ones are looked at, and within a group the rows that
 * a step reads are copied before the rows that it writes. The output may therefore begin where the input begins, provided
 * that the written pixels never get ahead of the copied ones (the emitters prove that), but not at any other place below:
 * bytes of one group would land on channels of another that have not been read. */
#ifndef EC_DEPTHWISE_DSP_H
#define EC_DEPTHWISE_DSP_H

#include "ec_dsp.h"
#include "ec_kernels.h"
#include "ec_requant.h"
#include "ec_rescale_dsp.h"

#define EC_DEPTHWISE_LANES 4
#define EC_DEPTHWISE_SCALE_WORDS 4 /* of a lane: an ec_rescale_dsp or ec_rescale_short */

/* What a step over the lanes of a group needs. Functions in assembly keep a copy on their stack: the order matters to them.
 * An ec_depthwise_rescale rescales the sums of one lane, which are those of two rows, [column][row]; it moves `output` to the
 * next lane and `lane` behind the lane's EC_DEPTHWISE_SCALE_WORDS. Where EC_DSP is 1 it is no C function: the step lies at the
 * stack pointer, and all registers change. */
typedef struct ec_depthwise_step {
    int32_t *sums_end; /* one after the sums of a lane */
    int32_t *sums;     /* of one lane, aligned to 16 bytes */
    int8_t *output;    /* first output of the next lane */
    int32_t row_step;  /* bytes from the first output row to the second; 0: there is no second row */
    int32_t column_step;
    const uint32_t *lane;     /* constants of the next lane, its rescaling at the end */
    const uint32_t *lane_end; /* one after those of the last lane */
    ec_depthwise_rescale *rescale;
    int32_t activation_min;
    int32_t activation_max;
} ec_depthwise_step;

/* The fields that are the same for all steps of a call. `columns`: sums of a lane, in pairs; `column_step` between outputs. */
void ec_depthwise_begin(ec_depthwise_step *step, const ec_depthwise_dsp_params *params, int32_t *sums, int32_t columns, int32_t column_step);

/* The rescaling of one channel: its constants, and the shift where the offset has it as its lowest bit. */
static inline void ec_depthwise_load_scale(const ec_depthwise_dsp_params *params, int32_t channel, uint32_t *scale)
{
    const int32_t words = params->scale_words;
    const int32_t *source = params->scales + channel * words;
    scale[0] = (uint32_t)source[0];
    scale[1] = (uint32_t)source[1];
    if (words == 3) {
        scale[2] = (uint32_t)source[2];
        scale[3] = (uint32_t)ec_trailing_zeros(scale[2]) + 1;
    }
}

const int8_t *ec_depthwise_unpack(const ec_depthwise_dsp_params *params, int32_t channel, int32_t count, int8_t *unpacked);

/* The weights of one channel as bytes: where they are, or unpacked. */
static inline const int8_t *ec_depthwise_weights(const ec_depthwise_dsp_params *params, int32_t channel, int32_t count, int8_t *unpacked)
{
    return params->weight_bits == 8 ? params->weights + channel * count : ec_depthwise_unpack(params, channel, count, unpacked);
}

/* One pixel of `row` after the other, or the zero point again and again where there is no such row. */
static inline const int8_t *ec_depthwise_row(const ec_depthwise_dsp_params *params, const int8_t *input, int32_t row, const int8_t *zero_point,
                                             int32_t *step)
{
    const int inside = row >= 0 && row < params->input_height;
    *step = inside ? params->channels : 0;
    return inside ? input + row * params->input_width * params->channels : zero_point;
}

#endif
