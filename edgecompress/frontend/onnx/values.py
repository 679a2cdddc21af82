"""What the importer knows about a tensor of the file, and the algebra of its layout: reshapes and transposes that move no byte."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import Shape


@dataclass(frozen=True)
class Atom:
    """`size` steps of `stride` elements in the graph tensor's memory."""

    size: int
    stride: int


Axis = tuple[Atom, ...]  # one axis of the file's tensor, outermost first; an axis of size 1 has no atoms
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Quantization:
    """Scale and zero point (of int8 codes) of a value that the file holds as integers at this place."""

    scale: float
    zero_point: int
    dtype: str = "int8"


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input. `axes` are the file's axes, batch included; each says where its elements stand in `tensor`.

    Every element of the graph's tensor stands at exactly one place. `quantized` is set while the file holds the tensor as integers.
    """

    tensor: str
    axes: Axes
    quantized: Quantization | None = None

    @property
    def shape(self) -> Shape:
        """The file's shape."""
        return tuple(axis_size(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class StoredIntegers:
    """The integers behind a dequantized constant: `values` int16 (zero point taken off), float64 `scales` [1] or one along `axis`."""

    values: np.ndarray
    scales: np.ndarray
    axis: int
    bits: int = 8


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that is known now. `integers` when it came out of a DequantizeLinear."""

    array: np.ndarray
    integers: StoredIntegers | None = None


Operand = Value | Constant


def axis_size(axis: Axis) -> int:
    """Elements along an axis."""
    return math.prod(atom.size for atom in axis)


def merged(atoms: Iterable[Atom]) -> Axis:
    """The same places in as few atoms as possible."""
    result: list[Atom] = []
    for atom in atoms:
        if atom.size == 1:
            continue
        if result and result[-1].stride == atom.stride * atom.size:
            result[-1] = Atom(result[-1].size * atom.size, atom.stride)
        else:
            result.append(atom)
    return tuple(result)


def row_major(shape: Shape, order: Sequence[int] | None = None) -> Axes:
    """Axes of a shape whose memory is row-major over its axes in `order` (default: as they are)."""
    axes: list[Axis] = [()] * len(shape)
    stride = 1
    for axis in reversed(range(len(shape)) if order is None else order):
        if shape[axis] > 1:
            axes[axis] = (Atom(shape[axis], stride),)
        stride *= shape[axis]
    return tuple(axes)


def in_order(axes: Axes, order: Iterable[int]) -> Axis:
    """Atoms of the axes one after the other, joined where they can be."""
    return merged(atom for axis in order for atom in axes[axis])


def is_contiguous(atoms: Axis) -> bool:
    """Whether joined atoms are the memory in its own order."""
    return not atoms or (len(atoms) == 1 and atoms[0].stride == 1)


def split_axes(atoms: Axis, shape: Shape) -> Axes | None:
    """Axes of another shape over the same places in the same order; None if an axis would have to step irregularly."""
    rest = [*reversed(atoms)]
    axes: list[Axis] = []
    for size in shape:
        axis: list[Atom] = []
        while size > 1:
            atom = rest.pop()
            if size % atom.size == 0:
                axis.append(atom)
                size //= atom.size
            elif atom.size % size == 0:
                inner = atom.size // size
                axis.append(Atom(size, atom.stride * inner))
                rest.append(Atom(inner, atom.stride))
                size = 1
            else:
                return None
        axes.append(merged(axis))
    return tuple(axes)


def positions(atoms: Axis) -> np.ndarray:
    """Place in memory of each element along atoms, int64."""
    place = np.zeros(1, np.int64)
    for atom in atoms:
        place = (place[:, None] + np.arange(atom.size, dtype=np.int64) * atom.stride).reshape(-1)
    return place


def broadcast_shapes(*shapes: Shape) -> Shape:
    """numpy's broadcast shape. Raises ModelError if there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ModelError(f"inputs of shapes {', '.join(str(list(shape)) for shape in shapes)} do not go together") from None


def aligned(value: Value, rank: int) -> Value:
    """The same value with axes of size 1 in front, up to `rank`."""
    return Value(value.tensor, ((),) * (rank - len(value.axes)) + value.axes, value.quantized)
