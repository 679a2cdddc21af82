"""Structured pruning: a physically smaller copy of a network, channel groups found by torch-pruning's dependency graph."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional

from edgecompress.compress.prune.importance import IMPORTANCES, NEEDS_GRADIENTS
from edgecompress.compress.prune.widths import kept_width
from edgecompress.errors import ConfigError, ModelError, unknown_name

LabelledBatch = tuple[torch.Tensor, torch.Tensor]  # float32 NCHW, int64 class numbers


@dataclass(frozen=True)
class _Cut:
    """One dependency group: the layer that names it and the channels to remove."""

    root: nn.Module
    channels: list[int]


def prune(
    module: nn.Module, input_shape: tuple[int, int, int], ratio: float, *, round_to: int = 4, importance: str = "l1",
    batch: LabelledBatch | None = None,
) -> nn.Module:
    """A copy of `module` with `ratio` of every channel group removed; `module` stays as it is.

    `input_shape` is (height, width, channels) of one sample, the module takes float32 NCHW. Widths become `kept_width(width, ratio, round_to)`;
    layers whose channels are the module's outputs keep all of them, as do channels that a grouped (but not depthwise) convolution reads or writes.
    The least important channels go, ties by channel number. `importance` is a name in IMPORTANCES; "taylor" needs `batch`.
    Raises ConfigError for a wrong argument, ModelError when the module cannot be traced or pruned.
    """
    kept_width(round_to, ratio, round_to)  # checks both
    if importance not in IMPORTANCES:
        raise unknown_name("importance", importance, IMPORTANCES)
    if importance in NEEDS_GRADIENTS and batch is None:
        raise ConfigError(f"importance '{importance}' is computed from gradients; pass a batch of samples with labels")
    pruned = copy.deepcopy(module)
    if ratio == 0:
        return pruned
    was_training = pruned.training
    height, width, channels = input_shape
    example = torch.zeros(1, channels, height, width)
    if importance in NEEDS_GRADIENTS:
        assert batch is not None
        _compute_gradients(pruned, batch)
    graph = _dependency_graph(pruned.eval(), example)
    score = IMPORTANCES[importance]()
    cuts = [_Cut(group[0].dep.target.module, _least_important(score(group), ratio, round_to)) for group in _prunable_groups(pruned, graph)]
    for cut in cuts:
        if cut.channels:
            graph.get_pruning_group(cut.root, graph.get_pruner_of_module(cut.root).prune_out_channels, cut.channels).prune()
    pruned.zero_grad(set_to_none=True)
    _check_output(module, pruned, example)
    return pruned.train(was_training)


def _compute_gradients(module: nn.Module, batch: LabelledBatch) -> None:
    module.eval().zero_grad(set_to_none=True)
    functional.cross_entropy(module(batch[0]), batch[1]).backward()


def _dependency_graph(module: nn.Module, example: torch.Tensor) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hints for torch-pruning's own arguments
            return tp.DependencyGraph().build_dependency(module, example_inputs=example)
    except Exception as error:  # whatever the user's forward() raises
        raise ModelError(f"the module cannot be traced for pruning with an input of shape {tuple(example.shape)}: {error}") from error


def _prunable_groups(module: nn.Module, graph: Any) -> list[Any]:
    """Every dependency group once, named by its first convolution or linear layer in module order, without those that must stay whole."""
    fixed = _output_layers(graph)
    seen: set[nn.Module] = set()
    groups = []
    for layer in module.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear) or layer not in graph.module2node or layer in seen:
            continue
        pruner = graph.get_pruner_of_module(layer)
        group = graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(pruner.get_out_channels(layer))))
        members = {dep.target.module for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler)}
        seen |= members
        if not members & fixed and not any(_is_grouped(dep.target.module) for dep, _ in group):
            groups.append(group)
    return groups


def _is_grouped(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.out_channels


def _output_layers(graph: Any) -> set[nn.Module]:
    """Convolutions and linear layers whose channels reach the module's output with no other such layer between."""
    reaches: set[nn.Module] = set()
    for layer, node in graph.module2node.items():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        waiting, visited = list(node.outputs), set()
        if not waiting:
            reaches.add(layer)
        while waiting:
            following = waiting.pop()
            if following in visited:
                continue
            visited.add(following)
            depthwise = isinstance(following.module, nn.Conv2d) and following.module.groups == following.module.in_channels
            if isinstance(following.module, nn.Conv2d | nn.Linear) and not depthwise:
                continue
            if not following.outputs:
                reaches.add(layer)
            waiting.extend(following.outputs)
    return reaches


def _least_important(scores: torch.Tensor, ratio: float, round_to: int) -> list[int]:
    remove = len(scores) - kept_width(len(scores), ratio, round_to)
    order = torch.argsort(torch.nan_to_num(scores.detach(), nan=0.0), stable=True)
    return sorted(int(channel) for channel in order[:remove])


def _check_output(before: nn.Module, after: nn.Module, example: torch.Tensor) -> None:
    was_training = before.training
    try:
        with torch.no_grad():
            expected, found = before.eval()(example).shape, after(example).shape
    except (RuntimeError, ValueError) as error:
        reason = "its channels depend on each other in a way that cannot be traced"
        raise ModelError(f"the module does not run after pruning: {reason} ({error})") from error
    finally:
        before.train(was_training)
    if expected != found:
        raise ModelError(f"pruning would change the output from shape {tuple(expected)} to {tuple(found)}; the module cannot be pruned")
