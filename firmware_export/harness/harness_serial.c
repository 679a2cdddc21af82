/* The harness's files over a serial line, for boards that nobody watches through a debugger: input.bin is part of the firmware, what the harness
   writes goes out as frames
     'E' 'C' 'F', file (1 byte), length (4 bytes), that many bytes, CRC-32 of file, length and bytes (4 bytes), all little-endian.
   File 0 comes first: the firmware's own number, the timer's ticks a second (0: it counts the core's cycles), its mask, whether it counts up.
   File 255 comes last: the exit code. What a boot loader prints before or in between is not mistaken for a frame.
   A board's own file gives bench_board_start (clocks, pins, the serial port) and bench_board_put, and may give bench_timer. */
#include "bench_harness.h"

#define WEAK __attribute__((weak))
#define DEBUG_CONTROL (*(volatile uint32_t *)0xE000EDFCu)
#define TRACE_ENABLE (1u << 24)
#define CRC_POLYNOMIAL 0xEDB88320u

enum { FILE_START = 0, FILE_INPUT = 1, FILE_OUTPUT = 2, FILE_TICKS = 3, FILE_STACK = 4, FILE_LAYERS = 5, FILE_FAULT = 6, FILE_EXIT = 255 };

extern const uint32_t bench_serial_number, bench_serial_input_bytes;
extern const uint8_t bench_serial_input[];
void bench_board_start(void);
void bench_board_put(uint8_t byte);
extern const uint32_t bench_timer_hertz, bench_timer_up;

#if defined(__ARM_ARCH_6M__)
/* SysTick at the core's clock, 24 bits, counting down */
WEAK const struct bench_timer bench_timer = {(volatile uint32_t *)0xE000E010u, (volatile uint32_t *)0xE000E014u, (volatile uint32_t *)0xE000E018u,
                                             5u, 0xFFFFFFu};
WEAK const uint32_t bench_timer_up = 0u;
#else
/* The cycle counter of the debug unit, 32 bits, counting up; it has no reload register, its own takes that value as well as any other. */
WEAK const struct bench_timer bench_timer = {(volatile uint32_t *)0xE0001000u, (volatile uint32_t *)0xE0001004u, (volatile uint32_t *)0xE0001004u,
                                             1u, 0xFFFFFFFFu};
WEAK const uint32_t bench_timer_up = 1u;
#endif
WEAK const uint32_t bench_timer_hertz = 0u;

static uint32_t checksum;

static void put(uint32_t byte)
{
    checksum ^= byte & 0xFFu;
    for (int bit = 0; bit < 8; ++bit) {
        checksum = (checksum >> 1) ^ ((checksum & 1u) != 0u ? CRC_POLYNOMIAL : 0u);
    }
    bench_board_put((uint8_t)byte);
}

static void put_word(uint32_t word)
{
    for (int byte = 0; byte < 4; ++byte) {
        put(word >> (8 * byte));
    }
}

static void put_frame(uint32_t file, const uint8_t *data, uint32_t length)
{
    bench_board_put('E');
    bench_board_put('C');
    bench_board_put('F');
    checksum = 0xFFFFFFFFu;
    put(file);
    put_word(length);
    for (uint32_t index = 0; index < length; ++index) {
        put(data[index]);
    }
    put_word(~checksum);
}

static void start(void)
{
    const uint32_t facts[4] = {bench_serial_number, bench_timer_hertz, bench_timer.mask, bench_timer_up};
    bench_board_start();
#if !defined(__ARM_ARCH_6M__)
    DEBUG_CONTROL |= TRACE_ENABLE; /* the cycle counter stands still without */
#endif
    put_frame(FILE_START, (const uint8_t *)facts, sizeof facts);
}

static uint32_t position;

int semihosting_open(const char *path, uint32_t length, uint32_t mode)
{
    static int started;
    (void)length;
    (void)mode;
    if (!started) {
        started = 1;
        start();
    }
    switch (path[0]) {
    case 'i':
        position = 0;
        return FILE_INPUT;
    case 'o':
        return FILE_OUTPUT;
    case 't':
        return FILE_TICKS;
    case 's':
        return FILE_STACK;
    case 'l':
        return FILE_LAYERS;
    default:
        return FILE_FAULT;
    }
}

uint32_t semihosting_read(int handle, void *data, uint32_t length)
{
    (void)handle;
    uint32_t rest = bench_serial_input_bytes - position, count = length < rest ? length : rest;
    bench_copy((int8_t *)data, (const int8_t *)bench_serial_input + position, count);
    position += count;
    return length - count;
}

uint32_t semihosting_write(int handle, const void *data, uint32_t length)
{
    put_frame((uint32_t)handle, data, length);
    return 0;
}

void semihosting_close(int handle)
{
    (void)handle;
}

void semihosting_exit(uint32_t code)
{
    put_frame(FILE_EXIT, (const uint8_t *)&code, sizeof code);
    for (;;) {
    }
}
