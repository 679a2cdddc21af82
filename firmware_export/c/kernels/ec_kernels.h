/* SPDX-License-Identifier: Apache-2.0
 * edgecompress int8 kernels: plain C99, no allocation, no library but memcpy and memset.
 *
 * Activations are int8 in (height, width, channels) order. Every call computes one layer of one inference. Scratch
 * memory comes from the caller, is aligned to 4 bytes and holds nothing between calls. Input and output must not
 * overlap, except that ec_add_s8, ec_mul_s8 (left operand), ec_table_s8 and ec_requantize_s8 may write over an input.
 */
#ifndef EC_KERNELS_H
#define EC_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rescaling of a layer's accumulators, one factor an output channel: real factor = m * 2^(-31 - right shift),
 * m in [2^30, 2^31). A mode other than ANY is only a promise that allows a shorter way to the same result. */
#define EC_RESCALE_ANY 0
#define EC_RESCALE_SMALL 1       /* every right shift is at least 2 */
#define EC_RESCALE_SMALL_WHOLE 2 /* and the activation range is -128 to 127 */

typedef struct {
    const int32_t *multiplier; /* 2 * m - 2^32 */
    const int8_t *shift;       /* right shift - 1 */
    int32_t mode;
    int32_t zero_point;
    int32_t activation_min;
    int32_t activation_max;
} ec_rescale_params;

/* Convolution. Weights: one row an output channel, (kernel_height, kernel_width, input_channels / groups) each;
 * _s8 one byte a weight, _s4 two (low nibble first), _s2 four (low bits first, ternary); rows start on a byte.
 * Scratch: uint32_t[kernel_height * kernel_width * input_channels / groups], int32_t[2 * n] with n the smaller of
 * EC_CONV2D_CHUNK and output_channels / groups rounded up to even. */
#define EC_CONV2D_CHUNK 32

typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    ec_rescale_params rescale;
    int32_t input_height;
    int32_t input_width;
    int32_t input_channels;
    int32_t output_height;
    int32_t output_width;
    int32_t output_channels;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t padding_top;
    int32_t padding_left;
    int32_t pointwise; /* not 0: 1x1 kernel, strides 1, no padding, one group */
    int32_t groups;
    int32_t input_zero_point;
} ec_conv2d_params;

