/* Arm semihosting (Arm document "Semihosting for AArch32 and AArch64"): a breakpoint that asks the emulator for files. */
#include "bench_harness.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { APPLICATION_EXIT = 0x20026 };

#ifdef __riscv
/* The same requests by an environment call: the emulator decodes the marked breakpoint of RISC-V semihosting itself and then has no answer. */
static uint32_t call(uint32_t operation, const volatile uint32_t *arguments)
{
    register uint32_t a0 __asm__("a0") = operation;
    register const volatile uint32_t *a1 __asm__("a1") = arguments;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1) : "memory");
    return a0;
}
#else
static uint32_t call(uint32_t operation, const volatile uint32_t *arguments)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const volatile uint32_t *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
#endif

int semihosting_open(const char *path, uint32_t length, uint32_t mode)
{
    const volatile uint32_t arguments[3] = {(uint32_t)(uintptr_t)path, mode, length};
    return (int)call(SYS_OPEN, arguments);
}

uint32_t semihosting_read(int handle, void *data, uint32_t length)
{
    const volatile uint32_t arguments[3] = {(uint32_t)handle, (uint32_t)(uintptr_t)data, length};
    return call(SYS_READ, arguments);
}

uint32_t semihosting_write(int handle, const void *data, uint32_t length)
{
    const volatile uint32_t arguments[3] = {(uint32_t)handle, (uint32_t)(uintptr_t)data, length};
    return call(SYS_WRITE, arguments);
}

void semihosting_close(int handle)
{
    const volatile uint32_t arguments[1] = {(uint32_t)handle};
    (void)call(SYS_CLOSE, arguments);
}

void semihosting_exit(uint32_t code)
{
    const volatile uint32_t arguments[2] = {APPLICATION_EXIT, code};
    for (;;) {
        (void)call(SYS_EXIT_EXTENDED, arguments);
    }
}
