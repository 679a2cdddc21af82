"""Runs a firmware in qemu-system-arm, whose instruction-counting mode makes a board timer a counter of instructions.

A tick of the boards' timers is 31 to 63 instructions. For single layers one frame is therefore run again and again, each time with the timer
two instructions later in its period, until the phases cover a period: the mean of the differences is then right to two or three instructions.
"""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgecompress.bench.firmware import Firmware
from edgecompress.bench.protocol import EXIT_REASONS, Execution, Frame, FrameCount, decode_execution, encode_input, failed_exit
from edgecompress.errors import DeviceError, ToolMissingError

PROGRAM = "qemu-system-arm"
DELAY_INSTRUCTIONS = 2  # from one frame's phase to the next one's, bench_delay of harness_layers.c
# executed between two readings of the timer that are not the layer's: 9 of bench_layer_done, its argument and its call.
# Before the first layer only the call of run, the hook's argument, its call and its instructions up to the reading.
HOOK_INSTRUCTIONS, FIRST_HOOK_INSTRUCTIONS = 11, 6


def version() -> str:
    """Version text. Raises ToolMissingError when qemu-system-arm is not on the PATH."""
    if shutil.which(PROGRAM) is None:
        raise ToolMissingError(f"the emulator {PROGRAM} was not found", "try: apt install qemu-system-arm", "or: --emulator unicorn")
    answer = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    return " ".join(answer.splitlines()[:1]) or PROGRAM


def run(firmware: Firmware, machine: str, cpu: str, frames: Sequence[Frame], timeout_s: float = 120.0) -> Execution:
    """Runs all frames on qemu's board `machine` (`cpu` may be empty). Raises DeviceError on a fault, a wrong exit or after `timeout_s`."""
    return decode_execution(firmware.subjects, frames, _run(firmware, machine, cpu, frames, timeout_s))


def layer_counts(firmware: Firmware, machine: str, cpu: str, frame: Frame, timeout_s: float = 120.0) -> FrameCount:
    """Instructions of each layer of a firmware built with `count_layers`, right to two or three of them. The first layer's include those of run
    before it, and the others' the arguments of their call. Errors as in `run`."""
    tick = firmware.machine.timer.nanoseconds_per_tick
    repeats = math.ceil(tick / DELAY_INSTRUCTIONS)
    files = _run(firmware, machine, cpu, [frame] * repeats, timeout_s)
    (subject,) = firmware.subjects
    count = len(subject.layers)
    written = files.get("layers.bin", b"")
    if len(written) != 4 * count * repeats:
        raise DeviceError(f"the firmware wrote {len(written)} bytes to layers.bin, expected {4 * count * repeats}")
    ticks = struct.unpack(f"<{count * repeats}I", written)
    ends = [0.0, *(sum(ticks[index::count]) / repeats * tick for index in range(count))]
    hooks = [FIRST_HOOK_INSTRUCTIONS, *[HOOK_INSTRUCTIONS] * count]
    layers = tuple(max(round(end - start) - hook, 1) for start, end, hook in zip(ends, ends[1:], hooks, strict=False))
    return FrameCount(sum(layers), 0, layers)


def _run(firmware: Firmware, machine: str, cpu: str, frames: Sequence[Frame], timeout_s: float) -> dict[str, bytes]:
    """The files that the firmware wrote."""
    version()
    with tempfile.TemporaryDirectory(prefix="edgecompress-qemu-") as name:
        folder = Path(name)
        (folder / "bench.elf").write_bytes(firmware.elf)
        (folder / "input.bin").write_bytes(encode_input(frames))
        command = [PROGRAM, "-M", machine, *(("-cpu", cpu) if cpu else ()), "-icount", "shift=0,sleep=off", "-semihosting-config",
                   "enable=on,target=native", "-display", "none", "-serial", "null", "-monitor", "none", "-kernel", "bench.elf"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                                  timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            finished = _frames_done(firmware, frames, folder)
            raise DeviceError(f"frame {finished} did not end: qemu was stopped after {timeout_s:g} s",
                              "a hang, or too many frames to emulate in that time: try a longer time-out") from None
        files = {path.name: path.read_bytes() for path in folder.glob("*.bin")}
    if done.returncode in EXIT_REASONS:
        raise failed_exit(done.returncode, firmware.image, files)
    if done.returncode != 0:
        raise DeviceError(f"{PROGRAM} ended with code {done.returncode}", *done.stderr.strip().splitlines()[:6])
    return files


def instructions(firmware: Firmware, execution: Execution) -> list[int]:
    """Executed instructions of each frame, to the nearest tick of the board's timer."""
    return [round(ticks * firmware.machine.timer.nanoseconds_per_tick) for ticks in execution.ticks]


def _frames_done(firmware: Firmware, frames: Sequence[Frame], folder: Path) -> int:
    ticks = folder / "ticks.bin"
    return min(ticks.stat().st_size // 4, len(frames)) if ticks.is_file() else 0
