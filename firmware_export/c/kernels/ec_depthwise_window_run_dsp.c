/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_window_dsp.h"

/* Two words a tap: the weights of the first output row, which begins with a pair of rows, and those of the second one. Two
 * columns, whose weights take turns. Here the second output row begins one row further down than the first one. */
EC_OUTLINED void order_two(const int8_t *weights, int32_t height, ec_depthwise_taps a, ec_depthwise_taps b)
{
    uint32_t x = ec_load_word(weights), y;
    int32_t rest = height;
    if (height != 1) {
        ec_depthwise_put(&a, ec_sxtb16(x), ec_sxtb16(x) << 16);
        ec_depthwise_put(&b, ec_sxtb16_odd(x), ec_sxtb16_odd(x) << 16);
        EC_NO_UNROLL
        for (rest = height - 2; rest > 1; rest -= 2) {
            y = ec_load_word(weights + 2);
            weights += 4;
            x = ec_load_word(weights);
            ec_depthwise_put(&a, ec_sxtb16(x), ec_sxtb16(y));
            ec_depthwise_put(&b, ec_sxtb16_odd(x), ec_sxtb16_odd(y));
        }
        y = ec_load_word(weights + 2);
        if (rest == 0) { /* the second row is one weight longer */
            ec_depthwise_put(&a, 0, ec_sxtb16(y) & 0xffffu);
            ec_depthwise_put(&b, 0, ec_sxtb16_odd(y) & 0xffffu);
        } else {
            x = ec_load_word(weights + 4);
            ec_depthwise_put(&a, ec_sxtb16(x) & 0xffffu, ec_sxtb16(y));
            ec_depthwise_put(&b, ec_sxtb16_odd(x) & 0xffffu, ec_sxtb16_odd(y));
        }
    } else {
        ec_depthwise_put(&a, ec_sxtb16(x) & 0xffffu, ec_sxtb16(x) << 16);
        ec_depthwise_put(&b, ec_sxtb16_odd(x) & 0xffffu, ec_sxtb16_odd(x) << 16);
    }
}

/* The same where the second output row begins two rows further down, one pair: its weights are the first one's one tap later. */
EC_OUTLINED void order_two_apart(const int8_t *weights, int32_t height, ec_depthwise_taps a, ec_depthwise_taps b)
{
    uint32_t a_before = 0, b_before = 0, x;
    EC_NO_UNROLL
    for (; height > 1; height -= 2) {
        x = ec_load_word(weights);
        weights += 4;
        ec_depthwise_put(&a, ec_sxtb16(x), a_before);
        ec_depthwise_put(&b, ec_sxtb16_odd(x), b_before);
        a_before = ec_sxtb16(x);
        b_before = ec_sxtb16_odd(x);
    }
    if (height == 1) {
        x = ec_load_word(weights);
        ec_depthwise_put(&a, ec_sxtb16(x) & 0xffffu, a_before);
        ec_depthwise_put(&b, ec_sxtb16_odd(x) & 0xffffu, b_before);
        a_before = ec_sxtb16(x) & 0xffffu;
        b_before = ec_sxtb16_odd(x) & 0xffffu;
    }
    ec_depthwise_put(&a, 0, a_before);
    ec_depthwise_put(&b, 0, b_before);
}

void ec_depthwise_order_line(const int8_t *weights, int32_t height, int32_t further, ec_depthwise_taps a)
{
    uint32_t before = 0, last = 0;
    EC_NO_UNROLL
    for (; height > 1; height -= 2) {
        const uint32_t w0 = (uint32_t)weights[0], w1 = (uint32_t)weights[1];
        ec_depthwise_put(&a, ec_pack_bottoms(w0, w1), further == 1 ? ec_pack_bottoms(last, w0) : before);
        before = ec_pack_bottoms(w0, w1);
        last = w1;
        weights += 2;
    }
    if (height == 1) {
        const uint32_t w0 = (uint32_t)weights[0] & 0xffffu;
        ec_depthwise_put(&a, w0, further == 1 ? ec_pack_bottoms(last, w0) : before);
        before = w0;
    }
    if (further == 2 || height == 0) {
        ec_depthwise_put(&a, 0, further == 1 ? last & 0xffffu : before);
    }
}

