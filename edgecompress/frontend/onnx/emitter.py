"""Turns calls on the file's channels-first tensors into nodes on row-major ones, and moves elements only where no view will do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraphBuilder, Shape, frozen_float
from edgecompress.frontend.onnx.values import Quantization, Value, in_order, is_contiguous, row_major
from edgecompress.ir.graph import MAX_RANK

MAX_ACTIVATION = 2**26  # elements of one tensor: far above any device this tool knows
MAX_GRAPH_NODES = 25_000
CONSTANT_ELEMENTS = 2**24  # made at import beyond what the file itself holds


class Budget:
    """Elements of constants that an import may still make: a small file must not fill the memory, however often it reads one weight."""

    def __init__(self, file_bytes: int) -> None:
        self.left = CONSTANT_ELEMENTS + 4 * file_bytes

    def spend(self, elements: int) -> None:
        """Raises ModelError when nothing is left."""
        self.left -= elements
        if self.left < 0:
            raise ModelError("the model makes more and larger constants than a file of its size has reason to; it is refused as hostile")


class Emitter:
    """Adds nodes for one operator call at a time; `name` is what the next nodes are named after."""

    def __init__(self, builder: FloatGraphBuilder, budget: Budget) -> None:
        self.builder, self.budget = builder, budget
        self.name = ""
        self._arranged: dict[tuple[str, tuple[Any, ...]], str] = {}

    def add(self, kind: str, *inputs: str, suffix: str = "", **attributes: Any) -> str:
        """Appends a node. Raises ModelError if the kind cannot take the inputs, or if its result is absurdly large."""
        if len(self.builder.nodes) >= MAX_GRAPH_NODES:
            raise ModelError(f"is where the graph grows beyond {MAX_GRAPH_NODES} nodes; larger ones are refused")
        output = self.builder.add(kind, self.name + suffix, *inputs, **attributes)
        shape = self.builder.shapes[output]
        if math.prod(shape) > MAX_ACTIVATION:
            raise ModelError(f"makes a tensor of {math.prod(shape)} elements; at most {MAX_ACTIVATION} are supported")
        return output

    def reshaped(self, tensor: str, shape: Shape) -> str:
        """The tensor under another shape."""
        return tensor if self.builder.shapes[tensor] == shape else self.add("reshape", tensor, suffix="_reshape", shape=shape)

    def arranged(self, value: Value, order: Sequence[int], shape: Shape) -> str:
        """Tensor of `shape` whose memory is the value row-major over its axes in `order`; behind a transpose if elements have to move."""
        target = in_order(value.axes, order)
        if is_contiguous(target):
            return self.reshaped(value.tensor, shape)
        key = (value.tensor, target)
        if key not in self._arranged:
            memory = sorted(target, key=lambda atom: -atom.stride)
            if len(memory) > MAX_RANK:
                raise ModelError(f"needs its input in another order of elements, which takes a transpose of {len(memory)} axes; at most {MAX_RANK} "
                                 "are supported")
            view = self.reshaped(value.tensor, tuple(atom.size for atom in memory))
            self._arranged[key] = self.add("transpose", view, suffix="_transpose", permutation=tuple(memory.index(atom) for atom in target))
        return self.reshaped(self._arranged[key], shape)

    def ordered(self, value: Value, order: Sequence[int]) -> Value:
        """The value with its memory row-major over its axes in `order`, in a tensor of any shape."""
        if is_contiguous(in_order(value.axes, order)):
            return Value(value.tensor, row_major(value.shape, order), value.quantized)
        tensor = self.arranged(value, order, tuple(size for axis in order if (size := value.shape[axis]) > 1))
        return Value(tensor, row_major(value.shape, order), value.quantized)

    def natural(self, value: Value) -> Value:
        """The value with its memory in the file's own order."""
        return self.ordered(value, range(len(value.axes)))

    def image(self, value: Value, what: str) -> str:
        """Tensor (height, width, channels) of a value [1, c, h, w] or [1, c, l]. Raises ModelError for other ranks and batches."""
        shape = value.shape
        if len(shape) not in (3, 4):
            raise ModelError(f"{what} needs an input [1, c, h, w] or [1, c, l], got {list(shape)}")
        if shape[0] != 1:
            raise ModelError(f"{what} works on a batch of {shape[0]}; one sample at a time is supported: export the model with a batch of 1, "
                             "or with a free batch axis")
        size = (1, shape[2]) if len(shape) == 3 else shape[2:]
        return self.arranged(value, channels_last(len(shape)), (*size, shape[1]))

    def image_value(self, tensor: str, rank: int) -> Value:
        """The value [1, c, h, w] or [1, c, l] of a tensor (height, width, channels)."""
        height, width, channels = self.builder.shapes[tensor]
        shape = (1, channels, width) if rank == 3 else (1, channels, height, width)
        return Value(tensor, row_major(shape, channels_last(rank)))

    def affine(self, tensor: str, scale: np.ndarray, offset: np.ndarray) -> str:
        """tensor * scale + offset, one pair for each place along the last axes that `scale` covers."""
        shape, channels = self.builder.shapes[tensor], len(scale)
        self.budget.spend(2 * channels)
        if shape[-1] != channels:
            rows = math.prod(shape) // channels
            tensor = self.reshaped(tensor, (channels,) if rows == 1 else (1, rows, channels))
        return self.add("batch_norm", tensor, scale=finite(scale), offset=finite(offset))

    def uniform_affine(self, tensor: str, scale: float, offset: float) -> str:
        """tensor * scale + offset with the same two numbers everywhere."""
        channels = self.builder.shapes[tensor][-1]
        return self.affine(tensor, np.full(channels, scale), np.full(channels, offset))

    def quantized(self, value: Value, quantization: Quantization) -> Value:
        """The value rounded to int8 codes, as the integers that the file holds from here on."""
        tensor = self.add("quantize", value.tensor, scale=quantization.scale, zero_point=quantization.zero_point)
        return Value(tensor, value.axes, quantization)


def channels_last(rank: int) -> tuple[int, ...]:
    """Order of the axes of [n, c, ...] in memory."""
    return (0, *range(2, rank), 1)


def finite(array: np.ndarray) -> np.ndarray:
    """Read-only float32 copy. Raises ModelError for NaN, infinity and values that float32 does not hold."""
    with np.errstate(over="ignore"):
        result = frozen_float(array)
    if not np.isfinite(result).all():
        raise ModelError("has constants that are not finite (NaN or infinity), or too large for float32")
    return result
