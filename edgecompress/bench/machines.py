"""Facts of the qemu boards that stand in for a core: memory map and the timer that counts instructions.

Memory as `info mtree` shows it; all of it is RAM or flash in qemu. With `-icount shift=0` one instruction is one virtual nanosecond,
so a timer tick is `nanoseconds_per_tick` instructions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgecompress.errors import unknown_name
from edgecompress.hw.target import Target

MEBIBYTE = 1024**2


@dataclass(frozen=True)
class Timer:
    """A timer that counts down; register addresses, the value that starts it, and its width."""

    control: int
    reload: int
    value: int
    enable: int
    mask: int
    nanoseconds_per_tick: float


@dataclass(frozen=True)
class Machine:
    """A board: where code and data go, and its timer."""

    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int
    timer: Timer
    vectors_origin: int | None = None  # where the core looks for its vectors, if not at the start of flash
    family: str = "cortex-m"  # a target's family; says which startup code it needs


def _cmsdk_timer(base: int, nanoseconds_per_tick: float) -> Timer:
    return Timer(base, base + 8, base + 4, 1, 0xFFFFFFFF, nanoseconds_per_tick)


_MPS2 = Machine(0x00000000, 4 * MEBIBYTE, 0x20000000, 4 * MEBIBYTE, _cmsdk_timer(0x40000000, 40.0))
_MPS2_SECURE = Machine(0x10000000, 4 * MEBIBYTE, 0x38000000, 4 * MEBIBYTE, _cmsdk_timer(0x50000000, 50.0))
_SYSTICK = Timer(0xE000E010, 0xE000E014, 0xE000E018, 5, 0xFFFFFF, 62.5)
# vectors at the start of the tightly coupled memory, code in the first bank of SRAM, data in the second, all secure
_MPS3_SSE300 = Machine(0x11000000, 2 * MEBIBYTE, 0x31000000, 4 * MEBIBYTE, replace(_SYSTICK, nanoseconds_per_tick=31.25), 0x10000000)
_STOPPED = Timer(0x40000000, 0x40000008, 0x40000004, 1, 0xFFFFFFFF, 0.0)  # plain memory: unicorn counts by itself

MACHINES: dict[str, Machine] = {
    "mps2-an385": _MPS2,  # M3
    "mps2-an386": _MPS2,  # M4
    "mps2-an500": _MPS2,  # M7
    "mps2-an505": _MPS2_SECURE,  # M33
    "mps3-an547": _MPS3_SSE300,  # M55
    "microbit": Machine(0x00000000, 256 * 1024, 0x20000000, 16 * 1024, _SYSTICK),  # M0
}


def machine_for(target: Target, where: str) -> Machine:
    """What to link for on `where` (unicorn or qemu). unicorn has the target's own addresses and plenty of memory. Raises ConfigError."""
    name = target.emulator.qemu_machine
    if name and name not in MACHINES:
        raise unknown_name("qemu machine", name, MACHINES)
    if where == "qemu":
        return MACHINES[name]
    timer = MACHINES[name].timer if name else _SYSTICK if target.family == "cortex-m" else _STOPPED
    return Machine(target.flash_origin, 16 * MEBIBYTE, target.ram_origin, 16 * MEBIBYTE, timer, family=target.family)
