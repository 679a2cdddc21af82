"""GraSP (Wang et al., arXiv 2002.07376), summed over the network as in Abdelfattah et al., arXiv 2101.08134."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import mean, on_a_copy, total, weight_gradients

_NO_DERIVATIVE = "is not implemented"  # in torch's message about a function that it cannot differentiate twice


class _TwiceDifferentiable(TorchFunctionMode):
    """Replaces what torch cannot differentiate twice by equal expressions."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if function is functional.hardsigmoid:
            return functional.relu6((args[0] if args else named["input"]) + 3) / 6
        return function(*args, **named)


def _terms(network: nn.Module, batch: Batch) -> list[float]:
    with sdpa_kernel(SDPBackend.MATH), _TwiceDifferentiable():  # the fused attention kernels have no second derivative
        pairs = weight_gradients(network, batch, create_graph=True)
        squares = [(gradient * gradient.detach()).sum() for _, gradient in pairs if gradient.requires_grad]
        if not squares:
            return []
        found = [weight for weight, _ in pairs]
        try:
            products = torch.autograd.grad(torch.stack(squares).sum(), found, allow_unused=True)
        except RuntimeError as error:
            if _NO_DERIVATIVE not in str(error):
                raise
            return []
    return [-float((weight.detach() * product).sum()) for weight, product in zip(found, products, strict=True) if product is not None]


@on_a_copy
def grasp(network: nn.Module, batch: Batch) -> float:
    """-sum over all weights of theta * (H g), g the gradient and H the Hessian of the cross-entropy of one batch.

    -inf for a network without weights, whose gradient does not depend on them, or with a function that torch cannot differentiate twice.
    """
    return total(_terms(network, batch))


@on_a_copy
def grasp_mean(network: nn.Module, batch: Batch) -> float:
    """GraSP's mean over layers instead of their sum."""
    return mean(_terms(network, batch))
