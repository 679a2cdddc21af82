/* SPDX-License-Identifier: Apache-2.0
 * What the assembly of the gathering functions shares: r0 x, r1 to r3 the windows, r4 skip, r5 rows, r6 words. */
#ifndef EC_CONV_GATHER_ASM_DSP_H
#define EC_CONV_GATHER_ASM_DSP_H

#define EC_GATHER_BEGIN             \
    "push {r4-r11, lr}\n\t"         \
    "mov r12, r0\n\t"               \
    "ldm r12, {r0-r6}\n"

/* A block of the three pixels. */
#define EC_GATHER_4                 \
    "ldr r10, [r1], #4\n\t"         \
    "ldr r11, [r2], #4\n\t"         \
    "ldr r12, [r3], #4\n\t"         \
    "sxtb16 r7, r10\n\t"            \
    "sxtb16 r8, r11\n\t"            \
    "sxtb16 r9, r12\n\t"            \
    "sxtb16 r10, r10, ror #8\n\t"   \
    "sxtb16 r11, r11, ror #8\n\t"   \
    "sxtb16 r12, r12, ror #8\n\t"   \
    "stm r0!, {r7-r12}\n\t"

#define EC_GATHER_SKIP              \
    "add r1, r1, r4\n\t"            \
    "add r2, r2, r4\n\t"            \
    "add r3, r3, r4\n\t"

#endif
