"""Builds artifacts as a program of an operating system and runs it on this machine or another place: bit exactness with sanitizers, and
wall-clock time."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgecompress import resources
from edgecompress.bench.firmware import LAYER_HOOK, compile_subjects
from edgecompress.bench.model_table import model_table
from edgecompress.bench.protocol import EXIT_REASONS, Frame, encode_input
from edgecompress.bench.subject import Subject
from edgecompress.bench.timing import Records, Schedule, split_records
from edgecompress.bench.toolchain import Toolchain
from edgecompress.errors import DeviceError

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
RESULTS = ("output.bin", "times.bin")  # files that the program writes
PROGRAM_NAME = "bench"


class Place(Protocol):
    """Where a program runs."""

    @property
    def name(self) -> str:
        """For people: "this machine", "pi@10.0.0.7"."""

    def execute(self, program: bytes, arguments: Sequence[str], files: Mapping[str, bytes], timeout_s: float) -> dict[str, bytes]:
        """Runs the program in a folder of its own that holds `files`; what it wrote of RESULTS. Raises DeviceError."""


@dataclass(frozen=True)
class ThisMachine:
    """Runs programs here. `before` is put before the command, such as an emulator of another core's programs."""

    before: tuple[str, ...] = ()
    name: str = "this machine"

    def execute(self, program: bytes, arguments: Sequence[str], files: Mapping[str, bytes], timeout_s: float) -> dict[str, bytes]:
        """See Place."""
        with tempfile.TemporaryDirectory(prefix="edgecompress-host-") as name:
            work = Path(name)
            path = work / PROGRAM_NAME
            path.write_bytes(program)
            path.chmod(0o700)
            for file, content in files.items():
                (work / file).write_bytes(content)
            try:
                done = subprocess.run([*self.before, str(path), *arguments], cwd=work, capture_output=True, text=True, errors="replace",
                                      timeout=timeout_s, check=False)
            except subprocess.TimeoutExpired:
                raise too_slow(self.name, timeout_s) from None
            except OSError as error:
                raise DeviceError(f"the program cannot be run on {self.name}: {error.strerror or error}") from None
            if done.returncode != 0:
                raise failed_program(self.name, done.returncode, done.stderr)
            return {file: (work / file).read_bytes() for file in RESULTS if (work / file).is_file()}


def too_slow(place: str, timeout_s: float) -> DeviceError:
    """The error for a program that did not end in time."""
    return DeviceError(f"the program on {place} did not end within {timeout_s:g} s", "a hang, or too many frames: try a longer time-out")


def failed_program(place: str, code: int, words: str) -> DeviceError:
    """The error for an exit code other than 0; `words` is what the program printed to its error output."""
    reason = EXIT_REASONS.get(code, "it crashed" if code < 0 or code > 128 else "see below")
    return DeviceError(f"the program on {place} ended with code {code}: {reason}", *words.strip().splitlines()[:12])


THIS_MACHINE = ThisMachine()


@dataclass(frozen=True)
class HostExecution:
    """Outputs of all frames, and what was timed of the first ones."""

    outputs: tuple[bytes, ...]
    records: tuple[Records, ...]  # one a timed frame


def build_program(subjects: Sequence[Subject], toolchain: Toolchain, sanitize: bool = False, time_layers: bool = False) -> bytes:
    """Compiles and links the models with the harness. Raises BuildError when the code does not compile."""
    harness = resources.data_dir("firmware_export") / "harness"
    extra = SANITIZERS if sanitize else ()
    most_layers = max(1, *(len(subject.layers) for subject in subjects)) if subjects else 1
    harness_flags = (f"-DBENCH_TIME_LAYERS={most_layers}",) if time_layers else ()
    with tempfile.TemporaryDirectory(prefix="edgecompress-host-") as name:
        work = Path(name)
        table = work / "models.c"
        table.write_text(model_table(subjects, None, time_layers))
        objects = toolchain.compile([harness / "host_main.c", table], [harness], work, (*extra, *harness_flags))
        objects += compile_subjects(subjects, toolchain, work, extra, LAYER_HOOK if time_layers else ())
        program = work / PROGRAM_NAME
        toolchain.link(objects, program, extra)
        return program.read_bytes()


def run_program(program: bytes, subjects: Sequence[Subject], frames: Sequence[Frame], schedule: Schedule | None = None, time_layers: bool = False,
                timeout_s: float = 120.0, place: Place = THIS_MACHINE) -> HostExecution:
    """Runs all frames, and times the first `schedule.frames` of them. Raises DeviceError when the program crashes, hangs, or a sanitizer objects."""
    limit = int(timeout_s) + 1  # the program ends itself, should nobody be there to end it
    numbers = (0, 0, 0, limit) if schedule is None else \
        (schedule.rounds, schedule.records, schedule.frames, limit, round(1e12 * schedule.fastest_s), schedule.patience_s)
    results = place.execute(program, [str(number) for number in numbers], {"input.bin": encode_input(frames)}, timeout_s)
    missing = [file for file in RESULTS[: 2 if schedule else 1] if file not in results]
    if missing:
        raise DeviceError(f"the program on {place.name} left no file {missing[0]}")
    if schedule is None:
        return HostExecution(_split(results["output.bin"], subjects, frames), ())
    values = [len(subjects[index].layers) if time_layers else 1 for index, _ in frames[: schedule.frames]]
    times = np.frombuffer(results["times.bin"][: len(results["times.bin"]) // 8 * 8], dtype="<f8")
    return HostExecution(_split(results["output.bin"], subjects, frames), split_records(times, schedule, values))


def run(subjects: Sequence[Subject], toolchain: Toolchain, frames: Sequence[Frame], schedule: Schedule | None = None, sanitize: bool = False,
        timeout_s: float = 120.0, place: Place = THIS_MACHINE) -> HostExecution:
    """Builds `subjects` and runs all frames. Errors of build_program and run_program."""
    return run_program(build_program(subjects, toolchain, sanitize), subjects, frames, schedule, False, timeout_s, place)


def _split(output: bytes, subjects: Sequence[Subject], frames: Sequence[Frame]) -> tuple[bytes, ...]:
    lengths = [subjects[index].output_bytes for index, _ in frames]
    if len(output) != sum(lengths):
        raise DeviceError(f"the program wrote {len(output)} output bytes, expected {sum(lengths)}")
    parts, start = [], 0
    for length in lengths:
        parts.append(output[start : start + length])
        start += length
    return tuple(parts)
