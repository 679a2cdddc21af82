"""A smaller network for some of the classes, in seconds and without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from edgecompress.compress.prune.groups import InputShape, Pruned, TracedModule
from edgecompress.compress.prune.recover import Recovered
from edgecompress.compress.prune.sequential import prune_and_recover
from edgecompress.compress.prune.structured import Ratios
from edgecompress.data.parts import Samples
from edgecompress.errors import ConfigError, DataError, ModelError

CALIBRATION = 2_048  # samples at most


@dataclass(frozen=True, eq=False)
class Derived:
    """`module` gives len(classes) logits, in the order of `classes` (numbers of the full model's classes, rising)."""

    module: nn.Module
    classes: tuple[int, ...]
    pruned: Pruned
    recovered: Recovered
    calibration_samples: int


def derive(
    module: nn.Module, data: Samples, classes: Sequence[int], ratio: Ratios, *, round_to: int = 4, selection: str = "elimination",
    prior: str = "compensate", seed: int = 0,
) -> Derived:
    """A model for these classes only: head cut, channels pruned by what they do on these classes' samples, weights solved for in closed form.

    `data` are training samples of all classes, float32 [n, h, w, c] as the module was trained on; only those of `classes` are used, at most
    CALIBRATION of them. `ratio` as in `prune_channels`; `module` stays as it is. Raises ConfigError for classes or ratios that do not exist,
    DataError for too few samples, ModelError when the module cannot be traced, or does not end in one linear layer or convolution.
    """
    x = calibration_samples(data, classes, seed)
    headed, chosen = cut_head(module, input_shape_of(data), classes)
    pruned, recovered = prune_and_recover(headed, input_shape_of(data), ratio, x, round_to=round_to, selection=selection, prior=prior, seed=seed)
    return Derived(recovered.module, chosen, pruned, recovered, len(x))


def input_shape_of(data: Samples) -> InputShape:
    """(height, width, channels) of one sample."""
    height, width, channels = data.x.shape[1:]
    return height, width, channels


def only_classes(data: Samples, classes: Sequence[int]) -> Samples:
    """The samples of these classes, labelled by their position among the sorted classes."""
    chosen = np.array(sorted(set(classes)))
    used = np.isin(data.y, chosen)
    return Samples(data.x[used], np.searchsorted(chosen, data.y[used]).astype(np.int64))


def calibration_samples(data: Samples, classes: Sequence[int], seed: int) -> np.ndarray:
    """Inputs of these classes, at most CALIBRATION of them, drawn with the seed. Raises DataError when a class has none, or all have too few."""
    for one in classes:
        if not (data.y == one).any():
            raise DataError(f"the training part has no sample of class {one}; nothing can be derived for it")
    x = only_classes(data, classes).x
    order = np.sort(np.random.default_rng(seed).permutation(len(x))[:CALIBRATION])
    return np.ascontiguousarray(x[order])


def cut_head(module: nn.Module, input_shape: InputShape, classes: Sequence[int]) -> tuple[nn.Module, tuple[int, ...]]:
    """(a copy that gives the logits of these classes only, the classes in rising order).

    Raises ConfigError for fewer than two classes or one that the module does not have, ModelError when its logits do not come from one layer.
    """
    traced = TracedModule(module, input_shape)
    heads = [traced.names[layer] for layer in traced.output_layers]
    if len(heads) != 1:
        raise ModelError(f"the classes of a model can be cut where its logits come from one linear layer or convolution, not from {len(heads)}",
                         *[f"they come from {', '.join(sorted(heads)[:6])}"][: len(heads)])
    count = len(traced.whole_group(traced.module.get_submodule(heads[0]))[0].idxs)
    chosen = tuple(sorted(set(classes)))
    if len(chosen) < 2:
        raise ConfigError(f"a model is derived for at least 2 different classes, got {len(chosen)}")
    if chosen[0] < 0 or chosen[-1] >= count:
        raise ConfigError(f"class {chosen[0] if chosen[0] < 0 else chosen[-1]} does not exist; the model has classes 0 to {count - 1}")
    return traced.cut({}, {heads[0]: chosen}).module, chosen
