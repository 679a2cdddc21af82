/* Reads frames, runs models, writes outputs. All files are streams of little-endian words and int8 tensors:
   input.bin   for each frame the model's index (4 bytes) and its input
   output.bin  for each frame the output
   ticks.bin   for each frame the timer ticks of the call (4 bytes)
   stack.bin   the deepest stack of all calls in bytes (4 bytes)
   layers.bin  in a firmware that counts layers, for each frame the ticks up to the end of each layer (4 bytes each)
   fault.bin   only after a fault, see harness_fault.c */
#include "bench_harness.h"

#define STACK_PAINT 0xC5C5C5C5u

extern uint32_t bench_model_stack_limit, bench_model_stack_top;
void bench_main(void);

static int open_output(const char *path, uint32_t length)
{
    int handle = semihosting_open(path, length, SEMIHOSTING_WRITE_BINARY);
    if (handle == -1) {
        semihosting_exit(BENCH_NO_OUTPUT_FILE);
    }
    return handle;
}

static void write_all(int handle, const void *data, uint32_t length)
{
    if (semihosting_write(handle, data, length) != 0) {
        semihosting_exit(BENCH_WRITE_FAILED);
    }
}

static void paint_stack(void)
{
    for (volatile uint32_t *word = &bench_model_stack_limit; word < &bench_model_stack_top; ++word) {
        *word = STACK_PAINT;
    }
}

static uint32_t deepest_stack(void)
{
    const volatile uint32_t *word = &bench_model_stack_limit;
    while (word < &bench_model_stack_top && *word == STACK_PAINT) {
        ++word;
    }
    return (uint32_t)((uintptr_t)&bench_model_stack_top - (uintptr_t)word);
}

struct files {
    int input, output, ticks, layers;
};

#ifdef BENCH_COUNT_LAYERS
/* Frame n calls run about 2 n instructions after a period of the timer began. */
static void begin_layers(void)
{
    static uint32_t frame;
    bench_layer_next = bench_layer_values;
    *bench_timer.value = bench_timer.mask;
    bench_delay(frame++);
}

static void write_layers(int file)
{
    if (bench_layer_next != bench_layer_values + bench_layer_count) {
        semihosting_exit(BENCH_OTHER_LAYERS);
    }
    for (uint32_t layer = 0; layer < bench_layer_count; ++layer) {
        bench_layer_values[layer] = (bench_started - bench_layer_values[layer]) & bench_timer.mask;
    }
    write_all(file, bench_layer_values, bench_layer_count * (uint32_t)sizeof bench_layer_values[0]);
}
#endif

static void run_frame(uint32_t index, const struct files *files)
{
    if (index >= bench_model_count) {
        semihosting_exit(BENCH_UNKNOWN_MODEL);
    }
    const struct bench_model *model = &bench_models[index];
    if (semihosting_read(files->input, bench_input, model->input_bytes) != 0) {
        semihosting_exit(BENCH_SHORT_INPUT);
    }
    if (model->load != 0) {
        model->load(bench_input);
    }
#ifdef BENCH_COUNT_LAYERS
    begin_layers();
#endif
    if (bench_call(bench_input, bench_output, model->run, bench_timer.value) != 0) {
        semihosting_exit(BENCH_MODEL_FAILED);
    }
    if (model->store != 0) {
        model->store(bench_output);
    }
    uint32_t elapsed = bench_ticks & bench_timer.mask;
    write_all(files->ticks, &elapsed, sizeof elapsed);
    write_all(files->output, bench_output, model->output_bytes);
#ifdef BENCH_COUNT_LAYERS
    write_layers(files->layers);
#endif
}

static void reset_models(void)
{
    for (uint32_t index = 0; index < bench_model_count; ++index) {
        if (bench_models[index].reset != 0) {
            bench_models[index].reset();
        }
    }
}

void bench_main(void)
{
    struct files files = {semihosting_open("input.bin", 9, SEMIHOSTING_READ_BINARY), -1, -1, -1};
    if (files.input == -1) {
        semihosting_exit(BENCH_NO_INPUT_FILE);
    }
    files.output = open_output("output.bin", 10);
    files.ticks = open_output("ticks.bin", 9);
#ifdef BENCH_COUNT_LAYERS
    files.layers = open_output("layers.bin", 10);
#endif
    *bench_timer.reload = bench_timer.mask;
    *bench_timer.control = bench_timer.enable;
    paint_stack();
    reset_models();
    uint32_t index = 0;
    while (semihosting_read(files.input, &index, sizeof index) == 0) {
        run_frame(index, &files);
    }
    uint32_t stack = deepest_stack();
    int stack_file = open_output("stack.bin", 9);
    write_all(stack_file, &stack, sizeof stack);
    semihosting_close(stack_file);
#ifdef BENCH_COUNT_LAYERS
    semihosting_close(files.layers);
#endif
    semihosting_close(files.ticks);
    semihosting_close(files.output);
    semihosting_close(files.input);
    semihosting_exit(BENCH_DONE);
}
