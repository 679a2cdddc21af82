"""What is benched: the facts of an artifact folder that building and running it needs."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecompress.errors import DataError, ModelError
from edgecompress.ir import reference, serialize
from edgecompress.ir.graph import ITEM_BYTES, MAX_ELEMENTS, QuantizedGraph
from edgecompress.lower.artifact import read_manifest
from edgecompress.lower.options import IO_KINDS

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Layer:
    """A layer with code: its node and the kernel's entry symbol."""

    node: str
    kernel: str


@dataclass(frozen=True)
class TensorShape:
    """An input or output of the model: name and shape without batch axis."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def _batch(tensor: TensorShape) -> str:
    return f"[n, {', '.join(map(str, tensor.shape))}]"


@dataclass(frozen=True)
class Subject:
    """An artifact folder as `lower` wrote it. A frame is all its inputs one after another; the outputs come back likewise."""

    folder: Path
    name: str  # prefix of its C names
    target: str
    sources: tuple[Path, ...]
    layers: tuple[Layer, ...]  # in call order
    arena_bytes: int
    inputs: tuple[TensorShape, ...]  # in the order of run's arguments
    outputs: tuple[TensorShape, ...]
    vectors_source: str  # what the test vectors are made of
    state_bytes: int = 0  # not 0: frames are consecutive steps of one stream
    io: str = "caller"  # or "arena": inputs and outputs lie in the arena
    sections: tuple[str, ...] = ()  # which of weights and arena have a section of their own
    constant_bytes: int = 0

    @property
    def input_bytes(self) -> int:
        """Bytes of one frame in."""
        return sum(tensor.size for tensor in self.inputs)

    @property
    def output_bytes(self) -> int:
        """Bytes of one frame out."""
        return sum(tensor.size for tensor in self.outputs)

    @property
    def caller_bytes(self) -> int:
        """Bytes of inputs and outputs that the caller holds beside the arena."""
        return 0 if self.io == "arena" else self.input_bytes + self.output_bytes

    def encode(self, values: Values) -> list[bytes]:
        """Frames of [n, *shape] inputs by name, each of its dtype. Raises DataError for missing names, wrong types, shapes or unequal lengths."""
        if set(values) != {tensor.name for tensor in self.inputs}:
            raise DataError(f"the model takes the inputs {', '.join(t.name for t in self.inputs)}, got {', '.join(values) or 'none'}")
        for tensor in self.inputs:
            value = values[tensor.name]
            if value.dtype != np.dtype(tensor.dtype) or value.shape[1:] != tensor.shape:
                raise DataError(f"input '{tensor.name}' must be {tensor.dtype} {_batch(tensor)}, got {value.dtype} {list(value.shape)}; "
                                "quantize it with the graph's input tensor")
        lengths = {len(values[tensor.name]) for tensor in self.inputs}
        if len(lengths) != 1:
            raise DataError(f"the model's inputs must have equally many samples, got {sorted(lengths)}")
        return [b"".join(values[tensor.name][index].tobytes() for tensor in self.inputs) for index in range(lengths.pop())]

    def decode(self, frames: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Outputs [n, *shape] by name, each of its tensor's dtype."""
        table = np.frombuffer(b"".join(frames), dtype=np.int8).reshape(len(frames), self.output_bytes)
        starts = np.cumsum([0, *(tensor.size for tensor in self.outputs)])
        return {tensor.name: table[:, start : start + tensor.size].copy().view(tensor.dtype).reshape(len(frames), *tensor.shape)
                for tensor, start in zip(self.outputs, starts, strict=False)}


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
GRAPH, VECTORS = "graph.json", "vectors.npz"


