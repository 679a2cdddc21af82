/* edgecompress bench: reset of a RISC-V core. Counted as part of the model's flash: every firmware needs this much. */
#include <stdint.h>

extern uint32_t bench_data_load, bench_data_start, bench_data_end, bench_bss_start, bench_bss_end;
void bench_riscv_start(void);
void bench_main(void);

/* Placed first in flash, where the core begins. No trap vector is set: the emulator stops at any trap and says where.
   mstatus.FS must leave "off" before the first floating-point instruction. */
__asm__(".section .vectors,\"ax\",@progbits\n"
        ".balign 4\n"
        ".global bench_reset\n"
        ".type bench_reset,@function\n"
        "bench_reset:\n"
        "    la sp, bench_main_stack_top\n"
#ifdef __riscv_flen
        "    li t0, 0x2000\n"
        "    csrs mstatus, t0\n"
#endif
        "    call bench_riscv_start\n"
        "    j .\n"
        ".size bench_reset, .-bench_reset\n"
        ".text\n");

/* Reached by bench_reset only. Volatile accesses keep the loops from becoming calls of memcpy and memset. */
__attribute__((used)) void bench_riscv_start(void)
{
    volatile uint32_t *target = &bench_data_start;
    const volatile uint32_t *source = &bench_data_load;
    while (target < &bench_data_end) {
        *target++ = *source++;
    }
    for (target = &bench_bss_start; target < &bench_bss_end; ++target) {
        *target = 0;
    }
    bench_main();
}
