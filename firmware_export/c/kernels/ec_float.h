/* SPDX-License-Identifier: Apache-2.0
 * edgecompress float32 kernels, for models that stay float on a core with an FPU: plain C99, no libm.
 *
 * Results are the same 32 bits everywhere: every sum is made in one stated order, and product and sum are rounded each by
 * itself. A compiler that fuses them breaks that, so contraction is switched off below. Tensors are (height, width,
 * channels). Input and output must not overlap, except that ec_f32_binary and ec_f32_unary may write over an input of the
 * output's size. The FPU must keep subnormal numbers, as it does after reset (FPSCR.FZ = 0); with FZ set, results
 * below 1.2e-38 become 0. NaN as an input is no fault: where a bound applies it becomes the lower one. */
#ifndef EC_FLOAT_H
#define EC_FLOAT_H

#include <stdint.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off") /* gcc contracts in its GNU modes; with -std=c99 it would not */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Bounds of a fused activation; infinite where there is none. */
typedef struct {
    float low;
    float high;
} ec_f32_bounds;

typedef struct {
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
} ec_f32_window;

/* Convolution. Weights: one row an output channel, (kernel_height, kernel_width, input_channels / groups) each. Sums begin
 * with the bias and go through the kernel's rows, columns and channels in order. */
typedef struct {
    const float *weights;
    const float *bias;
    ec_f32_bounds bounds;
    ec_f32_window window;
    int32_t groups;
} ec_f32_conv2d_params;

void ec_f32_conv2d(const ec_f32_conv2d_params *params, const float *input, float *output);

/* Depthwise convolution: output channel c reads input channel c / (output_channels / input_channels). Weights: one row a
 * tap, output_channels each. */
typedef struct {
    const float *weights;
    const float *bias;
    ec_f32_bounds bounds;
    ec_f32_window window;
} ec_f32_depthwise_conv2d_params;

void ec_f32_depthwise_conv2d(const ec_f32_depthwise_conv2d_params *params, const float *input, float *output);

/* Fully connected layer. Weights: one row an output. */
typedef struct {
    const float *weights;
    const float *bias;
    ec_f32_bounds bounds;
    int32_t input_size;
    int32_t output_size;
} ec_f32_dense_params;

void ec_f32_dense(const ec_f32_dense_params *params, const float *input, float *output);

/* Sum or product; the right operand repeats every right_size elements. */
#define EC_F32_ADD 0
#define EC_F32_MUL 1

typedef struct {
    ec_f32_bounds bounds;
    int32_t function;
    int32_t size;
    int32_t right_size;
} ec_f32_binary_params;

void ec_f32_binary(const ec_f32_binary_params *params, const float *left, const float *right, float *output);

/* Functions of one number, see ec_f32_functions.h. */
typedef struct {
    ec_f32_bounds bounds;
    int32_t function;
    int32_t size;
} ec_f32_unary_params;

void ec_f32_unary(const ec_f32_unary_params *params, const float *input, float *output);

/* Mean or maximum over windows; padding does not count. */
#define EC_F32_AVERAGE 0
#define EC_F32_MAX 1

typedef struct {
    ec_f32_bounds bounds;
    ec_f32_window window; /* dilations of 1 */
    int32_t function;
} ec_f32_pool2d_params;

void ec_f32_pool2d(const ec_f32_pool2d_params *params, const float *input, float *output);

/* Mean of each channel over all pixels. */
typedef struct {
    ec_f32_bounds bounds;
    int32_t pixels;
    int32_t channels;
} ec_f32_global_average_pool_params;

void ec_f32_global_average_pool(const ec_f32_global_average_pool_params *params, const float *input, float *output);

/* Softmax over the last axis. */
typedef struct {
    int32_t rows;
    int32_t length;
} ec_f32_softmax_params;

void ec_f32_softmax(const ec_f32_softmax_params *params, const float *input, float *output);

/* For each of `outer` slices, `inner[i]` numbers of every input in turn. */
typedef struct {
    const int32_t *inner;
    int32_t input_count;
    int32_t outer;
} ec_f32_concat_params;

void ec_f32_concat(const ec_f32_concat_params *params, const float *const *inputs, float *output);

/* Constant border around an image; lengths are in numbers (columns * channels). */
typedef struct {
    float value;
    int32_t rows;
    int32_t row_size;
    int32_t top;
    int32_t left;
    int32_t right;
    int32_t bottom;
} ec_f32_pad_params;

void ec_f32_pad(const ec_f32_pad_params *params, const float *input, float *output);

#ifdef __cplusplus
}
#endif

#endif
