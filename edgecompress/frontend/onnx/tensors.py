"""TensorProto to numpy: sizes are checked against the stored bytes first, external data is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.errors import ModelError

if TYPE_CHECKING:
    from onnx import TensorProto

MAX_ELEMENTS = 2**28
MAX_RANK = 16
EXTERNAL = 1  # TensorProto.DataLocation

# data type number: name, numpy type of the stored bytes, the typed field that may hold the values instead
TYPES: dict[int, tuple[str, Any, str]] = {
    1: ("float32", "<f4", "float_data"),
    2: ("uint8", "u1", "int32_data"),
    3: ("int8", "i1", "int32_data"),
    4: ("uint16", "<u2", "int32_data"),
    5: ("int16", "<i2", "int32_data"),
    6: ("int32", "<i4", "int32_data"),
    7: ("int64", "<i8", "int64_data"),
    9: ("bool", "?", "int32_data"),
    10: ("float16", "<f2", "int32_data"),
    11: ("float64", "<f8", "double_data"),
    12: ("uint32", "<u4", "uint64_data"),
    13: ("uint64", "<u8", "uint64_data"),
    16: ("bfloat16", "<u2", "int32_data"),
    21: ("uint4", "u1", "int32_data"),
    22: ("int4", "u1", "int32_data"),
}
FLOATS = {1: np.float32, 10: np.float16, 11: np.float64, 16: np.float32}
NAMES = {"float": 1, "float16": 10, "double": 11, "bfloat16": 16}


def tensor_array(tensor: TensorProto, what: str) -> np.ndarray:
    """The tensor's values; bfloat16 becomes float32, 4-bit integers int8 or uint8. Raises ModelError for anything that does not add up."""
    if tensor.data_location == EXTERNAL or tensor.external_data:
        raise ModelError(f"{what} keeps its values in another file, and files that a model names are never opened; store the model as one file",
                         "onnx.save(onnx.load(path), new_path) does that")
    if tensor.data_type not in TYPES:
        raise ModelError(f"{what} is of ONNX data type {tensor.data_type}; supported: {', '.join(name for name, _, _ in TYPES.values())}")
    if tensor.HasField("segment"):
        raise ModelError(f"{what} is stored in segments, which is not supported")
    shape = tuple(tensor.dims)
    count = math.prod(shape)
    if len(shape) > MAX_RANK or any(size < 0 for size in shape) or count > MAX_ELEMENTS:
        raise ModelError(f"{what} has shape {str(list(shape))[:100]}; sizes must not be negative, with a product up to {MAX_ELEMENTS}")
    name, stored, field = TYPES[tensor.data_type]
    if name in ("int4", "uint4"):
        return _four_bits(tensor, what, name == "int4", count).reshape(shape)
    if tensor.HasField("raw_data"):
        dtype = np.dtype(stored)
        _check_length(what, shape, len(tensor.raw_data), count * dtype.itemsize, "bytes")
        values = np.frombuffer(tensor.raw_data, dtype)
    else:
        values = _typed(getattr(tensor, field), what, shape, count, stored)
    if name == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape)


def _typed(field: Any, what: str, shape: tuple[int, ...], count: int, stored: str) -> np.ndarray:
    _check_length(what, shape, len(field), count, "values")
    dtype = np.dtype(stored)
    values = np.array(field)
    if dtype.kind == "f" and dtype.itemsize == 2:
        return values.astype(np.uint16).view(np.float16)  # stored as bit patterns
    return values.astype(dtype)


def _check_length(what: str, shape: tuple[int, ...], have: int, need: int, unit: str) -> None:
    if have != need:
        raise ModelError(f"{what} of shape {list(shape)} needs {need} {unit}, the file has {have}")


def _four_bits(tensor: TensorProto, what: str, signed: bool, count: int) -> np.ndarray:
    packed = np.frombuffer(tensor.raw_data, np.uint8) if tensor.HasField("raw_data") else np.array(tensor.int32_data).astype(np.uint8)
    _check_length(what, tuple(tensor.dims), len(packed), (count + 1) // 2, "bytes")
    values = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[:count]
    return (values ^ 8).astype(np.int8) - np.int8(8) if signed else values
