/* SPDX-License-Identifier: Apache-2.0
 * Float32 functions without libm, every operation in a fixed order: edgecompress/ir/float_ops/functions.py is the same in
 * numpy and says where the formulas come from. */
#ifndef EC_F32_FUNCTIONS_H
#define EC_F32_FUNCTIONS_H

#include "ec_float.h"
#include "ec_memory.h"

/* NaN becomes `low`. */
static inline float ec_f32_clamp(float x, const ec_f32_bounds *bounds)
{
    x = x > bounds->low ? x : bounds->low;
    return x < bounds->high ? x : bounds->high;
}

static inline float ec_f32_clip(float x, float low, float high)
{
    x = x > low ? x : low;
    return x < high ? x : high;
}

static inline float ec_f32_exp(float x)
{
    float n, r, y, power;
    int32_t bits;
    x = ec_f32_clip(x, -87.0f, 88.0f);
    n = (x * 1.44269502f + 12582912.0f) - 12582912.0f; /* to the nearest whole number */
    r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    y = 1.38888892e-3f;
    y = y * r + 8.33333377e-3f;
    y = y * r + 4.16666679e-2f;
    y = y * r + 1.66666672e-1f;
    y = y * r + 0.5f;
    y = (y * (r * r) + r) + 1.0f;
    bits = ((int32_t)n + 127) * 8388608; /* the exponent's field of 2^n */
    memcpy(&power, &bits, sizeof power);
    return y * power;
}

static inline float ec_f32_sigmoid(float x)
{
    return 1.0f / (1.0f + ec_f32_exp(-x));
}

static inline float ec_f32_absolute(float x)
{
    return x < 0.0f ? -x : x + 0.0f; /* + 0 makes +0 of -0 */
}

static inline float ec_f32_tanh(float x)
{
    const float size = ec_f32_absolute(x), square = x * x;
    float y;
    if (size < 0.25f) {
        y = 2.18694885e-2f;
        y = y * square + -5.39682540e-2f;
        y = y * square + 1.33333334e-1f;
        y = y * square + -3.33333343e-1f;
        return (y * square) * x + x;
    }
    y = 1.0f - 2.0f / (ec_f32_exp(size + size) + 1.0f);
    return x < 0.0f ? -y : y;
}

static inline float ec_f32_gelu(float x)
{
    const float size = ec_f32_absolute(x) * 0.707106769f, t = 1.0f / (1.0f + 0.3275911f * size);
    float y = 1.061405429f;
    y = y * t + -1.453152027f;
    y = y * t + 1.421413741f;
    y = y * t + -0.284496736f;
    y = y * t + 0.254829592f;
    y = 1.0f - (y * t) * ec_f32_exp(-(size * size));
    return (0.5f * x) * (1.0f + (x < 0.0f ? -y : y));
}

#endif
