"""Fisher information of layer outputs (Theis et al., arXiv 1801.05787; Turner et al., arXiv 1906.04113)."""

from __future__ import annotations

import torch
from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import layers, loss, mean, on_a_copy, outputs_of, total


def _terms(network: nn.Module, batch: Batch) -> list[float]:
    with outputs_of(layers(network)) as outputs:
        value = loss(network, batch)
    gradients = torch.autograd.grad(value, outputs, allow_unused=True) if outputs else ()
    terms = []
    for output, gradient in zip(outputs, gradients, strict=True):
        if gradient is not None:
            product = output.detach() * gradient
            positions = tuple(range(2, product.ndim)) if product.ndim == 4 else tuple(range(1, product.ndim - 1))
            by_channel = product.sum(dim=positions) if positions else product
            terms.append(float(by_channel.square().mean(dim=0).sum() / 2))
    return terms


@on_a_copy
def fisher(network: nn.Module, batch: Batch) -> float:
    """Sum over layers and channels of mean over samples of (sum over positions of a * dL/da)^2 / 2; a is what a convolution or linear layer puts out.

    L is the cross-entropy of one batch. -inf for a network without such layers.
    """
    return total(_terms(network, batch))


@on_a_copy
def fisher_mean(network: nn.Module, batch: Batch) -> float:
    """Fisher's mean over layers instead of their sum."""
    return mean(_terms(network, batch))
