/* SPDX-License-Identifier: Apache-2.0
 * ec_lstm_s8 for cores with the DSP extension.
 *
 * Input and hidden state become words of two positions once a step. The four gates of a unit are two pairs of rows; a pair
 * shares halfwords 256 * w1 + w0, as in ec_conv_tile_dsp.h: SMLAD on the word as it is sums 256 * S1 + S0, on what SXTB16
 * makes of it S0. Whoever packs the weights checks that this can be taken apart (edgecompress/lower/c/dsp_weights.py).
 * 8 positions are 4 words of inputs and twice 4 words of weights, of the pairs in turn: 30 instructions for 32
 * multiply-accumulates, and all 14 registers in use. */
#include "ec_dsp.h"
#include "ec_lstm.h"
#include "ec_memory.h"

#define LSTM_BLOCK 4 /* units whose sums are made at once: enough to make the call cheap */

/* The assembly reads the fields in this order. */
typedef struct {
    int32_t *sums; /* 4 a unit */
    const int32_t *end; /* of the weights of the last unit */
    const uint32_t *x; /* 4 words for 8 positions */
    const uint32_t *x_end;
    const int32_t *weights;
} lstm_units;

void ec_lstm_sums_dsp(const lstm_units *units);

#if EC_DSP

/* 2 positions of a pair of gates: `first` is 256 * S1 + S0, `second` S0. */
#define LSTM_PAIR(first, second, w, x) \
    "smlad " #first ", " #w ", " #x ", " #first "\n\t" \
    "sxtb16 " #w ", " #w "\n\t" \
    "smlad " #second ", " #w ", " #x ", " #second "\n\t"
/* 4 positions of both pairs. */
#define LSTM_HALF(x0, x1) \
    "ldm r0!, {r10, r11, r12, lr}\n\t" \
    LSTM_PAIR(r2, r3, r10, x0) \
    LSTM_PAIR(r4, r5, r11, x0) \
    LSTM_PAIR(r2, r3, r12, x1) \
    LSTM_PAIR(r4, r5, lr, x1)

__attribute__((naked)) void ec_lstm_sums_dsp(const lstm_units *units __attribute__((unused)))
{
    __asm__ volatile(
        "push {r4-r11, lr}\n\t"
        "ldm r0, {r4-r8}\n\t"
        "push {r4-r7}\n\t"
        "mov r0, r8\n\t"
        "mov r1, r6\n"
        "1:\n\t"
        "mov r2, #0\n\t"
        "mov r3, #0\n\t"
        "mov r4, #0\n\t"
        "mov r5, #0\n"
        "2:\n\t"
        "ldm r1!, {r6-r9}\n\t"
        LSTM_HALF(r6, r7)
        LSTM_HALF(r8, r9)
        "ldr r10, [sp, #12]\n\t"
        "cmp r1, r10\n\t"
        "bne 2b\n\t"
        "sub r2, r2, r3\n\t"
        "sub r4, r4, r5\n\t"
        "asr r2, r2, #8\n\t"
        "asr r4, r4, #8\n\t"
        "ldm sp, {r6, r7, r8}\n\t"
        "str r3, [r6], #4\n\t"
        "str r2, [r6], #4\n\t"
        "str r5, [r6], #4\n\t"
        "str r4, [r6], #4\n\t"
        "str r6, [sp]\n\t"
        "mov r1, r8\n\t"
        "cmp r0, r7\n\t"
        "bne 1b\n\t"
        "add sp, #16\n\t"
        "pop {r4-r11, pc}\n"
    );
}

#else

void ec_lstm_sums_dsp(const lstm_units *units)
{
    const int32_t *w = units->weights;
    int32_t *sums = units->sums;
    EC_NO_UNROLL
    for (; w != units->end; sums += 4) {
        int32_t both[2] = {0, 0}, even[2] = {0, 0};
        const uint32_t *x;
        int pair;
        EC_NO_UNROLL
        for (x = units->x; x != units->x_end; ++x) {
            for (pair = 0; pair < 2; ++pair) {
                both[pair] = ec_smlad((uint32_t)*w, *x, both[pair]);
                even[pair] = ec_smlad(ec_sxtb16((uint32_t)*w++), *x, even[pair]);
            }
        }
        for (pair = 0; pair < 2; ++pair) {
            sums[2 * pair] = even[pair];
            sums[2 * pair + 1] = (int32_t)((uint32_t)both[pair] - (uint32_t)even[pair]) >> 8;
        }
    }
}

