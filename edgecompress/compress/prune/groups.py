"""Channel groups: layers whose channels can only go together, found by torch-pruning's dependency graph."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import nn

from edgecompress.compress.prune.widths import FIXED_CHANNELS
from edgecompress.errors import ConfigError, ModelError, unknown_name

InputShape = tuple[int, int, int]  # height, width, channels of one sample
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)  # what can name a group


@dataclass(frozen=True)
class ChannelGroup:
    """One group. `name` is the qualified name of its first layer in module order; `layers` are all that shrink with it, `producers` those whose
    output channels it is and `consumers` those that read them. `parameters` and `macs` are what all these layers hold and compute for one sample.
    """

    name: str
    channels: int
    layers: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class LayerChannels:
    """Which channels (or features) of a layer are left, numbered as they were before."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Pruned:
    """A smaller copy of a module. `widths`: channels left in each group; `layers`: what is left of each layer that lost something."""

    module: nn.Module
    widths: Mapping[str, int]
    layers: Mapping[str, LayerChannels]


class TracedModule:
    """A copy of a module in eval mode with its channel groups by name; `cut` makes the copy smaller. Raises ModelError when it cannot be traced."""

    def __init__(self, module: nn.Module, input_shape: InputShape) -> None:
        self.original, self.module = module, copy.deepcopy(module).eval()
        height, width, channels = input_shape
        self.example = torch.zeros(1, channels, height, width)
        self.graph = _dependency_graph(self.module, self.example)
        self.names = {layer: name for name, layer in self.module.named_modules()}
        self.output_layers = _output_layers(self.graph)
        self.groups = {self.names[group[0].dep.target.module]: group for group in self._prunable()}

    def _prunable(self) -> Iterable[Any]:
        """Every group once, named by its first layer in module order, without those that must stay whole."""
        seen: set[nn.Module] = set()
        for layer in self.module.modules():
            if not isinstance(layer, LAYERS) or layer not in self.graph.module2node or layer in seen:
                continue
            group = self.whole_group(layer)
            members = {dep.target.module for dep, _ in group if self.graph.is_out_channel_pruning_fn(dep.handler)}
            seen |= members
            if not members & self.output_layers and not any(self._must_stay(dep) for dep, _ in group):
                yield group

    def _must_stay(self, dep: Any) -> bool:
        return _is_grouped(dep.target.module) or _is_unsized(dep.target) or self._is_fixed(dep)

    def _is_fixed(self, dep: Any) -> bool:
        return getattr(dep.target.module, FIXED_CHANNELS, None) == ("out" if self.graph.is_out_channel_pruning_fn(dep.handler) else "in")

    def whole_group(self, layer: nn.Module) -> Any:
        """torch-pruning's group of all output channels of a layer."""
        pruner = self.graph.get_pruner_of_module(layer)
        return self.graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(pruner.get_out_channels(layer))))

    def width(self, name: str) -> int:
        """Channels of a group."""
        return len(self.groups[name][0].idxs)

    def check_names(self, names: Iterable[str]) -> None:
        """Raises ConfigError for a name that is no group's."""
        for name in names:
            if name not in self.groups:
                raise unknown_name("channel group", name, self.groups)

    def cut(self, kept: Mapping[str, Iterable[int]], outputs: Mapping[str, Iterable[int]] | None = None) -> Pruned:
        """Keeps only these channels of these groups; may be called once. `outputs`: channels left of layers that make the module's output.

        Raises ConfigError for an unknown group or channel, or when none would be left; ModelError when the module does not run afterwards.
        """
        self.check_names(kept)
        removals = {name: _removed(name, self.width(name), channels) for name, channels in kept.items()}
        for name, channels in (outputs or {}).items():
            removals[name] = _removed(name, len(self.whole_group(self.module.get_submodule(name))[0].idxs), channels)
        left = _Remaining(self)
        widths = {name: self.width(name) - len(removals.get(name, ())) for name in self.groups}
        for name, channels in removals.items():
            if channels:
                layer = self.module.get_submodule(name)
                group = self.graph.get_pruning_group(layer, self.graph.get_pruner_of_module(layer).prune_out_channels, channels)
                left.note(group)
                group.prune()
        self.module.zero_grad(set_to_none=True)
        self._check_output(sum(len(removals[name]) for name in outputs or {}))
        return Pruned(self.module.train(self.original.training), widths, left.layers())

    def _check_output(self, fewer: int) -> None:
        was_training = self.original.training
        try:
            with torch.no_grad():
                expected, found = self.original.eval()(self.example).shape, self.module(self.example).shape
        except (RuntimeError, ValueError) as error:
            reason = "its channels depend on each other in a way that cannot be traced"
            raise ModelError(f"the module does not run after pruning: {reason} ({error})") from error
        finally:
            self.original.train(was_training)
        wanted = (*expected[:-1], expected[-1] - fewer) if fewer else expected
        if tuple(wanted) != tuple(found):
            raise ModelError(f"pruning would change the output from shape {tuple(wanted)} to {tuple(found)}; the module cannot be pruned")


