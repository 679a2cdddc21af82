"""The two things to do with an artifact folder: measure it, or push many inputs through it."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edgecompress.bench import measurement as m
from edgecompress.bench.firmware import LAYER_SYMBOL, Firmware, build_firmware
from edgecompress.bench.machines import machine_for
from edgecompress.bench.measurement import InstructionSpread, LayerMeasurement, Measurement
from edgecompress.bench.protocol import Execution, Frame, FrameCount
from edgecompress.bench.subject import Subject, Values, Vectors, count_differing, load_subject, load_vectors
from edgecompress.bench.timing import Schedule, fastest_calibration, trust
from edgecompress.bench.toolchain import program_compiler, select_compiler
from edgecompress.bench.transport import host, qemu, serial, unicorn
from edgecompress.bench.transport.host import THIS_MACHINE, Place
from edgecompress.bench.transport.ssh import SCHEME, parse_ssh
from edgecompress.errors import ConfigError, EdgecompressError, ModelError, unknown_name
from edgecompress.hw.target import Target, load_target

PLACES = ("emulator", "host", "qemu", "unicorn")
EMULATORS = {"qemu": qemu, "unicorn": unicorn}
COUNTED_FRAMES = 3
DEFAULT_TIMEOUT_S = 120.0
HOST_SCHEDULE = Schedule(rounds=4, records=30, patience_s=2)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EdgecompressError(f"the bench cannot use '{error.filename or tempfile.gettempdir()}': {error.strerror or error}",
                                "try: free some disk space, or set TMPDIR to a folder with room") from None


@_disk_errors()
def bench(folder: Path, on: str | None = None, cc: str | None = None, emulator: str | None = None, samples: int = 10,
          target: Target | None = None, timeout_s: float = DEFAULT_TIMEOUT_S, flash_command: str | None = None,
          board: Path | None = None) -> Measurement:
    """Builds the artifact in `folder`, runs up to `samples` of its test vectors and compares them with the reference.

    `on`: emulator (default for Cortex-M), host, ssh://user@host:port, serial:PORT?baud=N (with `flash_command` and `board`, see
    transport/serial.py), or an emulator's name. `cc`: zig, gcc or a path. `emulator`: unicorn or qemu.
    `target` replaces the manifest's. `timeout_s` bounds a frame (unicorn), the run (qemu, host, ssh)
    or a silence (serial).
    Raises ConfigError and ModelError for a bad folder or choice, ToolMissingError, BuildError, DeviceError.
    """
    if samples < 1:
        raise ConfigError(f"samples must be at least 1, got {samples}")
    wired = None if on is None or not on.startswith(serial.SCHEME) else serial.parse_serial(on, flash_command, board)
    subject = load_subject(folder)
    target = target or _target_of(subject)
    where = "" if wired else _where(target, on, emulator)
    vectors = load_vectors(subject, samples)
    frames = _frames(subject, vectors.inputs)
    if wired is not None:
        from edgecompress.bench.board import bench_on_board

        return bench_on_board(subject, target, cc, wired, frames, vectors, timeout_s)
    if is_program(where):
        return _bench_program(subject, target, where, cc, frames, vectors, timeout_s)
    firmware = build_firmware([subject], machine_for(target, where), select_compiler(target, cc))
    execution = _execute(firmware, target, where, frames, min(COUNTED_FRAMES, len(frames)), timeout_s)
    if where == "qemu":
        execution = replace(execution, counts=_qemu_layers(subject, target, cc, frames[0], timeout_s))
    return _emulated(subject, target, where, firmware, execution, vectors)


@_disk_errors()
def run_frames(folder: Path, inputs: np.ndarray, on: str | None = None, cc: str | None = None, emulator: str | None = None,
               target: Target | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> np.ndarray:
    """Outputs int8 [n, *output_shape] of a model of one input and one output for int8 [n, *input_shape], without counting:
    for accuracy over a test set.

    Arguments and errors as in `bench`; DataError for inputs of the wrong type or shape, ModelError for a model of several inputs or outputs.
    """
    subject = load_subject(folder)
    if len(subject.inputs) != 1 or len(subject.outputs) != 1:
        raise ModelError(f"'{folder}' has {len(subject.inputs)} inputs and {len(subject.outputs)} outputs; run_frames takes one each")
    target = target or _target_of(subject)
    where = _where(target, on, emulator)
    frames = _frames(subject, {subject.inputs[0].name: np.asarray(inputs)})
    outputs = run_subjects([subject], frames, target, where, cc, timeout_s)
    return subject.decode(outputs)[subject.outputs[0].name]


def run_subjects(subjects: Sequence[Subject], frames: Sequence[Frame], target: Target, where: str, cc: str | None = None,
                 timeout_s: float = DEFAULT_TIMEOUT_S) -> tuple[bytes, ...]:
    """Runs frames through many models in one firmware; `where` is host, unicorn, qemu or ssh://... Outputs in the frames' order."""
    if is_program(where):
        return host.run(subjects, program_compiler(target, cc, where != "host"), frames, timeout_s=timeout_s, place=place_of(where)).outputs
    firmware = build_firmware(subjects, machine_for(target, where), select_compiler(target, cc))
    return _execute(firmware, target, where, frames, 0, timeout_s).outputs