#endif

/* `size` bytes as words of positions (0, 2), (1, 3), with zeros up to a multiple of 8. */
static inline void lstm_expand(uint32_t *x, const int8_t *input, int32_t size)
{
    int32_t rest, i;
    EC_NO_UNROLL
    for (rest = size; rest >= 4; rest -= 4) {
        const uint32_t word = ec_load_word(input);
        x[0] = ec_sxtb16(word);
        x[1] = ec_sxtb16_odd(word);
        input += 4;
        x += 2;
    }
    if ((size & 7) != 0) {
        int32_t last[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        for (i = 0; i < rest; ++i) {
            last[i] = input[i];
        }
        x[0] = ec_pair(last[0], last[2]);
        x[1] = ec_pair(last[1], last[3]);
        if ((size & 7) < 4) {
            x[2] = 0;
            x[3] = 0;
        }
    }
}

static inline lstm_units lstm_from(const uint32_t *x, int32_t eights, const void *weights)
{
    lstm_units units;
    units.sums = 0;
    units.end = 0;
    units.x = x;
    units.x_end = x + 4 * eights;
    units.weights = (const int32_t *)weights;
    return units;
}

/* The sums of the next `count` units, with their biases. */
static inline void lstm_next_sums(lstm_units *units, int32_t count, const int32_t *bias, int32_t *sums)
{
    int32_t i;
    units->sums = sums;
    units->end = units->weights + 2 * count * (int32_t)(units->x_end - units->x);
    ec_lstm_sums_dsp(units);
    units->weights = units->end;
    EC_NO_UNROLL
    for (i = 0; i < EC_GATES * count; ++i) {
        sums[i] = (int32_t)((uint32_t)sums[i] + (uint32_t)bias[i]);
    }
}

static inline void lstm_step(const ec_lstm_params *p, const uint32_t *input, const uint32_t *hidden, int8_t *output, int16_t *cells)
{
    lstm_units from_input = lstm_from(input, (p->inputs + 7) / 8, p->input_weights);
    lstm_units from_hidden = lstm_from(hidden, (p->units + 7) / 8, p->recurrent_weights);
    int32_t first, i;
    EC_NO_UNROLL
    for (first = 0; first < p->units; first += LSTM_BLOCK) {
        const int32_t count = p->units - first < LSTM_BLOCK ? p->units - first : LSTM_BLOCK;
        int32_t sums[2][EC_GATES * LSTM_BLOCK];
        lstm_next_sums(&from_input, count, p->input_bias + EC_GATES * first, sums[0]);
        lstm_next_sums(&from_hidden, count, p->recurrent_bias + EC_GATES * first, sums[1]);
        EC_NO_UNROLL
        for (i = 0; i < count; ++i) {
            output[first + i] = ec_lstm_finish(p, sums[0] + EC_GATES * i, sums[1] + EC_GATES * i, cells + first + i);
        }
    }
}

void ec_lstm_s8_dsp(const ec_lstm_params *params, const int8_t *input, int8_t *output, void *scratch, void *state)
{
    const int32_t inputs = params->inputs, units = params->units;
    uint32_t *input_words = (uint32_t *)scratch, *hidden_words = input_words + (inputs + 7) / 8 * 4;
    int16_t *cells = (int16_t *)state;
    int8_t *remembered = (int8_t *)(cells + units);
    const int8_t *hidden = remembered;
    int32_t step;
    for (step = 0; step < params->steps; ++step) {
        lstm_expand(input_words, input, inputs);
        lstm_expand(hidden_words, hidden, units);
        lstm_step(params, input_words, hidden_words, output, cells);
        hidden = output;
        input += inputs;
        output += units;
    }
    memcpy(remembered, hidden, (size_t)units);
}
