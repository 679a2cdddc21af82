"""What unicorn must be told of an instruction set: registers, reset, how the harness asks for files, how long an instruction is."""

from __future__ import annotations

import struct
from typing import Any

from edgecompress.bench.firmware import Firmware
from edgecompress.bench.transport.counting import riscv_instructions_in, thumb_instructions_in
from edgecompress.errors import ConfigError

REQUEST, TROUBLE = True, False


class ThumbCore:
    """Cortex-M: the harness asks by the breakpoint of Arm semihosting."""

    processor_prefix = "UC_CPU_ARM_"
    system_pages = ((0xE000E000, 0x1000),)
    instructions_in = staticmethod(thumb_instructions_in)
    _exceptions = {1: "undefined instruction", 3: "instruction fetch abort", 4: "data abort", 7: "breakpoint", 17: "coprocessor or FPU off",
                   18: "invalid state"}
    _breakpoint_exception, _semihosting_breakpoint = 7, b"\xab\xbe"

    def __init__(self, unicorn: Any, processor: str) -> None:
        names = unicorn.arm_const
        mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        self.emulator = unicorn.Uc(unicorn.UC_ARCH_ARM, mode, _processor(names, self, processor, "CORTEX_M"))
        self.counter, self.link = names.UC_ARM_REG_PC, names.UC_ARM_REG_LR
        self.operation, self.argument, self._stack = names.UC_ARM_REG_R0, names.UC_ARM_REG_R1, names.UC_ARM_REG_SP

    def reset(self, firmware: Firmware) -> None:
        """Stack pointer and program counter from the vector table."""
        stack, start = struct.unpack("<II", self.emulator.mem_read(firmware.machine.flash_origin, 8))
        self.emulator.reg_write(self._stack, stack)
        self.emulator.reg_write(self.counter, start)

    def start_address(self) -> int:
        """Where to go on, as emu_start wants it: with the Thumb bit."""
        return int(self.emulator.reg_read(self.counter)) | 1

    def is_request(self, exception: int) -> tuple[bool, str]:
        """(whether an exception is the harness asking for a file, else what it is); steps over the asking instruction."""
        at = int(self.emulator.reg_read(self.counter))
        if exception != self._breakpoint_exception or bytes(self.emulator.mem_read(at, 2)) != self._semihosting_breakpoint:
            return TROUBLE, f"exception {exception} ({self._exceptions.get(exception, 'see qemu target/arm/cpu.h')})"
        self.emulator.reg_write(self.counter, (at + 2) | 1)
        return REQUEST, ""


class RiscvCore:
    """RV32: the harness asks by an environment call, which unicorn has stepped over already."""

    processor_prefix = "UC_CPU_RISCV32_"
    system_pages = ()
    instructions_in = staticmethod(riscv_instructions_in)
    _exceptions = {0: "misaligned instruction", 1: "instruction access fault", 2: "illegal instruction", 3: "breakpoint", 4: "misaligned load",
                   5: "load access fault", 6: "misaligned store", 7: "store access fault", 12: "instruction page fault", 13: "load page fault",
                   15: "store page fault"}
    _environment_calls = (8, 9, 11)  # from user, supervisor and machine mode

    def __init__(self, unicorn: Any, processor: str) -> None:
        from unicorn import riscv_const as names

        self.emulator = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32, _processor(names, self, processor, ""))
        self.counter, self.link = names.UC_RISCV_REG_PC, names.UC_RISCV_REG_RA
        self.operation, self.argument = names.UC_RISCV_REG_A0, names.UC_RISCV_REG_A1

    def reset(self, firmware: Firmware) -> None:
        """Program counter; the startup code sets the stack pointer."""
        self.emulator.reg_write(self.counter, firmware.image.symbols["bench_reset"])

    def start_address(self) -> int:
        """Where to go on."""
        return int(self.emulator.reg_read(self.counter))

    def is_request(self, exception: int) -> tuple[bool, str]:
        """(whether an exception is the harness asking for a file, else what it is)."""
        if exception in self._environment_calls:
            return REQUEST, ""
        return TROUBLE, f"exception {exception} ({self._exceptions.get(exception, 'see the RISC-V privileged specification')})"


Core = ThumbCore | RiscvCore
CORES: dict[str, type[ThumbCore] | type[RiscvCore]] = {"cortex-m": ThumbCore, "riscv": RiscvCore}  # by a target's family


def _processor(names: Any, core: Core, processor: str, shown: str) -> int:
    prefix = core.processor_prefix
    value = getattr(names, prefix + processor, None)
    if value is None:
        known = ", ".join(name.removeprefix(prefix) for name in dir(names) if name.startswith(prefix + shown) and not name.endswith("_ENDING"))
        raise ConfigError(f"unicorn has no core '{processor}'; known: {known}")
    return int(value)
