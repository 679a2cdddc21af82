"""SynFlow (Tanaka et al., arXiv 2006.05467): how much signal can flow through the weights, without data."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgecompress.search.proxies.activations import Linear
from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import on_a_copy, weights


def _flow(network: nn.Module, batch: Batch) -> tuple[float, int]:
    """(sum over weights of theta * dR/dtheta, number of weight tensors that matter)."""
    network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_() if parameter.ndim >= 2 else parameter.zero_()
    found = weights(network)
    with Linear():
        reached = network(torch.ones_like(batch.x[:1], dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(reached, found, allow_unused=True) if found and reached.requires_grad else ()
    terms = [float((weight.detach() * gradient).sum()) for weight, gradient in zip(found, gradients, strict=False) if gradient is not None]
    return math.fsum(terms), len(terms)


@on_a_copy
def synflow(network: nn.Module, batch: Batch) -> float:
    """log of the sum over all weights of theta * dR/dtheta; R is the summed output for an input of ones with every weight made positive.

    Rectifiers and normalisations pass their input on and biases are 0, so R = 1' |W_L| ... |W_1| 1 for a chain and each of its layers contributes R.
    float64, as R grows exponentially with depth; the logarithm keeps the order. Gates (squeeze-and-excite, softmax) are computed as they are.
    -inf when nothing flows.
    """
    value, _ = _flow(network, batch)
    return math.log(value) if value > 0 else math.nan


@on_a_copy
def synflow_mean(network: nn.Module, batch: Batch) -> float:
    """log(mean over layers of their flow) / layers: the mean logarithmic gain of a layer, where SynFlow itself multiplies up with depth."""
    value, count = _flow(network, batch)
    return math.log(value / count) / count if value > 0 else math.nan
