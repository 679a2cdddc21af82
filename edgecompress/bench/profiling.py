"""Makes a hardware profile: runs graphs of random layers on a target's emulator, fits loop counts to cost, judges on rows held back."""

from __future__ import annotations

import datetime
import hashlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecompress import __version__, resources
from edgecompress.bench import bench, check_tools, pipeline
from edgecompress.bench.board import time_layers
from edgecompress.bench.firmware import build_firmware
from edgecompress.bench.machines import machine_for
from edgecompress.bench.measurement import Measurement
from edgecompress.bench.runner import is_program
from edgecompress.bench.subject import load_subject
from edgecompress.bench.sweep import OPTIONS, Draw, choose, lowered, make_graph, reduced
from edgecompress.bench.toolchain import select_compiler
from edgecompress.bench.transport import serial
from edgecompress.bench.transport.serial import Board
from edgecompress.errors import ConfigError, DeviceError
from edgecompress.hw.plan import LayerPlan, LoweredPlan
from edgecompress.hw.profile import FLOORS, FirmwareRow, HardwareProfile, LayerRow, fit_code, fit_layers, fit_overhead, judge
from edgecompress.hw.target import EXTENSIONS, Target
from edgecompress.lower import lowering
from edgecompress.lower.artifact import Artifact
from edgecompress.lower.vectors import named_vectors
from edgecompress.processes import default_workers, process_pool

BOARD_TIMEOUT_S = 30.0  # longest silence
HELD_BACK_EVERY = 6  # of the rows of each kernel


@dataclass(frozen=True)
class Sweep:
    """What a worker needs to know: target, seed, compiler and emulator (None: the usual ones)."""

    target: Target
    seed: int
    cc: str | None
    emulator: str | None


@dataclass(frozen=True)
class Sample:
    """One graph of the sweep as it was seen."""

    rows: tuple[LayerRow, ...]
    firmware: FirmwareRow
    unit: str
    compiler: str
    runner: str


def kernel_version(target: Target) -> str:
    """Hash of all kernel sources that this target can use, and of the cycle model of its core: a profile made from others is out of date.

    Of the common header without the paragraphs that name an extension which the target has not got."""
    foreign = tuple(f"_{extension}" for extension in EXTENSIONS if extension not in target.extensions)
    digest = hashlib.sha256()
    for path in sorted((resources.data_dir("firmware_export") / "c" / "kernels").iterdir()):
        if path.stem.endswith(foreign):
            continue
        paragraphs = path.read_text(encoding="utf-8").split("\n\n")
        kept = [text for text in paragraphs if path.name != "ec_kernels.h" or not any(suffix in text for suffix in foreign)]
        digest.update("\0".join((path.name, *kept)).encode())
    if pipeline.block_cost(target.core) is not None:
        digest.update(Path(pipeline.__file__).read_bytes())
    return digest.hexdigest()[:16]


def shape_text(layer: LayerPlan) -> str:
    """A layer for people."""
    sides = [" + ".join("x".join(map(str, shape)) for shape in layer.input_shapes), "x".join(map(str, layer.output_shape))]
    return f"{layer.op} {sides[0]} -> {sides[1]}"


def measured_rows(plan: LoweredPlan, seen: Measurement) -> tuple[tuple[LayerRow, ...], FirmwareRow]:
    """Rows of one firmware: its layers with their features and cost, and the whole."""
    called = [layer for layer in plan.layers if layer.kernel]
    counted = [row for row in seen.layers if row.kernel]
    if [layer.kernel for layer in called] != [row.kernel for row in counted]:
        raise DeviceError(f"the emulator saw {len(counted)} kernel calls, the plan has {len(called)}; the layer counts cannot be trusted")
    rows = tuple(LayerRow(layer.kernel, shape_text(layer), {k: v for k, v in layer.features.items() if v},
                          float(row.cost), False,
                          None if row.estimated_cycles is None else float(row.instructions))
                 for layer, row in zip(called, counted, strict=True))
    assert seen.instructions is not None and seen.flash_bytes is not None and seen.stack_bytes is not None  # an emulated run has all three
    total = seen.instructions if seen.estimated_cycles is None else seen.estimated_cycles + (seen.flash_wait_cycles or 0)
    overhead = total - sum(row.cost for row in rows)
    return rows, FirmwareRow(plan.kernels, len(called), seen.flash_bytes - plan.constant_bytes, seen.stack_bytes, overhead, False)


