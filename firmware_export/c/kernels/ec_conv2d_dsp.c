/* SPDX-License-Identifier: Apache-2.0
 * Walks over the output three pixels at a time, in raster order and without regard to row ends, so that only the last one
 * or two pixels of an image run alone.
 *
 * Windows are read where the input lies if none reaches into padding and the runs of their rows are whole words.
 * Otherwise a buffer holds the input rows that the windows of a tile touch, with padding around them: its rows move up
 * as the tiles move down, a copy that costs less than a hundredth of the layer and spares every window the question
 * where the image ends. Since rows are in the buffer before outputs are written, and a tile is gathered before it is
 * computed, the output may follow the input closely; edgecompress/lower/c/dsp_convolution.py knows how closely. */
#include "ec_conv2d_dsp.h"

#include "ec_clamp_dsp.h"
#include "ec_dsp.h"
#include "ec_memory.h"
#include "ec_requant.h"

/* The next output pixel. */
typedef struct {
    const int8_t *window; /* of the next pixel */
    const int8_t *row;    /* window of its row's first pixel */
    int32_t left;         /* pixels of the row not yet walked over */
    int32_t moved;        /* rows begun since the buffer was last moved */
    int32_t next_row;     /* input row that the buffer takes next, padding included */
} ec_conv_walk;

EC_OUTLINED const int8_t *ec_conv_next(const ec_conv2d_dsp_params *p, ec_conv_walk *w)
{
    const int8_t *window = w->window;
    w->window += p->column_step;
    if (--w->left == 0) {
        w->row += p->row_step;
        w->window = w->row;
        w->left = p->output_width;
        ++w->moved;
    }
    return window;
}

/* Words of memory, downwards or to somewhere else. */
static inline void ec_conv_move(uint32_t *target, const uint32_t *source, int32_t words)
{
    EC_NO_UNROLL
    for (; words >= 4; words -= 4) {
        const uint32_t a = source[0], b = source[1], c = source[2], d = source[3];
        target[0] = a;
        target[1] = b;
        target[2] = c;
        target[3] = d;
        source += 4;
        target += 4;
    }
    EC_NO_UNROLL
    for (; words > 0; --words) {
        *target++ = *source++;
    }
}

/* A row of the image, from any address to any address. */
EC_OUTLINED void ec_conv_copy_row(int8_t *target, const int8_t *source, int32_t bytes)
{
    EC_NO_UNROLL
    for (; bytes >= 16; bytes -= 16) {
        const uint32_t a = ec_load_word(source), b = ec_load_word(source + 4), c = ec_load_word(source + 8), d = ec_load_word(source + 12);
        ec_store_word(target, a);
        ec_store_word(target + 4, b);
        ec_store_word(target + 8, c);
        ec_store_word(target + 12, d);
        source += 16;
        target += 16;
    }
    EC_NO_UNROLL
    for (; bytes > 0; --bytes) {
        *target++ = *source++;
    }
}

/* Rows [first, buffer_rows) of the buffer from the input. */
EC_OUTLINED void ec_conv_load_rows(const ec_conv2d_dsp_params *p, const int8_t *input, int8_t *buffer, int32_t first, ec_conv_walk *w)
{
    int8_t *target = buffer + first * p->pitch + p->left_bytes;
    EC_NO_UNROLL
    for (; first < p->buffer_rows; ++first) {
        const int32_t row = w->next_row++ - p->padding_top;
        if (row >= 0 && row < p->input_height) {
            ec_conv_copy_row(target, input + row * p->input_row_bytes, p->input_row_bytes);
        } else {
            memset(target, p->input_zero_point, (size_t)p->input_row_bytes);
        }
        target += p->pitch;
    }
}

/* Moves the buffer to the row of the next pixel. */
static inline void ec_conv_move_rows(const ec_conv2d_dsp_params *p, const int8_t *input, int8_t *buffer, ec_conv_walk *w)
{
    const int32_t steps = w->moved * p->stride_height;
    int32_t kept = p->buffer_rows - steps;
    w->row -= w->moved * p->row_step;
    w->window = w->row;
    w->window += (p->output_width - w->left) * p->column_step;
    w->moved = 0;
    if (kept > 0) {
        ec_conv_move((uint32_t *)(void *)buffer, (const uint32_t *)(const void *)(buffer + steps * p->pitch), kept * p->pitch / 4);
    } else {
        w->next_row -= kept; /* rows that no window sees */
        kept = 0;
    }
    ec_conv_load_rows(p, input, buffer, kept, w);
}

