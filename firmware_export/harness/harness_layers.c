/* What EC_LAYER_DONE calls in a firmware that counts layers: it keeps the timer's value. In assembly, so that the instructions from one
   layer's reading to the next that are not the layer's are known: HOOK_INSTRUCTIONS of edgecompress/bench/transport/qemu.py.
   Thumb-1 only, as in harness_call.c. */
#include "bench_harness.h"

uint32_t *bench_layer_next;

__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.bench_layer_done,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global bench_layer_done\n"
        ".type bench_layer_done,%function\n"
        ".thumb_func\n"
        "bench_layer_done:\n"
        "    ldr r1, =bench_timer\n"
        "    ldr r1, [r1, #8]\n" /* bench_timer.value */
        "    ldr r1, [r1]\n"
        "    ldr r2, =bench_layer_next\n"
        "    ldr r3, [r2]\n"
        "    str r1, [r3]\n"
        "    adds r3, r3, #4\n"
        "    str r3, [r2]\n"
        "    bx lr\n"
        "    .ltorg\n"
        ".size bench_layer_done, .-bench_layer_done\n"
        ".section .text.bench_delay,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global bench_delay\n"
        ".type bench_delay,%function\n"
        ".thumb_func\n"
        "bench_delay:\n"
        "    adds r0, r0, #1\n"
        "1:  subs r0, r0, #1\n"
        "    bne 1b\n"
        "    bx lr\n"
        ".size bench_delay, .-bench_delay\n");
