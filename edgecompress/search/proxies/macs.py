"""Multiply-accumulates of one inference: the baseline that every other proxy has to beat."""

from __future__ import annotations

import torch
from torch import nn

from edgecompress.search.proxies.batch import Batch


def macs(module: nn.Module, batch: Batch, seed: int) -> float:
    """Multiply-accumulates of all convolutions and linear layers for one sample of the batch; `seed` is not used."""
    total = 0

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        positions = output[0].numel() // output.shape[1] if isinstance(layer, nn.Conv2d) else output[0].numel() // output.shape[-1]
        total += positions * weight.numel()

    handles = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(batch.x[:1])
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()
    return float(total)
