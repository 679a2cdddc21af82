"""What the torch importer knows about a traced tensor, and the emitter that turns torch's channels-first view into NHWC nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraphBuilder, Shape
from edgecompress.ir.graph import MAX_RANK


class BatchSize(int):
    """The size of the batch axis while tracing; only passing it on as the first size of a view is meaningful."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph as the torch code sees it.

    `shape` is torch's, without the batch axis: (c, h, w), (c, l), (features,) or anything a view made. `index` says which element of the
    graph's row-major tensor stands at each place of `shape`; None means the canonical order of `canonical_shape`.
    """

    tensor: str
    shape: Shape
    index: np.ndarray | None = None

    @property
    def canonical_shape(self) -> Shape:
        """Shape of the graph tensor in canonical order: (h, w, c), (1, l, c) or (features,)."""
        if len(self.shape) == 3:
            return self.shape[1], self.shape[2], self.shape[0]
        return (1, self.shape[1], self.shape[0]) if len(self.shape) == 2 else self.shape

    def indices(self) -> np.ndarray:
        """`index`, made if it is the canonical order."""
        if self.index is not None:
            return self.index
        flat = np.arange(math.prod(self.shape))
        if len(self.shape) == 1:
            return flat
        return np.moveaxis(flat.reshape(*self.shape[1:], self.shape[0]), -1, 0)

    def is_canonical(self) -> bool:
        """Whether the graph's tensor only needs a reshape to be in canonical order."""
        if self.index is None:
            return True
        if len(self.shape) not in (1, 2, 3):
            return False
        return self.is_ordered((*range(1, len(self.shape)), 0))

    def steps_by_one(self, axis: int) -> bool:
        """Whether neighbours along an axis are neighbours in the graph's tensor."""
        return self.shape[axis] > 1 and bool((np.diff(self.indices(), axis=axis) == 1).all())

    def is_ordered(self, order: Sequence[int]) -> bool:
        """Whether the graph's tensor is this one row-major over its axes in `order`."""
        return bool((np.diff(self.indices().transpose(list(order)).reshape(-1)) == 1).all())


class Emitter:
    """Adds nodes for one torch operation at a time; `name` is the origin that the next nodes are named after."""

    def __init__(self, builder: FloatGraphBuilder) -> None:
        self.builder = builder
        self.name = ""
        self._arranged: dict[tuple[str, bytes], str] = {}

    def add(self, kind: str, *inputs: str, suffix: str = "", **attributes: Any) -> str:
        """Appends a node named after the torch operation."""
        return self.builder.add(kind, self.name + suffix, *inputs, **attributes)

    def canonical(self, value: Value) -> str:
        """Tensor in canonical order: behind a reshape if need be, and behind a transpose if elements have to move in memory."""
        if value.is_canonical():
            return self.reshaped(value.tensor, value.canonical_shape)
        rank = len(value.shape)
        return self.reshaped(self.arranged(value, (*range(1, rank), 0) if rank in (2, 3) else range(rank)), value.canonical_shape)

    def arranged(self, value: Value, order: Sequence[int]) -> str:
        """Tensor whose memory is the value row-major over its axes in `order`, of those sizes; behind a transpose if elements have to move."""
        shape = tuple(value.shape[axis] for axis in order)
        if value.is_ordered(order):
            return self.reshaped(value.tensor, shape)
        target = value.indices().transpose(list(order)).reshape(-1)
        key = (value.tensor, target.tobytes())
        if key not in self._arranged:
            atoms = _strides(target)
            memory = sorted(atoms, key=lambda atom: -atom[1])
            if len(memory) > MAX_RANK:
                raise ModelError(f"needs its input in another order of elements, which takes a transpose of {len(memory)} axes; at most {MAX_RANK} "
                                 "are supported")
            view = self.reshaped(value.tensor, tuple(size for size, _ in memory))
            self._arranged[key] = self.add("transpose", view, suffix="_transpose", permutation=tuple(memory.index(atom) for atom in atoms))
        return self.reshaped(self._arranged[key], shape)

    def image(self, value: Value, what: str) -> str:
        """As canonical, for torch tensors [n, c, h, w] or [n, c, l]."""
        if len(value.shape) not in (2, 3):
            raise ModelError(f"{what} needs an input [n, c, h, w] or [n, c, l], got [n, {', '.join(map(str, value.shape))}]")
        return self.canonical(value)

    def flat(self, value: Value, what: str) -> tuple[str, np.ndarray | None]:
        """(tensor of shape (features,), place in it of each torch feature or None for the same order) of a torch tensor [n, features]."""
        if len(value.shape) != 1:
            raise ModelError(f"{what} needs an input [n, features], got [n, {', '.join(map(str, value.shape))}]; flatten it first")
        return self.reshaped(value.tensor, value.shape), None if value.is_canonical() else value.index

    def reshaped(self, tensor: str, shape: Shape) -> str:
        """The tensor under another shape."""
        if self.builder.shapes[tensor] == shape:
            return tensor
        return self.add("reshape", tensor, suffix="_reshape", shape=shape)


def ordered(tensor: str, shape: Shape, order: Sequence[int]) -> Value:
    """Value of a torch shape whose tensor is row-major over its axes in `order`."""
    index = np.arange(math.prod(shape)).reshape([shape[axis] for axis in order])
    return Value(tensor, shape, index.transpose(np.argsort(np.asarray(order, dtype=np.int64))))


def _strides(places: np.ndarray) -> list[tuple[int, int]]:
    """(size, stride) of nested loops, outermost first, that visit memory at `places`: what reshapes and transposes of a tensor make."""
    atoms: list[tuple[int, int]] = []
    count = 1
    while count < len(places):
        steps = places[::count]
        matches = steps == steps[1] * np.arange(len(steps))
        size = len(steps) if matches.all() else int(matches.argmin())
        if len(places) % (count * size):
            break
        atoms.insert(0, (size, int(steps[1])))
        count *= size
    visited = np.zeros(1, np.int64)
    for size, stride in atoms:
        visited = (visited[:, None] + stride * np.arange(size)).reshape(-1)
    if not np.array_equal(visited, places):
        raise ModelError("reads a tensor whose elements are in an order that no transposition gives: it was permuted, viewed across the moved axes "
                         "and permuted again; work on it between the two, or view it by whole axes")
    return atoms


def viewed(value: Value, shape: Shape, index: np.ndarray) -> Value:
    """Value of the same tensor with another torch shape."""
    return Value(value.tensor, shape, index.reshape(shape))
