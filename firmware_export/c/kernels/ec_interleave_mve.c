/* SPDX-License-Identifier: Apache-2.0
 * Assembly, because gcc 12 gives VST4 an addressing mode that it does not have, and nine pointers and steps fill the registers. */
#include "ec_interleave_mve.h"
#include "ec_requant_mve.h"

#ifdef EC_MVE_ASSEMBLY

/* r4 to r7 sources, r8 to r11 steps, r12 what the target moves beyond the 64 bytes that VST4 moves it. */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".pushsection .text.ec_interleave_mve,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global ec_interleave_mve\n"
        ".type ec_interleave_mve,%function\n"
        ".thumb_func\n"
        "ec_interleave_mve:\n"
        "push {r4-r11, lr}\n"
        "wls lr, r3, 3f\n"
        "ldm r1, {r4-r7}\n"
        "ldm r2, {r8-r11}\n"
        "ldr r12, [sp, #36]\n"
        "ldr r3, [sp, #40]\n"
        "vctp.8 r3\n"
        "subs r12, r12, #64\n"
        "it eq\n"
        "cmpeq r3, #16\n"
        "bne 2f\n"
        "1:\n"
        "vldrb.u8 q0, [r4]\n"
        "vldrb.u8 q1, [r5]\n"
        "vldrb.u8 q2, [r6]\n"
        "vldrb.u8 q3, [r7]\n"
        "add r4, r8\n"
        "vst40.8 {q0, q1, q2, q3}, [r0]\n"
        "add r5, r9\n"
        "vst41.8 {q0, q1, q2, q3}, [r0]\n"
        "add r6, r10\n"
        "vst42.8 {q0, q1, q2, q3}, [r0]\n"
        "add r7, r11\n"
        "vst43.8 {q0, q1, q2, q3}, [r0]!\n"
        "le lr, 1b\n"
        "pop {r4-r11, pc}\n"
        "2:\n"
        "vpstttt\n"
        "vldrbt.u8 q0, [r4]\n"
        "vldrbt.u8 q1, [r5]\n"
        "vldrbt.u8 q2, [r6]\n"
        "vldrbt.u8 q3, [r7]\n"
        "add r4, r8\n"
        "vst40.8 {q0, q1, q2, q3}, [r0]\n"
        "add r5, r9\n"
        "vst41.8 {q0, q1, q2, q3}, [r0]\n"
        "add r6, r10\n"
        "vst42.8 {q0, q1, q2, q3}, [r0]\n"
        "add r7, r11\n"
        "vst43.8 {q0, q1, q2, q3}, [r0]!\n"
        "add r0, r12\n"
        "le lr, 2b\n"
        "3:\n"
        "pop {r4-r11, pc}\n"
        ".size ec_interleave_mve, .-ec_interleave_mve\n"
        ".popsection\n");

#else

void ec_interleave_mve(int8_t *target, const int8_t *const source[4], const int32_t step[4], int32_t columns, int32_t pitch, int32_t lanes)
{
    int32_t column, lane, row;
    for (column = 0; column < columns; ++column) {
        for (lane = 0; lane < 16; ++lane) {
            for (row = 0; row < 4; ++row) {
                target[column * pitch + 4 * lane + row] = lane < lanes ? source[row][column * step[row] + lane] : (int8_t)0;
            }
        }
    }
}

#endif
