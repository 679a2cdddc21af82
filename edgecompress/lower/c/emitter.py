"""What the C lowering needs to know of one op: kernel, parameters, constants, scratch memory, loop counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgecompress.ir.graph import Node, Tensor
from edgecompress.ir.packing import pack_rows
from edgecompress.ir.requant import Requant

POINTER_BYTES = 4  # every target core is 32-bit; all other fields of a params struct are int32_t
COMMON_HEADERS = ("ec_kernels.h", "ec_requant.h", "ec_memory.h", "ec_window.h", "ec_weights.h")


@dataclass(frozen=True)
class Call:
    """One node with its tensors."""

    node: Node
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def op(self) -> Any:
        """The node's op; each emitter knows its class."""
        return self.node.op


@dataclass(frozen=True)
class ConstArray:
    """A constant array of a layer. Two-dimensional values are the rows of a struct array with int32_t fields."""

    suffix: str
    ctype: str
    values: np.ndarray

    @property
    def size_bytes(self) -> int:
        """Bytes on the device."""
        return int(self.values.nbytes)


@dataclass(frozen=True)
class Reference:
    """A params field that points at the layer's own constant array."""

    suffix: str


class Emitter:
    """Base: one instance an op kind, in EMIT. Methods are pure functions of the call."""

    sources: ClassVar[tuple[str, ...]] = ()  # beside the kernel's own file
    in_place: ClassVar[tuple[int, ...]] = ()  # inputs that the output may overwrite
    takes_scratch: ClassVar[bool] = False
    takes_input_array: ClassVar[bool] = False

    def kernel(self, call: Call) -> str:
        """Entry symbol."""
        raise NotImplementedError

    def struct(self, call: Call) -> str:
        """Name of the params struct."""
        raise NotImplementedError

    def files(self, call: Call) -> tuple[str, ...]:
        """C sources and headers beside COMMON_HEADERS."""
        raise NotImplementedError

    def params(self, call: Call) -> Mapping[str, int | Reference]:
        """Fields of the params struct in order."""
        raise NotImplementedError

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        """Constant arrays with their values."""
        return ()

    def array_bytes(self, call: Call) -> int:
        """Sum of the arrays' bytes, without making them."""
        return 0

    def scratch_bytes(self, call: Call) -> int:
        """Scratch memory of the call."""
        return 0

    def features(self, call: Call) -> dict[str, float]:
        """Loop counts that executed instructions are linear in."""
        raise NotImplementedError

    def constant_bytes(self, call: Call) -> int:
        """All constant data of the layer on a 32-bit device, params struct included."""
        return POINTER_BYTES * len(self.params(call)) + self.array_bytes(call)


def packed_weights(rows: np.ndarray, bits: int) -> ConstArray:
    """Weight rows [rows, length] as the device stores them."""
    return ConstArray("weights", "int8_t", np.ascontiguousarray(pack_rows(rows, bits)).view(np.int8).ravel())


def channel_arrays(bias: np.ndarray, requant: Requant) -> tuple[ConstArray, ...]:
    """Bias and rescaling, one entry a channel (a single factor is repeated)."""
    channels = len(bias)
    multiplier = np.broadcast_to(np.asarray(requant.multiplier, dtype=np.int32), (channels,))
    shift = np.broadcast_to(np.asarray(requant.shift, dtype=np.int8), (channels,))
    return (ConstArray("bias", "int32_t", bias.astype(np.int32)), ConstArray("multiplier", "int32_t", multiplier), ConstArray("shift", "int8_t", shift))


CHANNEL_BYTES = 9  # bias and multiplier 4 bytes each, shift 1


def channel_references() -> dict[str, int | Reference]:
    """The first fields of the params of every layer with weights."""
    return {name: Reference(name) for name in ("weights", "bias", "multiplier", "shift")}
