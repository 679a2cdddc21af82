"""Which channels a closed-form recovery can do without: chosen from what the layers that read them see on calibration samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from edgecompress.compress.prune import activations
from edgecompress.compress.prune.groups import TracedModule
from edgecompress.compress.prune.structured import most_important
from edgecompress.errors import unknown_name

SELECTIONS = ("elimination", "activation")
ROWS = 8_192  # positions a reader is judged on, about
MOST_COLUMNS = 2_304  # of a reader: elimination inverts a matrix of this size, and more would take minutes
DAMPING = 1e-3  # of the inverse, relative to the mean square of the inputs


@dataclass(frozen=True, eq=False)
class _Reader:
    """A layer that reads a group. `columns` [channels, k] are the rows of `weights` [inputs, outputs] that each channel is multiplied with;
    `inputs` [rows, inputs] is what the layer sees."""

    columns: np.ndarray
    weights: np.ndarray
    inputs: np.ndarray


def select(
    traced: TracedModule, x: np.ndarray, widths: Mapping[str, int], *, selection: str = "elimination", seed: int = 0
) -> dict[str, list[int]]:
    """The channels to keep of each group in `widths`; `x` float32 [n, h, w, c] are the samples that matter.

    "activation": largest mean |input| times norm of the weights that read it, summed over the readers. "elimination": one after the other goes the
    channel whose loss costs the readers' answers the least squared error when their other weights make up for it as well as they can (optimal brain
    surgeon on blocks of weights); groups with a reader of more than MOST_COLUMNS inputs, or with none, are judged by "activation".
    Raises ConfigError for an unknown selection or group.
    """
    if selection not in SELECTIONS:
        raise unknown_name("selection", selection, SELECTIONS)
    traced.check_names(widths)
    runs = set(activations.layout(traced.module, x).order)
    kept = {}
    for name, width in widths.items():
        if width >= traced.width(name):
            continue
        readers = [_reader(traced, layer, columns, x, seed) for layer, columns in _readers(traced, name).items() if layer in runs]
        if selection == "activation" or not readers or max(reader.weights.shape[0] for reader in readers) > MOST_COLUMNS:
            kept[name] = most_important(_activation_scores(readers, traced.width(name)), width)
        else:
            kept[name] = _eliminate(readers, traced.width(name), width)
    return kept


def _readers(traced: TracedModule, name: str) -> dict[str, np.ndarray]:
    """Consumers of a group with, for each channel, the rows of their flattened weights that read it."""
    found = {}
    group, width = traced.groups[name], traced.width(name)
    for item in group:
        layer = item.dep.target.module
        weighted = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == 1)
        if layer not in traced.names or not weighted or traced.graph.is_out_channel_pruning_fn(item.dep.handler) or None in item.root_idxs:
            continue
        taps = layer.weight[0, 0].numel() if isinstance(layer, nn.Conv1d | nn.Conv2d) else 1
        columns = [[index * taps + tap for index, root in zip(item.idxs, item.root_idxs, strict=True) if root == channel for tap in range(taps)]
                   for channel in range(width)]
        if len({len(part) for part in columns}) == 1 and columns[0]:
            found[traced.names[layer]] = np.array(columns)
    return found


def _reader(traced: TracedModule, name: str, columns: np.ndarray, x: np.ndarray, seed: int) -> _Reader:
    count = activations.output_positions(traced.module, [name], x)[name]
    positions = activations.choose_positions(count, len(x), ROWS, np.random.default_rng(seed))
    rows = activations.input_rows(traced.module, name, x, positions).astype(np.float64)
    weight = traced.module.get_submodule(name).weight
    weights = weight.detach().double().flatten(1).numpy().T  # type: ignore[operator]
    return _Reader(columns, weights, rows.reshape(-1, rows.shape[2]))


def _activation_scores(readers: list[_Reader], channels: int) -> np.ndarray:
    total = np.zeros(channels)
    for reader in readers:
        size = np.abs(reader.inputs).mean(axis=0) * np.linalg.norm(reader.weights, axis=1)
        total += size[reader.columns].sum(axis=1)
    return total


def _eliminate(readers: list[_Reader], channels: int, width: int) -> list[int]:
    states = [_Elimination(reader) for reader in readers]
    left = np.arange(channels)
    while len(left) > width:
        cost = sum((state.costs(left) for state in states), np.zeros(len(left)))
        going = np.argsort(cost, kind="stable")[: min(max(1, len(left) // 64), len(left) - width)]
        for state in states:
            for channel in left[going]:
                state.remove(int(channel))
        left = np.delete(left, going)
    return [int(channel) for channel in left]


class _Elimination:
    """One reader's weights and inverse second moments while channels go. Errors are relative to the energy of the reader's answers."""

    def __init__(self, reader: _Reader) -> None:
        x = reader.inputs - reader.inputs.mean(axis=0)  # the intercept makes up for the means
        moments = x.T @ x / len(x)
        unit = max(float(np.trace(moments)) / len(moments), 1e-30)
        self.columns, self.weights = reader.columns, reader.weights.copy()
        self.inverse = np.linalg.inv(moments + DAMPING * unit * np.eye(len(moments)))
        self.energy = max(float(np.sum(self.weights * (moments @ self.weights))), 1e-30)

    def costs(self, left: np.ndarray) -> np.ndarray:
        """Squared error of the answers that losing each of these channels adds."""
        columns = self.columns[left]
        blocks = self.inverse[columns[:, :, None], columns[:, None, :]]
        weights = self.weights[columns]
        costs: np.ndarray = np.einsum("cko,cko->c", weights, np.linalg.solve(blocks, weights)) / self.energy
        return costs

    def remove(self, channel: int) -> None:
        columns = self.columns[channel]
        factor = np.linalg.solve(self.inverse[np.ix_(columns, columns)], np.concatenate([self.weights[columns], self.inverse[columns]], axis=1))
        across = self.inverse[:, columns]
        outputs = self.weights.shape[1]
        self.weights = self.weights - across @ factor[:, :outputs]
        self.inverse = self.inverse - across @ factor[:, outputs:]
