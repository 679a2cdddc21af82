"""NASWOT (Mellor et al., arXiv 2006.04647): how differently an untrained network's ReLUs see different samples."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgecompress.search.proxies.activations import Watching
from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import on_a_copy

_JITTER = 1e-3  # of the mean diagonal: equal codes of two samples must not make the score -inf


class _Codes(Watching):
    """Adds up, over every call of a rectifier, how many units agree for each pair of samples."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.agreeing = torch.zeros(samples, samples, dtype=torch.float64)

    def see(self, before: torch.Tensor, kinks: tuple[float, ...]) -> None:
        codes = (before > 0).flatten(1).float()
        both = (codes @ codes.T).double()  # exact integers in float32 up to 2^24 units
        active = both.diagonal()
        self.agreeing += codes.shape[1] - active[:, None] - active + 2 * both


def _log_determinant(network: nn.Module, batch: Batch) -> tuple[float, float]:
    """(log det of the agreement matrix, number of units); nan when there is none."""
    codes = _Codes(len(batch))
    with torch.no_grad(), codes:
        logits = network(batch.x)
    units = float(codes.agreeing.diagonal().mean())
    if units == 0 or not bool(torch.isfinite(logits).all()):
        return math.nan, units
    sign, value = torch.linalg.slogdet(codes.agreeing + _JITTER * units * torch.eye(len(batch), dtype=torch.float64))
    return (float(value) if sign > 0 else math.nan), units


@on_a_copy
def naswot(network: nn.Module, batch: Batch) -> float:
    """log det K, K[i, j] = units on which the binary codes of samples i and j agree; a unit's code is the sign of what goes into its rectifier.

    The paper has ReLU only; GELU, hard-swish and their like count by the same sign here. Batch normalisation uses the batch's own statistics.
    -inf when the network has no rectifier or computes something that is not finite.
    """
    return _log_determinant(network, batch)[0]


@on_a_copy
def naswot_mean(network: nn.Module, batch: Batch) -> float:
    """NASWOT of the share, not the number, of agreeing units: log det (K / units). It does not grow with the network."""
    value, units = _log_determinant(network, batch)
    return value - len(batch) * math.log(units) if units else math.nan
