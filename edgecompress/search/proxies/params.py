"""Number of weights and biases."""

from __future__ import annotations

from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import LAYERS


def params(module: nn.Module, batch: Batch, seed: int) -> float:
    """Trainable numbers that stay after batch normalisation is folded: weights plus one bias a channel; `batch` and `seed` are not used."""
    return float(sum(layer.weight.numel() + layer.weight.shape[0] for layer in module.modules() if isinstance(layer, LAYERS)))
