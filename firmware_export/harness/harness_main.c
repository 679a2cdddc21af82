/* Reads frames, runs models, writes outputs. All files are streams of little-endian words and int8 tensors:
   input.bin   for each frame the model's index (4 bytes) and its input
   output.bin  for each frame the output
   ticks.bin   for each frame the timer ticks of the call (4 bytes)
   stack.bin   the deepest stack of all calls in bytes (4 bytes)
   fault.bin   only after a fault: program counter, link register, fault status, fault address (16 bytes) */
#include "bench_harness.h"

#define STACK_PAINT 0xC5C5C5C5u
#define FAULT_STATUS ((const volatile uint32_t *)0xE000ED28u)
#define FAULT_ADDRESS ((const volatile uint32_t *)0xE000ED38u)

extern uint32_t bench_model_stack_limit, bench_model_stack_top, bench_main_stack_top;
void bench_main(void);
void bench_report_fault(const uint32_t *frame);

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

static void run_frame(uint32_t index, int input, int output, int ticks)
{
    if (index >= bench_model_count) {
        semihosting_exit(BENCH_UNKNOWN_MODEL);
    }
    const struct bench_model *model = &bench_models[index];
    if (semihosting_read(input, bench_input, model->input_bytes) != 0) {
        semihosting_exit(BENCH_SHORT_INPUT);
    }
    if (bench_call(bench_input, bench_output, model->run, bench_timer.value) != 0) {
        semihosting_exit(BENCH_MODEL_FAILED);
    }
    uint32_t elapsed = bench_ticks & bench_timer.mask;
    write_all(ticks, &elapsed, sizeof elapsed);
    write_all(output, bench_output, model->output_bytes);
}

void bench_main(void)
{
    int input = semihosting_open("input.bin", 9, SEMIHOSTING_READ_BINARY);
    if (input == -1) {
        semihosting_exit(BENCH_NO_INPUT_FILE);
    }
    int output = open_output("output.bin", 10);
    int ticks = open_output("ticks.bin", 9);
    *bench_timer.reload = bench_timer.mask;
    *bench_timer.control = bench_timer.enable;
    paint_stack();
    uint32_t index = 0;
    while (semihosting_read(input, &index, sizeof index) == 0) {
        run_frame(index, input, output, ticks);
    }
    uint32_t stack = deepest_stack();
    int stack_file = open_output("stack.bin", 9);
    write_all(stack_file, &stack, sizeof stack);
    semihosting_close(stack_file);
    semihosting_close(ticks);
    semihosting_close(output);
    semihosting_close(input);
    semihosting_exit(BENCH_DONE);
}

/* Called by bench_hard_fault on the harness's stack; `frame` is what the core stacked: r0 r1 r2 r3 r12 lr pc psr. */
__attribute__((used)) void bench_report_fault(const uint32_t *frame)
{
    uint32_t report[4] = {0, 0, *FAULT_STATUS, *FAULT_ADDRESS};
    if (frame >= &bench_model_stack_limit && frame + 8 <= &bench_main_stack_top) { /* else the stack itself overflowed */
        report[0] = frame[6];
        report[1] = frame[5];
    }
    int file = open_output("fault.bin", 9);
    write_all(file, report, sizeof report);
    semihosting_close(file);
    semihosting_exit(BENCH_FAULT);
}

__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.bench_hard_fault,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global bench_hard_fault\n"
        ".type bench_hard_fault,%function\n"
        ".thumb_func\n"
        "bench_hard_fault:\n"
        "    mov r0, sp\n"
        "    ldr r1, =bench_main_stack_top\n"
        "    mov sp, r1\n"
        "    bl bench_report_fault\n"
        "    .ltorg\n"
        ".size bench_hard_fault, .-bench_hard_fault\n");
