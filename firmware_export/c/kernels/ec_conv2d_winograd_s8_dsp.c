/* SPDX-License-Identifier: Apache-2.0
 * 3x3 convolution with stride 1 by ec_winograd_tile_dsp.h, block_rows output rows at a time: the input rows of a block are
 * transformed once for all channels, and the last two stay for the next block. Weights are stored as int8 and transformed for
 * two output channels at a time, which costs about 2 instructions a weight and block: block_rows is chosen so that a block has
 * 64 pixels or more, and a weight 64 uses. Transformed weights in flash would be 2.7 times as large.
 *
 * A block's input is in scratch before its output is written, so both may share memory (see dsp_winograd.py). */
#include "ec_clamp_dsp.h"
#include "ec_dsp.h"
#include "ec_kernels.h"
#include "ec_requant.h"
#include "ec_winograd_tile_dsp.h"

/* Distances in words of transformed inputs. */
typedef struct {
    int32_t row;
    int32_t tile;
} ec_winograd_layout;

/* Two columns of an output pair as words of both channel pairs: columns 0 and 1 before a step, 2 and 3 after it. */
typedef struct {
    uint32_t even[2];
    uint32_t odd[2];
} ec_winograd_columns;

static inline void ec_winograd_put(uint32_t *x, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    x[0] = ec_sadd16(b, c);
    x[4] = ec_ssub16(c, b);
    x[8] = ec_ssub16(a, c);
    x[12] = ec_ssub16(b, d);
}

/* Four channels of an output pair to the four parts of both channel pairs. */
static inline ec_winograd_columns ec_winograd_step(uint32_t *x, ec_winograd_columns w, uint32_t third, uint32_t last)
{
    ec_winograd_columns next;
    next.even[0] = ec_sxtb16(third);
    next.even[1] = ec_sxtb16(last);
    ec_winograd_put(x, w.even[0], w.even[1], next.even[0], next.even[1]);
    next.odd[0] = ec_sxtb16_odd(third);
    next.odd[1] = ec_sxtb16_odd(last);
    ec_winograd_put(x + 16, w.odd[0], w.odd[1], next.odd[0], next.odd[1]);
    return next;
}

/* Four channels, from `input` on, of a row. Only the first column of the first pair and the last one of the last pair can be padding. */
EC_OUTLINED void ec_winograd_transform(const ec_conv2d_winograd_dsp_params *p, int32_t tile_words, const int8_t *input, uint32_t *x)
{
    const uint32_t padding = (uint32_t)(uint8_t)p->input_zero_point * 0x01010101u;
    const int32_t channels = p->input_channels, twice = 2 * channels, padded = p->output_width + 1 - p->padding_left == p->input_width;
    const uint32_t first = p->padding_left != 0 ? padding : ec_load_word(input);
    const int8_t *next = input + (1 - p->padding_left) * channels;
    const uint32_t other = ec_load_word(next);
    int32_t tile = p->output_width / 8;
    ec_winograd_columns w;
    next += channels;
    w.even[0] = ec_sxtb16(first);
    w.odd[0] = ec_sxtb16_odd(first);
    w.even[1] = ec_sxtb16(other);
    w.odd[1] = ec_sxtb16_odd(other);
    EC_NO_UNROLL
    for (; tile != 0; --tile) {
        uint32_t third;
        w = ec_winograd_step(x, w, ec_load_word(next), ec_load_word(next + channels));
        next += twice;
        w = ec_winograd_step(x + 1, w, ec_load_word(next), ec_load_word(next + channels));
        next += twice;
        w = ec_winograd_step(x + 2, w, ec_load_word(next), ec_load_word(next + channels));
        next += twice;
        third = ec_load_word(next);
        w = ec_winograd_step(x + 3, w, third, tile == 1 && padded ? padding : ec_load_word(next + channels));
        next += twice;
        x += tile_words;
    }
}

/* A row of padding: the first part is twice the zero point, the others are 0. */
EC_OUTLINED void ec_winograd_pad(const ec_conv2d_winograd_dsp_params *p, const ec_winograd_layout *layout, uint32_t *x)
{
    const uint32_t twice = ec_pair(2 * p->input_zero_point, 2 * p->input_zero_point);
    int32_t tile, i;
    EC_NO_UNROLL
    for (tile = p->output_width / 8; tile != 0; --tile) {
        EC_NO_UNROLL
        for (i = 0; i < layout->row; ++i) {
            x[i] = (i & 12) == 0 ? twice : 0;
        }
        x += layout->tile;
    }
}

/* Input rows [first, end) of a block that begins with input row `top`. */
static void ec_winograd_load_rows(const ec_conv2d_winograd_dsp_params *p, const ec_winograd_layout *layout, const int8_t *input, int32_t top,
                                  int32_t first, int32_t end, uint32_t *x)
{
    EC_NO_UNROLL
    for (; first < end; ++first) {
        const int32_t row = top + first;
        uint32_t *target = x + first * layout->row;
        if (row < 0 || row >= p->input_height) {
            ec_winograd_pad(p, layout, target);
        } else {
            const int8_t *source = input + row * p->input_width * p->input_channels;
            int32_t channel;
            EC_NO_UNROLL
            for (channel = 0; channel < p->input_channels; channel += 4) {
                ec_winograd_transform(p, layout->tile, source + channel, target + 8 * channel);
            }
        }
    }
}

