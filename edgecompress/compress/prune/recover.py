"""Recovery of a pruned network without training: each layer's weights are solved for in closed form on calibration samples.

The remaining inputs of a layer learn to give the answers that the layer gave before pruning: ridge least squares, as NuWa does after pruning
(arXiv 2504.03118), layer by layer from input to output on the activations of the network that is pruned and repaired so far.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edgecompress.compress.prune import activations
from edgecompress.compress.prune.groups import LayerChannels, Pruned
from edgecompress.compress.prune.least_squares import Fit, solve
from edgecompress.errors import DataError, unknown_name

PRIORS = ("ridge", "compensate")
ROWS = 16_384  # positions a layer is solved on, about


@dataclass(frozen=True)
class RecoveredLayer:
    """Error of a layer's answers over their variance on held-out samples (0: as before pruning, 1: no better than their mean)."""

    name: str
    error_before: float
    error_after: float
    ridge: float  # strength, relative to the mean square of the layer's inputs; infinite where the weights stayed


@dataclass(frozen=True, eq=False)
class Recovered:
    """A repaired copy of a pruned module, and what was done to each layer in the order of execution."""

    module: nn.Module
    layers: tuple[RecoveredLayer, ...]


def recover(before: nn.Module, pruned: Pruned, x: np.ndarray, *, prior: str = "compensate", rows: int = ROWS, seed: int = 0) -> Recovered:
    """The pruned module with the weights of its convolutions and linear layers solved for; the modules given stay as they are.

    `before` is the module that was pruned, `x` float32 [n, h, w, c] are calibration samples, normalised as in training; labels are not needed.
    Prior "ridge" pulls the new weights to 0: W' = argmin |X W' - Y|^2 + lambda |W'|^2; "compensate" to the remaining old ones,
    + lambda |W' - W_S|^2, which for equal activations is the optimal-brain-surgeon update. The strength is chosen for the least error on a quarter
    of the samples; a layer whose held-out error would not fall keeps its weights. The intercept goes into the bias, or into the running mean of the
    batch normalisation behind. Depthwise and grouped convolutions and layers that run more than once stay as they are.
    Raises ConfigError for an unknown prior, DataError for fewer than 8 samples.
    """
    if prior not in PRIORS:
        raise unknown_name("recovery prior", prior, PRIORS)
    if len(x) < 8:
        raise DataError(f"closed-form recovery has {len(x)} calibration samples; it needs at least 8")
    module = copy.deepcopy(pruned.module)
    plan = activations.layout(before, x)
    names = [name for name in plan.order if _solvable(module.get_submodule(name))]
    rng = np.random.default_rng(seed)
    counts = activations.output_positions(before, names, x)
    positions = {name: activations.choose_positions(counts[name], len(x), rows, rng) for name in names}
    wanted = activations.output_rows(before, names, x, positions)
    held_out = rng.permutation(len(x)) < max(1, len(x) // 4)
    done = []
    for name in names:
        left = pruned.layers.get(name, LayerChannels((), ()))
        answers = wanted.pop(name)
        answers = answers[:, :, list(left.outputs)] if left.outputs else answers
        inputs = activations.input_rows(module, name, x, positions[name])
        intercept = _intercept(before, module, plan.norms, name, left)
        fit = _fit(module.get_submodule(name), intercept, inputs, answers, held_out, prior)
        if fit is not None:
            _install(module.get_submodule(name), intercept, fit)
            done.append(RecoveredLayer(name, fit.error_before, fit.error_after, fit.ridge))
    return Recovered(module, tuple(done))


def _solvable(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == 1)


@dataclass(frozen=True, eq=False)
class _Intercept:
    """Where a layer's intercept goes: its bias, or the running mean of the batch normalisation behind it, where `mean` is that of no intercept."""

    place: torch.Tensor
    mean: torch.Tensor | None

    @property
    def value(self) -> torch.Tensor:
        return self.place if self.mean is None else self.mean - self.place

    def set(self, value: torch.Tensor) -> None:
        self.place.copy_(value if self.mean is None else self.mean - value)


def _intercept(before: nn.Module, module: nn.Module, norms: Mapping[str, str], name: str, left: LayerChannels) -> _Intercept | None:
    bias = module.get_submodule(name).bias
    if isinstance(bias, torch.Tensor):
        return _Intercept(bias.detach(), None)
    if name not in norms:
        return None
    mean, place = (part.get_submodule(norms[name]).running_mean for part in (before, module))
    if not isinstance(place, torch.Tensor):
        return None  # it normalises by the batch
    assert isinstance(mean, torch.Tensor)
    return _Intercept(place, mean[list(left.outputs)] if left.outputs else mean)


def _fit(layer: nn.Module, intercept: _Intercept | None, inputs: np.ndarray, answers: np.ndarray, held_out: np.ndarray, prior: str) -> Fit | None:
    """None where the layer's answers are what they were."""
    weights = layer.weight.detach().double().numpy()  # type: ignore[operator]
    bias = None if intercept is None else intercept.value.double().numpy()
    return solve(inputs, answers, weights.reshape(len(weights), -1).T, bias, held_out, to_old=prior == "compensate", intercept=intercept is not None)


@torch.no_grad()
def _install(layer: nn.Module, intercept: _Intercept | None, fit: Fit) -> None:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    weight.copy_(torch.from_numpy(np.ascontiguousarray(fit.weights.T)).reshape(weight.shape))
    if intercept is not None:
        intercept.set(torch.from_numpy(fit.intercept))
