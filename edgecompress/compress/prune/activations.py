"""What layers see and answer: inputs as rows of a matrix (im2col), outputs, and the order in which layers run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgecompress.compress.batches import to_tensor

BATCH = 64
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class _ReachedError(Exception):
    """Ends a forward pass at the layer whose input was wanted."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Layers that run exactly once a pass, in order, and the batch normalisation that reads each one's output directly, if one does."""

    order: tuple[str, ...]
    norms: Mapping[str, str]


def layout(module: nn.Module, x: np.ndarray) -> Layout:
    """From one sample of float32 [n, h, w, c]."""
    calls: list[tuple[str, Any, Any]] = []
    names = {name: part for name, part in module.named_modules() if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Linear, *BATCH_NORMS))}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _, inputs, output: calls.append((name, inputs[0], output))

    with _hooks(part.register_forward_hook(note(name)) for name, part in names.items()), torch.no_grad(), _evaluation(module):
        module(to_tensor(x[:1]))
    counts = {name: sum(called == name for called, _, _ in calls) for name in names}
    order = tuple(name for name, _, _ in calls if counts[name] == 1 and not isinstance(names[name], BATCH_NORMS))
    norms = {}
    for name, _, output in calls:
        readers = [other for other, given, _ in calls if given is output and isinstance(names[other], BATCH_NORMS)]
        if len(readers) == 1 and counts[readers[0]] == 1 and name in order:
            norms[name] = readers[0]
    return Layout(order, norms)


def input_rows(module: nn.Module, name: str, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rows that the layer multiplies its weights with, float32 [n, positions a sample, weights of an output]; `positions` [n, k] of its outputs."""
    layer = module.get_submodule(name)
    rows: list[np.ndarray] = []

    def take(part: nn.Module, inputs: Any) -> None:
        rows.append(_chosen(_patches(part, inputs[0]), positions, sum(map(len, rows))))
        raise _ReachedError

    with _hooks([layer.register_forward_pre_hook(take)]), torch.no_grad(), _evaluation(module):
        for batch in batches(x):
            try:
                module(batch)
            except _ReachedError:
                continue
    return np.concatenate(rows)


def output_rows(module: nn.Module, names: Iterable[str], x: np.ndarray, positions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the layers answer at these positions, float32 [n, positions a sample, outputs], all in one pass over x."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def take(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda layer, _, output: rows[name].append(_chosen(_answers(layer, output), positions[name], sum(map(len, rows[name]))))

    with _hooks(module.get_submodule(name).register_forward_hook(take(name)) for name in rows), torch.no_grad(), _evaluation(module):
        for batch in batches(x):
            module(batch)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def output_positions(module: nn.Module, names: Iterable[str], x: np.ndarray) -> dict[str, int]:
    """How many outputs a channel each layer computes for one sample."""
    found: dict[str, int] = {}

    def count(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda layer, _, output: found.__setitem__(name, _answers(layer, output).shape[1])

    with _hooks(module.get_submodule(name).register_forward_hook(count(name)) for name in names), torch.no_grad(), _evaluation(module):
        module(to_tensor(x[:1]))
    return found


def choose_positions(count: int, samples: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """int64 [samples, k] sorted different positions below `count` a sample, together about `rows`, at least one a sample."""
    each = min(count, max(1, -(-rows // samples)))
    if each == count:
        return np.tile(np.arange(count), (samples, 1))
    return np.sort(np.argpartition(rng.random((samples, count)), each, axis=1)[:, :each], axis=1)


def batches(x: np.ndarray) -> Iterator[torch.Tensor]:
    """NCHW tensors of float32 [n, h, w, c]."""
    for start in range(0, len(x), BATCH):
        yield to_tensor(x[start : start + BATCH])


def _patches(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """[n, positions, weights of an output] such that patches times flattened weights are the layer's outputs without bias."""
    if isinstance(layer, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1])
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    padding = layer._reversed_padding_repeated_twice  # also what padding="same" became
    padded = functional.pad(x, padding, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    one = (1,) if isinstance(layer, nn.Conv1d) else ()
    padded = padded.unsqueeze(2) if one else padded
    columns = functional.unfold(padded, (*one, *layer.kernel_size), dilation=(*one, *layer.dilation), stride=(*one, *layer.stride))
    return columns.transpose(1, 2)


def _answers(layer: nn.Module, y: torch.Tensor) -> torch.Tensor:
    return y.reshape(len(y), -1, y.shape[-1]) if isinstance(layer, nn.Linear) else y.flatten(2).transpose(1, 2)


def _chosen(rows: torch.Tensor, positions: np.ndarray, start: int) -> np.ndarray:
    places = torch.from_numpy(positions[start : start + len(rows)])
    taken: np.ndarray = torch.gather(rows, 1, places.unsqueeze(2).expand(-1, -1, rows.shape[2])).numpy()
    return taken


@contextmanager
def _hooks(handles: Iterable[Any]) -> Iterator[None]:
    registered = list(handles)
    try:
        yield
    finally:
        for handle in registered:
            handle.remove()


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    from edgecompress.frontend.torch_import import eval_mode

    with eval_mode(module):
        yield
