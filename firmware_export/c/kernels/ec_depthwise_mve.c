/* SPDX-License-Identifier: Apache-2.0
 * Groups of 16 channels; for each a batch of strips of rows is brought into the buffer that ec_depthwise_tiles_mve.h describes, and
 * its tiles are computed. `rows` and `columns` are the image's own, or exchanged: whichever makes the better strips. Padding is the
 * input's zero point, whose share the bias holds. The output may be the input itself: a batch is read whole before it is written,
 * and rows that a later batch looks back at are saved first. */
#include "ec_depthwise_mve.h"
#include "ec_interleave_mve.h"
#include "ec_segments_mve.h"
#include "ec_weights.h"

#define LANES 16

typedef struct {
    const ec_depthwise_mve_params *p;
    ec_depthwise_tiles_mve_function *tiles;
    int32_t middle;
    int32_t pair;
    int32_t in_place;
    int32_t strips; /* of the image */
    int8_t *zeros;  /* a pixel of padding */
    int8_t *buffer;
    int8_t *saved;   /* row r in place r % padding_rows */
    int8_t *weights; /* of packed weights */
    int32_t *table;
    int32_t *last_table; /* of the last batch */
} context;

static inline int32_t lesser(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Rows of one strip; those before `saved_end` come from the saved ones. */
static void fill_strip(const context *c, const int8_t *input, int32_t strip, int8_t *target, int32_t saved_end, int32_t lanes)
{
    const ec_depthwise_mve_params *p = c->p;
    const int32_t top = strip * p->phases * p->stride_rows - p->padding_rows;
    const int32_t columns = lesser(p->input_columns, p->strip_columns - p->padding_columns);
    const int32_t pitch = 64 * p->row_groups;
    int32_t group, i;
    for (group = 0; group < p->row_groups; ++group) {
        const int8_t *source[4];
        int32_t step[4];
        for (i = 0; i < 4; ++i) {
            const int32_t offset = 4 * group + i, row = top + offset;
            if (row < 0 || row >= p->input_rows || offset >= p->strip_rows) {
                source[i] = c->zeros;
                step[i] = 0;
            } else if (row < saved_end) {
                source[i] = c->saved + row % p->padding_rows * p->input_columns * LANES;
                step[i] = LANES;
            } else {
                source[i] = input + row * p->input_row_bytes;
                step[i] = p->input_column_bytes;
            }
        }
        ec_interleave_mve(target + p->padding_columns * pitch + 64 * group, source, step, columns, pitch, lanes);
    }
}

/* Rows that a later batch still sees, from `first` on, and whose memory the outputs before row `end` may take: in place, an output
 * never lies behind the input pixel of its own row. Those before `saved_end` are saved already. */
static void save_rows(const context *c, const int8_t *input, int32_t first, int32_t saved_end, int32_t end, int32_t lanes)
{
    const ec_depthwise_mve_params *p = c->p;
    int32_t row = first > saved_end ? first : saved_end;
    for (; row < end; ++row) {
        ec_copy_segments_mve(c->saved + row % p->padding_rows * p->input_columns * LANES, LANES, input + row * p->input_row_bytes, p->input_column_bytes,
                             lanes, p->input_columns);
    }
}

/* Tiles of `strips` strips, `rows` rows of outputs in the last one. Returns how many have all lanes; they stand first. */
static int32_t make_table(const context *c, int32_t *table, int32_t strips, int32_t rows)
{
    const ec_depthwise_mve_params *p = c->p;
    const int32_t width = c->pair ? 4 : 8, last_start = p->output_columns > width ? p->output_columns - width : 0;
    ec_depthwise_tile_mve *tile = (ec_depthwise_tile_mve *)(table + 1);
    int32_t *place = table, strip, column, whole = 0;
    for (strip = 0; strip < strips; ++strip) {
        const int32_t both = !c->pair || strip < strips - 1 || rows == 2;
        for (column = 0; column < p->output_columns; column += width) {
            const int32_t start = lesser(column, last_start), valid = p->output_columns - start;
            int32_t lane;
            uint32_t lanes = 0;
            for (lane = 0; lane < 8; ++lane) {
                const int32_t index = c->pair ? (lane & 1) * 2 + lane / 4 : (lane & 1) * 4 + lane / 2;
                if (index < valid && (both || (lane & 2) == 0)) {
                    lanes |= 3u << (2 * lane);
                }
            }
            whole += lanes == 0xffffu;
            *place = strip * p->strip_columns * 64 * p->row_groups + start * p->stride_columns * 64 * p->row_groups + c->middle;
            tile->output = strip * p->phases * p->output_row_bytes + start * p->output_column_bytes;
            tile->lanes = lanes;
            tile->zero_point = p->output_zero_point;
            place = &tile->next;
            ++tile;
        }
    }
    *place = 0;
    return whole;
}

static void unpack_weights(const context *c, int32_t first, int32_t lanes)
{
    const ec_depthwise_mve_params *p = c->p;
    const int32_t row_bytes = ec_row_bytes(p->taps, p->weight_bits);
    int32_t lane, tap;
    for (lane = 0; lane < lanes; ++lane) {
        for (tap = 0; tap < p->taps; ++tap) {
            c->weights[lane * p->taps + tap] = (int8_t)ec_weight(p->weights + (first + lane) * row_bytes, tap, p->weight_bits);
        }
    }
}

/* What does not change from batch to batch. */
static void prepare(const context *c, ec_depthwise_tiles_mve *t)
{
    const ec_depthwise_mve_params *p = c->p;
    int32_t lane;
    t->taps = p->taps;
    t->step = p->stride_columns * 64 * p->row_groups;
    for (lane = 0; lane < 4; ++lane) {
        t->words[lane] = 64 * (uint32_t)lane;
    }
    for (lane = 0; lane < 8; ++lane) {
        const int32_t column = c->pair ? (lane & 1) * 2 + lane / 4 : (lane & 1) * 4 + lane / 2, row = c->pair ? lane / 2 % 2 : 0;
        t->offsets[lane] = (uint16_t)(column * p->output_column_bytes + row * p->output_row_bytes);
    }
}

static void run_batch(const context *c, ec_depthwise_tiles_mve *t, int32_t group, int32_t lanes, int32_t first, int32_t strips, int32_t whole, int8_t *output)
{
    const ec_depthwise_mve_params *p = c->p;
    const int32_t width = c->pair ? 4 : 8, strip_tiles = (p->output_columns + width - 1) / width;
    const int32_t passes = c->pair ? 1 : p->phases;
    int32_t phase;
    for (phase = 0; phase < passes; ++phase) {
        const int32_t rows = p->output_rows - first * p->phases - phase, there = lesser(strips, (rows + p->phases - 1) / p->phases);
        t->channels = lanes;
        t->weights = p->weight_bits == 8 ? p->weights + group * p->taps : c->weights;
        t->factors = p->factors + 2 * group;
        t->buffer = c->buffer;
        t->output = output + group + (first * p->phases + phase) * p->output_row_bytes;
        t->table = first + strips < c->strips ? c->table : c->last_table;
        t->whole = lesser(whole, there * strip_tiles);
        t->partial = (c->pair ? strips : there) * strip_tiles - t->whole;
        t->patterns = (const ec_depthwise_pattern_mve *)p->patterns + phase * p->vectors;
        if (t->whole + t->partial > 0) {
            c->tiles(t);
        }
    }
}

static void run_group(const context *c, ec_depthwise_tiles_mve *t, int32_t group, const int32_t whole[2], const int8_t *input, int8_t *output)
{
    const ec_depthwise_mve_params *p = c->p;
    const int32_t lanes = lesser(LANES, p->channels - group);
    int32_t first, strip, count, saved_end = 0;
    if (p->weight_bits != 8) {
        unpack_weights(c, group, lanes);
    }
    for (first = 0; first < c->strips; first += count) {
        count = lesser(p->strips, c->strips - first);
        for (strip = 0; strip < count; ++strip) {
            fill_strip(c, input + group, first + strip, c->buffer + strip * p->strip_columns * 64 * p->row_groups, saved_end, lanes);
        }
        if (c->in_place && first + count < c->strips) {
            const int32_t end = (first + count) * p->phases;
            save_rows(c, input + group, end * p->stride_rows - p->padding_rows, saved_end, end, lanes);
            saved_end = end;
        }
        run_batch(c, t, group, lanes, first, count, whole[first + count == c->strips], output);
    }
}

void ec_depthwise_mve(const ec_depthwise_mve_params *p, const int8_t *input, int8_t *output, void *scratch, ec_depthwise_tiles_mve_function *tiles,
                      int32_t middle, int32_t pair)
{
    const int32_t strip_bytes = p->strip_columns * 64 * p->row_groups;
    int32_t group, last, whole[2];
    ec_depthwise_tiles_mve t;
    context c;
    c.p = p;
    c.tiles = tiles;
    c.middle = middle;
    c.pair = pair;
    c.in_place = input == output;
    c.strips = (p->output_rows + p->phases - 1) / p->phases;
    c.buffer = (int8_t *)scratch;
    c.zeros = c.buffer + p->strips * strip_bytes;
    c.table = (int32_t *)((uint8_t *)scratch + p->strips * strip_bytes + LANES);
    c.last_table = c.table + p->table_words;
    c.saved = (int8_t *)(c.last_table + p->table_words);
    c.weights = c.saved + p->saved_bytes;
    ec_fill_segments_mve(c.buffer, 0, p->input_zero_point, p->strips * strip_bytes + LANES, 1);
    last = c.strips - (c.strips - 1) / p->strips * p->strips;
    whole[0] = make_table(&c, c.table, p->strips, p->phases);
    whole[1] = make_table(&c, c.last_table, last, p->output_rows - (c.strips - 1) * p->phases);
    prepare(&c, &t);
    for (group = 0; group < p->channels; group += LANES) {
        run_group(&c, &t, group, whole, input, output);
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        ec_clamp_mve(output, p->output_rows * p->output_columns * p->channels, p->activation_min, p->activation_max);
    }
}
