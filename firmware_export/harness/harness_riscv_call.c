/* RISC-V twin of harness_call.c: the call of a model on a stack of its own, and the label where emulators stop counting. */
#include "bench_harness.h"

uint32_t bench_ticks;

__asm__(".section .text.bench_call,\"ax\",@progbits\n"
        ".balign 4\n"
        ".global bench_call\n"
        ".type bench_call,@function\n"
        "bench_call:\n" /* a0 input, a1 output, a2 run, a3 timer's value register */
        "    addi sp, sp, -16\n"
        "    sw ra, 12(sp)\n"
        "    sw s0, 8(sp)\n"
        "    sw s1, 4(sp)\n"
        "    sw s2, 0(sp)\n"
        "    mv s0, sp\n"
        "    mv s1, a3\n"
        "    la sp, bench_model_stack_top\n"
        "    lw s2, 0(s1)\n"
        "    jalr a2\n"
        ".global bench_returned\n"
        "bench_returned:\n"
        "    lw s1, 0(s1)\n"
        "    mv sp, s0\n"
        "    sub s2, s2, s1\n"
        "    la s1, bench_ticks\n"
        "    sw s2, 0(s1)\n"
        "    lw ra, 12(sp)\n"
        "    lw s0, 8(sp)\n"
        "    lw s1, 4(sp)\n"
        "    lw s2, 0(sp)\n"
        "    addi sp, sp, 16\n"
        "    ret\n"
        ".size bench_call, .-bench_call\n");
