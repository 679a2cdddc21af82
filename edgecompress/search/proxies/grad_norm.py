"""Gradient norm at initialisation (Abdelfattah et al., arXiv 2101.08134)."""

from __future__ import annotations

from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import mean, on_a_copy, total, weight_gradients


def _norms(network: nn.Module, batch: Batch) -> list[float]:
    return [float(gradient.norm()) for _, gradient in weight_gradients(network, batch)]


@on_a_copy
def grad_norm(network: nn.Module, batch: Batch) -> float:
    """Sum over layers of the Euclidean norm of dL/dW, L the cross-entropy of one batch. -inf for a network without weights."""
    return total(_norms(network, batch))


@on_a_copy
def grad_norm_mean(network: nn.Module, batch: Batch) -> float:
    """The gradient norm's mean over layers instead of their sum."""
    return mean(_norms(network, batch))
