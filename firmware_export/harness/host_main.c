/* The harness as a program of an operating system: input.bin in, output.bin out as in harness_main.c, and wall-clock times in times.bin.
   Arguments: rounds, records a round, frames to time (the first ones), seconds after which the program ends itself (0: never), picoseconds of
   the calibration loop on this machine when nobody disturbs it (0: not known), seconds to spend at most on waiting for such moments.
   times.bin holds doubles, for each record of each timed frame of each round:
     nanoseconds of the calibration loop before and after the record; how often the system took the processor away in between;
     mean nanoseconds of a run of the model or, in a program that times layers (BENCH_TIME_LAYERS), nanoseconds of each layer of one run. */
#define _GNU_SOURCE
#include "bench_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

#define RECORD_NANOSECONDS 2e5 /* that a record lasts at least: short against the time a scheduler gives, long against a reading of the clock */
#define CALIBRATION_BYTES 1024u
#define CALIBRATION_TURNS 16
#define CLOCK_READINGS 2000
#define PAUSE_NANOSECONDS 200000l
#define CALM 1.08 /* calibration of an undisturbed moment, over the fastest one */

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static long switches(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

/* Stays on the core that the process is on: a move costs the contents of the caches. Where the system refuses, nothing is lost. */
static void stay(void)
{
#ifdef __linux__
    cpu_set_t cores;
    int core = sched_getcpu();
    if (core >= 0) {
        CPU_ZERO(&cores);
        CPU_SET((size_t)core, &cores);
        (void)sched_setaffinity(0, sizeof cores, &cores);
    }
#endif
}

static int8_t calibration_left[CALIBRATION_BYTES], calibration_right[CALIBRATION_BYTES];
static volatile uint32_t calibration_bytes = CALIBRATION_BYTES; /* not known to the compiler */
static volatile int32_t calibration_sum;

/* Always the same work, so that its time says how fast the machine is at this moment. Four sums that do not wait for each other keep the core as
   busy as kernels do: a neighbour on the same core is felt. */
static double calibrate(void)
{
    int32_t sums[4] = {0, 0, 0, 0};
    uint32_t bytes = calibration_bytes;
    double start = now();
    for (int turn = 0; turn < CALIBRATION_TURNS; ++turn) {
        const int8_t *left = calibration_left, *right = calibration_right;
        for (uint32_t rest = bytes; rest >= 4u; rest -= 4u, left += 4, right += 4) {
            sums[0] += (int32_t)left[0] * right[0];
            sums[1] += (int32_t)left[1] * right[1];
            sums[2] += (int32_t)left[2] * right[2];
            sums[3] += (int32_t)left[3] * right[3];
        }
        calibration_left[turn] = (int8_t)sums[0];
    }
    calibration_sum = sums[0] + sums[1] + sums[2] + sums[3];
    return now() - start;
}

static double fastest = 1e18, patience, record_patience; /* nanoseconds: of the calibration loop, left for waiting, more of it a record */

/* The calibration before a record: waits for a moment in which nobody disturbs, as long as there is patience. */
static double calibrate_in_peace(void)
{
    const struct timespec pause = {0, PAUSE_NANOSECONDS};
    double time = calibrate();
    patience += record_patience; /* so that the last record has as much of it as the first one */
    while (time > CALM * fastest && patience > 0.0) {
        double start = now();
        (void)nanosleep(&pause, NULL);
        time = calibrate();
        patience -= now() - start;
    }
    fastest = time < fastest ? time : fastest;
    return time;
}

static FILE *times;

static int write_times(const double *values, size_t count)
{
    return fwrite(values, sizeof values[0], count, times) == count ? BENCH_DONE : BENCH_WRITE_FAILED;
}

#ifdef BENCH_TIME_LAYERS
static double layer_ends[BENCH_TIME_LAYERS], layer_times[BENCH_TIME_LAYERS];
static uint32_t layers_done;
void bench_layer_done(int layer);

void bench_layer_done(int layer)
{
    (void)layer;
    if (layers_done < BENCH_TIME_LAYERS) {
        layer_ends[layers_done] = now();
    }
    ++layers_done;
}

/* Nanoseconds that a reading of the clock adds to a layer. */
static double reading_cost(void)
{
    static double least = -1.0;
    if (least < 0.0) {
        least = 1e9;
        for (int round = 0; round < 20; ++round) {
            double start = now();
            for (int reading = 0; reading < CLOCK_READINGS; ++reading) {
                layers_done = 0;
                bench_layer_done(0);
            }
            double mean = (now() - start) / CLOCK_READINGS;
            least = mean < least ? mean : least;
        }
    }
    return least;
}

static int time_record(uint32_t index, unsigned long runs)
{
    (void)runs;
    uint32_t count = bench_layer_counts[index];
    double cost = reading_cost(), head[3];
    head[0] = calibrate_in_peace();
    long before = switches();
    layers_done = 0;
    double start = now();
    (void)bench_models[index].run(bench_input, bench_output);
    head[1] = calibrate();
    head[2] = (double)(switches() - before);
    if (layers_done != count) {
        return BENCH_OTHER_LAYERS;
    }
    for (uint32_t layer = 0; layer < count; ++layer) {
        layer_times[layer] = layer_ends[layer] - (layer == 0 ? start : layer_ends[layer - 1u]) - cost;
    }
    int status = write_times(head, 3);
    return status == BENCH_DONE ? write_times(layer_times, count) : status;
}

static unsigned long choose_runs(const struct bench_model *model)
{
    (void)model->run(bench_input, bench_output); /* fills the caches */
    return 1;
}
#else
static double time_runs(const struct bench_model *model, unsigned long runs)
{
    double start = now();
    for (unsigned long run = 0; run < runs; ++run) {
        (void)model->run(bench_input, bench_output);
    }
    return now() - start;
}

static int time_record(uint32_t index, unsigned long runs)
{
    double record[4];
    record[0] = calibrate_in_peace();
    long before = switches();
    record[3] = time_runs(&bench_models[index], runs) / (double)runs;
    record[1] = calibrate();
    record[2] = (double)(switches() - before);
    return write_times(record, 4);
}

static unsigned long choose_runs(const struct bench_model *model)
{
    unsigned long runs = 1;
    while (time_runs(model, runs) < RECORD_NANOSECONDS && runs < (1ul << 30)) {
        runs *= 2;
    }
    return runs;
}
#endif

static int read_frame(FILE *input, uint32_t *index)
{
    if (fread(index, sizeof *index, 1, input) != 1) {
        return BENCH_SHORT_INPUT;
    }
    if (*index >= bench_model_count) {
        return BENCH_UNKNOWN_MODEL;
    }
    const struct bench_model *model = &bench_models[*index];
    if (fread(bench_input, 1, model->input_bytes, input) != model->input_bytes) {
        return BENCH_SHORT_INPUT;
    }
    if (model->load != NULL) {
        model->load(bench_input);
    }
    return BENCH_DONE;
}

static int time_frames(FILE *input, long records, long frames)
{
    for (long frame = 0; frame < frames; ++frame) {
        uint32_t index;
        int status = read_frame(input, &index);
        unsigned long runs = status == BENCH_DONE ? choose_runs(&bench_models[index]) : 0;
        for (long record = 0; record < records && status == BENCH_DONE; ++record) {
            status = time_record(index, runs); /* runs after the first one see what that left, which takes as long */
        }
        if (status != BENCH_DONE) {
            return status;
        }
    }
    return BENCH_DONE;
}

static int time_all(long rounds, long records, long frames)
{
    FILE *input = fopen("input.bin", "rb");
    times = fopen("times.bin", "wb");
    if (input == NULL || times == NULL) {
        return input == NULL ? BENCH_NO_INPUT_FILE : BENCH_NO_OUTPUT_FILE;
    }
    int status = BENCH_DONE;
    for (long round = 0; round < rounds && status == BENCH_DONE; ++round) {
        rewind(input);
        status = time_frames(input, records, frames);
    }
    (void)fclose(input);
    return fclose(times) == 0 ? status : BENCH_WRITE_FAILED;
}

static void reset_models(void)
{
    for (uint32_t index = 0; index < bench_model_count; ++index) {
        if (bench_models[index].reset != NULL) {
            bench_models[index].reset();
        }
    }
}

static int run_frame(uint32_t index, FILE *output)
{
    const struct bench_model *model = &bench_models[index];
#ifdef BENCH_TIME_LAYERS
    layers_done = 0;
#endif
    if (model->run(bench_input, bench_output) != 0) {
        return BENCH_MODEL_FAILED;
    }
    if (model->store != NULL) {
        model->store(bench_output);
    }
    return fwrite(bench_output, 1, model->output_bytes, output) == model->output_bytes ? BENCH_DONE : BENCH_WRITE_FAILED;
}

static int run_all(void)
{
    FILE *input = fopen("input.bin", "rb");
    FILE *output = fopen("output.bin", "wb");
    if (input == NULL || output == NULL) {
        return input == NULL ? BENCH_NO_INPUT_FILE : BENCH_NO_OUTPUT_FILE;
    }
    reset_models();
    int status = BENCH_DONE;
    for (int next = getc(input); next != EOF && status == BENCH_DONE; next = getc(input)) {
        uint32_t index;
        (void)ungetc(next, input);
        status = read_frame(input, &index);
        if (status == BENCH_DONE) {
            status = run_frame(index, output);
        }
    }
    (void)fclose(input);
    return fclose(output) == 0 ? status : BENCH_WRITE_FAILED;
}

static long argument(int argc, char **argv, int index)
{
    return index < argc ? strtol(argv[index], NULL, 10) : 0;
}

int main(int argc, char **argv)
{
    long rounds = argument(argc, argv, 1);
    (void)alarm((unsigned)argument(argc, argv, 4));
    int status = run_all();
    if (status != BENCH_DONE || rounds == 0) {
        return status;
    }
    long known = argument(argc, argv, 5);
    fastest = known > 0 ? (double)known * 1e-3 : fastest;
    long records = argument(argc, argv, 2), frames = argument(argc, argv, 3);
    record_patience = (double)argument(argc, argv, 6) * 1e9 / ((double)rounds * (double)records * (double)frames);
    stay();
    return time_all(rounds, records, frames);
}
