"""Predicted latency, flash and RAM against the emulator, on models that the profile never saw.

    python benchmarks/latency_prediction.py [--target cortex-m7] [--models 20] [--seed 1]     random models of the search space
    python benchmarks/latency_prediction.py --third-party ../shared/data [--target cortex-m4] [--layers]

The first form ends with Spearman's rank correlation as well. The second one takes the models of mcu_models.py and adds the error of single
layers: the median, and the part of the latency that lies in layers predicted within 15 %. Profiles are fitted on the random layers of
edgecompress/bench/sweep.py. Where the core has a pipeline model, both sides are estimated cycles, else executed instructions.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecompress.bench import bench
from edgecompress.bench.measurement import Measurement
from edgecompress.cli.output import print_table
from edgecompress.hw.estimate import Cost, estimate
from edgecompress.hw.profile import HardwareProfile, load_profile
from edgecompress.hw.target import Target, load_target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower import lower, lowering
from edgecompress.lower.artifact import Artifact
from edgecompress.lower.options import LowerOptions
from edgecompress.lower.vectors import named_vectors

SHAPES = ((8, 8, 1, 10), (28, 28, 1, 10), (49, 10, 1, 12), (32, 32, 3, 10), (128, 9, 1, 6))  # height, width, channels, classes
MAX_MACS = 4_000_000
CLOSE_PERCENT = 15.0


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


def compare(graph: QuantizedGraph, target: Target, profile: HardwareProfile, options: LowerOptions | None = None, passes: bool = True) -> Comparison:
    """Lowers, predicts, builds and runs one model. `passes`: with the rewriting before; not for placeholder weights, whose channels are all dead."""
    vectors = named_vectors(graph, None)
    artifact: Artifact = lower(graph, target, vectors, options=options) if passes else \
        lowering(target.lowering).lower(graph, target, vectors, "random", options or LowerOptions())
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


def search_space(target: Target, profile: HardwareProfile, models: int, seed: int) -> None:
    """Random models of the search space."""
    import torch
    from scipy.stats import spearmanr

    from edgecompress.compress.quantize.structure import quantize_structure
    from edgecompress.frontend.torch_import import from_torch
    from edgecompress.search.space import build, random_candidate, weight_bits

    random = np.random.default_rng(seed)
    found: list[Comparison] = []
    rows: list[tuple[str, ...]] = []
    while len(found) < models:
        height, width, channels, classes = SHAPES[len(found) % len(SHAPES)]
        candidate = random_candidate(random)
        torch.manual_seed(seed)
        module = build(candidate, (height, width, channels), classes).eval()
        graph = quantize_structure(from_torch(module, (height, width, channels)), weight_bits(candidate, module))
        if graph.total_macs > MAX_MACS:
            continue
        found.append(compare(graph, target, profile, passes=False))
        rows.append((candidate.id, candidate.family, f"{height}x{width}x{channels}", f"{graph.total_macs}", *_figures(found[-1])))
    print_table(("model", "family", "input", "MACs", "predicted ms", "emulated ms", "error %", "flash error %", "RAM error %"), rows)
    _print_means(found)
    print(f"rank correlation {spearmanr([c.cost.latency_s for c in found], [c.seen.latency_s for c in found])[0]:.4f}")


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
    parser.add_argument("--models", type=int, default=20, help="how many of the search space")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--third-party", type=Path, metavar="SHARED", help="the folder of the shared data; takes the models there instead")
    parser.add_argument("--layers", action="store_true", help="with --third-party: a table a model")
    arguments = parser.parse_args()
    target = load_target(arguments.target)
    profile = load_profile(arguments.profile or target.profile)
    print(f"# {datetime.date.today()}  target {target.name}  profile {profile.name} ({profile.date}, {profile.unit})  seed {arguments.seed}")
    if arguments.third_party:
        third_party(target, profile, arguments.third_party, arguments.layers)
    else:
        search_space(target, profile, arguments.models, arguments.seed)


if __name__ == "__main__":
    main()
