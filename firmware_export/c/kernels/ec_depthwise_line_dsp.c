/* SPDX-License-Identifier: Apache-2.0
 * Depthwise windows of one column, or of one row. Columns (or rows) are lines of their own here: a word holds two neighbours
 * of a line, and what ec_depthwise_window_dsp.h calls a column of the output is two neighbouring outputs of the line.
 *
 * Scratch, with taps = (kernel_height * kernel_width) / 2 + 1 for a stride of 1 and (kernel_height * kernel_width + 1) / 2 + 1
 * for 2 along the line, and positions half the outputs of a line, rounded up, at least 2, and 1 more: int32_t[positions][2] sums,
 * uint32_t[4 lanes][stride * (positions - 1) + taps] words, 4 lanes' constants of 1 + 2 * taps + 4 words, int32_t[2] runs,
 * int8_t[kernel_height * kernel_width] for packed weights. Output and input may start at one address where the output has
 * as many lines as the input and no more outputs a line than inputs; for lines that are rows, no more lines. */
#include "ec_depthwise_window_dsp.h"

/* The words of a line: `even` words, then the others; with stride 1 all are even. */
typedef struct {
    const ec_depthwise_dsp_params *params;
    uint32_t *words;
    int32_t lane_step;
    int32_t counts[2];
    int32_t stride;
    int32_t size;    /* inputs of a line */
    int32_t padding; /* before the line */
    int32_t step;    /* bytes between neighbours */
} line_layout;

/* `count` words from word `first` on, every `stride`th, whose inputs are `upper` and `lower`, at `steps` bytes a word. */
static void fill_words(const line_layout *l, const int8_t *upper, const int8_t *lower, int32_t step, int32_t first, int32_t count)
{
    const int32_t zero_point = l->params->input_zero_point, odd = l->stride == 1 ? 0 : first % 2, place = first / l->stride;
    const int32_t room = l->counts[odd] - place;
    ec_depthwise_window_fill(upper, step, lower, step, ec_pair(-zero_point, -zero_point), count < room ? count : room,
                             l->words + odd * l->counts[0] + place, l->lane_step);
}

static void fill_line(const line_layout *l, const int8_t *input)
{
    const int32_t size = l->size, padding = l->padding, step = l->step, stride = l->stride;
    const int32_t first = (padding + 1) / 2, end = (size + padding) / 2; /* words with both inputs inside */
    int8_t zero_point[4];
    int32_t i;
    ec_store_word(zero_point, (uint8_t)l->params->input_zero_point * 0x01010101u);
    for (i = first; i < first + stride && i < end; ++i) {
        const int8_t *upper = input + (2 * i - padding) * step;
        fill_words(l, upper, upper + step, 2 * stride * step, i, (end - i + stride - 1) / stride);
    }
    if (padding % 2 != 0) {
        fill_words(l, zero_point, input, 0, first - 1, 1);
    }
    if ((size + padding) % 2 != 0) {
        fill_words(l, input + (size - 1) * step, zero_point, 0, end, 1);
    }
}

/* The taps of the even words stand before those of the odd ones. */
static void order_apart(const int8_t *weights, int32_t length, const int32_t counts[2], uint32_t *words)
{
    uint32_t before = 0;
    int32_t pair;
    EC_NO_UNROLL
    for (pair = 0; pair < counts[0] + counts[1]; ++pair) {
        uint32_t *tap = words + 2 * (pair % 2 * counts[0] + pair / 2);
        const int32_t rest = length - 2 * pair;
        const uint32_t w0 = rest > 0 ? (uint32_t)weights[2 * pair] : 0, w1 = rest > 1 ? (uint32_t)weights[2 * pair + 1] : 0;
        tap[0] = ec_pack_bottoms(w0, w1);
        tap[1] = before;
        before = tap[0];
    }
}

static void order_weights(const int8_t *weights, int32_t length, int32_t stride, const int32_t counts[2], uint32_t *words)
{
    if (stride == 1) {
        ec_depthwise_taps taps;
        taps.words = words;
        taps.step = 2;
        ec_depthwise_order_line(weights, length, 1, taps);
    } else {
        order_apart(weights, length, counts, words);
    }
}

