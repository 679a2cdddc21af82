"""The two terms of TE-NAS (Chen et al., arXiv 2102.11535): condition of the neural tangent kernel, and number of linear regions."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgecompress.search.proxies.activations import Watching
from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import freeze_statistics, on_a_copy, weights

_NTK_SAMPLES = 16
_SEGMENTS, _POINTS = 8, 16


@on_a_copy
def ntk(network: nn.Module, batch: Batch) -> float:
    """-log of the condition number of the neural tangent kernel of 16 samples: K[i, j] = <d f(x_i)/d theta, d f(x_j)/d theta>, f the sum of logits.

    Batch normalisation is frozen at the batch's statistics. -inf when the kernel is singular, as for a purely linear network of few inputs.
    """
    freeze_statistics(network, batch.x)
    found = weights(network)
    rows = []
    for sample in batch.x[:_NTK_SAMPLES].split(1):
        gradients = torch.autograd.grad(network(sample).sum(), found, allow_unused=True) if found else ()
        rows.append(torch.cat([gradient.flatten() for gradient in gradients if gradient is not None] or [torch.zeros(1)]))
    jacobian = torch.stack(rows).double()
    if not bool(torch.isfinite(jacobian).all()):
        return math.nan
    values = torch.linalg.svdvals(jacobian).square()  # those of K, without squaring what is small
    if len(values) < len(jacobian) or values[-1] <= values[0] * torch.finfo(torch.float32).eps ** 2:
        return math.nan
    return -math.log(float(values[0] / values[-1]))


class _Crossings(Watching):
    """Counts, over all units, how often a straight line through the input space crosses a level where the unit's slope changes."""

    def __init__(self) -> None:
        super().__init__()
        self.crossings = 0.0
        self.units = 0

    def see(self, before: torch.Tensor, kinks: tuple[float, ...]) -> None:
        along = before.detach().flatten(1).unflatten(0, (-1, _POINTS))
        self.units += along.shape[2]
        for kink in kinks:
            code = along > kink
            self.crossings += float((code[:, 1:] != code[:, :-1]).sum()) / len(along)


def _regions(network: nn.Module, batch: Batch) -> tuple[float, int]:
    """(mean number of regions on a straight line between two samples, number of units)."""
    freeze_statistics(network, batch.x)
    count = min(_SEGMENTS, len(batch) - 1)
    if count < 1:
        return math.nan, 0
    start, end = batch.x[:count].unsqueeze(1), batch.x[1 : count + 1].unsqueeze(1)
    steps = torch.linspace(0, 1, _POINTS).view(1, -1, *[1] * (batch.x.ndim - 1))
    seen = _Crossings()
    with torch.no_grad(), seen:
        network((start + (end - start) * steps).flatten(0, 1))
    return 1 + seen.crossings, seen.units


@on_a_copy
def linear_regions(network: nn.Module, batch: Batch) -> float:
    """log of the number of linear regions that straight lines between samples cross: 1 + how often a unit changes its side, mean of 8 lines.

    The paper counts different codes of random samples; in any but the smallest networks every sample has its own and the count says nothing, while
    on a line nothing saturates. Lines are walked in 15 steps, a unit that flips twice within one is not seen. Smooth rectifiers (GELU, hard-swish)
    count by their input's sign, ReLU6 by both its bends. -inf without rectifiers or with fewer than two samples.
    """
    regions, units = _regions(network, batch)
    return math.log(regions) if units else math.nan


@on_a_copy
def linear_regions_mean(network: nn.Module, batch: Batch) -> float:
    """Crossings of a line for each unit instead of their sum."""
    regions, units = _regions(network, batch)
    return (regions - 1) / units if units else math.nan