def lower_graph(sweep: Sweep, draws: Sequence[Draw]) -> Artifact:
    """The artifact of a graph of these layers, with one random input as its test vector."""
    graph = make_graph(sweep.seed, draws)
    tensor = graph.tensors[graph.inputs[0]]
    random = np.random.default_rng([sweep.seed, draws[0].position])
    shape = (1, *tensor.shape)
    vectors = random.normal(size=shape).astype(np.float32) if tensor.dtype == "float32" else random.integers(-128, 128, shape, dtype=np.int8)
    # without the passes before a lowering, which would join layers that are to be measured one by one
    artifact: Artifact = lowering(sweep.target.lowering).lower(graph, reduced(sweep.target, draws[0].without), {graph.inputs[0]: vectors}, "random", OPTIONS)
    return artifact


def run_graph(sweep: Sweep, draws: Sequence[Draw]) -> Sample:
    """Lowers, builds and runs a graph of these layers. Raises DeviceError if outputs differ from the reference, and what `bench` raises."""
    target, artifact = sweep.target, lower_graph(sweep, draws)
    with tempfile.TemporaryDirectory(prefix="edgecompress-profile-") as temporary:
        artifact.write(Path(temporary) / "artifact")
        seen = bench(Path(temporary) / "artifact", cc=sweep.cc, emulator=sweep.emulator, target=target)
    if seen.matches_reference is not True:
        raise DeviceError(f"graph {artifact.name} of seed {sweep.seed} differs from the reference on {target.name}; a kernel of it is wrong",
                          *(f"{layer.node}: {layer.kernel}" for layer in artifact.plan.layers))
    rows, firmware = measured_rows(artifact.plan, seen)
    return Sample(rows, firmware, "instructions" if seen.estimated_cycles is None else "cycles", seen.compiler, seen.emulator)


def _samples(sweep: Sweep, graphs: Sequence[Sequence[Draw]], progress: Any) -> list[Sample]:
    """All graphs, in parallel."""
    progress.stage("profile", len(graphs))
    found: dict[int, Sample] = {}
    with process_pool(min(default_workers(), len(graphs))) as pool:
        futures = {pool.submit(run_graph, sweep, draws): index for index, draws in enumerate(graphs)}
        try:
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                progress.step(len(found))
        except BrokenProcessPool:
            raise DeviceError("a worker process ended by itself, for lack of memory perhaps") from None
    return [found[index] for index in range(len(graphs))]


def _functions_of(sweep: Sweep, draw: Draw) -> dict[str, int]:
    """Functions, with their sizes, of a firmware whose model is this layer; its own and the harness's are left out, and all but one name of each."""
    target, graph = sweep.target, make_graph(sweep.seed, [draw])
    artifact = lowering(target.lowering).lower(graph, reduced(target, draw.without), named_vectors(graph, None), "random", OPTIONS)
    with tempfile.TemporaryDirectory(prefix="edgecompress-profile-") as temporary:
        artifact.write(Path(temporary) / "artifact")
        subject = load_subject(Path(temporary) / "artifact")
        where = sweep.emulator or ("unicorn" if target.emulator.unicorn else "qemu")
        firmware = build_firmware([subject], machine_for(target, where), select_compiler(target, sweep.cc))
    own = (f"{subject.name}_", f"{subject.name}.c:", "bench_", "harness_")
    at = {address: (name, size) for name, (address, size) in sorted(firmware.image.code.items()) if size and not name.startswith(own)}
    return dict(sorted(at.values()))


def _kernel_functions(sweep: Sweep, graphs: Sequence[Sequence[Draw]]) -> dict[str, dict[str, int]]:
    """The functions that each kernel brings into a firmware. What comes with every kernel is the harness and the startup code."""
    draws: dict[str, Draw] = {}
    needed = {draw: {kernel for kernel in lowered(make_graph(sweep.seed, [draw]), reduced(sweep.target, draw.without)).kernels if kernel}
              for graph in graphs for draw in graph}
    for draw, kernels in sorted(needed.items(), key=lambda item: len(item[1])):  # alone where it can be: a few layers also need a copy
        for kernel in kernels:
            draws.setdefault(kernel, draw)
    with process_pool(min(default_workers(), len(draws))) as pool:
        found = dict(zip(draws, pool.map(_functions_of, [sweep] * len(draws), draws.values()), strict=True))
    everywhere = set.intersection(*(set(functions) for functions in found.values())) if len(found) > 1 else set()
    return {kernel: {name: size for name, size in functions.items() if name not in everywhere} for kernel, functions in sorted(found.items())}


