"""Bench on an emulated RISC-V core: exact counts, sizes, and the ways in which a firmware can fail. Conformance runs in test_conformance_cores."""

from __future__ import annotations

from pathlib import Path

import pytest
from handwritten_artifact import KERNEL, SIZE, write_artifact

from edgecompress.bench import bench
from edgecompress.bench.transport.counting import riscv_instructions_in, thumb_instructions_in
from edgecompress.errors import ConfigError, DeviceError
from edgecompress.hw.target import load_target

TARGET = "rv32imc"
# five instructions a loop and the return; it jumps back to its own entry, which must not look like another call
ASSEMBLY_KERNEL = """#include "hand.h"
static int8_t arena[SIZE];
int8_t *hand_arena(void) { return arena; }
__asm__(".section .text.lookup,\\"ax\\",@progbits\\n.balign 4\\n.global lookup\\n.type lookup,@function\\n"
        "lookup:\\n"
        "1:\\n"
        "    addi a2, a2, -1\\n"
        "    add a4, a4, a2\\n"
        "    lui a5, 0x12345\\n"
        "    nop\\n"
        "    bnez a2, 1b\\n"
        "    ret\\n"
        ".size lookup, .-lookup\\n");
"""


def test_bench_proves_counts_and_measures(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", TARGET)
    seen = bench(tmp_path / "a")
    assert seen.matches_reference is True and seen.samples == 10
    assert (seen.target, seen.where) == (TARGET, "unicorn") and "SIFIVE_U34" in seen.emulator
    assert seen.instructions == seen.overhead_instructions + sum(layer.instructions for layer in seen.layers)  # type: ignore[operator]  # emulated
    assert seen.latency_s == pytest.approx(load_target(TARGET).seconds(seen.instructions))  # type: ignore[arg-type]  # emulated
    assert 512 < seen.flash_bytes < 1200 and seen.arena_bytes == SIZE  # type: ignore[operator]  # emulated
    assert seen.ram_bytes == SIZE + seen.stack_bytes  # type: ignore[operator]  # emulated


def test_layer_counts_are_exact(tmp_path: Path) -> None:
    """The kernel's third argument is the number of its loops."""
    write_artifact(tmp_path / "a", TARGET, kernel=ASSEMBLY_KERNEL)
    calls = "lookup(table_a, input, (int8_t *)7); lookup(table_b, input, (int8_t *)64); output[0] = 0;"
    model = (tmp_path / "a" / "hand.c").read_text().split("lookup(table_a")[0]
    (tmp_path / "a" / "hand.c").write_text(model + calls + " return 0; }\n")
    seen = bench(tmp_path / "a")
    assert seen.matches_reference is False and seen.mismatches == seen.samples
    first, second = (layer.instructions for layer in seen.layers)
    assert 5 * 7 + 1 <= first <= 5 * 7 + 20  # plus what run does between its calls
    assert 5 * 64 + 1 <= second <= 5 * 64 + 20


def test_instruction_lengths_are_decoded() -> None:
    code = bytes.fromhex("13050500" "0105" "73000000" "8280")  # addi, c.addi, ecall, c.jr
    assert riscv_instructions_in(code) == 4
    assert thumb_instructions_in(bytes.fromhex("00bf" "4ff00000" "7047")) == 3  # nop, mov.w, bx


def test_faults_name_the_place(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", TARGET, extra="*(volatile int *)0x60000000 = 1;")
    with pytest.raises(DeviceError, match=r"frame 0: the core stopped in hand_run.*write to 4 bytes at 0x60000000"):
        bench(tmp_path / "a")
    write_artifact(tmp_path / "b", TARGET, extra="*(volatile int8_t *)table_a = 3;")
    with pytest.raises(DeviceError, match="write to flash at 1 bytes"):
        bench(tmp_path / "b")
    write_artifact(tmp_path / "c", TARGET, extra="__asm__ volatile(\".word 0\");")
    with pytest.raises(DeviceError, match="illegal instruction"):
        bench(tmp_path / "c")
    write_artifact(tmp_path / "d", TARGET, extra="volatile int8_t deep[40000]; for (int i = 0; i < 40000; ++i) { deep[i] = 1; } (void)deep[3];")
    with pytest.raises(DeviceError, match="stack overflowed"):
        bench(tmp_path / "d")


def test_a_failing_or_hanging_model_is_reported(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", TARGET, extra="if (input[0] + output[0] > -1000) { return 5; }")
    with pytest.raises(DeviceError, match="run function returned an error"):
        bench(tmp_path / "a")
    write_artifact(tmp_path / "b", TARGET, extra="for (;;) { __asm__ volatile(\"nop\"); }")
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        bench(tmp_path / "b", timeout_s=1.0)


def test_what_this_core_cannot_do_is_told(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", TARGET, kernel=KERNEL)
    with pytest.raises(ConfigError, match="built with zig"):
        bench(tmp_path / "a", cc="gcc")
    with pytest.raises(ConfigError, match="cannot be emulated with qemu"):
        bench(tmp_path / "a", emulator="qemu")
