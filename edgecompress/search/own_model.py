"""The user's own model as a search space: what may be pruned, factored and stored in fewer bits, and how a candidate is built with its weights."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from edgecompress.compress.low_rank import can_be_split, rank_for_share, split_layer
from edgecompress.compress.prune.groups import ChannelGroup, Pruned, channel_groups
from edgecompress.compress.prune.structured import prune, prune_channels
from edgecompress.compress.prune.widths import kept_width
from edgecompress.compress.replace import replaced
from edgecompress.compress.separable import can_be_separable, separable
from edgecompress.compress.statistics import Source, match_statistics
from edgecompress.errors import ConfigError, ModelError
from edgecompress.frontend.factory import load_module
from edgecompress.frontend.float_graph import WEIGHTED, FloatGraph
from edgecompress.frontend.torch_import import from_torch
from edgecompress.search.families.blocks import Choices, Family, KeepWidth
from edgecompress.search.inherited import inherited
from edgecompress.search.knob import Choice, Knob

if TYPE_CHECKING:
    import torch

    from edgecompress.search.space import Space

__all__ = ["OwnModel", "inherited", "model_hash", "own_model", "own_model_space"]

FAMILY = "own"
OWN_KNOBS = 12  # of each kind: the largest layers or groups have a knob of their own, the others share one; 39 knobs at most
RATIOS = (0.0, 0.25, 0.5, 0.75)
BITS = (8, 4, 2)
REST_BITS = (8, 4)
RANK_SHARES = {"rank0.5": 0.5, "rank0.25": 0.25}
SEPARABLE_CHANNELS = 8  # a depthwise convolution over fewer input channels saves little and loses much
_PARTS = (".depthwise", ".pointwise", ".reduce", ".expand")

Item = TypeVar("Item", ChannelGroup, str)


@dataclass(frozen=True, eq=False)
class OwnModel:
    """The loaded model and its knobs. `prune_knobs`, `bits_knobs` and `factor_knobs` say which knob rules a channel group or layer; layers that have no
    knob stay whole, and at 8 bits. `hash` changes with the model's structure and weights."""

    spec: str
    module: nn.Module
    input_shape: tuple[int, int, int]
    classes: int
    width_multiple: int
    hash: str
    knobs: tuple[Knob, ...]
    groups: tuple[ChannelGroup, ...]
    layers: tuple[str, ...]
    prune_knobs: Mapping[str, str]
    bits_knobs: Mapping[str, str]
    factor_knobs: Mapping[str, str]
    made: dict[tuple[str, str], nn.Module] = field(default_factory=dict, repr=False)  # factored layers, which take a decomposition each
    regrouped: dict[frozenset[tuple[str, str]], tuple[ChannelGroup, ...]] = field(default_factory=dict, repr=False)  # groups with factored layers

    def space(self) -> Space:
        """The space with the one family "own" and no common knobs."""
        from edgecompress.search.space import Space

        family = Family(self.knobs, self.build, bits=self.bits, inherits=True)
        return Space({FAMILY: family}, common=(), width_multiple=self.width_multiple)

    def build(self, choices: Choices, input_shape: tuple[int, int, int], classes: int, keep: KeepWidth) -> nn.Module:
        """A compressed copy of the user's module with what is left of its weights: first separable and low-rank layers, then pruned channels.

        `keep` is not used: widths come from the knobs. Raises ConfigError for another input shape or number of classes than the model was loaded for.
        """
        if (input_shape, classes) != (self.input_shape, self.classes):
            raise ConfigError(f"the model '{self.spec}' was loaded for inputs of shape {self.input_shape} and {self.classes} classes, not for {input_shape} "
                              f"and {classes}; load it again")
        return self._compressed(choices).module

    def build_settled(self, choices: Choices, x: torch.Tensor) -> nn.Module:
        """As `build`, then corrected on samples (float32 NCHW, some hundred) so that channels have the means and spreads they had in the user's module.

        The same shapes and names as `build` gives, with weights that are a better start for fine-tuning (see compress/statistics.py).
        """
        compressed = self._compressed(choices)
        known, sources = set(self.layers), dict[str, Source]()
        for name, layer in compressed.module.named_modules():
            origin = _origin(name, known)
            inner = origin != name and name.endswith((".depthwise", ".reduce"))
            if origin in known and isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear) and not inner:
                left = compressed.layers.get(name)
                sources[name] = Source(origin, None if left is None else left.outputs)
        return match_statistics(compressed.module, self.module, sources, x)

    def _compressed(self, choices: Choices) -> Pruned:
        wanted = {name: str(choices[knob]) for name, knob in self.factor_knobs.items()}
        factored = {name: choice for name, choice in wanted.items() if self._applies(name, choice)}
        module = replaced(self.module, {name: self._maker(name, choice) for name, choice in factored.items()}).eval()
        ratios = self._ratios(module, factored, choices)
        return prune_channels(module, self.input_shape, ratios, round_to=self.width_multiple) if any(ratios.values()) else Pruned(module, {}, {})

    def bits(self, choices: Choices, module: nn.Module) -> dict[str, int]:
        """Stored weight bits of the layers of a built module by name; both parts of a factored layer have its bits, depthwise ones always 8."""
        known = set(self.layers)
        found: dict[str, int] = {}
        for name, layer in module.named_modules():
            origin = _origin(name, known)
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear) and origin in known:
                knob = self.bits_knobs.get(origin)
                found[name] = 8 if knob is None or getattr(layer, "groups", 1) > 1 else int(choices[knob])
        return found

    def _applies(self, name: str, choice: str) -> bool:
        """Knobs that several layers share offer what one of them can do; the others stay whole."""
        return choice in _factorings(self.module.get_submodule(name), self.width_multiple)[1:]

    def _maker(self, name: str, choice: str) -> Callable[[nn.Module], nn.Module]:
        def make(layer: nn.Module) -> nn.Module:
            if (name, choice) not in self.made:
                rank = rank_for_share(layer, RANK_SHARES[choice], self.width_multiple) if choice in RANK_SHARES else 0
                self.made[name, choice] = split_layer(layer, rank) if rank else separable(layer)
            return copy.deepcopy(self.made[name, choice])

        return make

    def _ratios(self, module: nn.Module, factored: Mapping[str, str], choices: Choices) -> dict[str, float]:
        """Ratio by the group names of a module with factored layers; a group is recognised by the layers that make its channels."""
        wanted = {producer: float(choices[self.prune_knobs[group.name]]) for group in self.groups if group.name in self.prune_knobs
                  for producer in group.producers}
        if not any(wanted.values()):
            return {}
        key = frozenset(factored.items())
        if key not in self.regrouped:
            self.regrouped[key] = channel_groups(module, self.input_shape) if factored else self.groups
        inner = {f"{name}.reduce" for name in factored}  # the channels between two halves are the rank, which is chosen already
        known = set(self.layers)
        return {group.name: next((wanted[origin] for name in group.producers if name not in inner and (origin := _origin(name, known)) in wanted), 0.0)
                for group in self.regrouped[key]}

    def starts(self) -> tuple[dict[str, Choice], ...]:
        """Candidates that a search does well to begin with, as a random one changes everything at once: the model as it is, each pruning ratio for all
        groups, and each of these with all weights at 4 bits and with all layers separable that can be."""
        found: list[dict[str, Choice]] = []
        for factor in ("full", "separable"):
            for bits in (8, 4):
                for ratio in RATIOS:
                    wanted: dict[str, Choice] = {"prune": ratio, "bits": bits, "factor": factor}
                    choices: dict[str, Choice] = {"family": FAMILY}
                    for knob in self.knobs:
                        choice = wanted[knob.name.partition(".")[0]]
                        choices[knob.name] = choice if choice in knob.choices else knob.choices[0]
                    if choices not in found:
                        found.append(choices)
        return tuple(found)


