"""What the C lowering needs to know of one op: kernel, parameters, constants, scratch memory, loop counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.graph import Node, Tensor
from edgecompress.ir.packing import pack_rows
from edgecompress.ir.requant import Requant

POINTER_BYTES = 4  # every target core is 32-bit; fields of a params struct are int32_t but for those that Emitter.narrow names
COMMON_HEADERS = ("ec_kernels.h", "ec_requant.h", "ec_rescale.h", "ec_memory.h", "ec_window.h", "ec_weights.h")


@dataclass(frozen=True)
class Call:
    """One node with its tensors."""

    node: Node
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def kind(self) -> str:
        """The op's kind."""
        return self.node.op.kind

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


@dataclass(frozen=True)
class Symbol:
    """A params field that is a function of the kernels."""

    name: str


class Emitter:
    """Base: one kernel, or one kernel with its variants, in EMIT or FAST of table.py. Methods are pure functions of the call."""

    extensions: ClassVar[frozenset[str]] = frozenset()  # what the core must have, in the words of a target's `extensions`
    sources: ClassVar[tuple[str, ...]] = ()  # beside the kernel's own file
    in_place: ClassVar[tuple[int, ...]] = ()  # inputs that the output may overwrite
    same_start: ClassVar[bool] = False  # overlaps() holds only where both buffers start at one address, not for any greater distance
    takes_scratch: ClassVar[bool] = False
    element: ClassVar[str] = "int8_t"  # what the kernel's tensor pointers point at
    header: ClassVar[str] = "ec_kernels.h"  # where its declaration stands
    takes_input_array: ClassVar[bool] = False
    narrow: ClassVar[Mapping[str, str]] = {}  # params fields of one or two bytes: name -> C type

    def supports(self, call: Call) -> bool:
        """Whether the kernel can do this call; those in EMIT can do all."""
        return True

    def overlaps(self, call: Call) -> Mapping[int, int]:
        """Inputs that the output may overwrite: position -> least distance in bytes from the output's start up to that input's start.

        0 means that both may start at the same address. A kernel that reads ahead of what it writes can give any distance."""
        return {position: 0 for position in self.in_place if call.inputs[position].size == call.output.size}

    def kernel(self, call: Call) -> str:
        """Entry symbol."""
        raise NotImplementedError

    def struct(self, call: Call) -> str:
        """Name of the params struct."""
        raise NotImplementedError

    def files(self, call: Call) -> tuple[str, ...]:
        """C sources and headers beside COMMON_HEADERS."""
        raise NotImplementedError

    def params(self, call: Call) -> Mapping[str, Any]:
        """Fields of the params struct in order."""
        raise NotImplementedError

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        """Constant arrays with their values."""
        return ()

    def array_bytes(self, call: Call) -> int:
        """Sum of the arrays' bytes, without making them."""
        return 0

    def argument_order(self, call: Call) -> tuple[int, ...]:
        """Which of the node's inputs each of the kernel's input arguments is."""
        return tuple(range(len(call.inputs)))

    def scratch_bytes(self, call: Call) -> int:
        """Scratch memory of the call."""
        return 0

    def scratch_overlaps(self, call: Call) -> Mapping[int, int]:
        """Inputs that scratch memory may overwrite: position -> least distance in bytes from scratch memory's start up to that input's start."""
        return {}

    def features(self, call: Call) -> dict[str, float]:
        """Loop counts that executed instructions are linear in."""
        raise NotImplementedError

    def constant_bytes(self, call: Call) -> int:
        """All constant data of the layer on a 32-bit device, params struct included."""
        words = sum(np.dtype(self.narrow.get(field, "int32_t")[:-2]).itemsize for field in self.params(call)) / POINTER_BYTES
        return POINTER_BYTES * math.ceil(words) + self.array_bytes(call)

    def params_fit(self, call: Call) -> bool:
        """Whether the narrow fields hold their values."""
        values = self.params(call)
        limits = {field: np.iinfo(ctype[:-2]) for field, ctype in self.narrow.items()}
        return all(limit.min <= values[field] <= limit.max for field, limit in limits.items())


def doubled_multiplier(multiplier: int, shift: int) -> tuple[int, int]:
    """(2 * multiplier - 2^32, shift) as ec_scale takes it. A factor of 0 becomes the smallest one there is, 2^-32:
    it rounds every accumulator below 2^31 - 1 to 0 as well. Raises ModelError for a multiplier below 2^30, which does not fit."""
    if multiplier == 0:
        multiplier, shift = 2**30, -31
    if multiplier < 2**30:
        raise ModelError(f"C cannot hold the rescaling multiplier {multiplier} of a layer with weights or of an addition; "
                         "it must be 0 or in [2^30, 2^31), as Requant.from_real makes it")
    return 2 * multiplier - 2**32, shift


RESCALE_MODES = ("any", "small", "whole")  # EC_RESCALE_* of ec_kernels.h


def rescale_mode(requant: Requant, activation_min: int, activation_max: int) -> int:
    """Index into RESCALE_MODES: how short a way the kernel may take."""
    if any(shift > -2 for _, shift in map(doubled_multiplier, requant.multiplier, requant.shift)):
        return 0
    return 2 if (activation_min, activation_max) == (-128, 127) else 1


def rescale_params(op: Any) -> dict[str, int | Reference]:
    """The nested ec_rescale_params of a layer with weights."""
    return {"rescale.multiplier": Reference("multiplier"), "rescale.shift": Reference("shift"),
            "rescale.mode": rescale_mode(op.requant, op.activation_min, op.activation_max), "rescale.zero_point": op.output_zero_point,
            "rescale.activation_min": op.activation_min, "rescale.activation_max": op.activation_max}


def rescale_features(op: Any, **outputs: float) -> dict[str, float]:
    """Outputs rescaled by each kind of loop; those of a slower mode are counted a second time under its name."""
    mode = RESCALE_MODES[rescale_mode(op.requant, op.activation_min, op.activation_max)]
    counts = {f"rescaled_{loop}": count for loop, count in outputs.items()}
    return {**counts, "rescaled_small": sum(outputs.values()) * (mode == "small"), "rescaled_any": sum(outputs.values()) * (mode == "any")}


def weight_arrays(rows: np.ndarray, bits: int, bias: np.ndarray, requant: Requant) -> tuple[ConstArray, ...]:
    """Packed weights [rows, length], bias [channels] and rescaling, one factor a channel (a single one is repeated)."""
    channels = len(bias)
    repeat = channels if len(requant.multiplier) == 1 else 1
    factors = [doubled_multiplier(*pair) for pair in zip(requant.multiplier, requant.shift, strict=True)] * repeat
    multiplier, shift = np.array(factors, dtype=np.int64).T
    bias = np.where(np.asarray(requant.multiplier) == 0, 0, bias)  # without it no sum reaches the 2^31 - 1 that 2^-32 would round to 1
    packed = np.ascontiguousarray(pack_rows(rows, bits)).view(np.int8).ravel()
    return (ConstArray("weights", "int8_t", packed), ConstArray("bias", "int32_t", bias.astype(np.int32)),
            ConstArray("multiplier", "int32_t", multiplier.astype(np.int32)), ConstArray("shift", "int8_t", (-shift - 1).astype(np.int8)))


CHANNEL_BYTES = 9  # bias and multiplier 4 bytes each, shift 1


def weight_references(op: Any) -> dict[str, int | Reference]:
    """The first fields of the params of every layer with weights."""
    return {"weights": Reference("weights"), "bias": Reference("bias"), **rescale_params(op)}
