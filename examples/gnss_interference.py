"""GNSS interference classification, from the simulator to C that is proven on an emulated core.

A MobileNet-like network is trained on simulated snapshots, pruned by structure to a fifth of its parameters, fine-tuned, quantized to int8 and
lowered; both networks run on the emulated core. Nothing is chosen on the test part. The control is the pruned network's widths, trained from
random weights for as many epochs as the baseline and the pruned network had together.

    python examples/gnss_interference.py --seeds 0 1 2 --jobs 2
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgecompress.bench import Measurement, bench, run_frames
from edgecompress.compress.finetune import TrainConfig, train
from edgecompress.compress.prune.groups import channel_groups
from edgecompress.compress.prune.sequential import prune_and_recover
from edgecompress.compress.prune.structured import prune_channels
from edgecompress.compress.quantize.evaluate import predict_float, predict_int8
from edgecompress.compress.quantize.input_range import choose_input_range
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.recipes import recipe
from edgecompress.compress.training import EpochMetrics, Progress, TrainResult
from edgecompress.data.dataset import load_dataset
from edgecompress.data.gnss_source import accuracy_by_jnr, snapshot_parameters
from edgecompress.data.parts import Dataset
from edgecompress.errors import EdgecompressError
from edgecompress.frontend.torch_import import from_torch
from edgecompress.hw.target import load_target
from edgecompress.ir import reference
from edgecompress.lower import lower
from edgecompress.processes import process_pool
from edgecompress.units import format_bytes, format_duration

JNR_EDGES = (-10.0, -8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0)
RATIOS = tuple(step / 20 for step in range(8, 18))  # share of the channels to remove: 0.4 to 0.85
PARAMETERS_LEFT = 0.2
CALIBRATION = 512  # training snapshots that the closed form solves for
MOST_LOST = 0.01


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter each channel, narrow by another; a skip connection where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(),
            nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """NCHW in and out."""
        result: torch.Tensor = x + self.body(x) if self.skips else self.body(x)
        return result


def baseline(classes: int) -> nn.Module:
    """For 32x32 spectrograms, NCHW [n, 1, 32, 32] in, logits [n, classes] out."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
        InvertedResidual(16, 24, 2, 4), InvertedResidual(24, 24, 1, 4), InvertedResidual(24, 40, 2, 4), InvertedResidual(40, 40, 1, 4),
        InvertedResidual(40, 64, 1, 4), nn.Conv2d(64, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes),
    )


@dataclass(frozen=True)
class Size:
    """How much data and how long to train; epochs are of the baseline and of the fine-tuning."""

    data: str
    epochs: int
    finetune_epochs: int
    on_core: int  # test samples that run on the emulated core


FULL = Size("gnss?train=5000&validation=1000&test=4000", 50, 30, 200)
QUICK = Size("gnss?train=350&validation=70&test=70", 1, 1, 10)


@dataclass(frozen=True)
class Deployed:
    """A network and what was seen of it. Accuracies are on the test part."""

    name: str
    channels: int
    parameters: int
    macs: int
    predicted_float: np.ndarray
    predicted_int8: np.ndarray
    measurement: Measurement
    core_mismatches: int  # of the test samples that ran on the core, outputs that are not the reference's


def count_parameters(module: nn.Module) -> int:
    """Weights, biases and normalisation."""
    return sum(parameter.numel() for parameter in module.parameters())


def training_recipe(data: Dataset, epochs: int) -> TrainConfig:
    """The recipe for this kind of data, on the device's own input codes."""
    base = recipe(data.kind, data.name, data.input_shape, len(data.train))
    return replace(base, epochs=epochs, input_range=input_range(data))


def input_range(data: Dataset) -> tuple[float, float]:
    """The range of the int8 input, from the training part."""
    return choose_input_range(data.train.x, data.normalization.raw_dtype, data.kind)


def pruned(module: nn.Module, data: Dataset) -> tuple[float, nn.Module]:
    """(ratio, smaller network): the least ratio that leaves a fifth of the parameters, weights repaired in closed form from training samples."""
    target = PARAMETERS_LEFT * count_parameters(module)
    for ratio in RATIOS:
        if count_parameters(prune_channels(module, data.input_shape, ratio).module) <= target:
            smaller, _ = prune_and_recover(module, data.input_shape, ratio, data.train.x[:CALIBRATION])
            return ratio, smaller.module
    raise EdgecompressError(f"no ratio up to {RATIOS[-1]} leaves {PARAMETERS_LEFT:.0%} of the parameters")


def reinitialised(module: nn.Module, seed: int) -> nn.Module:
    """The same widths with random weights: the control."""
    fresh = copy.deepcopy(module)
    torch.manual_seed(seed)
    for layer in fresh.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer.reset_parameters()
    return fresh


