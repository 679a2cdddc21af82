"""Makes a hardware profile of wall-clock times, on this machine or one behind ssh: the layers of the sweep, timed one by one inside programs that
hold many graphs. A machine with an operating system has other users, so each program runs more than once, minutes apart."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecompress import __version__
from edgecompress.bench.profiling import Sweep, hold_back, kernel_version, lower_graph, shape_text
from edgecompress.bench.protocol import Frame
from edgecompress.bench.runner import place_of
from edgecompress.bench.subject import Subject, Vectors, count_differing, load_subject, load_vectors
from edgecompress.bench.sweep import Draw, choose
from edgecompress.bench.timing import Schedule, fastest_calibration, trust
from edgecompress.bench.toolchain import program_compiler
from edgecompress.bench.transport.host import Place, build_program, run_program
from edgecompress.errors import DeviceError
from edgecompress.hw.plan import LoweredPlan
from edgecompress.hw.profile import FLOORS, HardwareProfile, LayerRow, fit_layers, judge
from edgecompress.hw.target import Target

GRAPHS_PER_PROGRAM = 20
PASSES = 2  # over all programs
ROWS, ROWS_A_FEATURE = 32, 6  # of each kernel: times scatter more than counts, and cost less to get
SCHEDULE = Schedule(rounds=3, records=10, patience_s=20)
TIMEOUT_S = 300.0
CLOCK_DRIFT = 0.05  # relative standard deviation of a processor's speed between days: its clock depends on heat and neighbours


@dataclass(frozen=True)
class Program:
    """Some graphs of the sweep in one program."""

    code: bytes
    plans: tuple[LoweredPlan, ...]
    subjects: tuple[Subject, ...]
    frames: tuple[Frame, ...]
    expected: tuple[Vectors, ...]


@dataclass(frozen=True)
class ProgramTimes:
    """Seconds of the layers of each graph of a program, and of the calibration loop meanwhile."""

    layers: tuple[np.ndarray, ...]
    calibrations: tuple[float, ...]
    fastest: float


def make_timed_profile(target: Target, name: str, layers: int, seed: int, cc: str | None, where: str, progress: Any) -> HardwareProfile:
    """Times a choice of the first `layers` random layers; `where` is host or ssh://...

    Raises ConfigError, ToolMissingError, BuildError; DeviceError if outputs differ from the reference or the place cannot be used.
    """
    place, compiler = place_of(where), program_compiler(target, cc, where != "host")
    graphs = choose(target, seed, layers, ROWS, ROWS_A_FEATURE)
    parts = [graphs[start:start + GRAPHS_PER_PROGRAM] for start in range(0, len(graphs), GRAPHS_PER_PROGRAM)]
    progress.stage("build", len(parts))
    programs = []
    for part in parts:
        programs.append(_build(Sweep(target, seed, cc, None), part, compiler))
        progress.step(len(programs))
    progress.stage("time", PASSES * len(programs))
    passes: list[list[ProgramTimes]] = []
    for _ in range(PASSES):
        passes.append([])
        for program in programs:
            known = min((times.fastest for earlier in passes for times in earlier), default=0.0)
            passes[-1].append(_time(program, place, known))
            progress.step(sum(map(len, passes)))
    rows, calibration, repeatability = _rows(programs, passes)
    floor = FLOORS["seconds"]
    coefficients = fit_layers(rows, floor)
    return HardwareProfile(
        name=name, target=target.name, board=_board(where), source="measured", unit="seconds", clock_hz=target.clock_hz, compiler=compiler.version,
        runner="wall clock", kernel_version=kernel_version(target), tool_version=__version__,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(), seed=seed, layer_rows=rows, firmware_rows=(), coefficients=coefficients,
        overhead_base=0.0, overhead_per_layer=0.0, code_base_bytes=0.0, code_layer_bytes=0.0, code_kernel_bytes={}, code_functions={}, stack_bytes=0,
        fit_error=judge(rows, coefficients, floor), calibration_s=calibration, repeatability=repeatability)


def _build(sweep: Sweep, graphs: Sequence[Sequence[Draw]], compiler: Any) -> Program:
    plans, subjects, frames, expected = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="edgecompress-profile-") as temporary:
        for index, draws in enumerate(graphs):
            artifact = lower_graph(sweep, draws)
            artifact.write(Path(temporary) / str(index))
            subjects.append(load_subject(Path(temporary) / str(index)))
            vectors = load_vectors(subjects[-1], 1)
            plans.append(artifact.plan)
            expected.append(vectors)
            frames.append((index, subjects[-1].encode(vectors.inputs)[0]))
        code = build_program(subjects, compiler, time_layers=True)
    return Program(code, tuple(plans), tuple(subjects), tuple(frames), tuple(expected))


def _time(program: Program, place: Place, fastest: float) -> ProgramTimes:
    """Runs a program, compares all outputs. `fastest` is the calibration loop's time that is known for the place, 0 for none."""
    schedule = Schedule(SCHEDULE.rounds, SCHEDULE.records, len(program.frames), SCHEDULE.patience_s, fastest)
    done = run_program(program.code, program.subjects, program.frames, schedule, True, TIMEOUT_S, place)
    for subject, output, vectors in zip(program.subjects, done.outputs, program.expected, strict=True):
        if count_differing(subject.decode([output]), vectors.outputs):
            raise DeviceError(f"graph {subject.name} differs from the reference on {place.name}; a kernel of it is wrong",
                              *(f"{layer.node}: {layer.kernel}" for layer in subject.layers))
    best = fastest_calibration(done.records)
    readings = [trust(records, best) for records in done.records]
    return ProgramTimes(tuple(reading.seconds for reading in readings), tuple(reading.calibration_s for reading in readings), best)


def _rows(programs: Sequence[Program], passes: Sequence[Sequence[ProgramTimes]]) -> tuple[tuple[LayerRow, ...], float, float]:
    """(rows, calibration, repeatability): times at one speed of the machine, that at which the calibration loop takes what it usually took."""
    calibration = float(np.median([value for times in passes for program in times for value in program.calibrations]))
    rows, spreads = [], []
    for index, program in enumerate(programs):
        for place, plan in enumerate(program.plans):
            seen = np.array([times[index].layers[place] * (calibration / times[index].calibrations[place]) for times in passes])
            totals = seen.sum(axis=1)
            spreads.append(totals.var(ddof=1) / totals.mean() ** 2)
            called = [layer for layer in plan.layers if layer.kernel]
            rows += [LayerRow(layer.kernel, shape_text(layer), {k: v for k, v in layer.features.items() if v}, max(float(cost), 1e-9), False)
                     for layer, cost in zip(called, seen.mean(axis=0), strict=True)]
    return hold_back(rows), calibration, float(np.sqrt(np.median(spreads) + CLOCK_DRIFT**2))


def _board(where: str) -> str:
    """What was timed; the name of a machine on the user's network is nobody's business."""
    if where != "host":
        return "a machine over ssh"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "this machine"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "this machine")
