"""Reads an ONNX file into plain nodes and constants. Nothing that the file names is ever opened, and no array is made before its size is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.errors import ModelError, ToolMissingError
from edgecompress.frontend.onnx.tensors import tensor_array
from edgecompress.frontend.onnx.text import checked, shown

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

OLDEST_OPSET, NEWEST_OPSET = 7, 24
MAX_NODES = 20_000
MAX_NAMES = 100_000
MAX_OPERANDS = 1024
DOMAINS = ("", "ai.onnx", "com.microsoft")
REQUIRED: Any = object()


@dataclass(frozen=True)
class InputInfo:
    """A graph input: its ONNX data type and its sizes, None where the file leaves one open."""

    name: str
    data_type: int
    shape: tuple[int | None, ...] | None
    labels: tuple[str, ...]  # what the file calls the open sizes


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """One operator call. Attributes are checked for their type when they are asked for."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeProto]
    opset: int

    @property
    def label(self) -> str:
        """Operator and name for messages; a node without a name goes by its first output."""
        return f"{shown(self.operator)[1:-1]} {shown(self.name or (self.outputs[0] if self.outputs else ''))}"

    def _get(self, name: str, kind: int, field: str, default: Any) -> Any:
        attribute = self.attributes.get(name)
        if attribute is None:
            if default is REQUIRED:
                raise ModelError(f"has no attribute '{name}'")
            return default
        if attribute.type != kind:
            raise ModelError(f"attribute '{name}' is of the wrong type")
        return getattr(attribute, field)

    def integer(self, name: str, default: Any = REQUIRED) -> int:
        """An integer attribute. Raises ModelError if it is missing without a default or of another type, as do the others."""
        return int(self._get(name, 2, "i", default))

    def optional_integer(self, name: str) -> int | None:
        """An integer attribute or None."""
        value = self._get(name, 2, "i", None)
        return None if value is None else int(value)

    def number(self, name: str, default: Any = REQUIRED) -> float:
        """A float attribute. Raises ModelError if it is not finite."""
        value = float(self._get(name, 1, "f", default))
        if not math.isfinite(value):
            raise ModelError(f"attribute '{name}' is {value}; it must be finite")
        return value

    def optional_number(self, name: str) -> float | None:
        """A float attribute or None."""
        return self.number(name) if name in self.attributes else None

    def text(self, name: str, default: Any = REQUIRED) -> str:
        """A string attribute, on one line and not long: it is a word of ONNX or it will stand in a message."""
        value = self._get(name, 3, "s", default)
        return shown(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))[1:-1]

    def integers(self, name: str, default: Any = REQUIRED, count: int | None = None) -> tuple[int, ...]:
        """A list of integers, of `count` entries if given."""
        value = tuple(int(v) for v in self._get(name, 7, "ints", default))
        if count is not None and len(value) != count:
            raise ModelError(f"attribute '{name}' has {len(value)} entries where {count} are needed")
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of floats."""
        return tuple(float(v) for v in self._get(name, 6, "floats", REQUIRED))

    def optional_integers(self, name: str, count: int | None = None) -> tuple[int, ...] | None:
        """A list of integers or None."""
        return self.integers(name, count=count) if name in self.attributes else None

    def tensor(self, name: str) -> np.ndarray:
        """A tensor attribute."""
        return tensor_array(self._get(name, 4, "t", REQUIRED), f"attribute '{name}'")


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """What is used of a file: nodes in file order, initializers by name (decoded when needed), true inputs and outputs."""

    nodes: tuple[OnnxNode, ...]
    initializers: Mapping[str, TensorProto]
    inputs: tuple[InputInfo, ...]
    outputs: tuple[str, ...]
    bytes: int


def read_model(data: bytes) -> OnnxModel:
    """Parses a file's bytes. Raises ModelError for anything that is not a model of a known operator set."""
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise ToolMissingError("reading ONNX files needs the package 'onnx'; install it with: pip install onnx") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        return _converted(model, len(data))
    except DecodeError:
        raise ModelError("the file is not an ONNX model, or it is damaged: protobuf cannot read it; get or export it again") from None


def _converted(model: ModelProto, size: int) -> OnnxModel:
    graph = model.graph
    _check_counts(graph)
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not graph.node or not graph.output or not opsets:
        raise ModelError("the file is not an ONNX model, or it is empty: it needs an operator set, nodes and outputs")
    opset = max(opsets)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ModelError(f"the model is written for operator set {opset}; supported: {OLDEST_OPSET} to {NEWEST_OPSET}",
                         "onnx.version_converter.convert_version(model, 17) brings most models there")
    initializers = {checked(tensor.name): tensor for tensor in graph.initializer}
    inputs = tuple(_input(entry) for entry in graph.input if entry.name not in initializers)
    outputs = tuple(checked(entry.name) for entry in graph.output)
    return OnnxModel(tuple(_node(node, opset) for node in graph.node), initializers, inputs, outputs, size)


def _check_counts(graph: GraphProto) -> None:
    counts: Sequence[tuple[str, int, int]] = (
        ("nodes", len(graph.node), MAX_NODES), ("initializers", len(graph.initializer), MAX_NAMES), ("inputs", len(graph.input), MAX_NAMES),
        ("outputs", len(graph.output), MAX_NAMES))
    for what, count, limit in counts:
        if count > limit:
            raise ModelError(f"the model has {count} {what}; at most {limit} are read")


def _node(node: NodeProto, opset: int) -> OnnxNode:
    name, domain, operator = (checked(text) for text in (node.name, node.domain, node.op_type))
    if max(len(node.input), len(node.output), len(node.attribute)) > MAX_OPERANDS:
        raise ModelError(f"node {shown(name)} has more than {MAX_OPERANDS} inputs, outputs or attributes; that is refused as hostile")
    attributes = {checked(attribute.name): attribute for attribute in node.attribute}
    for key, attribute in attributes.items():
        if attribute.ref_attr_name:
            raise ModelError(f"attribute {shown(key)} of node {shown(name)} refers to a parameter of a function that is not there")
    operator = operator if domain in DOMAINS else f"{domain}::{operator}"
    return OnnxNode(operator, name, tuple(map(checked, node.input)), tuple(map(checked, node.output)), attributes, opset)


def _input(entry: ValueInfoProto) -> InputInfo:
    name, kind = checked(entry.name), entry.type.tensor_type
    if not entry.type.HasField("tensor_type") or not kind.HasField("shape"):
        return InputInfo(name, kind.elem_type, None, ())
    sizes = [int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim]
    labels = [str(size) if size else checked(dim.dim_param)[:20] or "?" for size, dim in zip(sizes, kind.shape.dim, strict=True)]
    return InputInfo(name, kind.elem_type, tuple(sizes), tuple(repr(label)[1:-1] for label in labels))
