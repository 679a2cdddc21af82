"""When channels go: little by little during one training (AGP), or all at once before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from edgecompress.compress.batches import to_tensor
from edgecompress.compress.finetune import evaluate, train
from edgecompress.compress.prune.groups import InputShape, channel_groups
from edgecompress.compress.prune.importance import NEEDS_GRADIENTS
from edgecompress.compress.prune.structured import LabelledBatch, Ratios, channel_scores, prune_channels, prune_to_widths
from edgecompress.compress.prune.widths import global_widths, kept_width
from edgecompress.compress.training import Progress, TrainConfig, TrainResult
from edgecompress.data.parts import Samples
from edgecompress.errors import ConfigError

SCHEDULES = ("one-shot", "agp")
GRADIENT_SAMPLES = 256  # of the batch that Taylor scores are computed on


def agp_ratio(final: float, step: int, steps: int) -> float:
    """Ratio after `step` (1 to `steps`) of automated gradual pruning: most goes early, while there is time to recover (Zhu and Gupta, arXiv 1710.01878)."""
    return final * (1 - (1 - step / steps) ** 3)


def gradient_batch(samples: Samples, seed: int, count: int = GRADIENT_SAMPLES) -> LabelledBatch:
    """Up to `count` random samples as a labelled batch (float32 NCHW, int64)."""
    order = np.sort(np.random.default_rng(seed).permutation(len(samples))[:count])
    return to_tensor(samples.x[order]).contiguous(), torch.from_numpy(samples.y[order])


def train_while_pruning(
    module: nn.Module, input_shape: InputShape, ratio: Ratios, training: Samples, validation: Samples, config: TrainConfig, seed: int, *,
    steps: int = 8, until: float = 0.5, round_to: int = 4, importance: str = "l1", ranking: str = "local", teacher: nn.Module | None = None,
    progress: Progress | None = None, stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """AGP: one training with one learning-rate schedule, in which the ratio rises to `ratio` over its first `until` in up to `steps` steps.

    Channels go between epochs, before the first one too, so at most as many steps are taken as there are epochs; the scores are those of the network
    in training. Ratios refer to the widths of `module`. A training that is stopped before its last step is followed by that step, so the widths are
    those of `prune_channels` with the ranking "local" in any case. Raises as `prune_channels` and `train` do.
    """
    if not 0 < until <= 1 or steps < 1:
        raise ConfigError(f"gradual pruning over {until} of the training in {steps} steps was asked for; it must be above 0, at most 1, and at least 1 step")
    cuts = _Cuts(module, input_shape, ratio, training, seed, steps, until, round_to, importance, ranking)
    result = train(module, training, validation, config, seed, progress, stop, teacher, cuts)
    if cuts.step == steps:
        return result
    module = cuts.cut(result.module, steps).eval()
    accuracy, loss = evaluate(module, validation)
    return replace(result, module=module, best=replace(result.best, validation_accuracy=accuracy, validation_loss=loss))


class _Cuts:
    """The hook of `train`: which step the schedule has reached, and the smaller network of that step."""

    def __init__(
        self, module: nn.Module, input_shape: InputShape, ratio: Ratios, training: Samples, seed: int, steps: int, until: float, round_to: int,
        importance: str, ranking: str,
    ) -> None:
        self.batch = gradient_batch(training, seed) if importance in NEEDS_GRADIENTS else None
        prune_channels(module, input_shape, ratio, round_to=round_to, importance=importance, batch=self.batch, ranking=ranking)  # what would fail, fails now
        self.widths = {group.name: group.channels for group in channel_groups(module, input_shape)}
        self.input_shape, self.ratio, self.round_to, self.importance, self.ranking = input_shape, ratio, round_to, importance, ranking
        self.step, self.steps, self.until = 0, steps, until

    def __call__(self, module: nn.Module, share: float) -> nn.Module | None:
        step = min(self.steps, 1 + int(share / self.until * self.steps + 1e-9))
        return self.cut(module, step) if step > self.step else None

    def cut(self, module: nn.Module, step: int) -> nn.Module:
        self.step = step
        widths = self._global_widths(module) if self.ranking == "global" else self._local_widths()
        return prune_to_widths(module, self.input_shape, widths, importance=self.importance, batch=self.batch).module

    def _local_widths(self) -> dict[str, int]:
        ratios = self.ratio if isinstance(self.ratio, Mapping) else dict.fromkeys(self.widths, self.ratio)
        return {name: kept_width(self.widths[name], agp_ratio(final, self.step, self.steps), self.round_to) for name, final in ratios.items()}

    def _global_widths(self, module: nn.Module) -> dict[str, int]:
        assert not isinstance(self.ratio, Mapping)
        scores = channel_scores(module, self.input_shape, self.importance, self.batch)
        wanted = sum(self.widths.values()) * (1 - agp_ratio(self.ratio, self.step, self.steps))
        return global_widths(scores, max(0.0, 1 - wanted / sum(map(len, scores.values()))), self.round_to, self.round_to)
