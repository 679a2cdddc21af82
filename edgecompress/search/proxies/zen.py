"""Zen-score (Lin et al., arXiv 2102.01063): how strongly a network of Gaussian weights reacts to its input, without data."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import features, mean, on_a_copy, total

_REPEATS, _INPUTS, _STEP = 4, 16, 1e-2
_Norm = nn.modules.batchnorm._BatchNorm


def _terms(network: nn.Module, shape: torch.Size) -> list[float]:
    """The output's term, then one of each batch normalisation, for one draw of weights and inputs."""
    for name, parameter in network.named_parameters():
        parameter.data.normal_() if parameter.ndim >= 2 else parameter.data.fill_(name.endswith("weight"))
    variances: list[torch.Tensor] = []
    norms = [layer for layer in network.modules() if isinstance(layer, _Norm)]

    def measure(_layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        variances.append(inputs[0].transpose(0, 1).flatten(1).var(dim=1, correction=0).mean())

    handles = [layer.register_forward_pre_hook(measure) for layer in norms]
    x = torch.randn(_INPUTS, *shape)
    with torch.no_grad():
        maps = features(network, torch.cat([x, x + _STEP * torch.randn_like(x)]))
    for handle in handles:
        handle.remove()
    if not maps:
        return []
    plain, moved = maps[-1].double().flatten(1).split(_INPUTS)
    change = float((plain - moved).abs().sum(dim=1).mean())
    return [math.log(change) if change > 0 else math.nan, *(math.log(float(value)) / 2 if value > 0 else math.nan for value in variances)]


@on_a_copy
def zen(network: nn.Module, batch: Batch) -> float:
    """log E|f(z) - f(z + 0.01 e)|_1 + sum over batch normalisations of log sqrt(mean over channels of the variance that they divide by).

    Weights, z and e are standard normal, f is the last feature map before pooling; the mean of 4 draws. Without batch normalisation the first term
    alone says the same, as nothing has been divided out. The paper takes residual connections away, which an arbitrary module does not allow;
    they stay. -inf when the network has no feature map or does not react.
    """
    return mean([total(_terms(network, batch.x.shape[1:])) for _ in range(_REPEATS)])


@on_a_copy
def zen_mean(network: nn.Module, batch: Batch) -> float:
    """Zen-score's mean over its terms (the output's and one for each batch normalisation) instead of their sum."""
    return mean([mean(_terms(network, batch.x.shape[1:])) for _ in range(_REPEATS)])
