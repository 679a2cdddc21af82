"""A proxy for networks that have inherited trained weights: how well a new last layer would do on the features that compression left."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from edgecompress.compress.quantize.weights import quantize_weights
from edgecompress.errors import ModelError
from edgecompress.search.proxies.batch import Batch

_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean squared feature vector
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def inherited(module: nn.Module, batch: Batch, seed: int, bits: Mapping[str, int] | None = None) -> float:
    """Minus the leave-one-out squared error of a ridge classifier on the inputs of the module's last layer, relative to guessing; larger is better.

    A copy of the module first gets the weights that `bits` (4 or 2, by layer name) leave of its own, and its batch-norm statistics again from the
    batch, which repairs most of what pruning shifts. The ridge solution is the closed form of training the last layer; the leave-one-out error
    keeps wide layers from looking good by memorising. The module stays as it is, `seed` is not used: the weights hold everything. -inf when
    features are not finite. At least 4 samples a class make sense. Raises ModelError for a module without a convolution or linear layer.
    """
    network = copy.deepcopy(module).eval()
    with torch.no_grad():
        _round(network, bits or {})
        _reestimate(network, batch.x)
        features = _last_inputs(network, batch.x)
    if not bool(torch.isfinite(features).all()):
        return float("-inf")
    targets = nn.functional.one_hot(batch.y).double()
    targets = targets - targets.mean(dim=0)
    total = float(targets.square().sum())
    if total == 0:
        return 0.0  # one class only: nothing to tell apart
    return -min(_left_out_error(features, targets)) / total


def _round(network: nn.Module, bits: Mapping[str, int]) -> None:
    for name, width in bits.items():
        if width < 8:
            weight: Any = network.get_submodule(name).weight
            weight.copy_(torch.from_numpy(quantize_weights(weight.detach().numpy(), width, depthwise=False).real(depthwise=False)))


def _reestimate(network: nn.Module, x: torch.Tensor) -> None:
    norms = [part for part in network.modules() if isinstance(part, _NORMS) and part.running_mean is not None]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    if norms:
        network(x)
        for norm in norms:
            norm.eval()


def _last_inputs(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """float64 [n, features]: what the layer that is called last reads; of an image, or of rows, the mean over positions."""
    seen: list[torch.Tensor] = []

    def remember(layer: Any, inputs: Any) -> None:
        seen[:] = [inputs[0] if isinstance(layer, nn.Linear) else inputs[0].movedim(1, -1)]

    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            layer.register_forward_pre_hook(remember)
    network(x)
    if not seen:
        raise ModelError("the network calls no convolution or linear layer; there is nothing to judge")
    features = seen[0].double()
    return features.reshape(len(x), -1, features.shape[-1]).mean(dim=1)


def _left_out_error(features: torch.Tensor, targets: torch.Tensor) -> list[float]:
    """Sum of squared leave-one-out residuals for each penalty: residual / (1 - leverage), from one eigendecomposition of the Gram matrix."""
    centred = features - features.mean(dim=0)
    gram = centred @ centred.T
    values, vectors = torch.linalg.eigh(gram)
    values, rotated = values.clamp_min(0.0), vectors.T @ targets
    mean = float(values.mean())
    errors = []
    for penalty in _PENALTIES:
        shrink = values / (values + max(penalty * mean, 1e-12))
        leverage = (vectors.square() @ shrink + 1.0 / len(features)).clamp_max(1.0 - 1e-6)  # the mean takes one sample's share
        residual = (targets - vectors @ (shrink[:, None] * rotated)) / (1.0 - leverage)[:, None]
        errors.append(float(residual.square().sum()))
    return errors
