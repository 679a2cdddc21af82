"""Jacobian covariance (Mellor et al., arXiv 2006.04647, first version; Abdelfattah et al., arXiv 2101.08134)."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import freeze_statistics, on_a_copy

_OFFSET = 1e-5


@on_a_copy
def jacob_cov(network: nn.Module, batch: Batch) -> float:
    """-sum over i of log(v_i + k) + 1 / (v_i + k): v are the eigenvalues of the correlation between samples of d(sum of logits)/dx, k = 1e-5.

    Batch normalisation is frozen at the batch's statistics, so each row is one sample's own Jacobian. Highest when no two samples' Jacobians
    resemble each other. -inf when a sample's Jacobian is constant over the input, as of a network that ignores it.
    """
    freeze_statistics(network, batch.x)
    x = batch.x.clone().requires_grad_(True)
    (jacobian,) = torch.autograd.grad(network(x).sum(), x, materialize_grads=True)
    correlation = torch.corrcoef(jacobian.flatten(1).double())
    if not bool(torch.isfinite(correlation).all()):
        return math.nan
    values = torch.linalg.eigvalsh(correlation).clamp(min=0) + _OFFSET
    return -float((values.log() + 1 / values).sum())
