"""What compression shifts, put right without training: every channel's mean and spread become what they were in the original network.

One forward pass over calibration samples does it. Layers are corrected in the order in which they run, each on what the corrected ones before it give.
Where a batch norm follows, its statistics are taken anew instead: it would undo the correction, and larger weights in front of it learn more slowly.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_LARGEST_FACTOR = 10.0  # a channel that compression has silenced stays quiet rather than become noise
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Source:
    """Where a layer's output channels come from: a layer of the original network, and which of its channels are left (None: all)."""

    layer: str
    channels: Sequence[int] | None = None


def match_statistics(module: nn.Module, original: nn.Module, sources: Mapping[str, Source], x: torch.Tensor) -> nn.Module:
    """A corrected copy of `module`, in its mode; `sources` says by name which layers are corrected and what to. `x`: float32 NCHW, at least 32 samples.

    Layers without a bias get their spread back, not their mean. Layers that are called more than once stay as they are.
    """
    result = copy.deepcopy(module).eval()
    wanted = _moments(original, {source.layer for source in sources.values()}, x)
    fed = _feeding_norms(result, sources, x)
    hooks = []
    for name, source in sources.items():
        if name not in fed and source.layer in wanted:
            mean, spread = wanted[source.layer]
            kept = slice(None) if source.channels is None else list(source.channels)
            hooks.append(result.get_submodule(name).register_forward_hook(_corrector(mean[kept], spread[kept])))
    norms = [(norm, norm.momentum) for norm in result.modules() if isinstance(norm, _NORMS) and norm.running_mean is not None]
    try:
        for norm, _ in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean: of this one batch
            norm.train()
        with torch.no_grad():
            result(x)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in norms:
            norm.momentum = momentum
    return result.train(module.training)


def _moments(network: nn.Module, names: set[str], x: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(mean, standard deviation) of each output channel of layers that are called once."""
    found: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def record(name: str) -> Callable[[Any, Any, torch.Tensor], None]:
        return lambda layer, _inputs, output: found.setdefault(name, []).append(_channel_moments(layer, output))

    _run(network, {name: record(name) for name in names}, x)
    return {name: moments[0] for name, moments in found.items() if len(moments) == 1}


def _feeding_norms(network: nn.Module, names: Mapping[str, Source], x: torch.Tensor) -> set[str]:
    """Layers whose output a batch norm reads, and those that are called more than once."""
    makers: dict[int, str] = {}
    kept: list[torch.Tensor] = []  # a tensor that is freed could lend its identity to another
    skipped: set[str] = set()
    calls: dict[str, int] = {}

    def remember(name: str) -> Callable[[Any, Any, torch.Tensor], None]:
        def note(_layer: Any, _inputs: Any, output: torch.Tensor) -> None:
            makers[id(output)] = name
            kept.append(output)
            calls[name] = calls.get(name, 0) + 1

        return note

    def look(_layer: Any, inputs: Any, _output: Any) -> None:
        if id(inputs[0]) in makers:
            skipped.add(makers[id(inputs[0])])

    norms = {name: look for name, layer in network.named_modules() if isinstance(layer, _NORMS)}
    _run(network, {name: remember(name) for name in names} | norms, x[:2])
    return skipped | {name for name, count in calls.items() if count > 1}


def _run(network: nn.Module, hooks: Mapping[str, Callable[..., None]], x: torch.Tensor) -> None:
    handles = [network.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    modes = [(part, part.training) for part in network.modules()]
    try:
        with torch.no_grad():
            network.eval()(x)
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes:
            part.training = training


def _channel_axis(layer: Any) -> int:
    return -1 if isinstance(layer, nn.Linear) else 1  # a linear layer may read several rows a sample


def _channel_moments(layer: Any, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = output.movedim(_channel_axis(layer), 0).flatten(1)
    return rows.mean(dim=1), rows.std(dim=1)


def _corrector(mean: torch.Tensor, spread: torch.Tensor) -> Callable[[Any, Any, torch.Tensor], torch.Tensor]:
    """A hook that corrects a layer's weights on its first call and passes on what the corrected layer gives."""
    def correct(layer: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        own_mean, own_spread = _channel_moments(layer, output)
        silent = (own_spread <= 1e-6) | (spread <= 1e-6)
        factor = torch.where(silent, 1.0, (spread / own_spread.clamp_min(1e-6)).clamp(1.0 / _LARGEST_FACTOR, _LARGEST_FACTOR))
        shift = torch.zeros_like(mean) if layer.bias is None else mean - own_mean * factor
        layer.weight.mul_(factor.reshape(-1, *(1,) * (layer.weight.ndim - 1)))
        if layer.bias is not None:
            layer.bias.mul_(factor).add_(shift)
        last = output.movedim(_channel_axis(layer), -1)
        return (last * factor + shift).movedim(-1, _channel_axis(layer))

    return correct
