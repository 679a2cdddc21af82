"""Runs a firmware in the unicorn emulator, inside this process, and counts executed instructions exactly."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edgecompress.bench.firmware import Firmware
from edgecompress.bench.flash_wait import FlashWaits
from edgecompress.bench.pipeline import block_cost
from edgecompress.bench.protocol import Execution, Frame, FrameCount, decode_execution, encode_input, failed_exit
from edgecompress.bench.transport.cores import CORES, Core
from edgecompress.bench.transport.counting import InstructionCounter
from edgecompress.bench.transport.semihosting import SemihostingFiles
from edgecompress.errors import DeviceError, ToolMissingError
from edgecompress.hw.target import FlashTiming

PAGE = 0x1000
NEVER = 0xFFFFFFFE


def _library() -> Any:
    """The unicorn module, which has no types."""
    try:
        import unicorn
    except ImportError:
        raise ToolMissingError("the emulator unicorn is not installed", "try: pip install unicorn") from None
    return unicorn


def version() -> str:
    """Version text. Raises ToolMissingError when unicorn is not installed."""
    return f"unicorn {_library().__version__}"


def run(firmware: Firmware, cpu: str, frames: Sequence[Frame], counted: int = 0, timeout_s: float = 120.0,
        core: str = "", flash: FlashTiming | None = None) -> Execution:
    """Runs all frames; counts instructions on the first `counted`. `cpu` is a suffix of unicorn's UC_CPU_ARM_* or UC_CPU_RISCV32_*.

    `core`: a target's core; where bench/pipeline.py has a model of it, cycles are estimated and memory words counted too. `flash`: also
    the cycles waited for it.

    Raises DeviceError on a fault, a wrong exit, or a frame that takes longer than `timeout_s` of this machine's time.
    """
    session = _Session(firmware, cpu, encode_input(frames), timeout_s, core, flash)
    counts: list[FrameCount] = []
    with _interrupts_between_events() as check_interrupt:
        while session.files.exit_code is None:
            if len(counts) < min(counted, len(frames)):
                counts += session.counted_frame(frames[len(counts)][0])
            else:
                session.run_to_event()
            check_interrupt()
    outputs = {name: bytes(content) for name, content in session.files.outputs.items()}
    if session.files.exit_code != 0:
        raise failed_exit(session.files.exit_code, firmware.image, outputs)
    return decode_execution(firmware.subjects, frames, outputs, counts)


@contextmanager
def _interrupts_between_events() -> Iterator[Callable[[], None]]:
    """Keeps Ctrl-C until the function given here is called: raised inside a hook, Python would print the exception and go on."""
    seen: list[int] = []

    def check() -> None:
        if seen:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield check  # somebody else handles it, as the search's workers do
        return
    signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class _Session:
    """One powered-on core. An event is the end of a frame (output.bin grew) or the program's exit."""

    firmware: Firmware
    cpu: str
    input_file: bytes
    timeout_s: float
    core_name: str
    flash: FlashTiming | None
    core: Core = field(init=False)
    emulator: Any = field(init=False)  # unicorn.Uc
    files: SemihostingFiles = field(init=False)
    frame: int = field(init=False, default=0)
    event: bool = field(init=False, default=False)
    trouble: str = field(init=False, default="")

    def __post_init__(self) -> None:
        unicorn = _library()
        self.core = CORES[self.firmware.machine.family](unicorn, self.cpu)
        self.emulator = self.core.emulator
        self._load(unicorn)
        self.emulator.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self.emulator.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_bad_access)
        self.files = SemihostingFiles({"input.bin": self.input_file}, lambda address, size: bytes(self.emulator.mem_read(address, size)),
                                      self.emulator.mem_write)

    def _load(self, unicorn: Any) -> None:
        machine = self.firmware.machine
        self.emulator.mem_map(machine.flash_origin, machine.flash_bytes, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        self.emulator.mem_map(machine.ram_origin, machine.ram_bytes, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        timer_page = (machine.timer.control // PAGE * PAGE, PAGE)
        for address, size in {*self.core.system_pages, timer_page}:
            self.emulator.mem_map(address, size)
        for address, content in self.firmware.image.segments:
            self.emulator.mem_write(address, content)
        self.core.reset(self.firmware)

    def counted_frame(self, model: int) -> list[FrameCount]:
        """Runs one frame with the block hook and returns its counts, or none when the program ended instead."""
        unicorn = _library()
        counter = self._counter(model)
        hooks = [self.emulator.hook_add(unicorn.UC_HOOK_BLOCK, counter.on_block)]
        if self.flash is not None:
            machine = self.firmware.machine
            hooks.append(self.emulator.hook_add(unicorn.UC_HOOK_MEM_READ, counter.on_flash_read, None, machine.flash_origin,
                                                machine.flash_origin + machine.flash_bytes - 1))
        self.emulator.ctl_flush_tb()  # blocks translated before carry no hook
        self.run_to_event(counter)
        for hook in hooks:
            self.emulator.hook_del(hook)
        self.emulator.ctl_flush_tb()
        return [counter.frame_count()] if self.files.exit_code is None else []

    def _counter(self, model: int) -> InstructionCounter:
        subject, symbols = self.firmware.subjects[model], self.firmware.image.symbols
        for kernel in {layer.kernel for layer in subject.layers} - symbols.keys():
            raise DeviceError(f"the firmware has no kernel '{kernel}', which the manifest in '{subject.folder}' lists; lower the model again")
        entries = [symbols[layer.kernel] for layer in subject.layers]
        return InstructionCounter(symbols[f"{subject.name}_run"], symbols["bench_returned"], entries,
                                  lambda address, size: bytes(self.emulator.mem_read(address, size)),
                                  lambda: int(self.emulator.reg_read(self.core.link)), self.core.instructions_in, block_cost(self.core_name),
                                  FlashWaits(self.flash) if self.flash is not None else None)

    def run_to_event(self, counter: InstructionCounter | None = None) -> None:
        """Goes on to the end of the frame or program. Raises DeviceError when that does not come."""
        unicorn = _library()
        self.event = False
        deadline = time.monotonic() + self.timeout_s
        while not self.event and (left := deadline - time.monotonic()) > 0:
            # never in short slices: unicorn stops for a time-out wherever it is, and now and then goes on from there with wrong registers
            # (seen with unicorn 2.1.4: one run in six at 20 ms). Ctrl-C is seen between events.
            try:
                self.emulator.emu_start(self.core.start_address(), NEVER, timeout=max(int(left * 1e6), 1))
            except unicorn.UcError as error:
                self.trouble = self.trouble or str(error)
            if self.trouble:
                raise DeviceError(f"frame {self.frame}: the core stopped in {self._place()}: {self.trouble}")
        if not self.event:
            so_far = f" after {counter.executed() / 1e6:.1f} million instructions of the model" if counter else ""
            raise DeviceError(f"frame {self.frame} did not end within {self.timeout_s:g} s{so_far}; the core was in {self._place()}",
                              "a hang, or a model too large to emulate in that time: try a longer time-out")

    def _program_counter(self) -> int:
        return int(self.emulator.reg_read(self.core.counter))

    def _place(self) -> str:
        image = self.firmware.image
        link = int(self.emulator.reg_read(self.core.link)) & ~1
        return f"{image.symbol_at(self._program_counter())} (link register: {image.symbol_at(link)})"

    def _on_exception(self, emulator: Any, number: int, _data: object) -> None:
        is_request, trouble = self.core.is_request(number)
        if not is_request:
            self.trouble = trouble
            emulator.emu_stop()
            return
        operation = emulator.reg_read(self.core.operation)
        before = len(self.files.outputs.get("output.bin", b""))
        emulator.reg_write(self.core.operation, self.files.call(operation, emulator.reg_read(self.core.argument)))
        finished_frame = len(self.files.outputs.get("output.bin", b"")) > before
        if finished_frame or self.files.exit_code is not None:
            self.frame += finished_frame
            self.event = True
            emulator.emu_stop()

    def _on_bad_access(self, _emulator: Any, access: int, address: int, size: int, _value: int, _data: object) -> bool:
        kinds = {19: "read of", 20: "write to", 21: "instruction fetch from", 22: "write to flash at", 23: "read of", 24: "instruction fetch from"}
        ram = self.firmware.machine.ram_origin
        hint = "; just below RAM, so the stack overflowed" if ram - 0x10000 <= address < ram else ""
        self.trouble = f"{kinds.get(access, 'access to')} {size} bytes at 0x{address:08x}, where nothing is allowed{hint}"
        return False