def load_subject(folder: Path) -> Subject:
    """Reads an artifact folder. Raises ConfigError when it is none, ModelError when its manifest is damaged."""
    manifest = read_manifest(folder)
    try:
        layers = tuple(Layer(_text(layer["node"]), _identifier(layer["kernel"])) for layer in manifest["layers"] if layer["kernel"])
        return Subject(folder, _identifier(manifest["name"]), manifest["target"], tuple(folder / name for name in manifest["sources"]), layers,
                       manifest["arena_bytes"], _tensors(manifest["inputs"]), _tensors(manifest["outputs"]), manifest["vectors_source"],
                       _count(manifest.get("state_bytes", 0)), _io(manifest.get("io", "caller")),
                       tuple(kind for kind in ("weights", "arena") if _text(manifest.get(f"{kind}_section", ""))), _count(manifest["constant_bytes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"'{folder / 'manifest.json'}' is damaged: {error}; lower the model again") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a number of bytes, got {value!r}")
    return value


def _io(value: Any) -> str:
    if value not in IO_KINDS:
        raise ValueError(f"expected one of {', '.join(IO_KINDS)}, got {value!r}")
    return str(value)


def _identifier(value: Any) -> str:
    if not _IDENTIFIER.match(_text(value)):
        raise ValueError(f"{value!r} is not a C name")
    return _text(value)


def _tensors(values: Any) -> tuple[TensorShape, ...]:
    tensors = tuple(TensorShape(_text(value["name"]), _shape(value["shape"]), _dtype(value.get("dtype", "int8"))) for value in values)
    if not tensors or len({tensor.name for tensor in tensors}) != len(tensors):
        raise ValueError("a model needs at least one input and one output, each with a name of its own")
    return tensors


def _dtype(value: Any) -> str:
    if value not in ITEM_BYTES:
        raise ValueError(f"{value!r} is not a type of tensor")
    return str(value)


def _shape(values: Any) -> tuple[int, ...]:
    shape = tuple(values)
    if not shape or any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"{values!r} is not a tensor shape")
    return shape


def load_graph(subject: Subject) -> QuantizedGraph:
    """The graph an artifact was lowered from. Raises ModelError when it is missing, damaged or of other inputs and outputs."""
    graph = serialize.load(subject.folder / GRAPH)
    for names, tensors in ((graph.inputs, subject.inputs), (graph.outputs, subject.outputs)):
        seen = [(name, graph.tensors[name].shape) for name in names]
        listed = [(tensor.name, tensor.shape) for tensor in tensors]
        if seen != listed:
            raise ModelError(f"'{subject.folder}' does not fit together: its graph has {seen}, its manifest {listed}; lower the model again")
    return graph


@dataclass(frozen=True)
class Vectors:
    """Inputs and the outputs that the reference gives for them, int8 [n, *shape] by tensor name."""

    inputs: Values
    outputs: Values
    count: int


def load_vectors(subject: Subject, samples: int) -> Vectors:
    """The first `samples` test vectors, or all when there are fewer; their outputs are computed again from the graph.

    Raises ModelError when vectors.npz is damaged or its outputs are not those of the graph.
    """
    path = subject.folder / VECTORS
    try:
        with np.load(path, allow_pickle=False) as archive:
            inputs = {tensor.name: archive[key][:samples] for key, tensor in _keys("inputs", subject.inputs)}
            stored = {tensor.name: archive[key][:samples] for key, tensor in _keys("outputs", subject.outputs)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError, IndexError) as error:
        raise ModelError(f"'{path}' cannot be used: {error}; lower the model again") from None
    count = len(inputs[subject.inputs[0].name])
    for tensor, array in [(t, inputs[t.name]) for t in subject.inputs] + [(t, stored[t.name]) for t in subject.outputs]:
        if array.dtype != np.dtype(tensor.dtype) or array.shape != (count, *tensor.shape) or not count:
            raise ModelError(f"'{path}' holds {array.dtype} {list(array.shape)} for '{tensor.name}', expected {tensor.dtype} {_batch(tensor)}; "
                             "lower the model again")
    computed = reference.run_all(load_graph(subject), inputs)
    expected = {tensor.name: computed[tensor.name] for tensor in subject.outputs}
    differing = count_differing(stored, expected)
    if differing:
        raise ModelError(f"'{path}' disagrees with the graph beside it on {differing} of {count} samples; one of the two was altered, "
                         "lower the model again")
    return Vectors(inputs, expected, count)


def _keys(kind: str, tensors: Sequence[TensorShape]) -> list[tuple[str, TensorShape]]:
    return [(kind if len(tensors) == 1 else f"{kind}{index}", tensor) for index, tensor in enumerate(tensors)]


def count_differing(left: Values, right: Values) -> int:
    """Samples in which any bit of any tensor differs; both hold the same names, types and shapes."""
    differs = [(_bytes(left[name]) != _bytes(right[name])).any(axis=1) for name in right]
    return int(np.count_nonzero(np.any(differs, axis=0)))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