def hold_back(rows: Sequence[LayerRow]) -> tuple[LayerRow, ...]:
    """Marks every sixth row of each kernel."""
    seen: Counter[str] = Counter()
    result = []
    for row in rows:
        seen[row.kernel] += 1
        result.append(replace(row, held_back=seen[row.kernel] % HELD_BACK_EVERY == 0))
    return tuple(result)


def make_profile(target: Target, name: str, layers: int, seed: int, cc: str | None, emulator: str | None, progress: Any,
                 on: str | None = None, flash_command: str | None = None, board: Path | None = None) -> HardwareProfile:
    """Runs a choice of the first `layers` random layers; `on`, `flash_command` and `board` as in `bench`: this machine, those behind ssh and boards
    are timed, emulators count.

    Raises ConfigError for a target or emulator that cannot count a layer's instructions, ToolMissingError without a compiler or emulator,
    DeviceError if outputs differ from the reference.
    """
    if on is not None and on.startswith(serial.SCHEME):
        wired = serial.parse_serial(on, flash_command, board)
        sweep, graphs = Sweep(target, seed, cc, None), choose(target, seed, layers)
        return _assemble(sweep, name, graphs, _board_samples(sweep, graphs, wired, progress), "measured", target.description)
    where = check_tools(target, cc, emulator, on)
    if is_program(where):
        from edgecompress.bench.timed_profiling import make_timed_profile

        if target.family not in ("host", "linux"):
            raise ConfigError(f"target '{target.name}' ({target.family}) cannot be profiled on {where}: times of another machine say nothing of it")
        if target.family == "linux" and where == "host":
            raise ConfigError(f"target '{target.name}' is another machine: profile it with --on ssh://user@host")
        return make_timed_profile(target, name, layers, seed, cc, where, progress)
    sweep, graphs = Sweep(target, seed, cc, where), choose(target, seed, layers)
    return _assemble(sweep, name, graphs, _samples(sweep, graphs, progress), "simulated", f"emulated {target.core}")


def _board_samples(sweep: Sweep, graphs: Sequence[Sequence[Draw]], board: Board, progress: Any) -> list[Sample]:
    """All graphs, one after another: there is one board."""
    progress.stage("profile", len(graphs))
    samples = []
    for draws in graphs:
        artifact = lower_graph(sweep, draws)
        firmware, stack, costs, outside, unit = time_layers(artifact, sweep.target, sweep.cc, board, BOARD_TIMEOUT_S)
        called = [layer for layer in artifact.plan.layers if layer.kernel]
        rows = tuple(LayerRow(layer.kernel, shape_text(layer), {k: v for k, v in layer.features.items() if v}, cost, False)
                     for layer, cost in zip(called, costs, strict=True))
        whole = FirmwareRow(artifact.plan.kernels, len(called), firmware.flash_bytes - artifact.plan.constant_bytes, stack, outside, False)
        samples.append(Sample(rows, whole, unit, firmware.compiler, "serial line"))
        progress.step(len(samples))
    return samples


def _assemble(sweep: Sweep, name: str, graphs: Sequence[Sequence[Draw]], samples: Sequence[Sample], source: str, board: str) -> HardwareProfile:
    """Fits what was seen."""
    target, floor = sweep.target, FLOORS[samples[0].unit]
    layer_rows = hold_back([row for sample in samples for row in sample.rows])
    firmware_rows = tuple(sample.firmware for sample in samples)
    coefficients = fit_layers(layer_rows, floor)
    functions = _kernel_functions(sweep, graphs)
    code_base, code_layer, code_kernel = fit_code(firmware_rows, functions)
    overhead_base, overhead_layer = fit_overhead(firmware_rows, 1.0 if samples[0].unit != "seconds" else 1e-9)
    return HardwareProfile(
        name=name, target=target.name, board=board, source=source, unit=samples[0].unit, clock_hz=target.clock_hz,
        compiler=samples[0].compiler, runner=samples[0].runner, kernel_version=kernel_version(target), tool_version=__version__,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(), seed=sweep.seed, layer_rows=layer_rows, firmware_rows=firmware_rows,
        coefficients=coefficients, overhead_base=overhead_base, overhead_per_layer=overhead_layer, code_base_bytes=code_base,
        code_layer_bytes=code_layer, code_kernel_bytes=code_kernel, code_functions=functions, stack_bytes=max(row.stack_bytes for row in firmware_rows),
        fit_error=judge(layer_rows, coefficients, floor),
    )
