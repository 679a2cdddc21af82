"""Structured pruning: a physically smaller copy of a network, one ratio for all channel groups, one a group, or a global ranking."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgecompress.compress.prune.groups import ChannelGroup, InputShape, LayerChannels, Pruned, TracedModule, channel_groups
from edgecompress.compress.prune.importance import IMPORTANCES, NEEDS_GRADIENTS
from edgecompress.compress.prune.widths import global_widths, kept_width
from edgecompress.errors import ConfigError, unknown_name

__all__ = ["RANKINGS", "ChannelGroup", "LabelledBatch", "LayerChannels", "Pruned", "Ratios", "channel_groups", "channel_scores", "most_important", "prune",
           "prune_channels", "prune_to_widths"]

LabelledBatch = tuple[torch.Tensor, torch.Tensor]  # float32 NCHW, int64 class numbers
Ratios = float | Mapping[str, float]  # for all groups, or by group name; a group that a mapping leaves out keeps all channels
RANKINGS = ("local", "global")


def prune(
    module: nn.Module, input_shape: InputShape, ratio: Ratios, *, round_to: int = 4, importance: str = "l1", batch: LabelledBatch | None = None,
    ranking: str = "local", min_width: int | None = None,
) -> nn.Module:
    """The module of `prune_channels`."""
    return prune_channels(module, input_shape, ratio, round_to=round_to, importance=importance, batch=batch, ranking=ranking, min_width=min_width).module


def prune_channels(
    module: nn.Module, input_shape: InputShape, ratio: Ratios, *, round_to: int = 4, importance: str = "l1", batch: LabelledBatch | None = None,
    ranking: str = "local", min_width: int | None = None,
) -> Pruned:
    """A copy of `module` without the least important channels; `module` stays as it is.

    `input_shape` is (height, width, channels) of one sample, the module takes float32 NCHW. With the ranking "local" every group's width becomes
    `kept_width(width, ratio, round_to)`; "global" compares the scores of all groups, each divided by its group's mean, and removes `ratio` of all
    channels, leaving each group at least `min_width` (default: `round_to`). Layers whose channels are the module's outputs keep all of them, as do
    channels that a grouped (but not depthwise) convolution reads or writes. Ties go by channel number. `importance` is a name in IMPORTANCES;
    "taylor" needs `batch`. Raises ConfigError for a wrong argument, ModelError when the module cannot be traced or pruned.
    """
    _check(ratio, round_to, importance, batch, ranking)
    if not isinstance(ratio, Mapping) and ratio == 0:
        return Pruned(copy.deepcopy(module), {}, {})
    traced = TracedModule(module, input_shape)
    if isinstance(ratio, Mapping):
        traced.check_names(ratio)
    chosen = {name: ratio.get(name, 0.0) if isinstance(ratio, Mapping) else ratio for name in traced.groups}
    scores = _scores(traced, importance, batch, [name for name in chosen if chosen[name] > 0])
    if ranking == "global":
        assert not isinstance(ratio, Mapping)
        widths = global_widths(scores, ratio, round_to, min_width or round_to)
    else:
        widths = {name: max(kept_width(traced.width(name), chosen[name], round_to), min(min_width or 1, traced.width(name))) for name in scores}
    return traced.cut({name: most_important(scores[name], width) for name, width in widths.items()})


def prune_to_widths(
    module: nn.Module, input_shape: InputShape, widths: Mapping[str, int], *, importance: str = "l1", batch: LabelledBatch | None = None
) -> Pruned:
    """A copy whose groups have these widths; groups that are not named, or are narrower already, stay. Raises as `prune_channels` does."""
    _check(0.0, 1, importance, batch, "local")
    traced = TracedModule(module, input_shape)
    traced.check_names(widths)
    scores = _scores(traced, importance, batch, [name for name in widths if widths[name] < traced.width(name)])
    return traced.cut({name: most_important(values, widths[name]) for name, values in scores.items()})


def channel_scores(
    module: nn.Module, input_shape: InputShape, importance: str = "l1", batch: LabelledBatch | None = None
) -> dict[str, np.ndarray]:
    """Score of every channel (float64, larger is more important) by group name. Raises as `prune_channels` does."""
    _check(0.0, 1, importance, batch, "local")
    traced = TracedModule(module, input_shape)
    return _scores(traced, importance, batch, list(traced.groups))


def most_important(scores: np.ndarray, width: int) -> list[int]:
    """The `width` channels with the largest scores in channel order; of equals those with the larger number stay."""
    order = np.argsort(scores, kind="stable")
    return sorted(int(channel) for channel in order[len(scores) - width :])


def _check(ratio: Ratios, round_to: int, importance: str, batch: LabelledBatch | None, ranking: str) -> None:
    for one in ratio.values() if isinstance(ratio, Mapping) else (ratio,):
        kept_width(round_to, one, round_to)  # checks both
    if importance not in IMPORTANCES:
        raise unknown_name("importance", importance, IMPORTANCES)
    if importance in NEEDS_GRADIENTS and batch is None:
        raise ConfigError(f"importance '{importance}' is computed from gradients; pass a batch of samples with labels")
    if ranking not in RANKINGS:
        raise unknown_name("ranking", ranking, RANKINGS)
    if ranking == "global" and isinstance(ratio, Mapping):
        raise ConfigError("a global ranking finds the ratio of each group itself; give it one ratio for all, or rank locally")


def _scores(traced: TracedModule, importance: str, batch: LabelledBatch | None, names: list[str]) -> dict[str, np.ndarray]:
    if importance in NEEDS_GRADIENTS:
        assert batch is not None
        _compute_gradients(traced.module, batch)
    score, found = IMPORTANCES[importance](), {}
    for name in names:
        values = score(traced.groups[name])
        if values is None:
            raise ConfigError(f"importance '{importance}' says nothing about the channels of '{name}': no layer of that kind is behind them",
                              "try: --importance l2, which every layer has")
        found[name] = np.nan_to_num(values.detach().double().numpy(), nan=0.0)
    traced.module.zero_grad(set_to_none=True)
    return found


def _compute_gradients(module: nn.Module, batch: LabelledBatch) -> None:
    module.zero_grad(set_to_none=True)
    functional.cross_entropy(module(batch[0]), batch[1]).backward()
