"""SNIP (Lee et al., arXiv 1810.02340), summed over the network as in Abdelfattah et al., arXiv 2101.08134."""

from __future__ import annotations

from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import mean, on_a_copy, total, weight_gradients


def _saliencies(network: nn.Module, batch: Batch) -> list[float]:
    return [float((weight.detach() * gradient).abs().sum()) for weight, gradient in weight_gradients(network, batch)]


@on_a_copy
def snip(network: nn.Module, batch: Batch) -> float:
    """Sum over all weights of |theta * dL/dtheta|, L the cross-entropy of one batch. -inf for a network without weights."""
    return total(_saliencies(network, batch))


@on_a_copy
def snip_mean(network: nn.Module, batch: Batch) -> float:
    """SNIP's mean over layers instead of their sum."""
    return mean(_saliencies(network, batch))