EC_OUTLINED void order_weights(const ec_depthwise_dsp_params *p, const int8_t *weights, uint32_t *words)
{
    const int32_t width = p->kernel_width, height = p->kernel_height;
    const int32_t next = p->stride_width == 1 ? 4 : 2, odd = p->stride_width == 1 ? 2 : (width + 1) / 2 * 2;
    ec_depthwise_taps a, b;
    int32_t columns;
    a.words = words;
    a.step = 2 * width;
    b.step = 2 * width;
    EC_NO_UNROLL
    for (columns = width; columns > 1; columns -= 2) {
        b.words = a.words + odd;
        if (p->stride_height == 1) {
            order_two(weights, height, a, b);
        } else {
            order_two_apart(weights, height, a, b);
        }
        weights += 2 * height;
        a.words += next;
    }
    if (columns != 0) {
        ec_depthwise_order_line(weights, height, p->stride_height, a);
    }
}

void ec_depthwise_window_fill(const int8_t *upper, int32_t upper_step, const int8_t *lower, int32_t lower_step, uint32_t minus, int32_t columns,
                              uint32_t *words, int32_t lane_step)
{
    uint32_t *second = words + lane_step, *third = second + lane_step, *fourth = third + lane_step;
    EC_NO_UNROLL
    for (; columns > 0; --columns) {
        const uint32_t a = ec_load_word(upper), b = ec_load_word(lower);
        const uint32_t low = ec_pack_bottoms(a, b), high = ec_pack_tops(a, b);
        *words++ = ec_sxtab16(minus, low);
        *second++ = ec_sxtab16_odd(minus, low);
        *third++ = ec_sxtab16(minus, high);
        *fourth++ = ec_sxtab16_odd(minus, high);
        upper += upper_step;
        lower += lower_step;
    }
}

/* A pair of rows: `even` words of the even columns, or of all, then `odd` words of the odd ones. */
EC_OUTLINED void fill_pair(const ec_depthwise_dsp_params *p, const int8_t *input, int32_t row, uint32_t *words, int32_t even, int32_t odd,
                      int32_t lane_step)
{
    const uint32_t minus = ec_pair(-p->input_zero_point, -p->input_zero_point);
    const int32_t stride = p->stride_width, width = p->input_width;
    int32_t upper_step, lower_step, first = stride == 1 ? 0 : p->padding_left & 1, room = even, turn; /* first column inside of this parity */
    int8_t zero_point[4];
    const int8_t *upper, *lower;
    ec_store_word(zero_point, (uint8_t)p->input_zero_point * 0x01010101u);
    upper = ec_depthwise_row(p, input, row, zero_point, &upper_step);
    lower = ec_depthwise_row(p, input, row + 1, zero_point, &lower_step);
    EC_NO_UNROLL
    for (turn = stride; turn != 0; --turn) {
        const int32_t place = (first + p->padding_left) / stride, columns = (width - first + stride - 1) / stride;
        ec_depthwise_window_fill(upper + first * upper_step, upper_step * stride, lower + first * lower_step, lower_step * stride, minus,
                                 columns < room - place ? columns : room - place, words + place, lane_step);
        words += even;
        room = odd;
        first = 1 - first;
    }
}

