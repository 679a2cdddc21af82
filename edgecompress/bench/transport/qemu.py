"""Runs a firmware in qemu-system-arm, whose instruction-counting mode makes a board timer an exact counter."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgecompress.bench.firmware import Firmware
from edgecompress.bench.protocol import EXIT_REASONS, Execution, Frame, decode_execution, encode_input, failed_exit
from edgecompress.errors import DeviceError, ToolMissingError

PROGRAM = "qemu-system-arm"


def version() -> str:
    """Version text. Raises ToolMissingError when qemu-system-arm is not on the PATH."""
    if shutil.which(PROGRAM) is None:
        raise ToolMissingError(f"the emulator {PROGRAM} was not found", "try: apt install qemu-system-arm", "or: --emulator unicorn")
    answer = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    return " ".join(answer.splitlines()[:1]) or PROGRAM


def run(firmware: Firmware, machine: str, cpu: str, frames: Sequence[Frame], timeout_s: float = 120.0) -> Execution:
    """Runs all frames on qemu's board `machine` (`cpu` may be empty). Raises DeviceError on a fault, a wrong exit or after `timeout_s`."""
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
    return decode_execution(firmware.subjects, frames, files)


def instructions(firmware: Firmware, execution: Execution) -> list[int]:
    """Executed instructions of each frame, to the nearest tick of the board's timer."""
    return [round(ticks * firmware.machine.timer.nanoseconds_per_tick) for ticks in execution.ticks]


def _frames_done(firmware: Firmware, frames: Sequence[Frame], folder: Path) -> int:
    ticks = folder / "ticks.bin"
    return min(ticks.stat().st_size // 4, len(frames)) if ticks.is_file() else 0
