"""Pruning compared: importance x schedule x recovery on one data set, at the same share of channels removed.

For each seed a baseline network is trained once; every row prunes that network and is validated and tested. "epochs" are those of fine-tuning, the same
for every row that has any. The last rows: the widths of the pruned network trained from random weights for the baseline's and the fine-tuning's
epochs together (if that is as good, pruning was only a search for widths), and the largest-first policy with and without the closed form.

    python benchmarks/pruning.py [--data gnss] [--ratio 0.6] [--seeds 3] [--epochs 20] [--tune 6] > benchmarks/output/pruning.txt
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from edgecompress.compress.finetune import evaluate, train
from edgecompress.compress.prune.policy import largest_first
from edgecompress.compress.prune.recover import recover
from edgecompress.compress.prune.schedules import gradient_batch, train_while_pruning
from edgecompress.compress.prune.sequential import prune_and_recover
from edgecompress.compress.prune.structured import prune_channels
from edgecompress.compress.recipes import recipe
from edgecompress.compress.training import TrainConfig
from edgecompress.data.dataset import load_dataset
from edgecompress.data.parts import Dataset, Samples

CALIBRATION = 512
ROUND_TO = 4
Row = Callable[[], nn.Module]


def baseline(data: Dataset) -> nn.Module:
    """A plain CNN: 16, 32 and 64 channels, each stage twice."""
    layers: list[nn.Module] = []
    inputs = data.input_shape[2]
    for outputs, stride in ((16, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, len(data.classes)))


class Comparison:
    """All rows of one seed."""

    def __init__(self, data: Dataset, ratio: float, config: TrainConfig, tune: int, seed: int) -> None:
        self.data, self.ratio, self.seed, self.config = data, ratio, seed, config
        self.tuning = replace(config, epochs=tune, learning_rate=config.learning_rate / 2)
        torch.manual_seed(seed)
        self.module = train(baseline(data), data.train, data.validation, config, seed).module
        self.x = data.train.x[np.sort(np.random.default_rng(seed).permutation(len(data.train))[:CALIBRATION])]
        self.batch = gradient_batch(data.train, seed)

    def rows(self) -> dict[str, Row]:
        """Name -> what makes the network of that row."""
        rows: dict[str, Row] = {"baseline": lambda: self.module}
        for importance in ("l1", "l2", "fpgm", "bn_scale", "lamp", "taylor"):
            rows[f"{importance}, one-shot, none"] = lambda name=importance: self.cut(name).module
            rows[f"{importance}, one-shot, closed-form"] = lambda name=importance: self.solved(name)
            rows[f"{importance}, one-shot, finetune"] = lambda name=importance: self.tuned(self.cut(name).module)
            rows[f"{importance}, one-shot, both"] = lambda name=importance: self.tuned(self.solved(name))
        rows["elimination, one-shot, closed-form"] = self.eliminated
        rows["elimination, one-shot, both"] = lambda: self.tuned(self.eliminated())
        for importance in ("l2", "taylor"):
            for ranking in ("local", "global"):
                rows[f"{importance} {ranking}, agp, finetune"] = lambda name=importance, ranking=ranking: self.gradual(name, ranking)
            rows[f"{importance} global, one-shot, both"] = lambda name=importance: self.tuned(self.solved(name, "global"))
        rows["same widths from scratch"] = self.scratch
        rows["largest first (3 pp), none"] = lambda: self.policy(False)
        rows["largest first (3 pp), closed-form"] = lambda: self.policy(True)
        return rows

    def cut(self, importance: str, ranking: str = "local"):  # type: ignore[no-untyped-def]
        return prune_channels(self.module, self.data.input_shape, self.ratio, round_to=ROUND_TO, importance=importance, batch=self.batch, ranking=ranking)

    def solved(self, importance: str, ranking: str = "local") -> nn.Module:
        return recover(self.module, self.cut(importance, ranking), self.x, seed=self.seed).module

    def eliminated(self) -> nn.Module:
        return prune_and_recover(self.module, self.data.input_shape, self.ratio, self.x, round_to=ROUND_TO, seed=self.seed)[1].module

    def tuned(self, module: nn.Module) -> nn.Module:
        return train(module, self.data.train, self.data.validation, self.tuning, self.seed + 1, teacher=self.module).module

    def gradual(self, importance: str, ranking: str) -> nn.Module:
        return train_while_pruning(self.module, self.data.input_shape, self.ratio, self.data.train, self.data.validation, self.tuning, self.seed + 1,
                                   round_to=ROUND_TO, importance=importance, ranking=ranking, teacher=self.module).module

    def scratch(self) -> nn.Module:
        small = self.cut("l2").module
        torch.manual_seed(self.seed + 1)
        for layer in small.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        whole = replace(self.config, epochs=self.config.epochs + self.tuning.epochs)
        return train(small, self.data.train, self.data.validation, whole, self.seed + 1, teacher=self.module).module

    def policy(self, solve: bool) -> nn.Module:
        order = np.random.default_rng(self.seed).permutation(len(self.data.validation))
        halves = [Samples(self.data.validation.x[part], self.data.validation.y[part]) for part in np.array_split(order, 2)]
        repair = (lambda before, pruned: recover(before, pruned, self.x[:256], rows=4096).module) if solve else None
        found = largest_first(self.module, self.data.input_shape, lambda one: evaluate(one, halves[0])[0], lambda one: evaluate(one, halves[1])[0],
                              max_drop=0.03, round_to=ROUND_TO, importance="taylor", batch=self.batch, repair=repair)
        return found.module


def main() -> None:
    """Prints mean and spread of each row over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="gnss")
    parser.add_argument("--ratio", type=float, default=0.6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--tune", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, int, float]]] = {}
    for seed in range(arguments.seeds):
        data = load_dataset(arguments.data, seed=seed)
        config = replace(recipe(data.kind, data.name, data.input_shape, len(data.train)), epochs=arguments.epochs)
        for name, make in Comparison(data, arguments.ratio, config, arguments.tune, seed).rows().items():
            started = time.process_time()
            module = make()
            seconds = time.process_time() - started
            parameters = sum(parameter.numel() for parameter in module.parameters())
            found.setdefault(name, []).append((evaluate(module, data.test)[0], parameters, seconds))
    print(f"{arguments.data}: {len(data.train)} training and {len(data.test)} test samples, {100 * arguments.ratio:.0f} % of the channels removed, "
          f"{arguments.epochs} epochs, {arguments.tune} of fine-tuning, {arguments.seeds} seeds; test accuracy, CPU seconds after the baseline's training")
    print(f"{'importance, schedule, recovery':36} {'mean':>7} {'low':>7} {'high':>7} {'parameters':>11} {'seconds':>8}")
    for name, rows in found.items():
        accuracy, parameters, times = np.array(rows).T
        print(f"{name:36} {accuracy.mean():7.4f} {accuracy.min():7.4f} {accuracy.max():7.4f} {parameters.mean():11.0f} {times.mean():8.1f}")


if __name__ == "__main__":
    main()