class _Remaining:
    """Follows which of a layer's channels are left while groups are cut one after the other."""

    def __init__(self, traced: TracedModule) -> None:
        self.traced = traced
        self.inputs: dict[nn.Module, np.ndarray] = {}
        self.outputs: dict[nn.Module, np.ndarray] = {}

    def note(self, group: Any) -> None:
        graph = self.traced.graph
        for dep, channels in group:
            layer = dep.target.module
            if layer not in self.traced.names:
                continue  # a parameter of its own, or an operation
            is_output = graph.is_out_channel_pruning_fn(dep.handler)
            table, count = (self.outputs, graph.get_out_channels) if is_output else (self.inputs, graph.get_in_channels)
            if count(layer) is not None:
                table[layer] = np.delete(table.get(layer, np.arange(count(layer))), channels)

    def layers(self) -> dict[str, LayerChannels]:
        graph, found = self.traced.graph, {}
        for layer, name in self.traced.names.items():
            if layer in self.inputs or layer in self.outputs:
                outputs = self.outputs.get(layer, np.arange(graph.get_out_channels(layer) or 0))
                inputs = self.inputs.get(layer, outputs if _is_depthwise(layer) else np.arange(graph.get_in_channels(layer) or 0))
                found[name] = LayerChannels(tuple(map(int, inputs)), tuple(map(int, outputs)))
        return found


def channel_groups(module: nn.Module, input_shape: InputShape) -> tuple[ChannelGroup, ...]:
    """The groups that can be pruned, in module order. `input_shape` is (height, width, channels), the module takes float32 NCHW.

    Raises ModelError when the module cannot be traced.
    """
    traced = TracedModule(module, input_shape)
    macs = layer_macs(traced.module, traced.example)
    return tuple(_describe(traced, name, group, macs) for name, group in traced.groups.items())


def _describe(traced: TracedModule, name: str, group: Any, macs: Mapping[nn.Module, int]) -> ChannelGroup:
    members = [(dep.target.module, traced.graph.is_out_channel_pruning_fn(dep.handler)) for dep, _ in group if dep.target.module in traced.names]
    layers = list(dict.fromkeys(layer for layer, _ in members if sum(1 for _ in layer.parameters())))
    weighted = [(layer, out) for layer, out in members if isinstance(layer, LAYERS) and not _is_depthwise(layer)]
    return ChannelGroup(
        name, traced.width(name), tuple(traced.names[layer] for layer in layers),
        tuple(dict.fromkeys(traced.names[layer] for layer, out in weighted if out)),
        tuple(dict.fromkeys(traced.names[layer] for layer, out in weighted if not out)),
        sum(parameter.numel() for layer in layers for parameter in layer.parameters()), sum(macs.get(layer, 0) for layer in layers),
    )


def layer_macs(module: nn.Module, example: torch.Tensor) -> dict[nn.Module, int]:
    """Multiply-accumulates of every convolution and linear layer for the example's batch."""
    found: dict[nn.Module, int] = {}

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        found[layer] = found.get(layer, 0) + output.numel() * layer.weight[0].numel()  # type: ignore[index]

    hooks = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, LAYERS)]
    try:
        with torch.no_grad():
            module(example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _removed(name: str, width: int, kept: Iterable[int]) -> list[int]:
    channels = {int(channel) for channel in kept}
    if not channels or min(channels) < 0 or max(channels) >= width:
        raise ConfigError(f"the channels to keep of '{name}' must be some of 0 to {width - 1}, at least one; got {sorted(channels)[:8]}")
    return [channel for channel in range(width) if channel not in channels]


def _dependency_graph(module: nn.Module, example: torch.Tensor) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hints for torch-pruning's own arguments
            return tp.DependencyGraph().build_dependency(module, example_inputs=example)
    except Exception as error:  # whatever the user's forward() raises
        raise ModelError(f"the module cannot be traced for pruning with an input of shape {tuple(example.shape)}: {error}") from error


def _is_grouped(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv1d | nn.Conv2d) and 1 < layer.groups < layer.out_channels


def _is_unsized(node: Any) -> bool:
    """A concatenation or split whose parts torch-pruning could not size, as before a flatten: it does not know which channels are whose."""
    return node.type in (tp.ops.OPTYPE.CONCAT, tp.ops.OPTYPE.SPLIT) and getattr(node.module, "offsets", ()) is None


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups > 1 and layer.groups == layer.out_channels


def _output_layers(graph: Any) -> set[nn.Module]:
    """Layers whose channels reach the module's output with no other such layer between."""
    reaches: set[nn.Module] = set()
    for layer, node in graph.module2node.items():
        if not isinstance(layer, LAYERS):
            continue
        waiting, visited = list(node.outputs), set()
        if not waiting:
            reaches.add(layer)
        while waiting:
            following = waiting.pop()
            if following in visited:
                continue
            visited.add(following)
            if isinstance(following.module, LAYERS) and not _is_depthwise(following.module):
                continue
            if not following.outputs:
                reaches.add(layer)
            waiting.extend(following.outputs)
    return reaches