def check_tools(target: Target, cc: str | None = None, emulator: str | None = None, on: str | None = None) -> str:
    """Looks for the compiler and emulator that `bench` would use, so that a long run fails in its first second; where it would run.
    Errors as in `bench`."""
    where = _where(target, on, emulator)
    if is_program(where):
        program_compiler(target, cc, where != "host")
    else:
        select_compiler(target, cc)
    return where


def is_program(where: str) -> bool:
    """Whether models run there as programs of an operating system."""
    return where == "host" or where.startswith(SCHEME)


def place_of(where: str) -> Place:
    """The place that runs programs, of "host" or ssh://... Raises ConfigError."""
    return THIS_MACHINE if where == "host" else parse_ssh(where)


def _target_of(subject: Subject) -> Target:
    try:
        return load_target(subject.target)
    except ConfigError as error:
        raise ConfigError(f"the target that '{subject.folder}' was lowered for cannot be used: {error.message}",
                          "try: --target with the path of its TOML file") from None


def _where(target: Target, on: str | None, emulator: str | None) -> str:
    if on is not None and on.startswith(SCHEME):
        return _where_ssh(target, on, emulator)
    if on is not None and on not in PLACES:
        raise unknown_name("place to bench on", on, (*PLACES, "ssh://user@host", "serial:PORT"))
    if emulator is not None and emulator not in EMULATORS:
        raise unknown_name("emulator", emulator, EMULATORS)
    if target.family == "linux" and on is None and emulator is None:
        raise ConfigError(f"target '{target.name}' is another machine: say how to reach it with --on ssh://user@host, or check the bytes here with "
                          "--on host")
    if on == "host" or (target.family == "host" and on is None and emulator is None):
        return "host"
    usual = "qemu" if target.emulator.qemu_machine and not target.emulator.unicorn else "unicorn"
    chosen = on if on in EMULATORS else emulator or usual
    if emulator is not None and emulator != chosen:
        raise ConfigError(f"--on {on} and --emulator {emulator} contradict each other")
    name = target.emulator.unicorn if chosen == "unicorn" else target.emulator.qemu_machine
    if not name:
        raise ConfigError(f"target '{target.name}' cannot be emulated with {chosen}: its file names no {chosen} core or machine",
                          "try: --on host, or another --emulator")
    EMULATORS[str(chosen)].version()  # missing ones are told before anything is compiled
    return str(chosen)


def _where_ssh(target: Target, on: str, emulator: str | None) -> str:
    parse_ssh(on)
    if emulator is not None:
        raise ConfigError(f"--on {on} and --emulator {emulator} contradict each other")
    if target.family not in ("host", "linux"):
        raise ConfigError(f"target '{target.name}' ({target.family}) runs no programs over ssh; name the machine with --target, such as raspberry-pi-4, "
                          "or host-x86 for one like this")
    return on


def _frames(subject: Subject, inputs: Values) -> list[Frame]:
    return [(0, frame) for frame in subject.encode(inputs)]


def _execute(firmware: Firmware, target: Target, where: str, frames: Sequence[Frame], counted: int, timeout_s: float) -> Execution:
    if where == "unicorn":
        return unicorn.run(firmware, target.emulator.unicorn, frames, counted, timeout_s, target.core, target.flash_timing)
    return qemu.run(firmware, target.emulator.qemu_machine, target.emulator.qemu_cpu, frames, timeout_s)


