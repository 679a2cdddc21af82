/* Arm's MPS2 boards (and qemu's) for harness_serial.c: the first UART of the CMSDK, and its first timer, since qemu has no cycle counter.
   A file for a board of your own has the same two functions; it need not have a timer: the core's cycle counter is taken.
   Its variables start as 0: the bench copies no initial values for it. */
#include "bench_harness.h"

#define UART ((volatile uint32_t *)0x40004000u) /* DATA, STATE, CTRL, INTSTATUS, BAUDDIV */
#define TRANSMIT_FULL 1u
#define TRANSMIT_ENABLE 1u
#define CLOCK_HERTZ 25000000u
#define BAUD 115200u

void bench_board_start(void);
void bench_board_put(uint8_t byte);
extern const uint32_t bench_timer_hertz, bench_timer_up;

const struct bench_timer bench_timer = {(volatile uint32_t *)0x40000000u, (volatile uint32_t *)0x40000008u, (volatile uint32_t *)0x40000004u,
                                        1u, 0xFFFFFFFFu};
const uint32_t bench_timer_hertz = CLOCK_HERTZ;
const uint32_t bench_timer_up = 0u;

void bench_board_start(void)
{
    UART[4] = CLOCK_HERTZ / BAUD;
    UART[2] = TRANSMIT_ENABLE;
}

void bench_board_put(uint8_t byte)
{
    while ((UART[1] & TRANSMIT_FULL) != 0u) {
    }
    UART[0] = byte;
}
