"""Accuracy and output SQNR of every range method and weight width, on a small network trained here.

    python benchmarks/quantization.py [--data digits] [--epochs 30] [--seed 0]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime

import numpy as np
import torch

from edgecompress.cli.output import print_table
from edgecompress.compress.finetune import train
from edgecompress.compress.quantize.evaluate import accuracy_float, accuracy_int8
from edgecompress.compress.quantize.ranges import METHODS
from edgecompress.compress.quantize.sqnr import layer_sqnr
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.recipes import recipe
from edgecompress.data.dataset import load_dataset
from edgecompress.frontend.torch_import import from_torch
from edgecompress.search.space import Candidate, build

CHOICES = {"family": "ds_cnn", "width": 24, "growth": 1.5, "stages": 2, "depth": 2, "kernel": 3, "stem_kernel": 3, "stem_stride": 1, "residual": 0,
           "activation": "relu", "prune": 0.0, "bits": 8}


def main() -> None:
    """Trains, quantizes in every way, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    data = load_dataset(arguments.data, seed=arguments.seed)
    config = dataclasses.replace(recipe(data.kind, data.name, data.input_shape, len(data.train)), epochs=arguments.epochs)
    module = train(build(Candidate(CHOICES), data.input_shape, len(data.classes)), data.train, data.validation, config, arguments.seed).module
    graph = from_torch(module, data.input_shape)
    calibration = data.train.x[np.random.default_rng(arguments.seed).permutation(len(data.train))[:512]]
    rows: list[tuple[str, ...]] = [("float", "", "", f"{100 * accuracy_float(graph, data.test):.2f}", "")]
    for bits in (8, 4, 2):
        for method in METHODS:
            for corrected in (True, False):
                quantized = quantize(graph, calibration, QuantizeConfig(range_method=method, bias_correction=corrected, weight_bits=bits))
                output = layer_sqnr(graph, quantized, data.test.x[:128])[-1]
                rows.append((f"{bits} bits", method, "yes" if corrected else "no", f"{100 * accuracy_int8(quantized, data.test.x, data.test.y):.2f}",
                             f"{output.cumulative_db:.1f}"))
    print(f"{datetime.date.today()}: {arguments.data}, {len(data.test)} test samples, seed {arguments.seed}, {arguments.epochs} epochs, "
          "512 calibration samples")
    print_table(("weights", "ranges", "bias correction", "accuracy %", "output SQNR dB"), rows)


if __name__ == "__main__":
    main()
