"""The terms of AZ-NAS (Lee and Ham, arXiv 2403.19232) over the feature maps between blocks; its fourth, complexity, is the proxy `macs`."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import as_map, features, mean, on_a_copy, total

_EPSILON = 1e-6


def _entropies(network: nn.Module, batch: Batch) -> list[float]:
    """Entropy of the normalised eigenvalues of each feature map's covariance over its channels; nan for one that is constant."""
    with torch.no_grad():
        maps = features(network, batch.x)
        return [_entropy(as_map(feature).transpose(0, 1).flatten(1)) for feature in maps]


def _entropy(channels: torch.Tensor) -> float:
    centred = (channels - channels.mean(dim=1, keepdim=True)).double()
    values = torch.linalg.eigvalsh(centred @ centred.T).clamp(min=0) if bool(torch.isfinite(centred).all()) else torch.zeros(1)
    share = values / values.sum()
    return -float((share * (share + 1e-12).log()).sum())


@on_a_copy
def expressivity(network: nn.Module, batch: Batch) -> float:
    """Sum over blocks of the entropy of the eigenvalues of the features' covariance over channels, normalised to sum 1.

    -inf when the network has no feature maps, or one of them is constant.
    """
    return total(_entropies(network, batch))


@on_a_copy
def expressivity_mean(network: nn.Module, batch: Batch) -> float:
    """Expressivity's mean over blocks instead of their sum."""
    return mean(_entropies(network, batch))


@on_a_copy
def progressivity(network: nn.Module, batch: Batch) -> float:
    """Smallest growth of that entropy from one block to the next. -inf with fewer than two feature maps."""
    entropies = _entropies(network, batch)
    return min((after - before for before, after in itertools.pairwise(entropies)), default=math.nan)


@on_a_copy
def trainability(network: nn.Module, batch: Batch) -> float:
    """Mean over neighbouring blocks of 2 - s - 1 / s; s is the largest singular value of E[(J' g) g'], J the Jacobian between them, g random signs.

    0 at best, where gradients keep their size. -inf with fewer than two feature maps, or when a block hands its input on unchanged, as in the paper.
    """
    maps = features(network, batch.x.clone().requires_grad_(True))
    scores = []
    for before, after in reversed(list(itertools.pairwise(maps))):
        sign = torch.randint(0, 2, after.shape).to(after) * 2 - 1
        (gradient,) = torch.autograd.grad(after, before, sign, retain_graph=True, allow_unused=True)
        if gradient is not None:
            scores.append(_spectral(gradient, sign))
    return mean(scores)


def _spectral(gradient: torch.Tensor, sign: torch.Tensor) -> float:
    if gradient.shape == sign.shape and torch.equal(gradient, sign):
        return -math.inf
    left, right = as_map(gradient), as_map(sign)
    if gradient.ndim != sign.ndim:  # tokens on one side only
        left, right = left.flatten(2).unsqueeze(3), right.flatten(2).unsqueeze(3)
    columns = right.permute(0, 2, 3, 1).flatten(0, 2).double()
    matrix = _patches(left, right.shape[2:]).double().T @ columns / len(columns)
    if not bool(torch.isfinite(matrix).all()):
        return math.nan
    largest = float(torch.linalg.svdvals(matrix)[0])
    return 2 - largest - 1 / (largest + _EPSILON)


def _patches(gradient: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """[n * height * width of `size`, channels * patch]: each position after the block with the patch of positions before it that stride maps there."""
    count, channels, height, width = gradient.shape
    rows, columns = -(-height // size[0]), -(-width // size[1])
    padded = functional.pad(gradient, (0, max(0, columns * size[1] - width), 0, max(0, rows * size[0] - height)))
    cut = padded[:, :, : rows * size[0], : columns * size[1]].reshape(count, channels, size[0], rows, size[1], columns)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(count * size[0] * size[1], channels * rows * columns)
