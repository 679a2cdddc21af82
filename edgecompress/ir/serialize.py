"""QuantizedGraph to a folder-less pair of files and back: `<stem>.json` (structure) and `<stem>.npz` (arrays), with a version.

Nothing here unpickles, and every value is checked by the same constructors that the rest of the program uses,
so a hostile file ends in a ModelError.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops import OPS
from edgecompress.ir.requant import Requant

FORMAT_VERSION = 1
MAX_FILE_BYTES = 512 * 1024**2


def _encode(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[key] = value
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
    tensors = [{"name": t.name, "shape": list(t.shape), "scale": t.scale, "zero_point": t.zero_point} for t in graph.tensors.values()]
    document = {"format": "edgecompress-graph", "version": FORMAT_VERSION, "name": graph.name, "inputs": list(graph.inputs),
                "outputs": list(graph.outputs), "tensors": tensors, "nodes": nodes, "metadata": dict(graph.metadata)}
    return document, arrays


def canonical_bytes(graph: QuantizedGraph) -> bytes:
    """One byte string for equal graphs: sorted JSON, then the raw arrays in order. Metadata does not count."""
    document, arrays = to_document(graph)
    del document["metadata"]
    parts = [json.dumps(document, sort_keys=True, separators=(",", ":")).encode()]
    parts += [f"{key}:{array.dtype.str}:{array.shape}".encode() + array.tobytes() for key, array in arrays.items()]
    return b"\0".join(parts)


def save(graph: QuantizedGraph, path: Path) -> None:
    """Writes `path` (.json) and the .npz beside it."""
    document, arrays = to_document(graph)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub reads **arrays as allow_pickle
    path.with_suffix(".npz").write_bytes(buffer.getvalue())
    path.write_text(json.dumps(document, indent=1) + "\n")


def load(path: Path) -> QuantizedGraph:
    """Reads what `save` wrote. Raises ModelError naming the file for anything that is missing, malformed or inconsistent."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"'{path}' is larger than {MAX_FILE_BYTES // 1024**2} MiB")
        document = json.loads(path.read_bytes())
        arrays = _load_arrays(path.with_suffix(".npz"))
        return from_document(document, arrays)
    except ModelError as error:
        raise ModelError(f"'{path}' is not a usable graph: {error.message}") from None
    except FileNotFoundError as error:
        raise ModelError(f"there is no file '{error.filename}'") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError, zipfile.BadZipFile, EOFError,
            MemoryError, zipfile.LargeZipFile, NotImplementedError) as error:
        raise ModelError(f"'{path}' is not a usable graph: {type(error).__name__}: {str(error)[:200]}") from None


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_FILE_BYTES:
            raise ModelError(f"'{path.name}' unpacks to more than {MAX_FILE_BYTES // 1024**2} MiB")
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def from_document(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> QuantizedGraph:
    """Inverse of to_document; raises ModelError, or a lookup or type error for a malformed document."""
    if document.get("format") != "edgecompress-graph":
        raise ModelError("it has no edgecompress-graph header")
    if document.get("version") != FORMAT_VERSION:
        raise ModelError(f"it has format version {document.get('version')}, this program reads {FORMAT_VERSION}")
    tensors = {t["name"]: Tensor(_text(t["name"]), _integers(t["shape"]), float(t["scale"]), _integer(t["zero_point"])) for t in document["tensors"]}
    nodes = tuple(Node(_text(n["name"]), _decode_op(n, arrays), tuple(map(_text, n["inputs"])), _text(n["output"])) for n in document["nodes"])
    return QuantizedGraph(_text(document["name"]), tensors, nodes, tuple(map(_text, document["inputs"])), tuple(map(_text, document["outputs"])),
                          document.get("metadata", {}))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ModelError(f"expected a text, got {value!r}")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelError(f"expected an integer, got {value!r}")
    return value


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(_integer(value) for value in values)


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, dict) and "array" in value:
        array = arrays[value["array"]]
        if array.dtype.kind != "i":
            raise ModelError(f"array {value['array']!r} has type {array.dtype}; only integers are allowed")
        return array
    if isinstance(value, dict) and "requant" in value:
        multiplier, shift = value["requant"]
        return Requant(_integers(multiplier), _integers(shift))
    if isinstance(value, list):
        return _integers(value)
    if isinstance(value, (str, int)):
        return value
    raise ModelError(f"attribute value {value!r} is not allowed")


def _decode_op(node: dict[str, Any], arrays: dict[str, np.ndarray]) -> Op:
    kind = node["op"]
    if kind not in OPS:
        raise ModelError(f"node {node['name']!r} has unknown op {kind!r}; known: {', '.join(OPS)}")
    try:
        return OPS[kind](**{key: _decode(value, arrays) for key, value in node["attributes"].items()})
    except ModelError as error:
        raise ModelError(f"node {node['name']!r} ({kind}): {error.message}") from None
