/* What a Cortex-M core does after a fault: it writes
   fault.bin   program counter, link register, fault status, fault address (16 bytes)
   and ends. */
#include "bench_harness.h"

#define FAULT_STATUS ((const volatile uint32_t *)0xE000ED28u)
#define FAULT_ADDRESS ((const volatile uint32_t *)0xE000ED38u)

extern uint32_t bench_model_stack_limit, bench_main_stack_top;
void bench_report_fault(const uint32_t *frame);

/* Called by bench_hard_fault on the harness's stack; `frame` is what the core stacked: r0 r1 r2 r3 r12 lr pc psr. */
__attribute__((used)) void bench_report_fault(const uint32_t *frame)
{
    uint32_t report[4] = {0, 0, *FAULT_STATUS, *FAULT_ADDRESS};
    if (frame >= &bench_model_stack_limit && frame + 8 <= &bench_main_stack_top) { /* else the stack itself overflowed */
        report[0] = frame[6];
        report[1] = frame[5];
    }
    int file = semihosting_open("fault.bin", 9, SEMIHOSTING_WRITE_BINARY);
    if (file != -1) { /* without the file the exit code still says that it was a fault */
        (void)semihosting_write(file, report, sizeof report);
        semihosting_close(file);
    }
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
