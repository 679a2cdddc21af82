"""What is benched: the facts of an artifact folder that building and running it needs."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecompress.errors import DataError, ModelError
from edgecompress.ir import reference, serialize
from edgecompress.ir.graph import MAX_ELEMENTS, QuantizedGraph
from edgecompress.lower.artifact import read_manifest


@dataclass(frozen=True)
class Layer:
    """A layer with code: its node and the kernel's entry symbol."""

    node: str
    kernel: str


@dataclass(frozen=True)
class Subject:
    """An artifact folder as `lower` wrote it."""

    folder: Path
    name: str  # prefix of its C names
    target: str
    sources: tuple[Path, ...]
    layers: tuple[Layer, ...]  # in call order
    arena_bytes: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    vectors_source: str  # what the test vectors are made of

    @property
    def input_bytes(self) -> int:
        """Bytes of one frame in."""
        return math.prod(self.input_shape)

    @property
    def output_bytes(self) -> int:
        """Bytes of one frame out."""
        return math.prod(self.output_shape)


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
GRAPH, VECTORS = "graph.json", "vectors.npz"


def load_subject(folder: Path) -> Subject:
    """Reads an artifact folder. Raises ConfigError when it is none, ModelError when its manifest is damaged."""
    manifest = read_manifest(folder)
    try:
        layers = tuple(Layer(_text(layer["node"]), _identifier(layer["kernel"])) for layer in manifest["layers"] if layer["kernel"])
        (input_tensor,), (output_tensor,) = manifest["inputs"], manifest["outputs"]
        return Subject(folder, _identifier(manifest["name"]), manifest["target"], tuple(folder / name for name in manifest["sources"]), layers,
                       manifest["arena_bytes"], _shape(input_tensor["shape"]), _shape(output_tensor["shape"]), manifest["vectors_source"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"'{folder / 'manifest.json'}' is damaged: {error}; lower the model again") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r}")
    return value


def _identifier(value: Any) -> str:
    if not _IDENTIFIER.match(_text(value)):
        raise ValueError(f"{value!r} is not a C name")
    return _text(value)


def _shape(values: Any) -> tuple[int, ...]:
    shape = tuple(values)
    if not shape or any(not isinstance(size, int) or size < 1 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"{values!r} is not a tensor shape")
    return shape


@dataclass(frozen=True)
class Vectors:
    """Inputs and the outputs that the reference gives for them, int8 [n, *shape]."""

    inputs: np.ndarray
    outputs: np.ndarray


def load_graph(subject: Subject) -> QuantizedGraph:
    """The graph an artifact was lowered from. Raises ModelError when it is missing, damaged or of other shapes."""
    graph = serialize.load(subject.folder / GRAPH)
    shapes = (graph.tensors[graph.inputs[0]].shape, graph.tensors[graph.outputs[0]].shape)
    if shapes != (subject.input_shape, subject.output_shape):
        raise ModelError(f"'{subject.folder}' does not fit together: its graph has shapes {shapes}, its manifest "
                         f"{(subject.input_shape, subject.output_shape)}; lower the model again")
    return graph


def load_vectors(subject: Subject, samples: int) -> Vectors:
    """The first `samples` test vectors, or all when there are fewer; their outputs are computed again from the graph.

    Raises ModelError when vectors.npz is damaged or its outputs are not those of the graph.
    """
    path = subject.folder / VECTORS
    try:
        with np.load(path, allow_pickle=False) as archive:
            inputs, outputs = archive["inputs"][:samples], archive["outputs"][:samples]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError) as error:
        raise ModelError(f"'{path}' cannot be used: {error}; lower the model again") from None
    for name, array, shape in (("inputs", inputs, subject.input_shape), ("outputs", outputs, subject.output_shape)):
        if array.dtype != np.int8 or array.shape[1:] != shape or len(array) != len(inputs) or not len(array):
            raise ModelError(f"'{path}' holds {name} of {array.dtype} {list(array.shape)}, expected int8 [n, {', '.join(map(str, shape))}]")
    expected = reference.run(load_graph(subject), inputs)
    differing = int(np.count_nonzero((expected != outputs).reshape(len(outputs), -1).any(axis=1)))
    if differing:
        raise ModelError(f"'{path}' disagrees with the graph beside it on {differing} of {len(outputs)} outputs; one of the two was altered, lower the model again")
    return Vectors(inputs, expected)


def check_inputs(subject: Subject, inputs: np.ndarray) -> np.ndarray:
    """`inputs` as contiguous int8 [n, *input_shape]; raises DataError for any other type or shape."""
    array = np.ascontiguousarray(inputs)
    if array.dtype != np.int8 or array.shape[1:] != subject.input_shape:
        raise DataError(f"inputs must be int8 [n, {', '.join(map(str, subject.input_shape))}], got {array.dtype} {list(array.shape)}; "
                        "quantize them with the graph's input tensor")
    return array
