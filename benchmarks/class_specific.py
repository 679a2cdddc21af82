"""Class-specific derivation on digits: 4 of 10 classes, 70 to 90 % of the hidden units pruned, no training after pruning.

For each seed the full models are trained once; then, for ten sets of 4 classes, the closed form derives a model and its accuracy on the test samples
of these classes is printed as mean and minimum over the sets, beside the full model's, and how long one derivation takes on one core: CPU time, and by
the clock, which also counts what else the machine does.

    python benchmarks/class_specific.py [--seeds 3] > benchmarks/output/class_specific.txt
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import nn

from edgecompress.compress.finetune import evaluate, train
from edgecompress.compress.prune.class_specific import cut_head, derive, only_classes
from edgecompress.compress.training import TrainConfig
from edgecompress.data.dataset import load_dataset
from edgecompress.data.parts import Dataset

SETS, CLASSES = 10, 4
ROUND_TO = 2


def mlp() -> nn.Module:
    """64-256-64-10."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))


def cnn() -> nn.Module:
    """Three convolutions with batch normalisation, 32, 32 and 64 channels."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 32, 1), (32, 32, 2), (32, 64, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


MODELS = {"MLP 64-256-64-10": (mlp, (0.8, 0.9, 0.95)), "CNN 32-32-64": (cnn, (0.7, 0.8, 0.9))}


def row(module: nn.Module, data: Dataset, ratio: float, seed: int) -> list[float]:
    """For each class set: accuracy of the derived model, of the full one, CPU seconds, seconds by the clock, parameters left."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(SETS):
        classes = rng.permutation(len(data.classes))[:CLASSES].tolist()
        test = only_classes(data.test, classes)
        started, processed = time.perf_counter(), time.process_time()
        derived = derive(module, data.train, classes, ratio, round_to=ROUND_TO, seed=seed)
        seconds = time.process_time() - processed, time.perf_counter() - started
        full, _ = cut_head(module, data.input_shape, classes)
        left = sum(parameter.numel() for parameter in derived.module.parameters())
        found.append([evaluate(derived.module, test)[0], evaluate(full, test)[0], *seconds, left])
    return np.array(found).T.tolist()


def main() -> None:
    """Prints a row a model, ratio and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    data = load_dataset("digits")
    print(f"digits, {CLASSES} of 10 classes, {SETS} class sets a row, widths rounded to multiples of {ROUND_TO}, one core; no training after pruning")
    print(f"{'model':18} {'units pruned':>12} {'seed':>4} {'full':>7} {'mean':>7} {'min':>7} {'parameters':>14} {'CPU s':>6} {'clock s':>8}")
    for name, (make, ratios) in MODELS.items():
        for seed in range(seeds):
            torch.manual_seed(seed)
            module = train(make(), data.train, data.validation, TrainConfig(epochs=25, learning_rate=5e-3, average_decay=0.98), seed).module
            whole = sum(parameter.numel() for parameter in module.parameters())
            for ratio in ratios:
                accuracy, full, processed, seconds, left = row(module, data, ratio, seed)
                print(f"{name:18} {100 * ratio:10.0f} % {seed:4} {np.mean(full):7.4f} {np.mean(accuracy):7.4f} {np.min(accuracy):7.4f} "
                      f"{np.mean(left):6.0f}/{whole:6} {np.mean(processed):6.2f} {np.mean(seconds):8.2f}", flush=True)


if __name__ == "__main__":
    main()