/* Outputs in pairs from position `first` on. */
static void make_outputs(ec_depthwise_window_step *s, int32_t *runs, const line_layout *l, int32_t first, int32_t columns, int32_t row_step)
{
    runs[0] = 4 * first;
    runs[1] = 4 * (first + l->counts[0]);
    s->step.sums_end = s->step.sums + 2 * columns;
    s->threes_end = s->step.sums + 2 * ec_depthwise_threes(columns);
    s->step.row_step = row_step;
    s->step.output += first * s->step.column_step;
    ec_depthwise_window_any(s);
}

void ec_depthwise_line_dsp(const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output, void *scratch)
{
    const ec_depthwise_dsp_params *p = params;
    const int32_t channels = p->channels, upright = p->kernel_width == 1 && (p->kernel_height != 1 || p->output_height > p->output_width);
    const int32_t length = p->kernel_height * p->kernel_width, stride = upright ? p->stride_height : p->stride_width;
    const int32_t taps = stride == 1 ? length / 2 + 1 : (length + 1) / 2 + 1, outputs = upright ? p->output_height : p->output_width;
    const int32_t lines = upright ? p->output_width : p->output_height;
    const int32_t line_step = (upright ? p->stride_width : p->stride_height * p->input_width) * channels;
    const int32_t output_step = (upright ? p->output_width : 1) * channels, output_line_step = (upright ? 1 : p->output_width) * channels;
    const int32_t positions = ec_depthwise_positions(outputs / 2 + outputs % 2) + 1; /* the last one by itself is taken as two */
    const int32_t lane_words = 1 + 2 * taps + EC_DEPTHWISE_SCALE_WORDS;
    int32_t *sums = (int32_t *)scratch, *runs, done = 0, lane;
    uint32_t *lanes;
    line_layout l;
    ec_depthwise_window_step s;
    l.params = p;
    l.words = (uint32_t *)(sums + 2 * positions);
    l.stride = stride;
    l.size = upright ? p->input_height : p->input_width;
    l.padding = upright ? p->padding_top : p->padding_left;
    l.step = (upright ? p->input_width : 1) * channels;
    s.taps[0] = stride == 1 ? taps : (taps + 1) / 2;
    s.taps[1] = taps - s.taps[0];
    l.counts[0] = positions - 1 + s.taps[0];
    l.counts[1] = stride == 1 ? 0 : positions - 1 + s.taps[1];
    l.lane_step = l.counts[0] + l.counts[1];
    lanes = l.words + EC_DEPTHWISE_LANES * l.lane_step;
    runs = (int32_t *)(void *)(lanes + EC_DEPTHWISE_LANES * lane_words);
    ec_depthwise_begin(&s.step, p, sums, 0, 2 * output_step);
    s.step.lane_end = lanes + EC_DEPTHWISE_LANES * lane_words;
    s.runs = runs;
    s.runs_end = runs + stride;
    s.skipped_bytes = 0;
    s.weight_bytes = 8 * taps;
    s.words = l.words;
    memset(l.words, 0, (size_t)(EC_DEPTHWISE_LANES * l.lane_step) * sizeof *l.words); /* for what lies beside the line */
    while (done != channels) {
        /* the last group begins early rather than end beyond the last channel; its first lanes are finished already */
        const int32_t channel = done + EC_DEPTHWISE_LANES <= channels ? done : channels - EC_DEPTHWISE_LANES;
        int32_t line;
        s.step.lane = lanes + (done - channel) * lane_words;
        for (lane = done - channel; lane < EC_DEPTHWISE_LANES; ++lane) {
            const int8_t *weights = ec_depthwise_weights(p, channel + lane, length, (int8_t *)(runs + 2));
            uint32_t *constants = lanes + lane * lane_words;
            constants[0] = (uint32_t)(4 * lane * l.lane_step);
            order_weights(weights, length, stride, s.taps, constants + 1);
            ec_depthwise_load_scale(p, channel + lane, constants + lane_words - EC_DEPTHWISE_SCALE_WORDS);
        }
        EC_NO_UNROLL
        for (line = 0; line < lines; ++line) {
            fill_line(&l, input + line * line_step + channel);
            s.step.output = output + line * output_line_step + done;
            if (outputs > 1) {
                make_outputs(&s, runs, &l, 0, outputs / 2, output_step);
            }
            if (outputs % 2 != 0) {
                make_outputs(&s, runs, &l, outputs / 2, 1, 0); /* the last one has no neighbour */
            }
        }
        done = channel + EC_DEPTHWISE_LANES;
    }
}
