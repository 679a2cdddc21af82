/* edgecompress bench: what the harness's files and the generated model table share. */
#ifndef EDGECOMPRESS_BENCH_HARNESS_H
#define EDGECOMPRESS_BENCH_HARNESS_H

#include <stdint.h>

typedef int (*bench_run_function)(const int8_t *input, int8_t *output);

struct bench_model {
    bench_run_function run;
    void (*reset)(void); /* 0 for a model without a state: the frames of one with a state are one stream from its reset */
    void (*load)(const int8_t *frame); /* 0, or puts a frame into a model that holds its inputs itself */
    void (*store)(int8_t *frame);      /* 0, or takes the outputs out of it */
    uint32_t input_bytes;
    uint32_t output_bytes;
};

static inline void bench_copy(int8_t *to, const int8_t *from, uint32_t size)
{
    while (size-- > 0u) {
        *to++ = *from++;
    }
}

/* A down-counting board timer; on mps2 boards under qemu's -icount it counts executed instructions. */
struct bench_timer {
    volatile uint32_t *control;
    volatile uint32_t *reload;
    volatile uint32_t *value; /* writing it starts a period anew */
    uint32_t enable;
    uint32_t mask;
};

/* Generated for each firmware. */
extern const struct bench_model bench_models[];
extern const uint32_t bench_model_count;
extern const struct bench_timer bench_timer;
extern int8_t bench_input[];
extern int8_t bench_output[];

/* bench_call.c: runs a model on its own painted stack. */
int bench_call(const int8_t *input, int8_t *output, bench_run_function run, const volatile uint32_t *timer_value);
extern uint32_t bench_ticks, bench_started; /* of the last call: ticks before masking, the timer's value when run was called */

#ifdef BENCH_COUNT_LAYERS
/* A firmware that counts layers has one model, and gets one frame again and again, each time with the timer in a later phase,
   so that the mean is finer than one tick. */
extern const uint32_t bench_layer_count;
extern uint32_t bench_layer_values[]; /* the timer's value after each layer */

/* harness_layers.c */
extern uint32_t *bench_layer_next; /* where bench_layer_done keeps the timer's value */
void bench_layer_done(int layer);
void bench_delay(uint32_t turns); /* two instructions a turn */
#endif

#ifdef BENCH_TIME_LAYERS
/* A program of an operating system that times layers: BENCH_TIME_LAYERS is the largest number of layers of a model. */
extern const uint32_t bench_layer_counts[]; /* one a model */
#endif

/* Exit codes that the Python side explains. */
enum {
    BENCH_DONE = 0,
    BENCH_NO_INPUT_FILE = 2,
    BENCH_NO_OUTPUT_FILE = 3,
    BENCH_UNKNOWN_MODEL = 4,
    BENCH_SHORT_INPUT = 5,
    BENCH_WRITE_FAILED = 6,
    BENCH_MODEL_FAILED = 7, /* run returned other than 0 */
    BENCH_FAULT = 8,
    BENCH_OTHER_LAYERS = 9 /* bench_layer_done was called more or less often than the model has layers */
};

/* semihosting.c */
int semihosting_open(const char *path, uint32_t length, uint32_t mode); /* handle, or -1 */
uint32_t semihosting_read(int handle, void *data, uint32_t length);     /* bytes NOT read */
uint32_t semihosting_write(int handle, const void *data, uint32_t length); /* bytes NOT written */
void semihosting_close(int handle);
void semihosting_exit(uint32_t code);

#define SEMIHOSTING_READ_BINARY 1u
#define SEMIHOSTING_WRITE_BINARY 5u

#endif
