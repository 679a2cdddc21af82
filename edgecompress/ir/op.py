"""Base of all ops. One op is one file in `ops/`: attributes, shape rule, integer reference, costs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Hashable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.requant import Requant

Shape = tuple[int, ...]
INT32_LIMIT = 2**31


def to_integer(value: Any) -> int:
    """A Python int below 2^31 in magnitude from any integer that is not a bool; raises ModelError."""
    if not isinstance(value, (bool, np.bool_)):
        try:
            number = operator.index(value)
        except TypeError:
            pass
        else:
            if -INT32_LIMIT <= number < INT32_LIMIT:
                return number
    raise ModelError(f"expected an integer that fits 32 bits, got {str(value)[:40]!r}")


def to_integers(values: Any, count: int | None = None) -> tuple[int, ...]:
    """A tuple of `count` (None: any number of) integers from a tuple or list; raises ModelError."""
    if not isinstance(values, (tuple, list)) or (count is not None and len(values) != count):
        raise ModelError(f"expected {'a list of' if count is None else count} integers, got {str(values)[:40]!r}")
    return tuple(to_integer(value) for value in values)


def to_text(value: Any) -> str:
    """The text itself; raises ModelError for anything else."""
    if not isinstance(value, str):
        raise ModelError(f"expected a text, got {str(value)[:40]!r}")
    return value


def _to_requant(value: Any) -> Requant:
    if not isinstance(value, Requant):
        raise ModelError(f"expected a rescaling, got {str(value)[:40]!r}")
    return value


def _to_array(value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        array = np.array(None)
    if array.ndim == 0:
        raise ModelError(f"expected an array, got {str(value)[:40]!r}")
    return array


# what a field's annotation demands; attributes come from files, so a wrong type must end here and not in a kernel
FIELD_TYPES: dict[str, Callable[[Any], Any]] = {
    "int": to_integer,
    "str": to_text,
    "Pair": lambda value: to_integers(value, 2),
    "Padding": lambda value: to_integers(value, 4),
    "tuple[int, ...]": to_integers,
    "Requant": _to_requant,
    "np.ndarray": _to_array,
}


@dataclass(frozen=True, eq=False)
class Op:
    """An integer operation. Fields are of the types in FIELD_TYPES and all serialise by themselves.

    Shapes carry no batch axis; `reference` takes and returns int8 arrays [batch, *shape]. Of an op with a state the batch is
    time: samples are consecutive steps, the first one from `initial_state`.
    """

    kind: ClassVar[str]
    arity: ClassVar[int | None] = 1  # None: any number of inputs, at least one
    dtypes: ClassVar[tuple[str, ...]] = ("int8",)  # of tensors that it takes; the output is of the inputs' type

    def __post_init__(self) -> None:
        """Brings every field to its annotated type (numpy integers to int, lists to tuples); raises ModelError naming the field."""
        for field in fields(self):
            try:
                object.__setattr__(self, field.name, FIELD_TYPES[str(field.type)](getattr(self, field.name)))
            except ModelError as error:
                raise ModelError(f"{field.name}: {error.message}") from None

    def infer_shape(self, *shapes: Shape) -> Shape:
        """Output shape; raises ModelError when the inputs do not fit."""
        raise NotImplementedError(self.kind)  # abstract: every op in OPS overrides it, a test checks that

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        """int8 [batch, *shape] in and out: the definition."""
        raise NotImplementedError(self.kind)  # abstract, as above

    def macs(self, *shapes: Shape) -> int:
        """Multiply-accumulates of one inference; 0 for ops that only move or compare."""
        return 0

    @property
    def parameters(self) -> int:
        """Trained numbers: weights and biases."""
        return 0

    @property
    def constant_bytes(self) -> int:
        """Bytes of constants a device stores for this op."""
        return 0

    @property
    def state_bytes(self) -> int:
        """Bytes that the op keeps from one inference to the next; 0 for nearly all."""
        return 0

    def initial_state(self) -> np.ndarray:
        """The state before the first inference as a little-endian device holds it, int8 [state_bytes]."""
        return np.zeros(self.state_bytes, dtype=np.int8)

    def check_arity(self, shapes: tuple[Shape, ...]) -> None:
        """Raises ModelError if the number of inputs is wrong."""
        if self.arity is not None and len(shapes) != self.arity:
            raise ModelError(f"takes {self.arity} inputs, got {len(shapes)}")
        if not shapes:
            raise ModelError("takes at least one input, got none")

    def contents(self, without: Container[str] = ()) -> Hashable:
        """Kind and fields to the last bit, to look ops up by: 0.0 and -0.0 differ. `without` are names of fields to leave out."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self) if field.name not in without)
        return self.kind, *((name, value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else (name, repr(value))
                            for name, value in values)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) if isinstance(getattr(self, f.name), np.ndarray)
                   else getattr(self, f.name) == getattr(other, f.name) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]  # arrays are not hashable


def frozen_array(values: np.ndarray, dtype: type) -> np.ndarray:
    """A read-only copy, checked to hold the values without loss."""
    try:
        given = np.asarray(values)
        with np.errstate(invalid="ignore"):  # NaN and infinity become some integer here and fail the comparison below
            array: np.ndarray = np.array(given, dtype=dtype, order="C")
            fits = np.array_equal(array, given)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise ModelError(f"values do not fit {np.dtype(dtype).name}")
    array.setflags(write=False)
    return array


def clamp_int8(x: np.ndarray, low: int, high: int) -> np.ndarray:
    """Clamp to the activation's range and narrow."""
    clamped: np.ndarray = np.clip(x, low, high).astype(np.int8)
    return clamped


def rescale_to_int8(x: np.ndarray, requant: Requant, zero_point: int, low: int = -128, high: int = 127) -> np.ndarray:
    """int32-ranged accumulators [..., channels] to int8: rescaled, moved to the zero point, clamped."""
    scaled = requant.apply(x)
    scaled += zero_point
    return np.clip(scaled, low, high, out=scaled).astype(np.int8, copy=False)


def check_activation_range(low: int, high: int) -> None:
    """Raises ModelError unless -128 <= low <= high <= 127."""
    if not -128 <= low <= high <= 127:
        raise ModelError(f"activation range [{low}, {high}] must lie in [-128, 127]")


def check_zero_point(value: int) -> None:
    """Raises ModelError unless it is an int8."""
    if not -128 <= value <= 127:
        raise ModelError(f"zero point {value} must lie in [-128, 127]")


def image_shape(shape: Shape) -> tuple[int, int, int]:
    """(height, width, channels); raises ModelError for any other rank."""
    if len(shape) != 3:
        raise ModelError(f"needs an input of shape (height, width, channels), got {shape}")
    return shape
