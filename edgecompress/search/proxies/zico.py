"""ZiCo (Li et al., arXiv 2301.11300): large gradients that agree between batches promise fast training."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import mean, on_a_copy, total, weight_gradients

BATCHES = 4  # the paper takes 2; with them a quotient's denominator is one difference, and single weights rule the sum


def _terms(network: nn.Module, batch: Batch) -> list[float]:
    parts = min(BATCHES, len(batch) // 2)
    if parts < 2:
        return []
    size = len(batch) // parts
    chunks = [Batch(batch.x[start : start + size], batch.y[start : start + size]) for start in range(0, parts * size, size)]
    gradients = [[gradient for _, gradient in weight_gradients(network, chunk)] for chunk in chunks]
    return [term for same in zip(*gradients, strict=True) if (term := _layer(torch.stack(same).double())) is not None]


def _layer(gradients: torch.Tensor) -> float | None:
    """log of the sum of mean |g| / std g over one layer's weights; None when no gradient differs between the batches."""
    deviation = gradients.std(dim=0, correction=0)
    moving = deviation > 0
    if not bool(moving.any()):
        return None
    return math.log(float((gradients.abs().mean(dim=0)[moving] / deviation[moving]).sum()))


@on_a_copy
def zico(network: nn.Module, batch: Batch) -> float:
    """Sum over layers of log(sum over weights of mean over batches |g| / standard deviation over batches of g), 4 batches of a quarter each.

    Weights whose gradient is the same in all batches are left out. -inf with fewer than 4 samples or when no gradient moves.
    """
    return total(_terms(network, batch))


@on_a_copy
def zico_mean(network: nn.Module, batch: Batch) -> float:
    """ZiCo's mean over layers instead of their sum."""
    return mean(_terms(network, batch))
