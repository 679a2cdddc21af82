"""`.npz` files, read without trusting them: no pickles, and sizes are checked before memory is taken."""

from __future__ import annotations

import math
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgecompress.data.raw import POOL, Array, Options, RawData, RawPart, check_size
from edgecompress.errors import ConfigError, DataError, EdgecompressError

_AUDIO_WORDS = ("mfcc", "mel", "spectr", "audio", "speech")
_SPLIT_PARTS = {0: "train", 1: "validation", 2: "test"}


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def byte_count(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _read_header(stream: IO[bytes], where: str) -> _Header:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DataError(f"{where} is stored in npy format {version[0]}.{version[1]}; formats 1.0 and 2.0 are read")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise DataError(f"{where} is a pickled object array, which can run code when loaded and is refused; store plain numbers")
    if dtype.kind not in "biufSU" or dtype.itemsize == 0:
        raise DataError(f"{where} has the dtype {dtype}; integers, floats, booleans and text are read")
    if any(size < 0 for size in shape):
        raise DataError(f"{where} has an impossible shape {shape}")
    return _Header(tuple(int(size) for size in shape), bool(fortran), dtype)


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> Array:
    with archive.open(member) as stream:
        header = _read_header(stream, where)
        check_size(max(math.prod(header.shape), header.byte_count // 8), f"{where}, of shape {header.shape} and dtype {header.dtype},")
        if header.byte_count > member.file_size:
            raise DataError(f"{where} says shape {header.shape} of {header.dtype}, {header.byte_count} bytes, but only {member.file_size} are stored")
        content = stream.read(header.byte_count)
        if len(content) != header.byte_count or stream.read(1):  # reading to the end also checks the CRC
            raise DataError(f"{where} is truncated or longer than its header says (shape {header.shape} of {header.dtype})")
    return np.frombuffer(content, dtype=header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


class NpzFile:
    """An npz on disk: `keys` known at once, arrays read on demand. Every fault of the file is a DataError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}
        except OSError as error:
            raise DataError(f"'{path}' cannot be read: {error.strerror or error}") from None
        except Exception as error:  # zipfile lets a dozen unrelated types out of a damaged directory
            raise DataError(f"'{path}' is not a complete npz file: {error}", "try: save it again with numpy.savez_compressed") from error
        self.keys = tuple(sorted(self._members))

    def array(self, key: str) -> Array:
        """One array; raises DataError that lists the keys when there is none of that name."""
        if key not in self._members:
            raise DataError(f"'{self.path}' has no array '{key}'; it has {self._listing()}")
        where = f"array '{key}' of '{self.path}'"
        try:
            with warnings.catch_warnings(), zipfile.ZipFile(self.path) as archive:
                warnings.simplefilter("ignore")  # numpy warns about odd headers that are refused or read correctly here
                return _read_array(archive, self._members[key], where)
        except EdgecompressError:
            raise
        except Exception as error:  # zlib, lzma, struct, tokenize, MemoryError, ...: whatever broke, this array cannot be read
            raise DataError(f"{where} is corrupt or truncated: {error or type(error).__name__}") from error

    def _listing(self) -> str:
        return ", ".join(f"'{key}'" for key in self.keys) or "no arrays at all"

    def require(self, *keys: str) -> None:
        """Raises DataError naming every missing key and what is there."""
        missing = [key for key in keys if key not in self._members]
        if missing:
            raise DataError(
                f"'{self.path}' lacks {', '.join(repr(key) for key in missing)}; it has {self._listing()}",
                f"try: other names with '{self.path}?x=KEY&y=KEY' and, if there is one, '&split=KEY' (0 train, 1 validation, 2 test)",
            )


def _texts(array: Array) -> list[str]:
    """Names of a bytes or text array; raises UnicodeError. numpy does not check its UTF-32, and `tolist` of a bad code point is a SystemError."""
    if array.dtype.kind == "S":
        return [name.decode() for name in array.tolist()]
    content, size = array.tobytes(), array.dtype.itemsize
    codec = "utf-32-be" if np.dtype(array.dtype.str[0] + "u4") == np.dtype(">u4") else "utf-32-le"
    return [content[start : start + size].decode(codec).rstrip("\0") for start in range(0, len(content), size)]


def class_names(array: Array, where: str) -> tuple[str, ...]:
    """Names from a text array [classes]; raises DataError for another dtype or shape, an empty or a double name."""
    if array.ndim != 1 or array.dtype.kind not in "SU":
        raise DataError(f"{where} must be a one-dimensional array of text, not {array.dtype} of shape {array.shape}")
    try:
        names = tuple(_texts(array))
    except UnicodeError:
        raise DataError(f"{where} holds a name that is not valid text") from None
    if "" in names or len(set(names)) != len(names):
        raise DataError(f"{where} holds an empty or a repeated name")
    return names


def _infer_kind(name: str, x: Array) -> str:
    if any(word in name.lower() for word in _AUDIO_WORDS):
        return "audio"
    return "image" if x.ndim == 4 or (x.ndim == 3 and x.dtype.kind in "bui") else "series"


def _channels_last(x: Array, options: Options, where: str) -> Array:
    layout = options.text("layout", "nhwc")
    if layout not in ("nhwc", "nchw"):
        raise ConfigError(f"option 'layout' must be nhwc or nchw, not '{layout}'")
    if layout == "nchw" and x.ndim != 4:
        raise ConfigError(f"option 'layout=nchw' needs four dimensions, but {where} has shape {x.shape}")
    return x.transpose(0, 2, 3, 1) if layout == "nchw" else x


def _split_by_array(file: NpzFile, x: Array, y: Array, options: Options) -> dict[str, RawPart]:
    x_name, y_name, key = options.text("x", ""), options.text("y", ""), options.text("split", "")
    split = file.array(key)
    if split.dtype.kind not in "iu" or split.ndim != 1 or not np.isin(split, list(_SPLIT_PARTS)).all():
        raise DataError(f"array '{key}' of '{file.path}' must hold 0 (train), 1 (validation) or 2 (test) for every sample")
    lengths = {x_name: x.shape[:1], y_name: y.shape[:1], key: split.shape}
    if len(set(lengths.values())) != 1:
        listing = ", ".join(f"'{name}' {size[0] if size else 'no'}" for name, size in lengths.items())
        raise DataError(f"arrays of '{file.path}' differ in length: {listing} samples")
    parts = {}
    for value, part in _SPLIT_PARTS.items():
        rows = split == value
        if part != "validation" or rows.any():
            parts[part] = RawPart(x[rows], y[rows], f"'{x_name}' ({part})", f"'{y_name}' ({part})")
    return parts


def _named_parts(file: NpzFile, options: Options) -> dict[str, RawPart]:
    file.require("x_train", "y_train", "x_test", "y_test")
    suffixes = {"train": "train", "validation": "val" if "x_val" in file.keys else "validation", "test": "test"}
    if f"x_{suffixes['validation']}" not in file.keys:
        del suffixes["validation"]
    parts = {}
    for part, suffix in suffixes.items():
        file.require(f"x_{suffix}", f"y_{suffix}")
        x = _channels_last(file.array(f"x_{suffix}"), options, f"'x_{suffix}'")
        parts[part] = RawPart(x, file.array(f"y_{suffix}"), f"'x_{suffix}'", f"'y_{suffix}'")
    return parts


def _chosen_parts(file: NpzFile, options: Options) -> dict[str, RawPart]:
    x_key, y_key = options.text("x", ""), options.text("y", "")
    if not x_key or not y_key:
        raise ConfigError(f"'{file.path}': options 'x' and 'y' (names of arrays) belong together; 'split' needs both")
    x, y = _channels_last(file.array(x_key), options, f"'{x_key}'"), file.array(y_key)
    if "split" in options.values:
        return _split_by_array(file, x, y, options)
    return {POOL: RawPart(x, y, f"'{x_key}'", f"'{y_key}'")}


def read_npz(path: Path, options: Options) -> RawData:
    """RawData from `x_train y_train x_test y_test` (and `x_val y_val`, `classes`), or from the arrays that the options name.

    Raises DataError for anything wrong in the file and ConfigError for anything wrong in the options.
    """
    options.only("x", "y", "split", "classes", "kind", "layout")
    file = NpzFile(path)
    chosen = any(key in options.values for key in ("x", "y", "split"))
    parts = _chosen_parts(file, options) if chosen else _named_parts(file, options)
    classes = None
    if "classes" in options.values or "classes" in file.keys:
        key = options.text("classes", "classes")
        classes = class_names(file.array(key), f"array '{key}' of '{path}'")
    first = next(iter(parts.values()))
    return RawData(
        name=path.stem, kind=options.kind(_infer_kind(f"{path.stem} {options.text('x', '')}", first.x)), source=str(path.resolve()),
        front_end=f"none: values of {first.x_name} as they are stored ({first.x.dtype})", parts=parts, classes=classes,
    )
