"""One operator call during the import: what its inputs are, and checks that end in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.onnx.emitter import Emitter
from edgecompress.frontend.onnx.model import OnnxNode
from edgecompress.frontend.onnx.values import Constant, Operand, Value


@dataclass(frozen=True, eq=False)
class Call:
    """A node with its inputs resolved; an input that is left out is None."""

    node: OnnxNode
    inputs: Sequence[Operand | None]
    emitter: Emitter

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def operand(self, index: int) -> Operand:
        """Input `index`. Raises ModelError if it is missing."""
        operand = self.inputs[index] if index < len(self.inputs) else None
        if operand is None:
            raise ModelError(f"has no input {index + 1}")
        return operand

    def value(self, index: int, integers: bool = False) -> Value:
        """Input `index` as a tensor that is computed. Raises ModelError if it is constant, or if the file holds integers there and `integers` is
        False: then the operator would compute with codes, not with what they stand for."""
        operand = self.operand(index)
        if isinstance(operand, Constant):
            raise ModelError(f"has a constant as input {index + 1}, which is not supported; the constant must be the other operand")
        if operand.quantized is not None and not integers:
            raise ModelError(f"reads integer codes at input {index + 1}, which is not supported; put a DequantizeLinear before it")
        return operand

    def values(self, integers: bool = False) -> list[Value]:
        """All inputs as tensors that are computed."""
        return [self.value(index, integers) for index in range(len(self.inputs))]

    def constant(self, index: int, what: str) -> Constant:
        """Input `index` as a constant. Raises ModelError if it depends on the model's input."""
        operand = self.operand(index)
        if isinstance(operand, Value):
            raise ModelError(f"has {what} that are computed from the model's input; only constants are supported")
        return operand

    def array(self, index: int, what: str) -> np.ndarray:
        """Values of a constant input."""
        return self.constant(index, what).array

    def numbers(self, index: int, what: str) -> tuple[int, ...]:
        """A constant input as a list of integers."""
        array = self.array(index, what)
        if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
            raise ModelError(f"has {what} that are not a short list of integers")
        return tuple(int(v) for v in array.reshape(-1))

    def scalar(self, index: int, what: str) -> float:
        """A constant input with one element."""
        array = self.array(index, what)
        if array.size != 1 or array.dtype.kind not in "fiu":
            raise ModelError(f"has {what} of shape {list(array.shape)}; one number is supported")
        return float(array.reshape(-1)[0])


Handler = Callable[[Call], Operand | tuple[Operand, ...]]


def axis_of(axis: int, rank: int) -> int:
    """A non-negative axis. Raises ModelError if it is outside."""
    if not -rank <= axis < rank:
        raise ModelError(f"names axis {axis} of a tensor with {rank} axes")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Sorted non-negative axes. Raises ModelError for one outside or named twice."""
    result = tuple(sorted(axis_of(axis, rank) for axis in axes))
    if len(set(result)) != len(result):
        raise ModelError(f"names an axis twice in {list(axes)}")
    return result
