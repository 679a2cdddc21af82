"""QuantizedGraph to a pair of files and back: `<stem>.json` (structure) and `<stem>.npz` (arrays), with a version.

Nothing here unpickles, and every value is checked by the same constructors that the rest of the program uses,
so a hostile file ends in a ModelError.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from edgecompress.errors import EdgecompressError, ModelError
from edgecompress.ir.float_ops import FLOAT_OPS
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op, to_integer, to_integers, to_text
from edgecompress.ir.ops import OPS
from edgecompress.ir.requant import Requant

ALL_OPS = {**OPS, **FLOAT_OPS}
FORMAT = "edgecompress-graph"
FORMAT_VERSION = 1
MAX_JSON_BYTES = 16 * 1024**2
MAX_ARRAY_BYTES = 256 * 1024**2
NPY_MAGIC = b"\x93NUMPY\x01\x00"
NPY_HEADER = re.compile(r"\{'descr': '(?P<type>\|i1|<i2|<i4|<f4)', 'fortran_order': False, 'shape': \((?P<shape>\d{1,10}(, ?\d{1,10}){0,5},?)\),"
                        r" \} *\n")


def _encode(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[key] = value.astype(value.dtype.newbyteorder("<"), copy=False)
        return {"array": key}
    if isinstance(value, Requant):
        return {"requant": [list(value.multiplier), list(value.shift)]}
    return list(value) if isinstance(value, tuple) else value


def to_document(graph: QuantizedGraph) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(JSON-ready structure, arrays by key)."""
    arrays: dict[str, np.ndarray] = {}
    nodes = []
    for index, node in enumerate(graph.nodes):
        attributes = {f.name: _encode(getattr(node.op, f.name), f"{index}.{f.name}", arrays) for f in fields(node.op)}
        nodes.append({"name": node.name, "op": node.op.kind, "inputs": list(node.inputs), "output": node.output, "attributes": attributes})
    tensors = [{"name": t.name, "shape": list(t.shape), "scale": t.scale, "zero_point": t.zero_point,
                **({} if t.dtype == "int8" else {"dtype": t.dtype})}
               for t in sorted(graph.tensors.values(), key=lambda tensor: tensor.name)]
    document = {"format": FORMAT, "version": FORMAT_VERSION, "name": graph.name, "inputs": list(graph.inputs),
                "outputs": list(graph.outputs), "tensors": tensors, "nodes": nodes, "metadata": dict(graph.metadata)}
    return document, arrays


def canonical_bytes(graph: QuantizedGraph) -> bytes:
    """One byte string for equal graphs: sorted JSON, then the raw arrays in order. Metadata does not count."""
    document, arrays = to_document(graph)
    del document["metadata"]
    parts = [json.dumps(document, sort_keys=True, separators=(",", ":")).encode()]
    parts += [f"{key}:{array.dtype.str}:{array.shape}".encode() + array.tobytes() for key, array in arrays.items()]
    return b"\0".join(parts)


def to_files(graph: QuantizedGraph) -> tuple[bytes, bytes]:
    """Contents of the .json and the .npz, the same bytes every time. Raises ModelError for metadata that is not JSON."""
    document, arrays = to_document(graph)
    try:
        text = json.dumps({**document, "hash": graph.hash}, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"graph {graph.name!r} has metadata that is not plain JSON: {error}") from None
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub reads **arrays as allow_pickle
    return text.encode(), buffer.getvalue()


def save(graph: QuantizedGraph, path: Path) -> None:
    """Writes `path` (.json) and the .npz beside it, each at once or not at all.

    The JSON goes last and holds the graph's hash, so a pair that was cut in half is noticed by `load`.
    Raises ModelError for metadata that is not JSON, EdgecompressError when the disk refuses.
    """
    _check_suffix(path)
    text, arrays = to_files(graph)
    try:
        _write_at_once(path.with_suffix(".npz"), arrays)
        _write_at_once(path, text)
    except OSError as error:
        raise EdgecompressError(f"graph {graph.name!r} cannot be written to '{path}': {error.strerror or error}; "
                                "free some space or choose another folder") from None


def _check_suffix(path: Path) -> None:
    if path.suffix != ".json":
        raise ModelError(f"a graph file must end in .json (its arrays go into an .npz beside it), got '{path}'")


