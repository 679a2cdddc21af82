/* The call of a model on a stack of its own. The stack was painted once, so its high-water mark is the models' alone:
   the harness works on another stack. bench_returned is a label that emulators watch to stop counting instructions.
   Thumb-1 only, so that one source serves every core. */
#include "bench_harness.h"

uint32_t bench_ticks, bench_started;

__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.bench_call,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global bench_call\n"
        ".type bench_call,%function\n"
        ".thumb_func\n"
        "bench_call:\n" /* r0 input, r1 output, r2 run, r3 timer's value register */
        "    push {r4, r5, r6, r7, lr}\n"
        "    mov r4, sp\n"
        "    mov r5, r3\n"
        "    ldr r7, =bench_model_stack_top\n"
        "    mov sp, r7\n"
        "    ldr r6, [r5]\n"
        "    blx r2\n"
        ".global bench_returned\n"
        "bench_returned:\n"
        "    ldr r5, [r5]\n"
        "    mov sp, r4\n"
        "    ldr r7, =bench_started\n"
        "    str r6, [r7]\n"
        "    subs r6, r6, r5\n"
        "    ldr r7, =bench_ticks\n"
        "    str r6, [r7]\n"
        "    pop {r4, r5, r6, r7, pc}\n"
        "    .ltorg\n"
        ".size bench_call, .-bench_call\n");
