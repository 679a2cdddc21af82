"""The parts of a TFLite file as frozen records: subgraphs, tensors, operators, constants. Every index in them is in range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.tflite.flatbuffer import FlatBuffer, Table
from edgecompress.frontend.tflite.vocabulary import OPERATOR_NAMES, OPTIONS, TENSOR_TYPES

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
MAX_RANK = 8
MAX_SUBGRAPHS, MAX_TENSORS, MAX_OPERATORS = 64, 32_768, 8_192
MAX_NAME = 120  # characters of a name that are kept
ABSENT = -1  # index of an optional input that is not given

DTYPES = {"float32": "float32", "float16": "float16", "float64": "float64", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16",
          "int32": "int32", "uint32": "uint32", "int64": "int64", "uint64": "uint64", "bool": "uint8"}


def printable(text: str) -> str:
    """A name from the file without control characters, cut to MAX_NAME."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_NAME])


def unpack_int4(packed: np.ndarray, count: int) -> np.ndarray:
    """int8 [count] from two signed nibbles a byte, the low one first."""
    both = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[:count].astype(np.int8)
    return np.where(both > 7, both - 16, both).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Quantization:
    """`scales` float32 [1 or channels], `zero_points` int64 of the same length; `dimension` is the axis of the channels."""

    scales: np.ndarray
    zero_points: np.ndarray
    dimension: int


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """One tensor. `shape` has the batch; `shape_signature` holds -1 where a size is only known at run time (empty: as shape).

    `type` is a name in TENSOR_TYPES. `buffer` is the index of its constant bytes, 0 when it has none.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    type: str
    buffer: int
    quantization: Quantization | None
    is_variable: bool
    is_sparse: bool

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class OperatorInfo:
    """One operator call. `name` is the builtin's name, or CUSTOM with `custom_code`; `inputs` may hold ABSENT."""

    index: int
    name: str
    version: int
    custom_code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options_code: int
    options: Table | None = field(repr=False)

    def option(self, name: str) -> Any:
        """The value of a field in vocabulary.OPTIONS, its default when the file does not give it."""
        layout = OPTIONS[self.name]
        spec = layout.fields[name]
        if self.options is None or self.options_code == 0:
            return spec.default
        if self.options_code != layout.code:
            raise self.options.buffer.bad(f"operator {self.index} ({self.name}) carries the options of another operator")
        if spec.kind == "ints":
            return self.options.integers(spec.slot)
        return printable(self.options.text(spec.slot)) if spec.kind == "text" else self.options.scalar(spec.slot, spec.kind, spec.default)


@dataclass(frozen=True, eq=False)
class SubGraph:
    """Tensors, operators in execution order, and the indices of inputs and outputs."""

    name: str
    tensors: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A whole file; the first subgraph is the one that runs."""

    file: FlatBuffer
    description: str
    subgraphs: tuple[SubGraph, ...]
    buffers: tuple[Table, ...]

    def constant_bytes(self, tensor: TensorInfo) -> np.ndarray | None:
        """The tensor's bytes in the file, uint8; None for a tensor that is computed. They may lie behind the FlatBuffer (offset and size)."""
        if tensor.buffer == 0:
            return None
        table = self.buffers[tensor.buffer]
        data = table.array(0, "uint8")
        offset, size = table.integer(1, "uint64"), table.integer(2, "uint64")
        if data is None and offset > 1:
            if offset + size > len(self.file.data):
                raise self.file.bad(f"the constant of tensor {tensor.name!r} lies outside it")
            data = np.frombuffer(self.file.data, dtype=np.uint8, count=size, offset=offset)
        return None if data is None or not len(data) else data

    def constant(self, tensor: TensorInfo) -> np.ndarray | None:
        """The tensor's values in its shape (int4 as int8), a read-only view of the file where possible; None for one that is computed."""
        data = self.constant_bytes(tensor)
        if data is None:
            return None
        if tensor.is_sparse:
            raise ModelError(f"constant tensor {tensor.name!r} is stored sparse, which is not supported; export the model without sparsity")
        if tensor.type == "int4":
            if len(data) != (tensor.size + 1) // 2:
                raise self._wrong_size(tensor, len(data))
            return unpack_int4(data, tensor.size).reshape(tensor.shape)
        if tensor.type not in DTYPES:
            raise ModelError(f"constant tensor {tensor.name!r} has type {tensor.type}, which is not supported; known: {', '.join(DTYPES)}, int4")
        dtype = np.dtype(DTYPES[tensor.type]).newbyteorder("<")
        if len(data) != tensor.size * dtype.itemsize:
            raise self._wrong_size(tensor, len(data))
        return data.view(dtype).reshape(tensor.shape) if len(data) else None

    def _wrong_size(self, tensor: TensorInfo, size: int) -> ModelError:
        return self.file.bad(f"constant tensor {tensor.name!r} of shape {tensor.shape} and type {tensor.type} has {size} bytes of data")


