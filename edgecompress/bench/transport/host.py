"""Builds artifacts for this machine and runs them: bit exactness with sanitizers, and wall-clock time."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecompress import resources
from edgecompress.bench.firmware import compile_subjects
from edgecompress.bench.model_table import model_table
from edgecompress.bench.protocol import EXIT_REASONS, Frame, encode_input
from edgecompress.bench.subject import Subject
from edgecompress.bench.toolchain import Toolchain
from edgecompress.errors import DeviceError

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
BATCHES = 21


@dataclass(frozen=True)
class HostExecution:
    """Outputs of all frames, and the mean seconds a run of each timed batch of the first frame."""

    outputs: tuple[bytes, ...]
    batch_seconds: tuple[float, ...]


def run(subjects: Sequence[Subject], toolchain: Toolchain, frames: Sequence[Frame], batches: int = 0, sanitize: bool = False,
        timeout_s: float = 120.0) -> HostExecution:
    """Builds `subjects` and runs all frames; times the first one in `batches` batches of at least 2 ms.

    Raises BuildError when the code does not compile, DeviceError when it crashes, hangs, or a sanitizer objects.
    """
    harness = resources.data_dir("firmware_export") / "harness"
    extra = SANITIZERS if sanitize else ()
    with tempfile.TemporaryDirectory(prefix="edgecompress-host-") as name:
        work = Path(name)
        table = work / "models.c"
        table.write_text(model_table(subjects, None))
        objects = toolchain.compile([harness / "host_main.c", table], [harness], work, extra)
        objects += compile_subjects(subjects, toolchain, work, extra)
        program = work / "bench"
        toolchain.link(objects, program, extra)
        (work / "input.bin").write_bytes(encode_input(frames))
        _execute([str(program), str(batches)], work, timeout_s)
        output = (work / "output.bin").read_bytes()
        times = (work / "nanoseconds.bin").read_bytes() if batches else b""
    return HostExecution(_split(output, subjects, frames), tuple(value * 1e-9 for (value,) in struct.iter_unpack("d", times)))


def _execute(command: Sequence[str], work: Path, timeout_s: float) -> None:
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"the program on this machine did not end within {timeout_s:g} s",
                          "a hang, or too many frames: try a longer time-out") from None
    if done.returncode != 0:
        reason = EXIT_REASONS.get(done.returncode, "it crashed" if done.returncode < 0 else "see below")
        raise DeviceError(f"the program on this machine ended with code {done.returncode}: {reason}", *done.stderr.strip().splitlines()[:12])


def _split(output: bytes, subjects: Sequence[Subject], frames: Sequence[Frame]) -> tuple[bytes, ...]:
    lengths = [subjects[index].output_bytes for index, _ in frames]
    if len(output) != sum(lengths):
        raise DeviceError(f"the program wrote {len(output)} output bytes, expected {sum(lengths)}")
    parts, start = [], 0
    for length in lengths:
        parts.append(output[start : start + length])
        start += length
    return tuple(parts)