void ec_depthwise_window_run(ec_depthwise_window_function *function, const ec_depthwise_dsp_params *params, const int8_t *input, int8_t *output,
                             void *scratch)
{
    const ec_depthwise_dsp_params *p = params;
    const int32_t positions = ec_depthwise_positions(p->output_width);
    const int32_t pairs = p->stride_height == 1 ? p->kernel_height / 2 + 1 : (p->kernel_height + 1) / 2 + 1;
    const int32_t taps = p->stride_width == 1 ? p->kernel_width : (p->kernel_width + 1) / 2, more_taps = p->kernel_width - taps;
    const int32_t even = positions - 1 + taps, odd = more_taps == 0 ? 0 : positions - 1 + more_taps;
    const int32_t lane_step = pairs * (even + odd), lane_words = 1 + 2 * pairs * p->kernel_width + EC_DEPTHWISE_SCALE_WORDS;
    const int32_t channels = p->channels, row_bytes = p->output_width * channels;
    const int32_t first_pair = p->padding_top / 2, pairs_end = (p->input_height - 1 + p->padding_top) / 2 + 1; /* those that see the image */
    int32_t *sums = (int32_t *)scratch, *runs, done = 0, lane;
    uint32_t *words = (uint32_t *)(sums + 2 * positions), *lanes = words + EC_DEPTHWISE_LANES * lane_step;
    int8_t *unpacked;
    ec_depthwise_window_step s;
    ec_depthwise_begin(&s.step, p, sums, p->output_width, channels);
    s.step.lane_end = lanes + EC_DEPTHWISE_LANES * lane_words;
    runs = (int32_t *)(void *)(lanes + EC_DEPTHWISE_LANES * lane_words);
    s.runs = runs;
    s.weight_bytes = 8 * pairs * p->kernel_width;
    s.taps[0] = taps;
    s.taps[1] = more_taps;
    s.words = words;
    s.threes_end = sums + 2 * ec_depthwise_threes(p->output_width);
    unpacked = (int8_t *)(runs + p->stride_width * pairs);
    memset(words, 0, (size_t)(EC_DEPTHWISE_LANES * lane_step) * sizeof *words); /* for what lies beside the image */
    while (done != channels) {
        /* the last group begins early rather than end beyond the last channel; its first lanes are finished already */
        const int32_t channel = done + EC_DEPTHWISE_LANES <= channels ? done : channels - EC_DEPTHWISE_LANES;
        int32_t row, seen = 0, filled = first_pair;
        s.step.lane = lanes + (done - channel) * lane_words;
        s.step.output = output + done;
        for (lane = done - channel; lane < EC_DEPTHWISE_LANES; ++lane) {
            const int8_t *weights = ec_depthwise_weights(p, channel + lane, p->kernel_height * p->kernel_width, unpacked);
            uint32_t *constants = lanes + lane * lane_words;
            constants[0] = (uint32_t)(4 * lane * lane_step);
            order_weights(p, weights, constants + 1);
            ec_depthwise_load_scale(p, channel + lane, constants + lane_words - EC_DEPTHWISE_SCALE_WORDS);
        }
        EC_NO_UNROLL
        for (row = 0; row < p->output_height; row += 2) {
            const int32_t begin = seen > first_pair ? seen : first_pair, end = seen + pairs < pairs_end ? seen + pairs : pairs_end;
            int32_t *run = runs, pair;
            EC_NO_UNROLL
            for (pair = begin; pair < end; ++pair) {
                const int32_t place = pair % pairs * (even + odd);
                if (pair >= filled) {
                    fill_pair(p, input + channel, 2 * pair - p->padding_top, words + place, even, odd, lane_step);
                    filled = pair + 1;
                }
                *run++ = 4 * place;
                if (more_taps != 0) {
                    *run++ = 4 * (place + even);
                }
            }
            s.runs_end = run;
            s.skipped_bytes = 8 * (begin - seen) * p->kernel_width;
            s.step.row_step = row + 1 < p->output_height ? row_bytes : 0;
            function(&s);
            s.step.output += 2 * row_bytes;
            seen += p->stride_height;
        }
        done = channel + EC_DEPTHWISE_LANES;
    }
}

#if !EC_DSP
void ec_depthwise_window_sums(const ec_depthwise_window_step *step)
{
    ec_depthwise_window_step s = *step;
    while (s.step.lane != s.step.lane_end) {
        const uint32_t *weights = s.step.lane + 1, *words = s.words + *s.step.lane / 4;
        int32_t column = 0, *sums, tap;
        for (sums = s.step.sums; sums != s.step.sums_end; sums += 2) {
            const int32_t *run;
            const uint32_t *w = weights + s.skipped_bytes / 4;
            sums[0] = 0;
            sums[1] = 0;
            for (run = s.runs; run != s.runs_end; ++run) {
                const uint32_t *x = words + *run / 4 + column;
                for (tap = s.taps[s.taps[1] != 0 && (run - s.runs) % 2 != 0]; tap != 0; --tap) {
                    sums[0] = ec_smlad(*x, w[0], sums[0]);
                    sums[1] = ec_smlad(*x++, w[1], sums[1]);
                    w += 2;
                }
            }
            ++column;
        }
        s.step.lane = weights + s.weight_bytes / 4;
        s.step.rescale(&s.step);
    }
}
#endif