def _qemu_layers(subject: Subject, target: Target, cc: str | None, frame: Frame, timeout_s: float) -> tuple[FrameCount, ...]:
    """From a second firmware that reads the timer after each layer; empty for a model whose code has no EC_LAYER_DONE."""
    firmware = build_firmware([subject], machine_for(target, "qemu"), select_compiler(target, cc), count_layers=True)
    if LAYER_SYMBOL not in firmware.image.symbols:
        return ()
    return (qemu.layer_counts(firmware, target.emulator.qemu_machine, target.emulator.qemu_cpu, frame, timeout_s),)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _emulated(subject: Subject, target: Target, where: str, firmware: Firmware, execution: Execution, vectors: Vectors) -> Measurement:
    counts = execution.counts
    per_frame = [count.total for count in counts] if where == "unicorn" else qemu.instructions(firmware, execution)
    spread = InstructionSpread(min(per_frame), round(statistics.median(per_frame)), max(per_frame), len(per_frame))
    mismatches = count_differing(subject.decode(execution.outputs), vectors.outputs)
    version = f"{unicorn.version()} ({target.emulator.unicorn})" if where == "unicorn" else f"{qemu.version()} ({target.emulator.qemu_machine})"
    cycles = _median([sum(count.cycles) for count in counts if count.cycles])
    waits = _median([sum(count.flash_waits) for count in counts if count.flash_waits])
    return Measurement(
        target=target.name, where=where, instructions=spread.median, instruction_spread=spread,
        estimated_cycles=cycles, memory_words=_median([sum(count.memory_words) for count in counts if count.cycles]),
        flash_wait_cycles=waits, latency_s=target.seconds(spread.median) if cycles is None else target.seconds_of_cycles(cycles + (waits or 0)),
        latency_basis=m.INSTRUCTIONS_OVER_CLOCK if cycles is None else m.CYCLES_OVER_CLOCK if waits is None else m.CYCLES_AND_WAITS_OVER_CLOCK,
        latency_spread_s=None,
        flash_bytes=firmware.flash_bytes, harness_flash_bytes=firmware.harness_flash_bytes,
        ram_bytes=firmware.static_ram_bytes + execution.stack_bytes, stack_bytes=execution.stack_bytes, arena_bytes=subject.arena_bytes,
        caller_bytes=subject.caller_bytes,
        matches_reference=mismatches == 0, samples=vectors.count, mismatches=mismatches, vectors_source=subject.vectors_source,
        compiler=firmware.compiler, emulator=version,
        overhead_instructions=_median([c.overhead for c in counts]) if where == "unicorn" else None,
        layers=_layers(subject, counts), date=_now())


def _median(values: Sequence[int]) -> int | None:
    return round(statistics.median(values)) if values else None


def _layers(subject: Subject, counts: Sequence[FrameCount]) -> tuple[LayerMeasurement, ...]:
    if not counts:
        return ()
    return tuple(LayerMeasurement(layer.node, layer.kernel, round(statistics.median(count.layers[index] for count in counts)),
                                  _median([count.cycles[index + 1] for count in counts if count.cycles]),
                                  _median([count.memory_words[index + 1] for count in counts if count.cycles]),
                                  _median([count.flash_waits[index + 1] for count in counts if count.flash_waits]))
                 for index, layer in enumerate(subject.layers))


def _bench_program(subject: Subject, target: Target, where: str, cc: str | None, frames: Sequence[Frame], vectors: Vectors,
                   timeout_s: float) -> Measurement:
    compiler, place = program_compiler(target, cc, where != "host"), place_of(where)
    execution = host.run([subject], compiler, frames, HOST_SCHEDULE, timeout_s=timeout_s, place=place)
    mismatches = count_differing(subject.decode(execution.outputs), vectors.outputs)
    (records,) = execution.records
    # of a program what the plan says, like the prediction; for a microcontroller's model that is only tried here it would be no answer
    planned = target.family in ("host", "linux")
    return Measurement(
        target=target.name, where="host" if where == "host" else "ssh", instructions=None, instruction_spread=None, estimated_cycles=None,
        memory_words=None, flash_wait_cycles=None,
        latency_s=float(trust(records, fastest_calibration([records])).seconds[0]), latency_basis=m.WALL_CLOCK,
        latency_spread_s=(float(records.seconds.min()), float(records.seconds.max())),
        flash_bytes=subject.constant_bytes if planned else None, harness_flash_bytes=None,
        ram_bytes=subject.arena_bytes + subject.state_bytes if planned else None, stack_bytes=None, arena_bytes=subject.arena_bytes,
        caller_bytes=subject.caller_bytes,
        matches_reference=mismatches == 0, samples=vectors.count, mismatches=mismatches, vectors_source=subject.vectors_source,
        compiler=compiler.version, emulator="" if where == "host" else place.name, overhead_instructions=None, layers=(), date=_now())