@lru_cache(maxsize=4)
def own_model(spec: str, input_shape: tuple[int, int, int], classes: int, width_multiple: int = 4) -> OwnModel:
    """The user's model and its knobs, loaded once a process (see frontend/factory.py for `spec`); equal arguments give equal knobs everywhere.

    Raises ConfigError and ModelError as `load_module` does, and ModelError for a model that cannot be pruned or offers nothing to choose.
    """
    module = load_module(spec, input_shape, classes)
    graph = from_torch(module, input_shape)
    layers = _layers(module, graph)
    try:
        groups = _prunable(module, input_shape, width_multiple)
    except ModelError as error:
        raise ModelError(f"the model '{spec}' cannot be pruned: {error.message}", *error.details) from error
    prune_knobs, ratios = _prune_knobs(groups, width_multiple)
    bits_knobs, bits = _bits_knobs(module, layers)
    factor_knobs, factorings = _factor_knobs(module, graph, layers, width_multiple)
    knobs = (*ratios, *bits, *factorings)
    if not knobs:
        raise ModelError(f"the model '{spec}' offers nothing to choose: no channels that can be pruned, and no layer behind the first one")
    return OwnModel(spec, module, input_shape, classes, width_multiple, model_hash(module, input_shape), knobs, groups, layers, prune_knobs, bits_knobs,
                    factor_knobs)