def deploy(name: str, module: nn.Module, data: Dataset, target_name: str, size: Size, folder: Path) -> Deployed:
    """Quantizes with training samples, lowers, runs on the emulated core, and only then reads the test part."""
    target = load_target(target_name)
    floats = from_torch(module.eval(), data.input_shape, name=f"gnss_{name}")
    graph = quantize(floats, data.train.x[:512], QuantizeConfig(input_range=input_range(data)))
    source = graph.tensors[graph.inputs[0]]
    artifact = folder / name
    lower(graph, target, vectors=source.quantize(data.validation.x[:16]), vectors_source="16 validation samples").write(artifact)
    measurement = bench(artifact, samples=16)
    inputs = source.quantize(data.test.x[: size.on_core])
    differing = (run_frames(artifact, inputs).reshape(len(inputs), -1) != reference.run(graph, inputs).reshape(len(inputs), -1)).any(axis=1)
    return Deployed(name, sum(group.channels for group in channel_groups(module, data.input_shape)), count_parameters(module), graph.total_macs,
                    predict_float(floats, data.test.x), predict_int8(graph, data.test.x), measurement, int(differing.sum()))


def share(right: np.ndarray) -> str:
    """A percentage with its standard error."""
    return f"{100 * right.mean():.2f} +- {100 * np.sqrt(right.mean() * (1 - right.mean()) / len(right)):.2f} %"


def rows_of(first: Deployed, second: Deployed, labels: np.ndarray) -> list[tuple[str, ...]]:
    """What the two cost and reach, side by side."""
    both = (first, second)

    def row(title: str, *cells: str) -> tuple[str, ...]:
        return title, *cells

    def fewer(before: float, after: float) -> str:
        return f"{100 * (after / before - 1):+.1f} %"

    seen = [deployed.measurement for deployed in both]
    return [
        row("channels", *(f"{one.channels}" for one in both), fewer(first.channels, second.channels)),
        row("parameters", *(f"{one.parameters:,}" for one in both), fewer(first.parameters, second.parameters)),
        row("MACs", *(f"{one.macs:,}" for one in both), fewer(first.macs, second.macs)),
        row("RAM", *(format_bytes(one.ram_bytes or 0) for one in seen), fewer(seen[0].ram_bytes or 0, seen[1].ram_bytes or 0)),
        row("flash", *(format_bytes(one.flash_bytes or 0) for one in seen), fewer(seen[0].flash_bytes or 0, seen[1].flash_bytes or 0)),
        row("latency (emulated)", *(format_duration(one.latency_s) for one in seen), fewer(seen[0].latency_s, seen[1].latency_s)),
        row("accuracy, float", *(share(one.predicted_float == labels) for one in both),
            difference(first.predicted_float, second.predicted_float, labels)),
        row("accuracy, int8", *(share(one.predicted_int8 == labels) for one in both),
            difference(first.predicted_int8, second.predicted_int8, labels)),
        row("equals the reference", *("yes" if is_exact(one) else "NO" for one in both), ""),
    ]


