"""Pruning and closed-form recovery together: group after group from input to output, each chosen on the network that is repaired so far."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from edgecompress.compress.prune.groups import InputShape, LayerChannels, Pruned, TracedModule
from edgecompress.compress.prune.recover import Recovered, recover
from edgecompress.compress.prune.selection import select
from edgecompress.compress.prune.structured import Ratios
from edgecompress.compress.prune.widths import kept_width


def prune_and_recover(
    module: nn.Module, input_shape: InputShape, ratio: Ratios, x: np.ndarray, *, round_to: int = 4, selection: str = "elimination",
    prior: str = "compensate", seed: int = 0,
) -> tuple[Pruned, Recovered]:
    """A smaller copy of `module` with the weights solved for; `module` stays as it is. Labels and training are not needed.

    Widths are those of `prune_channels` with the ranking "local". Group by group, `select` chooses what stays on the calibration samples `x` (float32
    [n, h, w, c], normalised as in training), and all layers learn the answers that `module` gives. The module of `Pruned` is the recovered one.
    Raises as `select` and `recover` do.
    """
    traced = TracedModule(module, input_shape)
    if isinstance(ratio, Mapping):
        traced.check_names(ratio)
    wanted = {name: kept_width(traced.width(name), ratio.get(name, 0.0) if isinstance(ratio, Mapping) else ratio, round_to) for name in traced.groups}
    pruned = Pruned(traced.module.train(module.training), {name: traced.width(name) for name in traced.groups}, {})
    recovered = Recovered(pruned.module, ())
    for name, width in wanted.items():
        if width >= pruned.widths[name]:
            continue
        current = TracedModule(pruned.module, input_shape)
        cut = current.cut(select(current, x, {name: width}, selection=selection, seed=seed))
        pruned = Pruned(cut.module, cut.widths, _composed(pruned.layers, cut.layers))
        recovered = recover(module, pruned, x, prior=prior, seed=seed)
        pruned = Pruned(recovered.module, pruned.widths, pruned.layers)
    return pruned, recovered


def _composed(first: Mapping[str, LayerChannels], second: Mapping[str, LayerChannels]) -> dict[str, LayerChannels]:
    """What two cuts, one after the other, leave of each layer, numbered as before both."""
    composed = {**first, **second}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        composed[name] = LayerChannels(tuple(one.inputs[index] for index in other.inputs), tuple(one.outputs[index] for index in other.outputs))
    return composed
