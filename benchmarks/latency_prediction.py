"""Predicted latency, flash and RAM against the emulator or this machine's clock, on models that the profile never saw.

    python benchmarks/latency_prediction.py [--target cortex-m7] [--models 50] [--seed 1]     random models of the search space
    python benchmarks/latency_prediction.py --target host-x86                                 the same, timed on this machine
    python benchmarks/latency_prediction.py --third-party ../shared/data [--target cortex-m4] [--layers]

The first two forms end with Spearman's rank correlation, and how many latencies lay in the interval that the profile gives. On this machine
models are timed in programs of ten, twice, minutes apart, in the moments in which nobody disturbs (edgecompress/bench/timing.py). The third form
takes the models of mcu_models.py and adds the error of single layers: the median, and the part of the latency that lies in layers predicted within
15 %. Profiles are fitted on the random layers of edgecompress/bench/sweep.py. Where the core has a pipeline model, both sides are estimated
cycles, else executed instructions.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecompress.bench import bench
from edgecompress.bench.measurement import Measurement
from edgecompress.bench.subject import count_differing, load_subject, load_vectors
from edgecompress.bench.timing import Schedule, fastest_calibration, trust
from edgecompress.bench.toolchain import program_compiler
from edgecompress.bench.transport.host import build_program, run_program
from edgecompress.cli.output import print_table
from edgecompress.errors import ConfigError, EdgecompressError
from edgecompress.hw.estimate import Cost, estimate
from edgecompress.hw.profile import HardwareProfile, load_profile
from edgecompress.hw.target import Target, load_target
from edgecompress.hw.uncertainty import COVERAGE
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower import lower
from edgecompress.lower.artifact import Artifact
from edgecompress.lower.options import LowerOptions
from edgecompress.lower.vectors import named_vectors

SHAPES = ((8, 8, 1, 10), (28, 28, 1, 10), (49, 10, 1, 12), (32, 32, 3, 10), (128, 9, 1, 6))  # height, width, channels, classes
MAX_MACS = 4_000_000
CALIBRATION = 32  # random samples that choose the scales
CLOSE_PERCENT = 15.0
MODELS_PER_PROGRAM = 10
PASSES = 2  # over all programs
SCHEDULE = Schedule(rounds=3, records=10, patience_s=30)


@dataclass(frozen=True)
class Comparison:
    """A model: predicted cost beside what was seen."""

    artifact: Artifact
    cost: Cost
    seen: Measurement
    layers: tuple[tuple[str, str, float, float], ...]  # node, kernel, predicted and seen seconds

    @property
    def latency_percent(self) -> float:
        """Error of the latency."""
        return percent(self.cost.latency_s, self.seen.latency_s)

    @property
    def flash_percent(self) -> float:
        """Error of the flash."""
        assert self.seen.flash_bytes is not None
        return percent(self.cost.flash_bytes, self.seen.flash_bytes)

    @property
    def ram_percent(self) -> float:
        """Error of the RAM."""
        assert self.seen.ram_bytes is not None
        return percent(self.cost.ram_bytes, self.seen.ram_bytes)

    @property
    def layer_percents(self) -> np.ndarray:
        """Absolute errors of the layers."""
        return np.array([abs(percent(predicted, seen)) for _, _, predicted, seen in self.layers])

    @property
    def close_share(self) -> float:
        """Part of the latency in layers that were predicted within CLOSE_PERCENT."""
        times = np.array([seen for *_, seen in self.layers])
        return float(times[self.layer_percents <= CLOSE_PERCENT].sum() / times.sum())


def percent(predicted: float, seen: float) -> float:
    """Error in percent, positive where too much was predicted."""
    return 100 * (predicted / seen - 1)


def compare(graph: QuantizedGraph, target: Target, profile: HardwareProfile, options: LowerOptions | None = None) -> Comparison:
    """Lowers, predicts, builds and runs one model."""
    artifact: Artifact = lower(graph, target, named_vectors(graph, None), options=options)
    cost = estimate(artifact.plan, profile, target)
    with tempfile.TemporaryDirectory() as folder:
        artifact.write(Path(folder) / "artifact")
        seen = bench(Path(folder) / "artifact", target=target, samples=3)
    if seen.matches_reference is not True:
        raise SystemExit(f"{graph.name} on {target.name}: outputs differ from the reference")
    to_seconds = [target.seconds(layer.instructions) if layer.estimated_cycles is None else target.seconds_of_cycles(layer.estimated_cycles)
                  for layer in seen.layers]
    predicted = [time for layer, time in zip(artifact.plan.layers, cost.layers, strict=True) if layer.kernel]
    layers = tuple((layer.node, layer.kernel, time, measured)
                   for layer, time, measured in zip(seen.layers, predicted, to_seconds, strict=True))
    return Comparison(artifact, cost, seen, layers)


def unseen_models(models: int, seed: int) -> list[tuple[tuple[str, ...], QuantizedGraph]]:
    """Random models of the search space: (candidate, family, input and MACs as texts; graph). Those that cannot be lowered are told and left out."""
    import torch

    from edgecompress.compress.quantize.static import QuantizeConfig, quantize
    from edgecompress.frontend.torch_import import from_torch
    from edgecompress.search.space import build, random_candidate, weight_bits

    random, values = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    found: list[tuple[tuple[str, ...], QuantizedGraph]] = []
    while len(found) < models:
        height, width, channels, classes = SHAPES[len(found) % len(SHAPES)]
        candidate = random_candidate(random)
        torch.manual_seed(seed)
        try:
            module = build(candidate, (height, width, channels), classes).eval()
            samples = values.normal(size=(CALIBRATION, height, width, channels)).astype(np.float32)
            settings = QuantizeConfig(weight_bits=weight_bits(candidate, module))
            # with values like a model's: the time of a softmax depends on them
            graph = quantize(from_torch(module, (height, width, channels)), samples, settings)
        except EdgecompressError as error:
            print(f"left out: {candidate.id} ({candidate.family}): {error.message}")
            continue
        if graph.total_macs <= MAX_MACS:
            facts = (candidate.id, candidate.family, f"{height}x{width}x{channels}", f"{graph.total_macs}")
            found.append((facts, replace(graph, name=f"model{len(found)}")))
    return found


def search_space(target: Target, profile: HardwareProfile, models: int, seed: int) -> None:
    """Random models of the search space, against the emulator."""
    found: list[Comparison] = []
    rows: list[tuple[str, ...]] = []
    for facts, graph in unseen_models(models, seed):
        try:
            found.append(compare(graph, target, profile))
        except ConfigError as error:  # a kernel that is newer than the profile
            print(f"left out: {facts[0]} ({facts[1]}): {error.message}")
            continue
        rows.append((*facts, *_figures(found[-1]), f"{100 * found[-1].cost.latency_margin_s / found[-1].cost.latency_s:.1f}"))
    print_table(("model", "family", "input", "MACs", "predicted ms", "emulated ms", "error %", "flash error %", "RAM error %", "+- %"), rows)
    _print_means(found)
    _print_ranks([comparison.cost for comparison in found], [comparison.seen.latency_s for comparison in found])


def this_machine(target: Target, profile: HardwareProfile, models: int, seed: int) -> None:
    """Random models of the search space, against the wall clock."""
    drawn = unseen_models(models, seed)
    parts = [drawn[start:start + MODELS_PER_PROGRAM] for start in range(0, len(drawn), MODELS_PER_PROGRAM)]
    programs = [_program([graph for _, graph in part], target, profile) for part in parts]
    passes: list[list[float]] = []
    calibrations: list[float] = []
    for _ in range(PASSES):
        passes.append([])
        for code, subjects, frames, expected, _ in programs:
            done = run_program(code, subjects, frames, replace(SCHEDULE, frames=len(frames), fastest_s=profile.calibration_s or 0.0), False, 600.0)
            if any(count_differing(s.decode([out]), wanted) for s, out, wanted in zip(subjects, done.outputs, expected, strict=True)):
                raise SystemExit("outputs differ from the reference")
            readings = [trust(records, fastest_calibration(done.records)) for records in done.records]
            passes[-1] += [float(reading.seconds[0]) for reading in readings]
            calibrations += [reading.calibration_s for reading in readings]
    costs = [cost for *_, part in programs for cost in part]
    seen = np.mean(passes, axis=0)
    errors = np.array([percent(cost.latency_s, time) for cost, time in zip(costs, seen, strict=True)])
    print_table(("model", "family", "input", "MACs", "predicted ms", "+- ms", "measured ms", "two measurements %", "error %"),
                [(*facts, f"{cost.latency_s * 1e3:.3f}", f"{cost.latency_margin_s * 1e3:.3f}", f"{time * 1e3:.3f}",
                  f"{abs(percent(first, second)):.1f}", f"{error:+.1f}")
                 for (facts, _), cost, time, first, second, error in zip(drawn, costs, seen, passes[0], passes[1], errors, strict=True)])
    print(f"latency: mean absolute error {np.abs(errors).mean():.2f} %, worst {np.abs(errors).max():.2f} %")
    _print_ranks(costs, list(seen))
    speed = (profile.calibration_s or 0.0) / float(np.median(calibrations))
    same_speed = np.array([percent(cost.latency_s, time * speed) for cost, time in zip(costs, seen, strict=True)])
    print(f"calibration loop: {1e6 * np.median(calibrations):.2f} us now, {1e6 * (profile.calibration_s or 0.0):.2f} us in the profile; with times at "
          f"the profile's speed the mean absolute error is {np.abs(same_speed).mean():.2f} %")


def _program(graphs: list[QuantizedGraph], target: Target, profile: HardwareProfile) -> tuple[Any, ...]:
    """(program, subjects, frames, outputs of the reference, predicted costs) of these models."""
    subjects, frames, expected, costs = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for index, graph in enumerate(graphs):
            artifact = lower(graph, target, named_vectors(graph, None))
            costs.append(estimate(artifact.plan, profile, target))
            artifact.write(Path(folder) / graph.name)
            subjects.append(load_subject(Path(folder) / graph.name))
            vectors = load_vectors(subjects[-1], 1)
            frames.append((index, subjects[-1].encode(vectors.inputs)[0]))
            expected.append(vectors.outputs)
        code = build_program(subjects, program_compiler(target, None, False))
    return code, subjects, frames, expected, costs


def _print_ranks(costs: list[Cost], seen: list[float]) -> None:
    from scipy.stats import spearmanr

    inside = [abs(cost.latency_s - time) <= cost.latency_margin_s for cost, time in zip(costs, seen, strict=True)]
    widths = [100 * cost.latency_margin_s / cost.latency_s for cost in costs]
    print(f"rank correlation {spearmanr([cost.latency_s for cost in costs], seen)[0]:.4f}")
    print(f"interval: {sum(inside)} of {len(inside)} latencies inside ({100 * COVERAGE:g} % promised); half its width is {np.median(widths):.1f} % of "
          f"the latency in the median; {sum(bool(cost.extrapolated) for cost in costs)} models have a layer outside what the profile saw")


def third_party(target: Target, profile: HardwareProfile, shared: Path, with_layers: bool) -> None:
    """The models of mcu_models.py."""
    from mcu_models import MODELS

    from edgecompress.frontend.model_file import load_model

    found, rows = [], []
    for name, model in MODELS.items():
        graph = load_model(shared / model.file)
        assert isinstance(graph, QuantizedGraph)
        found.append(compare(graph, target, profile, LowerOptions(io="arena")))
        layers = found[-1].layer_percents
        rows.append((name, f"{graph.total_macs}", *_figures(found[-1]), f"{np.median(layers):.1f}", f"{100 * found[-1].close_share:.0f}"))
    print_table(("model", "MACs", "predicted ms", "emulated ms", "error %", "flash error %", "RAM error %", "median layer %",
                 f"% of time within {CLOSE_PERCENT:g} %"), rows)
    _print_means(found)
    for comparison in found if with_layers else ():
        print()
        print_table((comparison.artifact.name, "kernel", "predicted us", "emulated us", "error %"),
                    [(node[-40:], kernel, f"{1e6 * predicted:.1f}", f"{1e6 * seen:.1f}", f"{percent(predicted, seen):+.1f}")
                     for node, kernel, predicted, seen in comparison.layers])


def _figures(comparison: Comparison) -> tuple[str, ...]:
    return (f"{comparison.cost.latency_s * 1e3:.3f}", f"{comparison.seen.latency_s * 1e3:.3f}", f"{comparison.latency_percent:+.1f}",
            f"{comparison.flash_percent:+.1f}", f"{comparison.ram_percent:+.1f}")


def _print_means(found: list[Comparison]) -> None:
    latency, flash, ram = (np.abs([getattr(comparison, f"{what}_percent") for comparison in found]) for what in ("latency", "flash", "ram"))
    print(f"latency: mean absolute error {latency.mean():.2f} %, worst {latency.max():.2f} %; flash: mean {flash.mean():.2f} %; "
          f"RAM: mean {ram.mean():.2f} %")


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="cortex-m7")
    parser.add_argument("--profile", help="name or path (default: the target's)")
    parser.add_argument("--models", type=int, default=50, help="how many of the search space")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--third-party", type=Path, metavar="SHARED", help="the folder of the shared data; takes the models there instead")
    parser.add_argument("--layers", action="store_true", help="with --third-party: a table a model")
    arguments = parser.parse_args()
    target = load_target(arguments.target)
    profile = load_profile(arguments.profile or target.profile)
    print(f"# {datetime.date.today()}  target {target.name}  profile {profile.name} ({profile.date}, {profile.unit})  seed {arguments.seed}")
    if arguments.third_party:
        third_party(target, profile, arguments.third_party, arguments.layers)
    elif target.family == "host":
        this_machine(target, profile, arguments.models, arguments.seed)
    else:
        search_space(target, profile, arguments.models, arguments.seed)


if __name__ == "__main__":
    main()
