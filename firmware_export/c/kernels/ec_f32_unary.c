/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_f32_functions.h"

/* The order of UNARY_FUNCTIONS in edgecompress/lower/c/float_emitters.py. */
enum { EC_F32_IDENTITY, EC_F32_RELU, EC_F32_RELU6, EC_F32_LEAKY_RELU, EC_F32_ELU, EC_F32_SIGMOID, EC_F32_TANH, EC_F32_HARDSIGMOID, EC_F32_HARDSWISH,
       EC_F32_SILU, EC_F32_GELU, EC_F32_EXP, EC_F32_ABS, EC_F32_SQUARE, EC_F32_NEG, EC_F32_RECIPROCAL };

static float ec_f32_apply(int32_t function, float x)
{
    switch (function) {
    case EC_F32_RELU:
        return x > 0.0f ? x : 0.0f;
    case EC_F32_RELU6:
        return ec_f32_clip(x, 0.0f, 6.0f);
    case EC_F32_LEAKY_RELU:
        return x > 0.0f ? x : x * 0.01f;
    case EC_F32_ELU:
        return x > 0.0f ? x : ec_f32_exp(x) - 1.0f;
    case EC_F32_SIGMOID:
        return ec_f32_sigmoid(x);
    case EC_F32_TANH:
        return ec_f32_tanh(x);
    case EC_F32_HARDSIGMOID:
        return ec_f32_clip(x + 3.0f, 0.0f, 6.0f) * 0.166666672f;
    case EC_F32_HARDSWISH:
        return x * (ec_f32_clip(x + 3.0f, 0.0f, 6.0f) * 0.166666672f);
    case EC_F32_SILU:
        return x * ec_f32_sigmoid(x);
    case EC_F32_GELU:
        return ec_f32_gelu(x);
    case EC_F32_EXP:
        return ec_f32_exp(x);
    case EC_F32_ABS:
        return ec_f32_absolute(x);
    case EC_F32_SQUARE:
        return x * x;
    case EC_F32_NEG:
        return -x;
    case EC_F32_RECIPROCAL:
        return 1.0f / x;
    default:
        return x;
    }
}

void ec_f32_unary(const ec_f32_unary_params *params, const float *input, float *output)
{
    int32_t i;
    for (i = 0; i < params->size; ++i) {
        output[i] = ec_f32_clamp(ec_f32_apply(params->function, input[i]), &params->bounds);
    }
}