def read_model(data: bytes) -> Model:
    """Parses a file. Raises ModelError for anything that is not a well-formed TFLite model."""
    file = FlatBuffer(data)
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise ModelError("it is not a TFLite file: bytes 4 to 7 are not 'TFL3'; give a .tflite file as the TFLite converter writes it")
    root = file.table(file.reference(0))
    version = root.integer(0, "uint32")
    if version != SCHEMA_VERSION:
        raise ModelError(f"it has schema version {version}, this program reads {SCHEMA_VERSION}; convert the model again")
    codes = [_operator_code(table) for table in root.tables(1)]
    buffers = tuple(root.tables(4))
    tables = root.tables(2)
    if not 1 <= len(tables) <= MAX_SUBGRAPHS:
        raise file.bad(f"it has {len(tables)} subgraphs, allowed are 1 to {MAX_SUBGRAPHS}")
    subgraphs = tuple(_subgraph(table, codes, len(buffers)) for table in tables)
    return Model(file, printable(root.text(3)), subgraphs, buffers)


def _operator_code(table: Table) -> tuple[str, int, str]:
    # files from before 2020 have the code in the first field, where 127 says "look at the other one"
    code = max(table.integer(0, "int8"), table.integer(3, "int32"))
    name = OPERATOR_NAMES[code] if 0 <= code < len(OPERATOR_NAMES) else f"operator code {code}"
    return name, table.integer(2, "int32", 1), printable(table.text(1))


def _subgraph(table: Table, codes: list[tuple[str, int, str]], buffers: int) -> SubGraph:
    tensor_tables, operator_tables = table.tables(0), table.tables(3)
    if len(tensor_tables) > MAX_TENSORS or len(operator_tables) > MAX_OPERATORS:
        raise table.buffer.bad(f"a subgraph has {len(tensor_tables)} tensors and {len(operator_tables)} operators, "
                               f"allowed are {MAX_TENSORS} and {MAX_OPERATORS}")
    tensors = _unique_names(table.buffer, [_tensor(one, index, buffers) for index, one in enumerate(tensor_tables)])
    operators = tuple(_operator(one, index, codes, len(tensors)) for index, one in enumerate(operator_tables))
    inputs, outputs = table.integers(1), table.integers(2)
    for index in (*inputs, *outputs):
        if not 0 <= index < len(tensors):
            raise table.buffer.bad(f"a subgraph names tensor {index} as input or output, it has {len(tensors)}")
    return SubGraph(printable(table.text(4)), tensors, operators, inputs, outputs)


def _unique_names(file: FlatBuffer, tables: list[TensorInfo]) -> tuple[TensorInfo, ...]:
    from dataclasses import replace

    taken: set[str] = set()
    result = []
    for tensor in tables:
        name = tensor.name or f"tensor_{tensor.index}"
        while name in taken:
            name = f"{name}:{tensor.index}"
            file.spend(1)
        taken.add(name)
        result.append(tensor if name == tensor.name else replace(tensor, name=name))
    return tuple(result)


def _tensor(table: Table, index: int, buffers: int) -> TensorInfo:
    shape, signature = table.integers(0), table.integers(7)
    name, code, buffer = printable(table.text(3)), table.integer(1, "int8"), table.integer(2, "uint32")
    if len(shape) > MAX_RANK or any(size < 0 for size in shape) or len(signature) > MAX_RANK:
        raise table.buffer.bad(f"tensor {name!r} has shape {str(shape)[:60]}; at most {MAX_RANK} sizes, none negative, are allowed")
    if not 0 <= code < len(TENSOR_TYPES):
        raise table.buffer.bad(f"tensor {name!r} has type code {code}, which is not known")
    if buffer >= max(buffers, 1):
        raise table.buffer.bad(f"tensor {name!r} names buffer {buffer}, there are {buffers}")
    return TensorInfo(index, name, shape, signature, TENSOR_TYPES[code], buffer, _quantization(table.table(4), name),
                      bool(table.scalar(5, "bool", False)), table.field(6, 4) is not None)


def _quantization(table: Table | None, name: str) -> Quantization | None:
    scales = None if table is None else table.array(2, "float32")
    if table is None or scales is None or not len(scales):
        return None
    zero_points = table.array(3, "int64")
    if zero_points is None or not len(zero_points):
        zero_points = np.zeros(len(scales), dtype=np.int64)
    if len(zero_points) != len(scales):
        raise table.buffer.bad(f"tensor {name!r} has {len(scales)} scales and {len(zero_points)} zero points")
    return Quantization(scales, zero_points, table.integer(6, "int32"))


def _operator(table: Table, index: int, codes: list[tuple[str, int, str]], tensors: int) -> OperatorInfo:
    at = table.integer(0, "uint32")
    if at >= len(codes):
        raise table.buffer.bad(f"operator {index} names operator code {at}, there are {len(codes)}")
    inputs, outputs, intermediates = table.integers(1), table.integers(2), table.integers(8)
    for tensor in (*inputs, *outputs, *intermediates):
        if not (0 <= tensor < tensors or tensor == ABSENT):
            raise table.buffer.bad(f"operator {index} names tensor {tensor}, there are {tensors}")
    if ABSENT in outputs:
        raise table.buffer.bad(f"operator {index} lacks an output")
    return OperatorInfo(index, *codes[at], inputs, outputs, intermediates, table.integer(3, "uint8"), table.table(4))
