"""Benches and profiles on a board at a serial port: firmware by firmware, each programmed by the user's own command."""

from __future__ import annotations

import statistics
import tempfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgecompress.bench import measurement as m
from edgecompress.bench.firmware import Firmware, SerialImage, build_firmware
from edgecompress.bench.machines import Machine, Timer
from edgecompress.bench.measurement import Measurement
from edgecompress.bench.protocol import Execution, Frame, encode_input
from edgecompress.bench.subject import Subject, Vectors, count_differing, load_subject, load_vectors
from edgecompress.bench.toolchain import select_compiler
from edgecompress.bench.transport import serial
from edgecompress.bench.transport.qemu import FIRST_HOOK_INSTRUCTIONS, HOOK_INSTRUCTIONS
from edgecompress.bench.transport.serial import Board, Report
from edgecompress.errors import ConfigError, DeviceError
from edgecompress.hw.target import Target

REPEATS = 3  # of a layer: the least of its times counts, interrupts make them longer
_NO_TIMER = Timer(0, 0, 0, 0, 0, 0.0)  # the board's file or harness_serial.c has one


def machine_of(target: Target) -> Machine:
    """The target's own memory. Raises ConfigError for a target that the harness has no startup code for."""
    if target.family != "cortex-m":
        raise ConfigError(f"target '{target.name}' ({target.family}) cannot be run over a serial port yet; Cortex-M boards can")
    return Machine(target.flash_origin, target.flash_bytes, target.ram_origin, target.ram_bytes, _NO_TIMER)


def run_on_board(subject: Subject, target: Target, cc: str | None, board: Board, frames: Sequence[Frame], timeout_s: float,
                 count_layers: bool = False) -> tuple[Firmware, Execution, Report]:
    """Builds, programs, runs. Raises what build_firmware and serial.run raise."""
    inputs = encode_input(frames)
    number = zlib.crc32(b"\0".join((subject.name.encode(), inputs, datetime.now(UTC).isoformat().encode())))
    firmware = build_firmware([subject], machine_of(target), select_compiler(target, cc), count_layers, SerialImage(board.source, number, inputs))
    execution, report = serial.run(firmware, board, number, frames, timeout_s)
    return firmware, execution, report


def bench_on_board(subject: Subject, target: Target, cc: str | None, board: Board, frames: Sequence[Frame], vectors: Vectors,
                   timeout_s: float) -> Measurement:
    """What `bench` says of a board: latency by its timer, sizes by the linker, stack by its paint."""
    firmware, execution, report = run_on_board(subject, target, cc, board, frames, timeout_s)
    mismatches = count_differing(subject.decode(execution.outputs), vectors.outputs)
    seconds = [ticks / report.hertz if report.hertz else target.seconds_of_cycles(ticks) for ticks in execution.ticks]
    return Measurement(
        target=target.name, where="serial", instructions=None, instruction_spread=None, estimated_cycles=None, memory_words=None,
        flash_wait_cycles=None, latency_s=statistics.median(seconds), latency_basis=m.WALL_CLOCK if report.hertz else m.MEASURED_CYCLES_OVER_CLOCK,
        latency_spread_s=(min(seconds), max(seconds)), flash_bytes=firmware.flash_bytes, harness_flash_bytes=firmware.harness_flash_bytes,
        ram_bytes=firmware.static_ram_bytes + execution.stack_bytes, stack_bytes=execution.stack_bytes, arena_bytes=subject.arena_bytes,
        caller_bytes=subject.caller_bytes, matches_reference=mismatches == 0, samples=vectors.count, mismatches=mismatches,
        vectors_source=subject.vectors_source, compiler=firmware.compiler, emulator=f"board on {board.port}", overhead_instructions=None, layers=(),
        date=datetime.now(UTC).isoformat(timespec="seconds"))


def time_layers(artifact: Any, target: Target, cc: str | None, board: Board, timeout_s: float) -> tuple[Firmware, int, list[float], float, str]:
    """(firmware, stack bytes, cost of each layer, cost outside them, unit) of an artifact. Raises DeviceError if its outputs are wrong."""
    with tempfile.TemporaryDirectory(prefix="edgecompress-profile-") as temporary:
        artifact.write(Path(temporary) / "artifact")
        subject = load_subject(Path(temporary) / "artifact")
        vectors = load_vectors(subject, 1)
        frames = [(0, subject.encode(vectors.inputs)[0])] * REPEATS
        firmware, execution, report = run_on_board(subject, target, cc, board, frames, timeout_s, count_layers=True)
    told = execution.outputs[:1] if subject.state_bytes else execution.outputs  # later frames of a stream have other outputs
    if any(count_differing(subject.decode([output]), vectors.outputs) for output in told):
        raise DeviceError(f"graph {subject.name} differs from the reference on the board at {board.port}; a kernel of it is wrong",
                          *(f"{layer.node}: {layer.kernel}" for layer in subject.layers))
    ends, count = report.elapsed(report.files.get("layers.bin", b"")), len(subject.layers)
    if len(ends) != REPEATS * count:
        raise DeviceError(f"the board at {board.port} sent {len(ends)} times of layers, expected {REPEATS * count}")
    layers = [min(_ticks(ends, run * count, layer) for run in range(REPEATS)) for layer in range(count)]
    outside = max(min(execution.ticks) - sum(layers), 1)
    if report.hertz:
        return firmware, execution.stack_bytes, [max(ticks, 1) / report.hertz for ticks in layers], outside / report.hertz, "seconds"
    hooks = [FIRST_HOOK_INSTRUCTIONS, *[HOOK_INSTRUCTIONS] * (count - 1)]  # at least a cycle each; the timer's reading is theirs, not the layer's
    return firmware, execution.stack_bytes, [float(max(ticks - hook, 1)) for ticks, hook in zip(layers, hooks, strict=True)], float(outside), "cycles"


def _ticks(ends: Sequence[int], start: int, layer: int) -> int:
    return ends[start + layer] - (ends[start + layer - 1] if layer else 0)
