/* The harness on this machine: input.bin in, output.bin out as in harness_main.c, and wall-clock times in nanoseconds.bin:
   the mean nanoseconds a run (double) of each batch of runs of the first frame. Argument: number of batches, 0 to time nothing. */
#define _POSIX_C_SOURCE 199309L
#include "bench_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH_NANOSECONDS 2e6

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double time_batch(const struct bench_model *model, unsigned long runs)
{
    double start = now();
    for (unsigned long run = 0; run < runs; ++run) {
        (void)model->run(bench_input, bench_output);
    }
    return now() - start;
}

static int time_first_frame(int batches)
{
    FILE *input = fopen("input.bin", "rb");
    FILE *times = fopen("nanoseconds.bin", "wb");
    uint32_t index;
    if (input == NULL || times == NULL || fread(&index, sizeof index, 1, input) != 1 || index >= bench_model_count) {
        return BENCH_NO_INPUT_FILE;
    }
    const struct bench_model *model = &bench_models[index];
    if (fread(bench_input, 1, model->input_bytes, input) != model->input_bytes) {
        return BENCH_SHORT_INPUT;
    }
    if (model->load != NULL) {
        model->load(bench_input); /* once: later runs see what the first one left, which takes as long */
    }
    unsigned long runs = 1;
    while (time_batch(model, runs) < BATCH_NANOSECONDS && runs < (1ul << 30)) {
        runs *= 2;
    }
    for (int batch = 0; batch < batches; ++batch) {
        double mean = time_batch(model, runs) / (double)runs;
        if (fwrite(&mean, sizeof mean, 1, times) != 1) {
            return BENCH_WRITE_FAILED;
        }
    }
    (void)fclose(input);
    return fclose(times) == 0 ? BENCH_DONE : BENCH_WRITE_FAILED;
}

static void reset_models(void)
{
    for (uint32_t index = 0; index < bench_model_count; ++index) {
        if (bench_models[index].reset != NULL) {
            bench_models[index].reset();
        }
    }
}

static int run_all(void)
{
    FILE *input = fopen("input.bin", "rb");
    FILE *output = fopen("output.bin", "wb");
    uint32_t index;
    if (input == NULL || output == NULL) {
        return BENCH_NO_INPUT_FILE;
    }
    reset_models();
    while (fread(&index, sizeof index, 1, input) == 1) {
        if (index >= bench_model_count) {
            return BENCH_UNKNOWN_MODEL;
        }
        const struct bench_model *model = &bench_models[index];
        if (fread(bench_input, 1, model->input_bytes, input) != model->input_bytes) {
            return BENCH_SHORT_INPUT;
        }
        if (model->load != NULL) {
            model->load(bench_input);
        }
        if (model->run(bench_input, bench_output) != 0) {
            return BENCH_MODEL_FAILED;
        }
        if (model->store != NULL) {
            model->store(bench_output);
        }
        if (fwrite(bench_output, 1, model->output_bytes, output) != model->output_bytes) {
            return BENCH_WRITE_FAILED;
        }
    }
    (void)fclose(input);
    return fclose(output) == 0 ? BENCH_DONE : BENCH_WRITE_FAILED;
}

int main(int argc, char **argv)
{
    int batches = argc > 1 ? atoi(argv[1]) : 0;
    int status = run_all();
    return status == BENCH_DONE && batches > 0 ? time_first_frame(batches) : status;
}
