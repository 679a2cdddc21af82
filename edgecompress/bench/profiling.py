"""Makes a hardware profile: runs random layer chains on a target's emulator, fits loop counts to cost, judges on rows held back."""

from __future__ import annotations

import datetime
import hashlib
import tempfile
from pathlib import Path
from typing import Any

from edgecompress import __version__, resources
from edgecompress.bench import bench, check_tools
from edgecompress.bench.measurement import Measurement
from edgecompress.bench.sweep import random_chain
from edgecompress.errors import ConfigError, DeviceError
from edgecompress.hw.plan import LayerPlan, LoweredPlan
from edgecompress.hw.profile import FirmwareRow, HardwareProfile, LayerRow, fit_code, fit_layers, fit_overhead, judge
from edgecompress.hw.target import EXTENSIONS, Target
from edgecompress.lower import lower

HELD_BACK_EVERY = 7  # no factor in common with the cycles of steps and weight widths in the sweep: every kind is held back sometimes


def kernel_version(target: Target) -> str:
    """Hash of all kernel sources that this target can use: a profile made from other kernels is out of date."""
    foreign = tuple(f"_{extension}" for extension in EXTENSIONS if extension not in target.extensions)
    digest = hashlib.sha256()
    for path in sorted((resources.data_dir("firmware_export") / "c" / "kernels").iterdir()):
        if path.stem.endswith(foreign):
            continue
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _shape_text(layer: LayerPlan) -> str:
    sides = [" + ".join("x".join(map(str, shape)) for shape in layer.input_shapes), "x".join(map(str, layer.output_shape))]
    return f"{layer.op} {sides[0]} -> {sides[1]}"


def measured_rows(plan: LoweredPlan, seen: Measurement, held_back: bool) -> tuple[list[LayerRow], FirmwareRow]:
    """Rows of one firmware: its layers with their features and instructions, and the whole."""
    called = [layer for layer in plan.layers if layer.kernel]
    counted = [row for row in seen.layers if row.kernel]
    if [layer.kernel for layer in called] != [row.kernel for row in counted]:
        raise DeviceError(f"the emulator saw {len(counted)} kernel calls, the plan has {len(called)}; the layer counts cannot be trusted")
    rows = [LayerRow(layer.kernel, _shape_text(layer), {k: v for k, v in layer.features.items() if v},
                     float(row.instructions if row.estimated_cycles is None else row.estimated_cycles), held_back,
                     None if row.estimated_cycles is None else float(row.instructions))
            for layer, row in zip(called, counted, strict=True)]
    assert seen.instructions is not None and seen.flash_bytes is not None and seen.stack_bytes is not None  # an emulated run has all three
    total = seen.instructions if seen.estimated_cycles is None else seen.estimated_cycles
    overhead = total - sum(row.cost for row in rows)
    firmware = FirmwareRow(plan.kernels, len(called), seen.flash_bytes - plan.constant_bytes, seen.stack_bytes, overhead, held_back)
    return rows, firmware


def make_profile(target: Target, name: str, chains: int, seed: int, cc: str | None, emulator: str | None, progress: Any) -> HardwareProfile:
    """Runs `chains` random chains.

    Raises ConfigError for a target or emulator that cannot count a layer's instructions, ToolMissingError without a compiler or emulator,
    DeviceError if outputs differ from the reference.
    """
    if emulator == "qemu":
        raise ConfigError("qemu does not count the instructions of single layers, which a profile is made of; use --emulator unicorn")
    if target.family == "host" or not target.emulator.unicorn:
        raise ConfigError(f"target '{target.name}' cannot be profiled: its file names no unicorn core, and only there single layers are counted")
    check_tools(target, cc, emulator)
    layer_rows: list[LayerRow] = []
    firmware_rows: list[FirmwareRow] = []
    seen = None
    progress.stage("profile", chains)
    with tempfile.TemporaryDirectory(prefix="edgecompress-profile-") as temporary:
        for index in range(chains):
            artifact = lower(random_chain(seed, index), target)
            folder = Path(temporary) / f"chain_{index}"
            artifact.write(folder)
            seen = bench(folder, cc=cc, emulator=emulator, samples=10, target=target)
            if seen.matches_reference is not True:
                raise DeviceError(f"chain {index} of seed {seed} differs from the reference on {seen.mismatches} of {seen.samples} inputs")
            rows, firmware = measured_rows(artifact.plan, seen, held_back=index % HELD_BACK_EVERY == HELD_BACK_EVERY - 1)
            layer_rows += rows
            firmware_rows.append(firmware)
            progress.step(index + 1)
    assert seen is not None
    coefficients = fit_layers(layer_rows)
    code_base, code_layer, code_kernel = fit_code(firmware_rows)
    overhead_base, overhead_layer = fit_overhead(firmware_rows)
    return HardwareProfile(
        name=name, target=target.name, board=f"emulated {target.core}", source="simulated",
        unit="instructions" if seen.estimated_cycles is None else "cycles", clock_hz=target.clock_hz,
        compiler=seen.compiler, runner=seen.emulator, kernel_version=kernel_version(target), tool_version=__version__,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(), seed=seed, layer_rows=tuple(layer_rows), firmware_rows=tuple(firmware_rows),
        coefficients=coefficients, overhead_base=overhead_base, overhead_per_layer=overhead_layer, code_base_bytes=code_base,
        code_layer_bytes=code_layer, code_kernel_bytes=code_kernel, stack_bytes=max(row.stack_bytes for row in firmware_rows),
        fit_error=judge(layer_rows, coefficients),
    )
