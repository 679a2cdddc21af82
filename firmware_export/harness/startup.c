/* edgecompress bench: vector table and reset. Counted as part of the model's flash: every firmware needs this much. */
#include <stdint.h>

extern uint32_t bench_main_stack_top, bench_data_load, bench_data_start, bench_data_end, bench_bss_start, bench_bss_end;
void bench_reset(void);
void bench_hard_fault(void);
void bench_main(void);

#define COPROCESSOR_ACCESS ((volatile uint32_t *)0xE000ED88u)

/* Arm-v6/v7/v8-M: initial stack pointer, then the handlers of reset, NMI and HardFault. No other exception is enabled,
   so every fault escalates to HardFault. */
__attribute__((section(".vectors"), used)) const void *const bench_vectors[4] = {
    &bench_main_stack_top,
    (const void *)bench_reset,
    (const void *)bench_hard_fault,
    (const void *)bench_hard_fault,
};

/* Reached by the vector table only. Volatile accesses keep the loops from becoming calls of memcpy and memset. */
__attribute__((used)) void bench_reset(void)
{
#ifdef __ARM_FP
    *COPROCESSOR_ACCESS |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    volatile uint32_t *target = &bench_data_start;
    const volatile uint32_t *source = &bench_data_load;
    while (target < &bench_data_end) {
        *target++ = *source++;
    }
    for (target = &bench_bss_start; target < &bench_bss_end; ++target) {
        *target = 0;
    }
    bench_main();
    for (;;) {
    }
}