def difference(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> str:
    """Change of accuracy in percentage points; its standard error is that of the paired differences."""
    change = (after == labels).astype(float) - (before == labels).astype(float)
    return f"{100 * change.mean():+.2f} +- {100 * change.std() / np.sqrt(len(change)):.2f} pp"


def is_exact(deployed: Deployed) -> bool:
    """Every output of the emulated core equals the integer reference: test vectors and test samples."""
    return deployed.measurement.matches_reference is True and deployed.core_mismatches == 0


def jnr_rows(models: Sequence[Deployed], labels: np.ndarray, jnr_db: np.ndarray) -> list[tuple[str, ...]]:
    """int8 accuracy by interference-to-noise ratio; snapshots without interference have a row of their own."""
    columns = [accuracy_by_jnr(model.predicted_int8, labels, jnr_db, JNR_EDGES) for model in models]
    rows = [
        (f"{bins[0].low_db:+.0f} to {bins[0].high_db:+.0f} dB", *(f"{100 * one.accuracy:.1f} %" if one.accuracy is not None else "-" for one in bins),
         f"{bins[0].samples}")
        for bins in zip(*columns, strict=True)
    ]
    without = np.isnan(jnr_db)
    clean = (f"{100 * (model.predicted_int8 == labels)[without].mean():.1f} %" for model in models)
    return [*rows, ("no interference", *clean, f"{without.sum()}")]


@dataclass(frozen=True)
class Result:
    """One seed: its tables as text, and what the goal is judged by. Losses are int8 test accuracy, 0 to 1, against the baseline."""

    text: str
    parameters_left: float
    lost: float
    control_lost: float
    exact: bool


def trained(seed: int, data: Dataset, size: Size) -> tuple[float, dict[str, TrainResult]]:
    """(share of channels removed, baseline, pruned and control network). Sees the training and validation parts."""
    def told(name: str) -> Progress:
        def tell(epoch: int, epochs: int, metrics: EpochMetrics) -> None:
            accuracy = 100 * metrics.validation_accuracy
            print(f"seed {seed}, {name}: epoch {epoch} of {epochs}, {accuracy:.1f} % on validation", file=sys.stderr, flush=True)

        return tell

    torch.manual_seed(seed)
    settings = training_recipe(data, size.epochs)
    large = train(baseline(len(data.classes)), data.train, data.validation, settings, seed, told("baseline"))
    ratio, cut = pruned(large.module, data)
    tuning = replace(training_recipe(data, size.finetune_epochs), learning_rate=settings.learning_rate / 2)
    small = train(cut, data.train, data.validation, tuning, seed + 1, told("pruned"), teacher=large.module)
    longer = training_recipe(data, size.epochs + size.finetune_epochs)
    control = train(reinitialised(cut, seed + 2), data.train, data.validation, longer, seed + 2, told("control"))
    return ratio, {"baseline": large, "pruned": small, "control": control}


def run(seed: int, target: str, size: Size, folder: Path) -> Result:
    """The whole pipeline under one seed, of the simulator and of all training."""
    started = time.perf_counter()
    spec = f"{size.data}&seed={seed}"
    data = load_dataset(spec)
    labels, jnr_db = data.test.y, snapshot_parameters(spec).jnr_db
    ratio, networks = trained(seed, data, size)
    models = [deploy(name, network.module, data, target, size, folder / str(seed)) for name, network in networks.items()]
    accuracies = [float((model.predicted_int8 == labels).mean()) for model in models]
    validation = ", ".join(f"{100 * network.accuracy:.1f} % {name}" for name, network in networks.items())
    minutes = (time.perf_counter() - started) / 60
    text = "\n".join([
        f"seed {seed}: {ratio:.0%} of each group's channels removed; validation, float: {validation}; {len(labels)} test snapshots, "
        f"{size.on_core} of them on the core; {minutes:.1f} minutes",
        as_table(("", "baseline", "pruned", "change"), rows_of(models[0], models[1], labels)),
        as_table(("int8 accuracy by JNR", "baseline", "pruned", "control", "snapshots"), jnr_rows(models, labels, jnr_db)),
        f"control, the pruned widths from random weights: {share(models[2].predicted_int8 == labels)} int8, "
        f"{difference(models[0].predicted_int8, models[2].predicted_int8, labels)} against the baseline", "",
    ])
    return Result(text, models[1].parameters / models[0].parameters, accuracies[0] - accuracies[1], accuracies[0] - accuracies[2],
                  all(map(is_exact, models)))


def as_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for first, *others in (header, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def run_all(seeds: Sequence[int], jobs: int, target: str, size: Size, folder: Path) -> list[Result]:
    """Results in the order of the seeds, each printed when it and those before it are there."""
    results = []
    with process_pool(min(jobs, len(seeds))) as pool:
        for future in [pool.submit(run, seed, target, size, folder) for seed in seeds]:
            results.append(future.result())
            print(results[-1].text, flush=True)
    return results


def summarise(results: Sequence[Result]) -> bool:
    """Mean and spread over the seeds, and whether the goal is reached by the mean."""
    def spread(values: Sequence[float]) -> str:
        deviation = f" +- {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
        return f"{100 * statistics.mean(values):.2f}{deviation}"

    exact, lost = all(result.exact for result in results), [result.lost for result in results]
    fewer, control = [1 - result.parameters_left for result in results], [result.control_lost for result in results]
    print(f"{len(results)} seed(s): {spread(fewer)} % fewer parameters, int8 accuracy lower by {spread(lost)} points (control: {spread(control)}), "
          f"emulated core {'equal to' if exact else 'DIFFERENT from'} the reference")
    return exact and max(result.parameters_left for result in results) <= PARAMETERS_LEFT and statistics.mean(lost) <= MOST_LOST


def main() -> int:
    """0: the goal was reached, 1: missed (--quick is too short to say, and gives 0), 2 or 3: an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one pipeline each: of the data and of all training (default: 0)")
    parser.add_argument("--target", default="cortex-m7")
    parser.add_argument("--output", type=Path, help="where the C folders go, by seed and network (default: nowhere)")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time (default: 1)")
    parser.add_argument("--quick", action="store_true", help="little data and few epochs, to see that it runs: the accuracies mean nothing")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    try:
        load_target(arguments.target)  # a wrong name ends here, not after the training
        with tempfile.TemporaryDirectory() as scratch:
            results = run_all(arguments.seeds, max(1, arguments.jobs), arguments.target, size, arguments.output or Path(scratch))
    except EdgecompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    reached = summarise(results)
    if arguments.quick:
        return 0
    print(f"goal (at least 80 % fewer parameters within 1 point, bit-exact): {'reached' if reached else 'missed'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
