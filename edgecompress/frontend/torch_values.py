"""What the torch importer knows about a traced tensor, and the emitter that turns torch's channels-first view into NHWC nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraphBuilder, Shape


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
        canonical = np.moveaxis(self.index, 0, -1) if self.index.ndim > 1 else self.index
        return bool((np.diff(canonical.reshape(-1)) == 1).all())


class Emitter:
    """Adds nodes for one torch operation at a time; `name` is the origin that the next nodes are named after."""

    def __init__(self, builder: FloatGraphBuilder) -> None:
        self.builder = builder
        self.name = ""

    def add(self, kind: str, *inputs: str, suffix: str = "", **attributes: Any) -> str:
        """Appends a node named after the torch operation."""
        return self.builder.add(kind, self.name + suffix, *inputs, **attributes)

    def canonical(self, value: Value) -> str:
        """Tensor in canonical order, behind a reshape if need be. Raises ModelError if elements would have to move."""
        if not value.is_canonical():
            raise ModelError(f"reads a tensor of shape [n, {', '.join(map(str, value.shape))}] whose elements would have to move in memory; "
                             "views, permutes and flattens must keep channels together, only a Linear may follow a flatten of an image")
        return self._reshaped(value.tensor, value.canonical_shape)

    def image(self, value: Value, what: str) -> str:
        """As canonical, for torch tensors [n, c, h, w] or [n, c, l]."""
        if len(value.shape) not in (2, 3):
            raise ModelError(f"{what} needs an input [n, c, h, w] or [n, c, l], got [n, {', '.join(map(str, value.shape))}]")
        return self.canonical(value)

    def flat(self, value: Value, what: str) -> tuple[str, np.ndarray | None]:
        """(tensor of shape (features,), place in it of each torch feature or None for the same order) of a torch tensor [n, features]."""
        if len(value.shape) != 1:
            raise ModelError(f"{what} needs an input [n, features], got [n, {', '.join(map(str, value.shape))}]; flatten it first")
        return self._reshaped(value.tensor, value.shape), None if value.is_canonical() else value.index

    def _reshaped(self, tensor: str, shape: Shape) -> str:
        if self.builder.shapes[tensor] == shape:
            return tensor
        return self.add("reshape", tensor, suffix="_reshape", shape=shape)


def viewed(value: Value, shape: Shape, index: np.ndarray) -> Value:
    """Value of the same tensor with another torch shape."""
    return Value(value.tensor, shape, index.reshape(shape))