/* Computes what `tiles` describes, `pixels` pixels in all. An odd number of channels is computed as one more, into `spare` first. */
static void ec_conv_write(const ec_conv2d_dsp_params *p, ec_conv_tiles *tiles, int8_t *output, int8_t *spare, int32_t pixels,
                          ec_conv_compute *compute)
{
    if ((p->output_channels & 1) == 0) {
        tiles->output = output;
        compute(tiles);
        return;
    }
    tiles->output = spare;
    compute(tiles);
    EC_NO_UNROLL
    for (; pixels != 0; --pixels) {
        ec_conv_copy_row(output, spare, p->output_channels);
        output += p->output_channels;
        spare += p->output_channels + 1;
    }
}

/* Sets the tiles that come next, and returns their number of pixels. */
static int32_t ec_conv_next_tiles(const ec_conv2d_dsp_params *p, ec_conv_walk *w, ec_conv_tiles *tiles)
{
    ec_conv_windows *windows = &tiles->windows;
    if (w->left > 3) {
        /* all tiles that end before the row does; a spare output holds only one */
        const int32_t count = p->output_channels & 1 ? 1 : (w->left - 1) / 3;
        windows->a = w->window;
        windows->b = w->window + p->column_step;
        windows->c = w->window + 2 * p->column_step;
        w->window += 3 * count * p->column_step;
        w->left -= 3 * count;
        tiles->tiles = count;
    } else {
        windows->a = ec_conv_next(p, w);
        windows->b = ec_conv_next(p, w);
        windows->c = ec_conv_next(p, w);
        tiles->tiles = 1;
    }
    return 3 * tiles->tiles;
}

static void ec_conv_begin(const ec_conv2d_dsp_params *p, ec_conv_tiles *tiles, uint32_t *x, const ec_conv_functions *functions)
{
    tiles->output_step = p->output_channels + (p->output_channels & 1);
    tiles->end = p->weights + p->weight_words;
    tiles->x = x;
    tiles->form = p->form;
    tiles->rounding = p->rounding;
    tiles->weights = p->weights;
    tiles->gather = functions->gather;
    tiles->advance = 3 * p->column_step;
    tiles->windows.x = x;
    tiles->windows.skip = p->run_step - 4 * p->run_words;
    tiles->windows.rows = p->kernel_height;
    tiles->windows.words = p->run_words;
    ec_conv_set_blocks(tiles, p->blocks, functions->bits);
}

void ec_conv2d_dsp(const ec_conv2d_dsp_params *p, const int8_t *input, int8_t *output, void *scratch, const ec_conv_functions *functions)
{
    uint32_t *x = (uint32_t *)scratch;
    const int32_t filler = functions->bits == 2 ? p->blocks & 1 : 0; /* words of ternary weights hold two blocks */
    int8_t *buffer = (int8_t *)(x + 6 * (p->blocks + filler)), *spare = buffer + p->buffer_rows * p->pitch;
    int8_t *const all = output;
    int32_t pixels = p->output_height * p->output_width;
    ec_conv_tiles tiles;
    ec_conv_walk walk;
    ec_conv_begin(p, &tiles, x, functions);
    memset(x + 6 * p->blocks, 0, (size_t)(24 * filler));
    walk.row = p->buffer_rows != 0 ? buffer : input;
    walk.window = walk.row;
    walk.left = p->output_width;
    walk.moved = 0;
    walk.next_row = 0;
    if (p->buffer_rows != 0) {
        memset(buffer, p->input_zero_point, (size_t)(p->buffer_rows * p->pitch));
        ec_conv_load_rows(p, input, buffer, 0, &walk);
    }
    EC_NO_UNROLL
    while (pixels > 0) {
        int32_t done = 1;
        if (p->buffer_rows != 0 && walk.moved != 0) {
            ec_conv_move_rows(p, input, buffer, &walk);
        }
        if (pixels >= 3) {
            done = ec_conv_next_tiles(p, &walk, &tiles);
            ec_conv_write(p, &tiles, output, spare, done, functions->tiles);
        } else {
            tiles.windows.a = ec_conv_next(p, &walk);
            functions->gather_single(&tiles.windows);
            ec_conv_write(p, &tiles, output, spare, 1, functions->single);
        }
        pixels -= done;
        output += done * p->output_channels;
    }
    ec_clamp_dsp(all, p->output_height * p->output_width * p->output_channels, p->activation_min, p->activation_max);
}
