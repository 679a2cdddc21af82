"""MeCo (Jiang et al., NeurIPS 2023): the smallest eigenvalue of the correlation between a layer's feature maps, for one random input."""

from __future__ import annotations

import torch
from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import layers, mean, on_a_copy, outputs_of, total

_INPUTS = 8  # batch normalisation needs several inputs for its statistics; the first one is looked at
_CHANNELS = 8  # of the optimised variant


def _smallest_eigenvalue(maps: torch.Tensor) -> float:
    """Of the correlation between the rows of [channels, positions]; constant rows correlate with nothing."""
    channels, positions = maps.shape
    if channels >= positions:  # centred rows span at most positions - 1 dimensions
        return 0.0
    correlation = torch.corrcoef(maps.double()).nan_to_num(0.0, 0.0, 0.0)
    return max(0.0, float(torch.linalg.eigvalsh(correlation)[0]))


def _terms(network: nn.Module, shape: torch.Size, sampled: bool) -> list[float]:
    with torch.no_grad(), outputs_of(layers(network)) as outputs:
        network(torch.randn(_INPUTS, *shape))
    terms = []
    for output in outputs:
        if output.ndim < 3:
            continue
        maps = output[0].flatten(1) if output.ndim == 4 else output[0].flatten(0, -2).T
        if not sampled or len(maps) <= _CHANNELS:
            terms.append(_smallest_eigenvalue(maps))
        else:
            chosen = torch.randperm(len(maps))[:_CHANNELS]
            terms.append(len(maps) / _CHANNELS * _smallest_eigenvalue(maps[chosen]))
    return terms


@on_a_copy
def meco(network: nn.Module, batch: Batch) -> float:
    """Sum over layers of the smallest eigenvalue of the correlation matrix of the C feature maps that a convolution or linear layer puts out.

    0 for a layer of at least as many channels as positions, by rank: wide layers at low resolution say nothing. The authors' code counts the
    outputs of containers and activations too; here each layer counts once. -inf when no layer puts out maps.
    """
    return total(_terms(network, batch.x.shape[1:], sampled=False))


@on_a_copy
def meco_mean(network: nn.Module, batch: Batch) -> float:
    """MeCo's mean over layers instead of their sum."""
    return mean(_terms(network, batch.x.shape[1:], sampled=False))


@on_a_copy
def meco_opt(network: nn.Module, batch: Batch) -> float:
    """The authors' optimised variant: C / 8 times the smallest eigenvalue for 8 channels drawn at random; layers of up to 8 channels as in MeCo."""
    return total(_terms(network, batch.x.shape[1:], sampled=True))


@on_a_copy
def meco_opt_mean(network: nn.Module, batch: Batch) -> float:
    """The optimised variant's mean over layers instead of their sum."""
    return mean(_terms(network, batch.x.shape[1:], sampled=True))