/* The last two rows of a block to its beginning. */
EC_OUTLINED void ec_winograd_keep_rows(const ec_conv2d_winograd_dsp_params *p, const ec_winograd_layout *layout, uint32_t *x)
{
    int32_t tile, i;
    EC_NO_UNROLL
    for (tile = p->output_width / 8; tile != 0; --tile) {
        const uint32_t *source = x + p->block_rows * layout->row;
        uint32_t *target = x;
        EC_NO_UNROLL
        for (i = layout->row / 2; i != 0; --i) { /* a row is 64 words or more */
            const uint32_t a = source[0], b = source[1], c = source[2], d = source[3];
            target[0] = a;
            target[1] = b;
            target[2] = c;
            target[3] = d;
            source += 4;
            target += 4;
        }
        x += layout->tile;
    }
}

/* Weights of two output channels: bytes (w0, w1) of both input channels of a step in a word, words g0, g1, g2 a step. */
EC_OUTLINED void ec_winograd_weights(const int32_t *weights, int32_t steps, uint32_t *transformed)
{
    EC_NO_UNROLL
    for (; steps != 0; --steps) {
        const uint32_t g0 = (uint32_t)weights[0], g1 = (uint32_t)weights[1], g2 = (uint32_t)weights[2];
        const uint32_t a = ec_sxtb16(g0), b = ec_sxtb16(g1), c = ec_sxtb16(g2), sum = ec_sadd16(a, c);
        const uint32_t d = ec_sxtb16_odd(g0), e = ec_sxtb16_odd(g1), f = ec_sxtb16_odd(g2), other = ec_sadd16(d, f);
        transformed[0] = ec_sadd16(sum, b);
        transformed[1] = ec_sadd16(other, e);
        transformed[2] = ec_ssub16(sum, b);
        transformed[3] = ec_ssub16(other, e);
        transformed[4] = ec_sadd16(a, a);
        transformed[5] = ec_sadd16(d, d);
        transformed[6] = ec_ssub16(0, ec_sadd16(c, c));
        transformed[7] = ec_ssub16(0, ec_sadd16(f, f));
        weights += 3;
        transformed += 8;
    }
}

static void ec_winograd_begin(const ec_conv2d_winograd_dsp_params *p, const ec_winograd_layout *layout, const uint32_t *x, ec_winograd_tiles *tiles)
{
    const int32_t steps = 3 * p->input_channels / 2, partial = steps % EC_WINOGRAD_CHAIN;
    tiles->x = x;
    tiles->channels = p->output_channels;
    tiles->weights = x + p->output_width / 8 * layout->tile;
    tiles->entry = partial == 0 ? 0 : (EC_WINOGRAD_CHAIN - partial) * EC_WINOGRAD_STEP_BYTES;
    tiles->passes = (steps + EC_WINOGRAD_CHAIN - 1) / EC_WINOGRAD_CHAIN;
    tiles->row_bytes = 4 * layout->row;
    tiles->output_row = p->output_width * p->output_channels;
    tiles->tiles = p->output_width / 8;
    tiles->form = p->form;
    tiles->rounding = p->rounding;
    tiles->steps = steps;
}

void ec_conv2d_winograd_s8_dsp(const ec_conv2d_winograd_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    const ec_conv2d_winograd_dsp_params *p = params;
    uint32_t *x = (uint32_t *)scratch;
    ec_winograd_layout layout;
    ec_winograd_tiles tiles;
    int32_t row, channel;
    layout.row = 8 * p->input_channels;
    layout.tile = (p->block_rows + 2) * layout.row;
    ec_winograd_begin(p, &layout, x, &tiles);
    for (row = 0; row < p->output_height; row += p->block_rows) {
        const int32_t rest = p->output_height - row;
        const int32_t *stream = p->weights;
        tiles.rows = rest < p->block_rows ? rest : p->block_rows;
        tiles.tile_bytes = 4 * (layout.tile - tiles.rows * layout.row);
        tiles.output_tile = 8 * p->output_channels - tiles.rows * tiles.output_row;
        if (row != 0) {
            ec_winograd_keep_rows(p, &layout, x);
        }
        ec_winograd_load_rows(p, &layout, input, row - p->padding_top, row == 0 ? 0 : 2, tiles.rows + 2, x);
        EC_NO_UNROLL
        for (channel = 0; channel < p->output_channels; channel += 2) {
            ec_winograd_weights(stream, tiles.steps, x + tiles.tiles * layout.tile);
            tiles.constants = stream + 3 * tiles.steps;
            stream = tiles.constants + 2 * ec_rescale_words(p->form);
            tiles.output = output + row * tiles.output_row + channel;
            ec_winograd_tiles_dsp(&tiles);
        }
    }
    ec_clamp_dsp(output, p->output_height * p->output_width * p->output_channels, p->activation_min, p->activation_max);
}