void ec_conv2d_s8(const ec_conv2d_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_conv2d_s4(const ec_conv2d_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_conv2d_s2(const ec_conv2d_params *params, const int8_t *input, int8_t *output, void *scratch);

/* Depthwise convolution: output channel c reads input channel c / depth_multiplier. Weights: one row a tap,
 * output_channels each, packed as above. Scratch: uint32_t[2 * kernel_height * kernel_width], then int32_t[4 * n] with n the
 * smaller of EC_DEPTHWISE_CHUNK and output_width. */
#define EC_DEPTHWISE_CHUNK 16

typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    ec_rescale_params rescale;
    int32_t input_height;
    int32_t input_width;
    int32_t input_channels;
    int32_t output_height;
    int32_t output_width;
    int32_t depth_multiplier;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t padding_top;
    int32_t padding_left;
    int32_t input_zero_point;
} ec_depthwise_conv2d_params;

void ec_depthwise_conv2d_s8(const ec_depthwise_conv2d_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_conv2d_s4(const ec_depthwise_conv2d_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_conv2d_s2(const ec_depthwise_conv2d_params *params, const int8_t *input, int8_t *output, void *scratch);

/* Depthwise convolution for cores with the DSP extension, one input channel an output channel, at least four channels, no
 * dilation, strides 1 and 2. Weights: one row a channel, column by column (the kernel's first column from top to bottom,
 * then the next), packed as above, or as the file of a kernel says. Output and input may start at one address where that
 * file says so; it tells the size of the scratch memory, which is aligned to 16 bytes.
 * Each rescaling is a function that the kernels call, and has constants of its own, `scale_words` a channel. With bias b,
 * multiplier m, right shift s from 1 to 23 and the output's zero point z:
 * _11, _15: bias and multiplier of the short form in ec_rescale_dsp.h; outputs are rectified at -128 and reach 127.
 * _rectified (the same outputs), _whole (activation range -128 to 127), _clamped: 2 * b, m, (1 << (s - 1)) + (z << s). */
struct ec_depthwise_step;
typedef void ec_depthwise_rescale(struct ec_depthwise_step *step);
ec_depthwise_rescale ec_depthwise_rescale_11;
ec_depthwise_rescale ec_depthwise_rescale_15;
ec_depthwise_rescale ec_depthwise_rescale_rectified;
ec_depthwise_rescale ec_depthwise_rescale_whole;
ec_depthwise_rescale ec_depthwise_rescale_clamped;

typedef struct {
    const int8_t *weights;
    const int32_t *scales;
    ec_depthwise_rescale *rescale;
    uint8_t scale_words;
    uint8_t weight_bits;
    uint8_t stride_height;
    uint8_t stride_width;
    int8_t activation_min;
    int8_t activation_max;
    int8_t input_zero_point;
    uint16_t channels;
    uint16_t input_height;
    uint16_t input_width;
    uint16_t output_height;
    uint16_t output_width;
    uint16_t kernel_height;
    uint16_t kernel_width;
    uint16_t padding_top;
    uint16_t padding_left;
} ec_depthwise_dsp_params;

void ec_depthwise_3x3_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_3x3_stride2_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_width5_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_width5_stride2_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_width7_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_width7_stride2_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_window_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_depthwise_line_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);

/* Windows that meet the image at one place only, its upper left corner, so that each channel's output is one dot product.
 * A run is a row of the kernel, or all rows where it is as wide as the image. Weights, of 8 bits: for each group of four
 * channels, the last one beginning early where the channels are no multiple of four, each run, and each pair of its taps
 * (t, u): t0 t1 u0 u1 t2 t3 u2 u3 for the channels 0 to 3; the last tap of a run of odd length is paired with zeros.
 * `scales` as for _clamped, b less input_zero_point * (sum of the channel's weights), modulo 2^32. */
typedef struct {
    const int8_t *weights;
    const int32_t *scales;
    int32_t run_step; /* bytes from behind a run's last pair of taps to the next run */
    uint16_t channels;
    uint16_t runs;
    uint16_t taps; /* of a run */
    int8_t activation_min;
    int8_t activation_max;
} ec_depthwise_dot_params;

void ec_depthwise_dot_dsp(const ec_depthwise_dot_params *params, const int8_t *input, int8_t *output);

/* Fully connected layer. Weights: one row an output, packed as above. `bias` already holds
 * bias - input_zero_point * (sum of the row), modulo 2^32. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    ec_rescale_params rescale;
    int32_t input_size;
    int32_t output_size;
} ec_dense_params;

void ec_dense_s8(const ec_dense_params *params, const int8_t *input, int8_t *output);
void ec_dense_s4(const ec_dense_params *params, const int8_t *input, int8_t *output);
void ec_dense_s2(const ec_dense_params *params, const int8_t *input, int8_t *output);

/* Element-wise sum; both inputs are moved up by 2^20 and brought to a common scale first, which makes one of the two
 * input factors exactly 1/2. A mode other than ANY promises what its comment says and allows a shorter way. */
#define EC_ADD_ANY 0
#define EC_ADD_LEFT_HALF 1 /* left factor 1/2, right below; output right shift at least 2, whole activation range */
#define EC_ADD_BOTH_HALF 2 /* both factors 1/2, the rest as above */

typedef struct {
    int32_t size;
    int32_t mode;
    int32_t left_zero_point;
    int32_t left_multiplier; /* all three: 2 * m - 2^32, as in ec_rescale_params */
    int32_t left_shift; /* at most 0 */
    int32_t right_zero_point;
    int32_t right_multiplier;
    int32_t right_shift; /* at most 0 */
    int32_t output_multiplier;
    int32_t output_shift;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
} ec_add_params;

void ec_add_s8(const ec_add_params *params, const int8_t *left, const int8_t *right, int8_t *output);

/* Element-wise sum for cores with the DSP extension: clamp((offset + left * left_factor / 2^8 + right * right_factor / 2^8) >> 20),
 * each product rounded down. The output may take the place of either input. */
typedef struct {
    int32_t size;
    int32_t left_factor;
    int32_t right_factor;
    int32_t offset;
    int8_t activation_min;
    int8_t activation_max;
} ec_add_dsp_params;

void ec_add_dsp(const ec_add_dsp_params *params, const int8_t *left, const int8_t *right, int8_t *output);

/* Element-wise product; the right operand repeats every right_size elements. */
typedef struct {
    int32_t size;
    int32_t right_size;
    int32_t left_zero_point;
    int32_t right_zero_point;
    int32_t multiplier;
    int32_t shift;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
} ec_mul_params;

void ec_mul_s8(const ec_mul_params *params, const int8_t *left, const int8_t *right, int8_t *output);

/* Window pooling; padding never counts. */
typedef struct {
    int32_t input_height;
    int32_t input_width;
    int32_t channels;
    int32_t output_height;
    int32_t output_width;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t padding_top;
    int32_t padding_left;
    int32_t activation_min;
    int32_t activation_max;
} ec_pool2d_params;

void ec_average_pool2d_s8(const ec_pool2d_params *params, const int8_t *input, int8_t *output);
void ec_max_pool2d_s8(const ec_pool2d_params *params, const int8_t *input, int8_t *output);
void ec_average_pool2d_dsp(const ec_pool2d_params *params, const int8_t *input, int8_t *output); /* at least 4 channels */
void ec_max_pool2d_dsp(const ec_pool2d_params *params, const int8_t *input, int8_t *output);     /* at least 4 channels */

/* Mean of each channel over all pixels; the multiplier holds 1 / pixels. */
typedef struct {
    int32_t pixels;
    int32_t channels;
    int32_t input_zero_point;
    int32_t multiplier;
    int32_t shift;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
} ec_global_average_pool_params;

void ec_global_average_pool_s8(const ec_global_average_pool_params *params, const int8_t *input, int8_t *output);
void ec_global_average_pool_dsp(const ec_global_average_pool_params *params, const int8_t *input, int8_t *output); /* at least 4 channels */

/* Constant border around an image. Row lengths are in bytes (columns * channels). */
typedef struct {
    int32_t rows;
    int32_t row_bytes;
    int32_t top_bytes;
    int32_t left_bytes;
    int32_t right_bytes;
    int32_t bottom_bytes;
    int32_t value;
} ec_pad_params;

void ec_pad_s8(const ec_pad_params *params, const int8_t *input, int8_t *output);

/* Concatenation: for each of `outer` slices, `inner` bytes of every input in turn. */
typedef struct {
    int32_t inner;
    int32_t copy; /* not 0: same scale and zero point as the output */
    int32_t zero_point;
    int32_t multiplier;
    int32_t shift;
} ec_concat_input;

typedef struct {
    const ec_concat_input *inputs;
    int32_t input_count;
    int32_t outer;
    int32_t output_inner;
    int32_t output_zero_point;
} ec_concat_params;

void ec_concat_s8(const ec_concat_params *params, const int8_t *const *inputs, int8_t *output);

/* Copy, for a reshape that connects the model's input to its output. */
typedef struct {
    int32_t size;
} ec_copy_params;

void ec_copy_s8(const ec_copy_params *params, const int8_t *input, int8_t *output);

/* Softmax over the last axis; output scale 1/256, zero point -128. Scratch: int32_t[length]. */
typedef struct {
    int32_t rows;
    int32_t length; /* at most 4096 */
    int32_t multiplier;
    int32_t shift;
    int32_t diff_min;
} ec_softmax_params;

void ec_softmax_s8(const ec_softmax_params *params, const int8_t *input, int8_t *output, void *scratch);

/* Product of two computed matrices for each of `batches` pairs: left [rows][depth], or [depth][rows] if transpose_left, by right
 * [depth][columns], or [columns][depth] if transpose_right. Scratch: int32_t[columns], then int8_t[columns * depth] unless
 * transpose_right, then int8_t[depth] if transpose_left; _dsp: uint32_t[(columns + 2) * 2 * ceil(depth / 4)]. */
typedef struct {
    int32_t batches;
    int32_t rows;
    int32_t columns;
    int32_t depth; /* at most 33025 */
    int32_t transpose_left;
    int32_t transpose_right;
    int32_t left_zero_point;
    int32_t right_zero_point;
    int32_t multiplier;
    int32_t shift;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
} ec_batch_matmul_params;

void ec_batch_matmul_s8(const ec_batch_matmul_params *params, const int8_t *left, const int8_t *right, int8_t *output, void *scratch);
void ec_batch_matmul_s8_dsp(const ec_batch_matmul_params *params, const int8_t *left, const int8_t *right, int8_t *output, void *scratch);

/* Nearest-neighbour resize: output row r is input row r * input_height / output_height, columns alike. */
typedef struct {
    int32_t input_height;
    int32_t input_width;
    int32_t output_height;
    int32_t output_width;
    int32_t channels;
} ec_resize_nearest_params;

void ec_resize_nearest_s8(const ec_resize_nearest_params *params, const int8_t *input, int8_t *output);

/* output = table[input + 128]. */
typedef struct {
    const int8_t *table;
    int32_t size;
} ec_table_params;

void ec_table_s8(const ec_table_params *params, const int8_t *input, int8_t *output);

/* Change of scale and zero point. */
typedef struct {
    int32_t size;
    int32_t input_zero_point;
    int32_t multiplier;
    int32_t shift;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
} ec_requantize_params;

void ec_requantize_s8(const ec_requantize_params *params, const int8_t *input, int8_t *output);

/* The same for cores with the DSP extension: clamp((offset + input * factor / 2^8) >> 20), the product rounded down. */
typedef struct {
    int32_t size;
    int32_t factor;
    int32_t offset;
    int8_t activation_min;
    int8_t activation_max;
} ec_requantize_dsp_params;

void ec_requantize_dsp(const ec_requantize_dsp_params *params, const int8_t *input, int8_t *output);

/* Recurrent layers keep a state from one inference to the next. The caller provides it aligned to 4 bytes, sets its first
 * value and leaves it alone between calls. */

/* Long short-term memory, `steps` steps a call. Weights: four rows a unit, its gates in the order input, forget, cell,
 * output; int8_t, or for _dsp the words of ec_lstm_dsp.c. Biases likewise, each less zero point * (sum of the row), modulo
 * 2^32. State: int16_t[units] cell states of scale 2^cell_power, int8_t[units] hidden states.
 * Scratch of _dsp: uint32_t[4 * (inputs + 7) / 8 + 4 * (units + 7) / 8]. */
typedef struct {
    int32_t input_multiplier; /* multipliers and shifts as in ec_rescale_params */
    int32_t input_shift;
    int32_t recurrent_multiplier;
    int32_t recurrent_shift;
} ec_lstm_gate;

typedef struct {
    const void *input_weights;
    const void *recurrent_weights;
    const int32_t *input_bias;
    const int32_t *recurrent_bias;
    const ec_lstm_gate *gates;
    int32_t steps;
    int32_t inputs;
    int32_t units;
    int32_t cell_power; /* -15 to 0 */
    int32_t cell_min;
    int32_t cell_max;
    int32_t output_multiplier;
    int32_t output_shift;
    int32_t output_zero_point;
} ec_lstm_params;

void ec_lstm_s8(const ec_lstm_params *params, const int8_t *input, int8_t *output, void *state);
void ec_lstm_s8_dsp(const ec_lstm_params *params, const int8_t *input, int8_t *output, void *scratch, void *state);

/* Singular value decomposition filter. Weights: one row a filter, oldest step first; a unit has `rank` filters in a row.
 * `feature_bias` is -zero point * (sum of the row), modulo 2^32. State: int16_t (_s16) or int8_t (_s8) [units * rank][memory], the type
 * of the time weights. */
typedef struct {
    const int8_t *feature_weights;
    const int32_t *feature_bias;
    const void *time_weights;
    const int32_t *bias;
    int32_t inputs;
    int32_t units;
    int32_t rank;
    int32_t memory;
    int32_t feature_multiplier;
    int32_t feature_shift;
    int32_t output_multiplier;
    int32_t output_shift;
    int32_t output_zero_point;
} ec_svdf_params;

void ec_svdf_s16(const ec_svdf_params *params, const int8_t *input, int8_t *output, void *state);
void ec_svdf_s8(const ec_svdf_params *params, const int8_t *input, int8_t *output, void *state);

/* Output: `kept` bytes of state, then the `size` bytes of the input; its last `kept` bytes are the next state. */
typedef struct {
    int32_t size;
    int32_t kept;
} ec_delay_line_params;

void ec_delay_line_s8(const ec_delay_line_params *params, const int8_t *input, int8_t *output, void *state);

/* Slices and transpositions: runs of `run` elements that lie `run_step` apart, the first at `offset`. From run to run the
 * position moves by step[0], after size[0] runs by step[1] from where these began, and so on for `axes` axes. */
#define EC_REARRANGE_AXES 6 /* five of bytes; the bytes of wider elements are an axis of their own */

typedef struct {
    int32_t offset;
    int32_t run;
    int32_t run_step;
    int32_t axes;
    int32_t size[EC_REARRANGE_AXES];
    int32_t step[EC_REARRANGE_AXES];
} ec_rearrange_params;

void ec_rearrange_s8(const ec_rearrange_params *params, const int8_t *input, int8_t *output);

/* Convolution on cores with the DSP extension, one group, no horizontal dilation. Weights are streams as ec_conv_tile_dsp.h
 * describes them; a window is kernel_height runs of run_words words that begin run_step bytes apart, in the input if
 * buffer_rows is 0, else in a buffer of rows that lie `pitch` bytes apart with left_bytes of padding before the image.
 * Scratch, aligned to 4 bytes: uint32_t[6 * blocks] (_s2: blocks rounded up to even), int8_t[buffer_rows * pitch], for an odd number of channels
 * int8_t[3 * (output_channels + 1)]. */
typedef struct {
    const int32_t *weights;
    int32_t weight_words;
    int32_t input_row_bytes;
    int32_t output_width;
    int32_t run_step;
    int32_t column_step; /* bytes from a window to the next one */
    int32_t row_step; /* bytes from a row of windows to the next one */
    int32_t pitch;
    int32_t left_bytes;
    uint8_t form; /* of rescaling: EC_RESCALE_* of ec_rescale_dsp.h */
    int8_t activation_min;
    int8_t activation_max;
    int8_t input_zero_point;
    int16_t rounding; /* 1 + 2 * output zero point */
    uint16_t blocks; /* words of 4 positions in a window: kernel_height * run_words; for _rgb_, 3 runs of 2 words and a byte, 7 */
    uint16_t input_height;
    uint16_t output_height;
    uint16_t output_channels;
    uint16_t kernel_height;
    uint16_t stride_height;
    uint16_t padding_top;
    uint16_t run_words;
    uint16_t buffer_rows;
} ec_conv2d_dsp_params;

void ec_conv2d_s8_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);

/* Convolution on cores with Helium: one group, no dilation, right shifts of at least 1. Weights and parameters are blocks as
 * ec_matmul_mve.h describes them (weights of 4 and 2 bits packed as in ec_unpack_mve.h); a window has its elements in the order of
 * the sweep: (row, column, channel), or for rows (column, row, channel). Entries are ec_conv2d_<variant>_<ties>_mve. Scratch:
 * int8_t[strip_bytes], int8_t[tail_bytes], for packed weights int32_t[window_bytes]. */
#define EC_SWEEP_POINTS 0  /* 1x1 without padding: pixel by pixel */
#define EC_SWEEP_ROWS 1    /* along rows of outputs */
#define EC_SWEEP_COLUMNS 2 /* along columns of outputs */

typedef struct {
    const int32_t *weights;
    const int32_t *parameters;
    int32_t strip_bytes;
    int32_t tail_bytes;
    uint16_t window_bytes; /* whole chunks of 16, and for the variant _n a half one or none */
    uint16_t tile; /* most windows at a time */
    uint16_t input_height;
    uint16_t input_width;
    uint16_t input_channels;
    uint16_t output_height;
    uint16_t output_width;
    uint16_t output_channels;
    uint16_t kernel_height;
    uint16_t kernel_width;
    uint16_t padding_top;
    uint16_t padding_left;
    uint8_t weight_bits;
    uint8_t sweep;
    uint8_t stepwise; /* not 0: the variant _n */
    uint8_t stride_height;
    uint8_t stride_width;
    int8_t input_zero_point;
    int8_t output_zero_point;
    int8_t activation_min;
    int8_t activation_max;
} ec_conv2d_mve_params;

#define EC_CONV2D_MVE_ENTRIES(ties) \
    void ec_conv2d_k1_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_conv2d_k2_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_conv2d_k3_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_conv2d_k4_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_conv2d_s1_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_conv2d_s2_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_conv2d_s3_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_conv2d_s4_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_conv2d_n_##ties##_mve(const ec_conv2d_mve_params *params, const int8_t *input, int8_t *output, void *scratch)
EC_CONV2D_MVE_ENTRIES(any);
EC_CONV2D_MVE_ENTRIES(relu);

/* Fully connected layer on cores with Helium: right shifts of at least 1. Weights and parameters are blocks as
 * ec_dense_blocks_mve.h describes them; of 8-bit weights the last block has only the outputs that exist, packed ones are filled up
 * with zeros. Entries are ec_dense_<factors>_<ties>_mve. Scratch: int8_t[unpacked_bytes] for packed weights, int8_t[16 * chunks]
 * where input_size is no multiple of 16. */
typedef struct {
    const int32_t *weights;
    const int32_t *parameters;
    int32_t input_size;
    int32_t output_size;
    int32_t chunks; /* of 16 inputs */
    int32_t unpacked_bytes;
    int32_t multiplier; /* of all outputs, and their negative right shift; unused in _channel */
    int8_t shift;
    uint8_t weight_bits;
    int8_t output_zero_point;
    int8_t activation_min;
    int8_t activation_max;
} ec_dense_mve_params;

void ec_dense_channel_any_mve(const ec_dense_mve_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_dense_channel_relu_mve(const ec_dense_mve_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_dense_tensor_any_mve(const ec_dense_mve_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_dense_tensor_relu_mve(const ec_dense_mve_params *params, const int8_t *input, int8_t *output, void *scratch);

/* Depthwise convolution on cores with Helium: depth multiplier 1, no dilation, right shifts of at least 1. `rows` and `columns` are
 * the image's, or exchanged; see ec_depthwise_mve.c. Weights are packed rows of a channel's taps, column by column; `factors` holds
 * bias and shift (as in ec_requant_mve.h) and multiplier of each channel, `patterns` ec_depthwise_pattern_mve[phases * vectors] (one
 * for the kind pair). The output may begin where the input does (and then be no longer or wider; no
 * narrower where they are exchanged), but not overlap it otherwise. Entries are ec_depthwise_<kind>_<ties>_mve.
 * Scratch: uint32_t[16 * strips * strip_columns * row_groups + 4 + 2 * table_words], int8_t[saved_bytes], for packed weights
 * int8_t[16 * taps]. */
typedef struct {
    const int8_t *weights;
    const int32_t *factors;
    const int32_t *patterns;
    int32_t input_row_bytes;
    int32_t input_column_bytes;
    int32_t output_row_bytes;
    int32_t output_column_bytes;
    int32_t table_words;
    int32_t saved_bytes;
    uint16_t channels;
    uint16_t taps;
    uint16_t input_rows;
    uint16_t input_columns;
    uint16_t output_rows;
    uint16_t output_columns;
    uint16_t padding_rows;
    uint16_t padding_columns;
    uint16_t strip_rows; /* that the windows of a strip see */
    uint16_t strip_columns;
    uint16_t strips; /* at a time */
    uint8_t weight_bits;
    uint8_t stride_rows;
    uint8_t stride_columns;
    uint8_t row_groups; /* of four rows a strip */
    uint8_t phases; /* rows of outputs a strip */
    uint8_t vectors; /* a window */
    int8_t input_zero_point;
    int8_t output_zero_point;
    int8_t activation_min;
    int8_t activation_max;
} ec_depthwise_mve_params;

#define EC_DEPTHWISE_MVE_ENTRIES(ties) \
    void ec_depthwise_pair_##ties##_mve(const ec_depthwise_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_depthwise_g1s2_##ties##_mve(const ec_depthwise_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_depthwise_g1_##ties##_mve(const ec_depthwise_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_depthwise_g2_##ties##_mve(const ec_depthwise_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_depthwise_g3_##ties##_mve(const ec_depthwise_mve_params *params, const int8_t *input, int8_t *output, void *scratch); \
    void ec_depthwise_g4_##ties##_mve(const ec_depthwise_mve_params *params, const int8_t *input, int8_t *output, void *scratch)
EC_DEPTHWISE_MVE_ENTRIES(any);
EC_DEPTHWISE_MVE_ENTRIES(relu);

/* Element-wise sum on cores with Helium. Multipliers are in [0, 2^31), shifts at most 0. The output may be an input. Scratch:
 * int32_t[256], or [512] where left_half is 0. */
typedef struct {
    int32_t size;
    int32_t left_multiplier;
    int32_t right_multiplier;
    int32_t output_multiplier;
    uint8_t left_half; /* not 0: the left factor is 1/2 */
    uint8_t ties;      /* 0: negative sums end at the activation's lower end anyway, or the output's shift is 0 */
    int8_t left_zero_point;
    int8_t left_shift;
    int8_t right_zero_point;
    int8_t right_shift;
    int8_t output_shift;
    int8_t output_zero_point;
    int8_t activation_min;
    int8_t activation_max;
} ec_add_mve_params;

void ec_add_s8_mve(const ec_add_mve_params *params, const int8_t *left, const int8_t *right, int8_t *output, void *scratch);

/* Pooling on cores with Helium; parameters as for the portable kernels. */
void ec_average_pool2d_s8_mve(const ec_pool2d_params *params, const int8_t *input, int8_t *output);
void ec_max_pool2d_s8_mve(const ec_pool2d_params *params, const int8_t *input, int8_t *output);
void ec_global_average_pool_s8_mve(const ec_global_average_pool_params *params, const int8_t *input, int8_t *output);
void ec_conv2d_rgb_s8_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_conv2d_s4_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_conv2d_rgb_s4_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_conv2d_s2_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_conv2d_rgb_s2_dsp(const ec_conv2d_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);

/* Fully connected layer on cores with the DSP extension, weights as ec_dense_tile_dsp.h describes them.
 * Scratch, aligned to 4 bytes: uint32_t[4 * n], n = input_size / 8 rounded up. */
typedef struct {
    const int32_t *weights;
    int32_t multiplier; /* of the shared form, and its shift less 1 */
    int32_t input_size;
    int32_t output_size;
    uint8_t shift;
    uint8_t form; /* of rescaling: EC_RESCALE_* of ec_rescale_dsp.h */
    int16_t rounding; /* 1 + 2 * output zero point */
    int8_t activation_min;
    int8_t activation_max;
} ec_dense_dsp_params;

void ec_dense_s8_dsp(const ec_dense_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_dense_s4_dsp(const ec_dense_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);
void ec_dense_s2_dsp(const ec_dense_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);

/* 3x3 convolution with stride 1 on cores with the DSP extension, by Winograd's F(2, 3) along the width: input_channels in eights, output
 * channels even, output_width in eights. Weights as ec_conv2d_winograd_s8_dsp.c describes them, followed by the constants of the channels.
 * Scratch, aligned to 4 bytes: uint32_t[output_width * (block_rows + 2) * input_channels + 12 * input_channels]. */
typedef struct {
    const int32_t *weights;
    uint8_t form; /* of rescaling: EC_RESCALE_* of ec_rescale_dsp.h */
    int8_t activation_min;
    int8_t activation_max;
    int8_t input_zero_point;
    int16_t rounding; /* 1 + 2 * output zero point */
    uint16_t input_height;
    uint16_t input_width;
    uint16_t input_channels;
    uint16_t output_height;
    uint16_t output_width;
    uint16_t output_channels;
    uint16_t padding_top;
    uint16_t padding_left;
    uint16_t block_rows; /* output rows computed at a time */
} ec_conv2d_winograd_dsp_params;

void ec_conv2d_winograd_s8_dsp(const ec_conv2d_winograd_dsp_params *params, const int8_t *input, int8_t *output, void *scratch);

#ifdef __cplusplus
}
#endif

#endif
