"""QuantizedGraph: tensors, nodes, and the checks that make every later stage safe."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, to_integer, to_integers, to_text

MAX_ELEMENTS = 2**31 - 1
MAX_RANK = 6
ITEM_BYTES = {"int8": 1, "float32": 4}
SMALLEST_SCALE, LARGEST_SCALE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Tensor:
    """An activation. `shape` has no batch axis; images are (height, width, channels). int8: real = scale * (q - zero_point).

    `dtype` float32 (scale 1, zero point 0) is for models that stay float; a graph's tensors are all of one dtype.
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        to_text(self.name)
        if self.dtype not in ITEM_BYTES:
            raise ModelError(f"tensor {self.name!r} has dtype {str(self.dtype)[:40]!r}; known: {', '.join(ITEM_BYTES)}")
        try:
            object.__setattr__(self, "shape", to_integers(self.shape))
            object.__setattr__(self, "zero_point", to_integer(self.zero_point))
        except ModelError as error:
            raise ModelError(f"tensor {self.name!r}: {error.message}") from None
        if not 1 <= len(self.shape) <= MAX_RANK or min(self.shape) < 1 or math.prod(self.shape) > MAX_ELEMENTS:
            raise ModelError(f"tensor {self.name!r} has shape {self.shape}; it must have 1 to {MAX_RANK} sizes, each at least 1, "
                             "with a product below 2^31")
        if isinstance(self.scale, (bool, np.bool_)) or not isinstance(self.scale, (float, int, np.floating)):
            raise ModelError(f"tensor {self.name!r} has a scale that is not a number: {str(self.scale)[:40]!r}")
        if not SMALLEST_SCALE <= self.scale <= LARGEST_SCALE:
            raise ModelError(f"tensor {self.name!r} has scale {self.scale}; it must be a positive number that float32 holds "
                             f"({SMALLEST_SCALE:.2g} to {LARGEST_SCALE:.2g})")
        object.__setattr__(self, "scale", float(self.scale))
        if not -128 <= self.zero_point <= 127:
            raise ModelError(f"tensor {self.name!r} has zero point {self.zero_point}; int8 allows -128 to 127")
        if self.dtype != "int8" and (self.scale, self.zero_point) != (1.0, 0):
            raise ModelError(f"tensor {self.name!r} is {self.dtype} with scale {self.scale} and zero point {self.zero_point}; they must be 1 and 0")

    @property
    def elements(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes; of an int8 tensor also its elements."""
        return self.elements * ITEM_BYTES[self.dtype]

    def quantize(self, real: np.ndarray) -> np.ndarray:
        """float to int8, ties to even, saturating; NaN becomes the zero point."""
        with np.errstate(over="ignore"):  # infinity saturates like any large number
            scaled = np.rint(np.nan_to_num(np.asarray(real, dtype=np.float32) / np.float32(self.scale))) + self.zero_point
        quantized: np.ndarray = np.clip(scaled, -128, 127).astype(np.int8)
        return quantized

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        """int8 to float32."""
        return ((q.astype(np.int32) - self.zero_point) * np.float32(self.scale)).astype(np.float32)


@dataclass(frozen=True)
class Node:
    """One op application: names of the tensors it reads, name of the one it writes."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str

    def __post_init__(self) -> None:
        if not isinstance(self.op, Op):
            raise ModelError(f"node {self.name!r} needs an op, got {str(self.op)[:40]!r}")
        if not isinstance(self.inputs, (tuple, list)):
            raise ModelError(f"node {self.name!r} needs a list of inputs, got {str(self.inputs)[:40]!r}")
        for text in (self.name, self.output, *self.inputs):
            to_text(text)
        object.__setattr__(self, "inputs", tuple(self.inputs))


@dataclass(frozen=True)
class QuantizedGraph:
    """An integer model in topological order. Frozen; `metadata` is plain JSON (class names, preprocessing, origin)."""

    name: str
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for names in (self.inputs, self.outputs):
            if not isinstance(names, (tuple, list)):
                raise ModelError(f"graph inputs and outputs must be lists of names, got {str(names)[:40]!r}")
        for text in (self.name, *self.inputs, *self.outputs):
            to_text(text)
        for name in ("inputs", "outputs", "nodes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        self._check()

    def _check(self) -> None:
        if not self.inputs or not self.outputs:
            raise ModelError(f"graph {self.name!r} needs at least one input and one output")
        for names, what in ((self.inputs, "inputs"), (self.outputs, "outputs"), ([node.name for node in self.nodes], "nodes")):
            repeated = sorted({name for name, times in Counter(names).items() if times > 1})
            if repeated:
                raise ModelError(f"graph {self.name!r} has two {what} of the name {repeated[0]!r}; names must differ")
        for key, tensor in self.tensors.items():
            if tensor.name != key:
                raise ModelError(f"graph {self.name!r} lists tensor {tensor.name!r} under the name {key!r}")
        if len({tensor.dtype for tensor in self.tensors.values()}) > 1:
            raise ModelError(f"graph {self.name!r} has tensors of several dtypes; all must be int8, or all float32")
        for name in (*self.inputs, *self.outputs):
            if name not in self.tensors:
                raise ModelError(f"graph {self.name!r} names {name!r} as an input or output, but has no such tensor")
        written = set(self.inputs)
        for node in self.nodes:
            self._check_node(node, written)
            written.add(node.output)
        for name in self.outputs:
            if name not in written:
                raise ModelError(f"nothing writes output {name!r} of graph {self.name!r}")

    def _check_node(self, node: Node, written: set[str]) -> None:
        for name in (*node.inputs, node.output):
            if name not in self.tensors:
                raise ModelError(f"node {node.name!r} uses tensor {name!r}, which the graph does not have")
        for name in node.inputs:
            if name not in written:
                raise ModelError(f"node {node.name!r} reads {name!r} before anything writes it")
        if node.output in written:
            raise ModelError(f"node {node.name!r} writes {node.output!r}, which is written already")
        try:
            shape = node.op.infer_shape(*(self.tensors[name].shape for name in node.inputs))
        except ModelError as error:
            raise ModelError(f"node {node.name!r} ({node.op.kind}): {error.message}") from None
        output = self.tensors[node.output]
        if shape != output.shape:
            raise ModelError(f"node {node.name!r} makes shape {shape}, but {node.output!r} has {output.shape}")
        if output.dtype not in node.op.dtypes:
            raise ModelError(f"node {node.name!r} ({node.op.kind}) is for {' or '.join(node.op.dtypes)} tensors, {node.output!r} is {output.dtype}")

    def input_tensors(self, node: Node) -> tuple[Tensor, ...]:
        """Tensors that the node reads, in order."""
        return tuple(self.tensors[name] for name in node.inputs)

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of one inference of one node."""
        return node.op.macs(*(tensor.shape for tensor in self.input_tensors(node)))

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(self.macs(node) for node in self.nodes)

    @property
    def parameters(self) -> int:
        """Weights and biases, counted as numbers."""
        return sum(node.op.parameters for node in self.nodes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of constants as stored on a device: packed weights, biases, rescaling tables, look-up tables."""
        return sum(node.op.constant_bytes for node in self.nodes)

    @property
    def state_bytes(self) -> int:
        """Bytes that the model keeps from one inference to the next. Not 0: samples of a batch are consecutive steps."""
        return sum(node.op.state_bytes for node in self.nodes)

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical serialisation: equal graphs have equal hashes on every machine."""
        from edgecompress.ir.serialize import canonical_bytes

        return hashlib.sha256(canonical_bytes(self)).hexdigest()