def own_model_space(spec: str, input_shape: tuple[int, int, int], classes: int, *, width_multiple: int = 4) -> Space:
    """The space of `own_model`."""
    return own_model(spec, input_shape, classes, width_multiple).space()


def model_hash(module: nn.Module, input_shape: tuple[int, int, int]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of what the module computes and of how its layers are set up: graph, weights, layer types and settings."""
    digest = hashlib.sha256()
    for name, layer in module.named_modules():
        text = re.sub(r"0x[0-9a-f]+", "", layer.extra_repr())  # addresses of functions differ in every process
        digest.update(f"{name}|{type(layer).__name__}|{text}\n".encode())
    for name, tensor in module.state_dict().items():
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}|{array.dtype}|{array.shape}\n".encode() + array.tobytes())
    graph = from_torch(module, input_shape)
    for node in graph.nodes:
        settings = {key: value for key, value in sorted(node.attributes.items()) if not hasattr(value, "dtype")}
        digest.update(f"{node.name}|{node.kind}|{node.inputs}|{settings}\n".encode())
    return digest.hexdigest()[:16]


# ---- what there is to choose


def _layers(module: nn.Module, graph: FloatGraph) -> tuple[str, ...]:
    """Names of the modules with weights that the graph calls, in order of their first call."""
    names = (node.name.split(":")[0] for node in graph.nodes if node.kind in WEIGHTED)
    modules = dict(module.named_modules())
    return tuple(dict.fromkeys(name for name in names if isinstance(modules.get(name), nn.Conv1d | nn.Conv2d | nn.Linear)))


def _prunable(module: nn.Module, input_shape: tuple[int, int, int], multiple: int) -> tuple[ChannelGroup, ...]:
    """Groups that still run when they are pruned; what torch-pruning misjudges has no knob."""
    groups = tuple(group for group in channel_groups(module, input_shape) if kept_width(group.channels, RATIOS[-1], multiple) < group.channels)

    def works(names: Iterable[str]) -> bool:
        try:
            from_torch(prune(module, input_shape, dict.fromkeys(names, RATIOS[-1]), round_to=multiple), input_shape)
        except ModelError:
            return False
        return True

    if works(group.name for group in groups):
        return groups
    return tuple(group for group in groups if works([group.name]))


def _largest(items: Sequence[Item], sizes: Sequence[int]) -> tuple[list[Item], list[Item]]:
    """(those with a knob of their own, those that share one), both in their order; of equals the first ones are larger."""
    if len(items) <= OWN_KNOBS + 1:  # a shared knob for one would be the same number of knobs
        return list(items), []
    order = sorted(range(len(items)), key=lambda index: (-sizes[index], index))
    own = set(order[:OWN_KNOBS])
    return [item for index, item in enumerate(items) if index in own], [item for index, item in enumerate(items) if index not in own]


def _prune_knobs(groups: Sequence[ChannelGroup], multiple: int) -> tuple[dict[str, str], list[Knob]]:
    own, rest = _largest(groups, [group.macs for group in groups])
    knobs = [Knob(f"prune.{group.name}", _ratios_of(group.channels, multiple), f"share of the {group.channels} channels of {_listed(group.producers)} "
                  "that goes") for group in own]
    table = {group.name: f"prune.{group.name}" for group in own} | {group.name: "prune.*" for group in rest}
    if rest:
        knobs.append(Knob("prune.*", RATIOS, f"share of the channels of each of the {len(rest)} smaller groups that goes"))
    return table, knobs


def _ratios_of(channels: int, multiple: int) -> tuple[Choice, ...]:
    """Ratios that lead to different widths."""
    by_width: dict[int, float] = {}
    for ratio in RATIOS:
        by_width.setdefault(kept_width(channels, ratio, multiple), ratio)
    return tuple(by_width.values())


def _bits_knobs(module: nn.Module, layers: Sequence[str]) -> tuple[dict[str, str], list[Knob]]:
    """All but the first layer and depthwise convolutions, which hold few weights and lose much."""
    eligible = [name for name in layers[1:] if getattr(module.get_submodule(name), "groups", 1) == 1]
    own, rest = _largest(eligible, [_weights(module, name) for name in eligible])
    knobs = [Knob(f"bits.{name}", BITS, f"stored bits of the {_weights(module, name)} weights of {name}, 2 for ternary") for name in own]
    if rest:
        knobs.append(Knob("bits.*", REST_BITS, f"stored weight bits of each of the {len(rest)} smaller layers"))
    return {name: f"bits.{name}" for name in own} | dict.fromkeys(rest, "bits.*"), knobs


def _weights(module: nn.Module, name: str) -> int:
    weight: Any = module.get_submodule(name).weight
    return int(weight.numel())


def _factor_knobs(module: nn.Module, graph: FloatGraph, layers: Sequence[str], multiple: int) -> tuple[dict[str, str], list[Knob]]:
    """Layers that a factoring makes cheaper, but those that read the samples: what they lose, no later layer brings back."""
    first = _readers_of_input(graph)
    macs = _macs(graph)
    eligible = [name for name in layers if name not in first and len(_factorings(module.get_submodule(name), multiple)) > 1]
    own, rest = _largest(eligible, [macs[name] for name in eligible])
    options = {name: _factorings(module.get_submodule(name), multiple) for name in eligible}
    knobs = [Knob(f"factor.{name}", options[name], f"what becomes of {name}: itself, depthwise-separable, or two layers with that share of its work")
             for name in own]
    if rest:
        shared = tuple(choice for choice in ("full", "separable", *RANK_SHARES) if any(choice in options[name] for name in rest))
        knobs.append(Knob("factor.*", shared, f"the same for each of the {len(rest)} smaller layers that can"))
    return {name: f"factor.{name}" for name in own} | dict.fromkeys(rest, "factor.*"), knobs


def _factorings(layer: nn.Module, multiple: int) -> tuple[str, ...]:
    """Choices for one layer, "full" first."""
    choices = ["full"]
    if can_be_separable(layer) and int(getattr(layer, "in_channels", 0)) >= SEPARABLE_CHANNELS:
        choices.append("separable")
    if can_be_split(layer):
        choices += [name for name, share in RANK_SHARES.items() if rank_for_share(layer, share, multiple) > 0]
    return tuple(choices)


def _readers_of_input(graph: FloatGraph) -> set[str]:
    """Layers that no other layer stands before."""
    raw, readers = {graph.input}, set()
    for node in graph.nodes:
        if raw.isdisjoint(node.inputs):
            continue
        if node.kind in WEIGHTED:
            readers.add(node.name.split(":")[0])
        else:
            raw.add(node.output)
    return readers


def _macs(graph: FloatGraph) -> dict[str, int]:
    """Multiply-accumulates of every layer, all its calls together."""
    found: dict[str, int] = {}
    for node in graph.weighted:
        weights, shape = node.attributes["weights"], graph.shapes[node.output]
        positions = shape[0] * shape[1] if len(shape) == 3 else 1
        name = node.name.split(":")[0]
        found[name] = found.get(name, 0) + positions * int(weights.size)
    return found


def _origin(name: str, known: set[str]) -> str:
    """The layer of the user's module that a layer, or part of a factored one, comes from."""
    part = next((part for part in _PARTS if name.endswith(part)), "")
    return name.removesuffix(part) if part and name not in known and name.removesuffix(part) in known else name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
