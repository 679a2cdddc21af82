"""Accuracy at few weight bits: uniform and mixed, plain and with each remedy, on a small network trained here.

    python benchmarks/mixed_precision.py [--data digits] [--seeds 0 1 2] [--epochs 30] [--family ds_cnn] [--width 32] [--target cortex-m7]

Bits are chosen with the validation part; the accuracies printed are on the test part.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecompress.cli.output import print_table
from edgecompress.compress.finetune import train
from edgecompress.compress.quantize.assign import BitLimits, least_flash
from edgecompress.compress.quantize.evaluate import accuracy_float, accuracy_int8
from edgecompress.compress.quantize.fallback import calibration_samples, quantization_aware_finetune
from edgecompress.compress.quantize.mixed import quantize_mixed
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.recipes import recipe
from edgecompress.compress.training import TrainConfig
from edgecompress.data.dataset import load_dataset
from edgecompress.data.parts import Dataset
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.torch_import import from_torch
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.search.bit_costs import bit_costs
from edgecompress.search.space import FAMILIES

SHARES = (0.5, 0.25, 0.0)  # of the way from the least possible flash to that of 8 bits
CHOICES: dict[str, Any] = {"growth": 1.5, "stages": 2, "depth": 2, "kernel": 3, "stem_kernel": 3, "residual": 0, "expansion": 3,
                           "head_factor": 1, "squeeze": 0, "activation": "relu"}
METHODS: dict[str, dict[str, Any]] = {
    "nearest": {},
    "nearest, equalized weights": {"equalize": "weights"},
    "nearest, equalized activations": {"equalize": "activations"},
    "adaptive": {"rounding": "adaptive"},
    "adaptive, equalized activations": {"rounding": "adaptive", "equalize": "activations"},
}
Row = tuple[str, str]


def trained(data: Dataset, arguments: argparse.Namespace, seed: int) -> tuple[FloatGraph, TrainConfig]:
    torch.manual_seed(seed)
    config = dataclasses.replace(recipe(data.kind, data.name, data.input_shape, len(data.train)), epochs=arguments.epochs)
    choices = {**CHOICES, "width": arguments.width, "stem_stride": 2 if max(data.input_shape[:2]) > 16 else 1}
    module = FAMILIES[arguments.family].build(choices, data.input_shape, len(data.classes), lambda width: width)
    return from_torch(train(module, data.train, data.validation, config, seed).module, data.input_shape), config


def uniform_rows(graph: FloatGraph, data: Dataset, calibration: np.ndarray, config: TrainConfig, seed: int,
                 note: Callable[[Row, QuantizedGraph, float], None]) -> None:
    for bits in (8, 4, 2):
        for name, changes in METHODS.items():
            if bits == 8 and "rounding" in changes:
                continue
            started = time.process_time()
            quantized = quantize(graph, calibration, QuantizeConfig(weight_bits=bits, **changes))
            note((f"{bits} bits", name), quantized, time.process_time() - started)
        started = time.process_time()
        settings = QuantizeConfig(weight_bits=bits, rounding="adaptive")
        tuned = quantization_aware_finetune(graph, data.without_test(), settings, calibration, training=config, seed=seed)
        plain = QuantizeConfig(weight_bits=bits, bias_correction=False)
        note((f"{bits} bits", "quantization-aware training"), quantize(tuned, calibration, plain), time.process_time() - started)


def mixed_rows(graph: FloatGraph, data: Dataset, arguments: argparse.Namespace, config: TrainConfig, seed: int,
               note: Callable[[Row, QuantizedGraph, float], None]) -> None:
    target = load_target(arguments.target)
    costs = bit_costs(graph, target, load_profile(target.profile))
    at_eight, least = costs.flash_bytes(dict.fromkeys(costs.layers, 8)), least_flash(costs)
    for share in SHARES:
        limit = float(np.ceil(least + share * (at_eight - least)))
        for training in (False, True):
            started = time.process_time()
            mixed = quantize_mixed(graph, data.without_test(), QuantizeConfig(), costs, BitLimits(flash_bytes=limit), 0.005, training=config,
                                   allow_training=training, seed=seed)
            counts = " ".join(f"{sum(1 for bits in mixed.bits.values() if bits == width)}x{width}" for width in (8, 4, 2))
            print(f"seed {seed}, limit {limit:.0f} bytes: layers {counts}, {mixed.flash_bytes:.0f} bytes (8 bits: {at_eight:.0f}), "
                  f"{1e6 * mixed.latency_s:.0f} us, {', '.join(f'{step.name} {100 * step.accuracy:.2f} %' for step in mixed.outcome.steps)}", flush=True)
            note((f"mixed, flash limit {100 * share:.0f} %", "with training" if training else "no training"), mixed.outcome.graph,
                 time.process_time() - started)


def print_report(arguments: argparse.Namespace, data: Dataset, graph: FloatGraph, accuracies: dict[Row, list[float]], sizes: dict[Row, list[float]],
                 seconds: dict[Row, list[float]], seed: int, minutes: float) -> None:
    """The table over the seeds so far."""
    parameters = sum(node.attributes["weights"].size + node.attributes["bias"].size for node in graph.weighted)
    seeds = " ".join(str(one) for one in arguments.seeds[: arguments.seeds.index(seed) + 1])
    print(f"{datetime.date.today()}: {Path(arguments.data).stem}, {len(data.test)} test samples, seeds {seeds}, "
          f"{arguments.family} of width {arguments.width}, {parameters} parameters, {arguments.epochs} epochs, {minutes:.1f} minutes in all")
    rows = [(*row, f"{np.mean(values):.2f}", f"{np.ptp(values):.2f}", f"{np.mean(sizes[row]):.0f}" if row in sizes else "",
             f"{np.mean(seconds[row]):.1f}" if row in seconds else "") for row, values in accuracies.items()]
    print_table(("weights", "method", "mean accuracy %", "max - min", "constant bytes", "CPU seconds"), rows)
    print("flash limit: share of the way from the least possible flash (0 %) to that of 8 bits (100 %), code included", flush=True)


def main() -> None:
    """Trains a network a seed, quantizes it in every way, prints means and spreads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--family", default="ds_cnn")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--target", default="cortex-m7")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    accuracies, seconds, sizes = defaultdict[Row, list[float]](list), defaultdict[Row, list[float]](list), defaultdict[Row, list[float]](list)
    begun = time.perf_counter()
    for seed in arguments.seeds:
        data = load_dataset(arguments.data, seed=seed)
        graph, config = trained(data, arguments, seed)

        def note(row: Row, quantized: QuantizedGraph, took: float, data: Dataset = data) -> None:
            accuracies[row].append(100 * accuracy_int8(quantized, data.test.x, data.test.y))
            seconds[row].append(took)
            sizes[row].append(quantized.weight_bytes)

        accuracies["float", ""].append(100 * accuracy_float(graph, data.test))
        uniform_rows(graph, data, calibration_samples(data.without_test(), 512, seed), config, seed, note)
        mixed_rows(graph, data, arguments, config, seed, note)
        print_report(arguments, data, graph, accuracies, sizes, seconds, seed, (time.perf_counter() - begun) / 60)


if __name__ == "__main__":
    main()
