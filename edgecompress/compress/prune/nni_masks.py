"""Masks of NNI's pruners made real: channels that are masked in all layers that share them are cut out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgecompress.compress.prune.groups import InputShape, Pruned, TracedModule
from edgecompress.errors import ConfigError, ToolMissingError, unknown_name

Masks = Mapping[str, Mapping[str, torch.Tensor]]  # layer -> {"weight": 0 or 1 for each weight, "bias": ...}
ALGORITHMS = {"l1": "L1NormPruner", "l2": "L2NormPruner", "fpgm": "FPGMPruner"}  # of nni.compression.pruning


@dataclass(frozen=True, eq=False)
class Masked:
    """`pruned`: the smaller module. Of `masked` output channels whose weights are all masked, `removed` are gone and `stayed` are still there: another
    layer that shares the channel is not masked there, the channel is the module's output, or nothing would be left."""

    pruned: Pruned
    masked: int
    removed: int
    stayed: int


def masks_to_module(module: nn.Module, masks: Masks, input_shape: InputShape) -> Masked:
    """A copy of `module` without the masked output channels; `module` stays as it is.

    `masks` are what NNI 3.0's pruners return: for each layer by name the "weight" mask in the weight's shape (or one that broadcasts to it), and
    perhaps one of its "bias"; other entries are not looked at. A channel goes only where every convolution and linear layer that writes it is masked
    there; depthwise layers follow, unless they have masks of their own that keep it. What a batch normalisation would make of a masked channel (a
    constant) goes with it, as in NNI's own speedup. Raises ConfigError for masks that do not fit the module, ModelError when it cannot be traced.
    """
    traced = TracedModule(module, input_shape)
    gone = {name: _masked_channels(traced.module, name, mask) for name, mask in masks.items() if "weight" in mask}
    kept, removed = {}, 0
    for name, group in traced.groups.items():
        shared = _shared(traced, group, gone)
        if len(shared) == traced.width(name):
            shared.discard(min(shared))  # a layer needs a channel
        if shared:
            kept[name] = [channel for channel in range(traced.width(name)) if channel not in shared]
            removed += sum(len(mine & shared) for mine in _masked_by_layer(traced, group, gone).values())
    masked = sum(len(channels) for channels in gone.values())
    return Masked(traced.cut(kept), masked, removed, masked - removed)


def read_masks(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Masks that `torch.save(masks, path)` wrote. Only tensors are read. Raises ConfigError for a file that holds anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, which are not the user's business
            document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets hostile bytes here: anything can come out of it
        raise ConfigError(f"the masks in '{path}' cannot be read ({type(error).__name__}); write them with torch.save(masks, file)") from None
    fits = isinstance(document, dict) and all(
        isinstance(name, str) and isinstance(mask, dict) and all(value is None or _dense(value) for value in mask.values())
        for name, mask in document.items())
    if not fits:
        raise ConfigError(f"'{path}' holds no masks; they are a dictionary from a layer's name to its masks, such as {{'weight': tensor}}")
    return {name: {key: value for key, value in mask.items() if value is not None} for name, mask in document.items()}


def _dense(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def make_masks(module: nn.Module, input_shape: InputShape, algorithm: str, ratio: float) -> dict[str, dict[str, torch.Tensor]]:
    """Masks by one of NNI's pruners (a name in ALGORITHMS) for the layers that write channel groups; `module` stays as it is.

    Raises ToolMissingError without the extra [nni].
    """
    if algorithm not in ALGORITHMS:
        raise unknown_name("NNI pruner", algorithm, ALGORITHMS)
    if not 0 < ratio < 1:
        raise ConfigError(f"a pruning ratio of {ratio} was asked for; NNI's pruners take one above 0 and below 1")
    try:
        from nni.compression import pruning
    except ImportError as error:
        raise ToolMissingError(f"pruning with NNI needs the extra [nni], and {error.name or 'it'} is not installed",
                               "try: pip install 'edgecompress[nni]', or make the masks elsewhere and give them with --masks") from None
    traced = TracedModule(module, input_shape)
    layers = [name for group in traced.groups.values() for name in _writers(traced, group)]
    pruner = getattr(pruning, ALGORITHMS[algorithm])(copy.deepcopy(module), [{"op_names": layers, "sparse_ratio": ratio}])
    _, masks = pruner.compress()
    return {name: {key: value.detach() for key, value in mask.items() if value is not None} for name, mask in masks.items()}


def _writers(traced: TracedModule, group: Any) -> list[str]:
    """Convolutions and linear layers, not depthwise, whose output channels are the group."""
    found = [dep.target.module for dep, _ in group if traced.graph.is_out_channel_pruning_fn(dep.handler)]
    return list(dict.fromkeys(traced.names[layer] for layer in found if _weighted(layer) and layer in traced.names and getattr(layer, "groups", 1) == 1))


def _weighted(layer: Any) -> bool:
    return isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)


def _shared(traced: TracedModule, group: Any, gone: Mapping[str, set[int]]) -> set[int]:
    """Channels of the group that all its writers mask; numbered as its root's."""
    masked = _masked_by_layer(traced, group, gone)
    if not masked or any(name not in masked for name in _writers(traced, group)):
        return set()
    return set.intersection(*masked.values())


def _masked_by_layer(traced: TracedModule, group: Any, gone: Mapping[str, set[int]]) -> dict[str, set[int]]:
    """What each layer that has the group's channels as outputs, and a mask, masks of them; numbered as the group's root."""
    found = {}
    for item in group:
        name = traced.names.get(item.dep.target.module, "")
        if name in gone and traced.graph.is_out_channel_pruning_fn(item.dep.handler):
            roots = dict(zip(item.idxs, item.root_idxs, strict=True))
            found[name] = {roots[channel] for channel in gone[name] if channel in roots}
    return found


def _masked_channels(module: nn.Module, name: str, mask: Mapping[str, torch.Tensor]) -> set[int]:
    try:
        layer = module.get_submodule(name)
    except AttributeError:
        raise ConfigError(f"the masks name a layer '{name}' that the model does not have; give the masks of this model") from None
    if not _weighted(layer):
        return set()
    weight, given = layer.weight, mask["weight"]
    assert isinstance(weight, torch.Tensor)
    if given.ndim != weight.ndim or any(one not in (1, size) for one, size in zip(given.shape, weight.shape, strict=True)):
        raise ConfigError(f"the mask of '{name}' has shape {tuple(given.shape)}, its weights have {tuple(weight.shape)}; give the masks of this model")
    if given.is_complex() or not bool(torch.isfinite(given).all()):
        raise ConfigError(f"the mask of '{name}' holds values that are not finite numbers; allowed are 0 (gone) and 1 (kept)")
    return {int(channel) for channel in torch.nonzero(~torch.broadcast_to(given, weight.shape).bool().flatten(1).any(dim=1)).flatten()}