def _write_at_once(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Path) -> QuantizedGraph:
    """Reads what `save` wrote. Raises ModelError naming the file for anything that is missing, malformed or inconsistent."""
    _check_suffix(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"it is larger than {MAX_JSON_BYTES // 1024**2} MiB")
        document = json.loads(path.read_bytes())
        graph = from_document(document, _load_arrays(path.with_suffix(".npz")))
        if document.get("hash") != graph.hash:
            raise ModelError(f"its hash does not fit; it was changed, or '{path.stem}.npz' belongs to another graph")
        return graph
    except ModelError as error:
        raise ModelError(f"'{path}' is not a usable graph: {error.message}") from None
    except FileNotFoundError as error:
        raise ModelError(f"there is no file '{error.filename}'") from None
    except RecursionError:
        raise ModelError(f"'{path}' is not a usable graph: it is nested too deeply") from None
    except (OSError, ValueError) as error:  # ValueError: not JSON, not UTF-8
        raise ModelError(f"'{path}' cannot be read: {str(error)[:200]}") from None


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MAX_ARRAY_BYTES:
                raise ModelError(f"'{path.name}' unpacks to more than {MAX_ARRAY_BYTES // 1024**2} MiB")
            names = [entry.filename for entry in entries]
            if len(set(names)) != len(names):
                raise ModelError(f"'{path.name}' holds two arrays of one name")
            return {entry.filename.removesuffix(".npy"): _read_array(_read_entry(archive, entry), entry.filename) for entry in entries}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        # RuntimeError: encrypted; NotImplementedError: an unknown compression; ValueError: offsets that make no sense
        raise ModelError(f"'{path.name}' is not an intact npz file: {str(error)[:100]}") from None


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """One member's bytes. Only these two packings can be read with a bound, which a lying size in the header needs."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"array {entry.filename!r} is packed in an unknown way")
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)


def _read_array(content: bytes, name: str) -> np.ndarray:
    """One .npy member as numpy writes it. Its own reader evaluates the header and allocates whatever size it claims."""
    start = 10 + int.from_bytes(content[8:10], "little")
    header = NPY_HEADER.fullmatch(content[10:start].decode("latin-1"))
    if content[:8] != NPY_MAGIC or header is None:
        raise ModelError(f"array {name[:40]!r} is not an npy file of version 1.0 with integers or float32 in row order")
    data, shape = content[start:], tuple(int(size) for size in header["shape"].rstrip(",").split(","))
    dtype = np.dtype(header["type"])
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ModelError(f"array {name[:40]!r} claims shape {str(shape)[:60]}, which does not fit its {len(data)} bytes")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def from_document(document: Any, arrays: Mapping[str, np.ndarray]) -> QuantizedGraph:
    """Inverse of to_document; raises ModelError for anything malformed."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelError(f"it has no {FORMAT} header")
    if document.get("version") != FORMAT_VERSION:
        raise ModelError(f"it has format version {str(document.get('version'))[:20]}, this program reads {FORMAT_VERSION}")
    tensors: dict[str, Tensor] = {}
    for entry in _list(document, "tensors"):
        tensor = Tensor(to_text(_get(entry, "name")), tuple(_list(entry, "shape")), _get(entry, "scale"), _get(entry, "zero_point"),
                        to_text(entry.get("dtype", "int8")))
        if tensor.name in tensors:
            raise ModelError(f"there are two tensors of the name {tensor.name!r}")
        tensors[tensor.name] = tensor
    nodes = tuple(Node(to_text(_get(entry, "name")), _decode_op(entry, arrays), tuple(_list(entry, "inputs")), _get(entry, "output"))
                  for entry in _list(document, "nodes"))
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        raise ModelError(f"'metadata' must be a table, got {str(metadata)[:40]!r}")
    return QuantizedGraph(to_text(_get(document, "name")), tensors, nodes, tuple(_list(document, "inputs")), tuple(_list(document, "outputs")),
                          metadata)


def _get(table: Any, key: str) -> Any:
    if not isinstance(table, dict):
        raise ModelError(f"expected a table with the key '{key}', got {str(table)[:40]!r}")
    if key not in table:
        raise ModelError(f"a table lacks the key '{key}'")
    return table[key]


def _list(table: Any, key: str) -> list[Any]:
    values = _get(table, key)
    if not isinstance(values, list):
        raise ModelError(f"'{key}' must be a list, got {str(values)[:40]!r}")
    return values


def _decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict) and list(value) == ["array"]:
        key = to_text(value["array"])
        if key not in arrays:
            raise ModelError(f"the npz file has no array {key!r}")
        return arrays[key]
    if isinstance(value, dict) and list(value) == ["requant"]:
        pair = _list(value, "requant")
        if len(pair) != 2:
            raise ModelError("a rescaling needs a list of multipliers and a list of shifts")
        return Requant(to_integers(pair[0]), to_integers(pair[1]))
    if isinstance(value, list):
        return to_integers(value)
    return value if isinstance(value, str) else to_integer(value)


def _decode_op(node: Any, arrays: Mapping[str, np.ndarray]) -> Op:
    kind, where = to_text(_get(node, "op")), f"node {str(_get(node, 'name'))[:60]!r}"
    if kind not in ALL_OPS:
        raise ModelError(f"{where} has unknown op {kind[:40]!r}; known: {', '.join(ALL_OPS)}")
    given = _get(node, "attributes")
    known = {field.name: field.default is MISSING for field in fields(ALL_OPS[kind])}
    if not isinstance(given, dict) or given.keys() - known:
        raise ModelError(f"{where} ({kind}) has unknown attributes; allowed: {', '.join(known)}")
    missing = [name for name, needed in known.items() if needed and name not in given]
    if missing:
        raise ModelError(f"{where} ({kind}) lacks the attribute '{missing[0]}'")
    try:
        return ALL_OPS[kind](**{key: _decode(value, arrays) for key, value in given.items()})
    except ModelError as error:
        raise ModelError(f"{where} ({kind}): {error.message}") from None
