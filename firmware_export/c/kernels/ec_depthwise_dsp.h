/* SPDX-License-Identifier: Apache-2.0
 * What the depthwise kernels of the DSP extension share.
 *
 * SMLAD multiplies two pairs of halves, so each kernel first brings four channels into scratch as words of two input rows:
 * the upper one in the low half, the lower one in the high half. Such words serve two output rows and all columns of the
 * kernel. Whatever lies outside the image is filled with the input's zero point, whose share the folded bias takes off
 * again: no window is clipped. The sums of an output row or two of one channel, a lane, stand in scratch until they are
 * rescaled: the multiplications need every register, the weights included.
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

/* Rescaling of one channel: clamp(ec_smmlar(2 * sum + bias, multiplier, offset) >> shift). */
typedef struct {
    int32_t bias; /* doubled */
    int32_t multiplier;
    int32_t offset; /* rounds the shift and adds the output's zero point: (1 << (shift - 1)) + (zero_point << shift) */
    int32_t shift;
} ec_depthwise_scale;

/* What a step over the lanes of a group needs. Functions in assembly keep a copy on their stack: the order matters to them. */
typedef struct ec_depthwise_step ec_depthwise_step;

/* Rescales the sums of one lane, moves `output` to the next lane and `lane` behind the lane's ec_depthwise_scale. Where
 * EC_DSP is 1 these are no C functions: the step lies at the stack pointer, and all registers change. */
typedef void ec_depthwise_rescale(ec_depthwise_step *step);

struct ec_depthwise_step {
    int32_t *sums_end; /* one after the sums of a lane */
    int32_t *sums;     /* of one lane, aligned to 16 bytes */
    int8_t *output;    /* first output of the next lane */
    int32_t row_step;  /* bytes from the first output row to the second; 0: there is no second row */
    int32_t channels;
    const char *lane;     /* constants of the next lane, its ec_depthwise_scale at the end */
    const char *lane_end; /* one after those of the last lane */
    ec_depthwise_rescale *rescale;
    int32_t activation_min;
    int32_t activation_max;
};

/* Sums of two rows, [column][row]; by mode. */
ec_depthwise_rescale ec_depthwise_rescale_rows_rectified;
ec_depthwise_rescale ec_depthwise_rescale_rows_whole;
ec_depthwise_rescale ec_depthwise_rescale_rows_clamped;

/* The fields that are the same for all steps of a call; `rescale` by mode from those given. */
void ec_depthwise_begin(ec_depthwise_step *step, const ec_depthwise_dsp_params *params, int32_t *sums, int32_t count,
                        ec_depthwise_rescale *const rescale[3]);

/* The rescaling of one channel. */
static inline void ec_depthwise_load_scale(const ec_depthwise_dsp_params *params, int32_t channel, ec_depthwise_scale *scale)
{
    const int32_t shift = params->shift[channel];
    scale->bias = params->bias[channel];
    scale->multiplier = params->multiplier[channel];
    scale->offset = (1 + 2 * params->output_zero_point) * (1 << (shift - 1));
    scale->shift = shift;
}

const int8_t *ec_depthwise_unpack(const ec_depthwise_dsp_params *params, int32_t channel, int32_t count, int8_t *unpacked);

/* The weights of one channel as bytes: where they are, or unpacked. */
static inline const int8_t *ec_depthwise_weights(const ec_depthwise_dsp_params *params, int32_t channel, int32_t count, int8_t *unpacked)
{
    return params->weight_bits == 8 ? params->weights + channel * count : ec_depthwise_unpack(params, channel, count, unpacked);
}

/* Input rows `row` and `row + 1` of four channels, the first at `input` in row 0, as words: lane l of column x goes to
 * words[8 * x + 2 * l]. Rows outside the image are filled with the zero point. */
void ec_depthwise_fill(const ec_depthwise_dsp_params *params, const int8_t *input, int32_t row, uint32_t *words);

#endif
