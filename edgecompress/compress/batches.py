"""Batches for training: order, augmentation and the way from NHWC arrays to NCHW tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from edgecompress.compress.quantize.input_range import on_grid
from edgecompress.compress.training import TrainConfig
from edgecompress.data.augment import augment, one_hot
from edgecompress.data.parts import Samples
from edgecompress.errors import DataError


def to_tensor(x: npt.NDArray[np.float32]) -> torch.Tensor:
    """float32 [n, h, w, c] to an NCHW tensor in channels-last memory: a view where the array is contiguous."""
    return torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2)


def batch_size(config: TrainConfig, samples: int) -> int:
    """The configured size, else 32 below 2,000 samples, 64 below 20,000, 128 beyond; never more than there are samples."""
    automatic = 32 if samples < 2_000 else 64 if samples < 20_000 else 128
    return min(config.batch_size or automatic, samples)


def check_samples(samples: Samples, name: str, classes: int) -> None:
    """Raises DataError unless the part has samples, finite values and labels below `classes`."""
    if len(samples) == 0 or samples.x.ndim != 4 or len(samples.x) != len(samples.y):
        found = f"values of shape {samples.x.shape} and {len(samples.y)} labels"
        raise DataError(f"the {name} part has {found}; it needs [n, height, width, channels] and n labels, n > 0")
    if not np.isfinite(samples.x).all():
        raise DataError(f"the {name} part holds values that are not finite")
    if samples.y.min() < 0 or samples.y.max() >= classes:
        raise DataError(f"the {name} part has labels from {samples.y.min()} to {samples.y.max()}, the network has {classes} classes")


def epoch_order(labels: npt.NDArray[np.int64], balanced: bool, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Sample numbers of one epoch: a permutation or, balanced, as many draws with every class that occurs equally likely."""
    if not balanced:
        return rng.permutation(len(labels))
    counts = np.bincount(labels)
    weight = 1.0 / counts[labels]
    return np.asarray(rng.choice(len(labels), len(labels), p=weight / weight.sum()), dtype=np.int64)


def training_batches(
    samples: Samples, config: TrainConfig, classes: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch of (float32 NCHW, target probabilities [n, classes]); the incomplete last batch is left out."""
    order, size = epoch_order(samples.y, config.balanced, rng), batch_size(config, len(samples))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        x, labels = samples.x[chosen], samples.y[chosen]
        if config.augmentation is None:
            targets = one_hot(labels, classes)
        else:
            x, targets = augment(x, labels, classes, config.augmentation, rng)
        if config.input_range is not None:
            x = on_grid(x, config.input_range)
        yield to_tensor(x), torch.from_numpy(targets)


def steps_per_epoch(config: TrainConfig, samples: int) -> int:
    """Batches that `training_batches` yields."""
    return samples // batch_size(config, samples)
