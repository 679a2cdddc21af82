"""FloatGraph: a float model in the integer graph's vocabulary (NHWC, same node kinds), before any number is quantized."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.expression import check_steps
from edgecompress.ir.ops.table import UNARY
from edgecompress.ir.window import output_size

Shape = tuple[int, ...]
Clamp = tuple[float, float]
UNBOUNDED: Clamp = (-math.inf, math.inf)
WEIGHTED = ("conv2d", "depthwise_conv2d", "dense")
CLAMPABLE = (*WEIGHTED, "add", "mul", "batch_matmul", "average_pool2d", "max_pool2d", "global_average_pool")
TIED = ("max_pool2d", "average_pool2d", "reshape", "transpose", "slice", "pad", "resize_nearest")  # output codes mean what input codes mean


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """What a quantized model stores for a layer: `values` int8 in the layout of the node's weights, their float64 `scales` [channels] or [1],
    `bias` int64 [channels] and its scales (None where the file keeps the bias in float), `bits` of the weights."""

    values: np.ndarray
    scales: np.ndarray
    bias: np.ndarray | None = None
    bias_scales: np.ndarray | None = None
    bits: int = 8


@dataclass(frozen=True, eq=False)
class FloatNode:
    """One operation. `attributes` by kind (arrays are float32, image weights are NHWC like the integer ops'):

    conv2d: weights [out, h, w, in / groups], bias [out], stride, dilation, padding (top, bottom, left, right), groups;
    depthwise_conv2d: weights [h, w, out], bias, stride, dilation, padding; dense: weights [out, in], bias;
    batch_norm: scale [channels], offset [channels]; average_pool2d, max_pool2d: kernel, stride, padding (does not count);
    pad: padding, value; concat: axis; reshape: shape; transpose: permutation; slice: begin, size, step (one of each an axis, steps may
    be negative); resize_nearest: size; unary: function, a name in ir.ops.table.UNARY, or "expression" with steps (expression.py);
    batch_matmul: transpose_left, transpose_right (as in ir.ops.batch_matmul), factor, a positive number that the product is multiplied with;
    clamp: low, high; add, mul, softmax, global_average_pool: none. quantize: scale, zero_point, a point of a quantized model where values are
    rounded to these int8 codes; quantized.py turns a graph with such points into integers.
    The kinds in CLAMPABLE may hold clamp: (low, high), applied to their result. Layers that come from a quantized model hold integers: an
    IntegerLayer with the exact values behind weights and bias.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def clamp(self) -> Clamp:
        """Bounds of the fused activation; (-inf, inf) when there is none."""
        bounds: Clamp = self.attributes.get("clamp", UNBOUNDED)
        return bounds

    def changed(self, *, inputs: tuple[str, ...] | None = None, output: str | None = None, **attributes: Any) -> FloatNode:
        """A copy with other inputs, output or attributes."""
        return FloatNode(self.name, self.kind, self.inputs if inputs is None else inputs, self.output if output is None else output,
                         {**self.attributes, **attributes})


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """A float model with one input, nodes in topological order. `shapes` hold no batch axis: (h, w, c), (features,) or any other rank.

    `outputs` are different tensors, at least one. `metadata` is plain JSON (where the model comes from); `quantize` hands it on.
    """

    name: str
    shapes: Mapping[str, Shape]
    nodes: tuple[FloatNode, ...]
    input: str
    outputs: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", MappingProxyType(dict(self.shapes)))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        written, names = {self.input}, set()
        for node in self.nodes:
            if node.kind not in SHAPE_RULES:
                raise ModelError(f"node {node.name!r} has unknown kind {node.kind!r}; known: {', '.join(sorted(SHAPE_RULES))}")
            for name in node.inputs:
                if name not in written:
                    raise ModelError(f"node {node.name!r} reads {name!r} before anything writes it")
            if node.output in written or node.name in names:
                raise ModelError(f"node {node.name!r} writes {node.output!r}; the name of a node and of its output must be new")
            written.add(node.output)
            names.add(node.name)
        if not self.outputs or len(set(self.outputs)) != len(self.outputs):
            raise ModelError(f"graph {self.name!r} needs outputs of different names, at least one; got {self.outputs}")
        for name in self.outputs:
            if name not in written:
                raise ModelError(f"nothing writes output {name!r} of graph {self.name!r}")
        if missing := written - self.shapes.keys():
            raise ModelError(f"graph {self.name!r} has no shape for {sorted(missing)[0]!r}")

    @property
    def output(self) -> str:
        """The output of a graph that has one. Raises ModelError if there are several."""
        if len(self.outputs) != 1:
            raise ModelError(f"graph {self.name!r} has {len(self.outputs)} outputs ({', '.join(map(repr, self.outputs[:8]))}); this step takes one: "
                             "name the output to keep when the model is loaded")
        return self.outputs[0]

    def rebuilt(self, nodes: Iterable[FloatNode], outputs: tuple[str, ...] | None = None, shapes: Mapping[str, Shape] | None = None) -> FloatGraph:
        """The same graph with other nodes; `shapes` of tensors that are new."""
        kept = tuple(nodes)
        known = {**self.shapes, **(shapes or {})}
        return FloatGraph(self.name, {name: known[name] for name in (self.input, *(node.output for node in kept))}, kept, self.input,
                          outputs or self.outputs, self.metadata)

    @property
    def consumers(self) -> dict[str, list[FloatNode]]:
        """Nodes that read each tensor, every written tensor has an entry."""
        table: dict[str, list[FloatNode]] = {name: [] for name in self.shapes}
        for node in self.nodes:
            for name in node.inputs:
                table[name].append(node)
        return table

    @property
    def weighted(self) -> tuple[FloatNode, ...]:
        """Nodes with weights, in order."""
        return tuple(node for node in self.nodes if node.kind in WEIGHTED)


def frozen_float(values: np.ndarray) -> np.ndarray:
    """A read-only float32 copy."""
    array = np.array(values, dtype=np.float32, order="C")
    array.setflags(write=False)
    return array


def _image(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ModelError(f"needs an input of shape (height, width, channels), got {shape}")
    return shape


def _same(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    return shapes[0]


def _conv(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    height, width, channels = _image(shapes[0])
    weights = attributes["weights"]
    if channels != weights.shape[3] * attributes["groups"]:
        raise ModelError(f"input has {channels} channels, the weights want {weights.shape[3] * attributes['groups']}")
    size = output_size((height, width), weights.shape[1:3], attributes["stride"], attributes["padding"], attributes["dilation"])
    return (*size, weights.shape[0])


def _depthwise(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    height, width, channels = _image(shapes[0])
    weights = attributes["weights"]
    if weights.shape[2] % channels:
        raise ModelError(f"{weights.shape[2]} output channels are not a multiple of the input's {channels}")
    size = output_size((height, width), weights.shape[:2], attributes["stride"], attributes["padding"], attributes["dilation"])
    return (*size, weights.shape[2])


def _dense(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    weights = attributes["weights"]
    if shapes[0] != (weights.shape[1],):
        raise ModelError(f"needs an input of shape ({weights.shape[1]},), got {shapes[0]}")
    return (weights.shape[0],)


def _batch_norm(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    if shapes[0][-1] != attributes["scale"].shape[0]:
        raise ModelError(f"input has {shapes[0][-1]} channels, the normalisation {attributes['scale'].shape[0]}")
    return shapes[0]


def _pool(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    height, width, channels = _image(shapes[0])
    return (*output_size((height, width), attributes["kernel"], attributes["stride"], attributes["padding"]), channels)


def _global_pool(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    return 1, 1, _image(shapes[0])[2]


def _add(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    if shapes[0] != shapes[1]:
        raise ModelError(f"inputs of shapes {shapes[0]} and {shapes[1]} cannot be added; only equal shapes are supported")
    return shapes[0]


def _mul(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    left, right = shapes
    if left != right and not (len(left) == 3 and right == (1, 1, left[2])):
        raise ModelError(f"inputs of shapes {left} and {right} cannot be multiplied; supported: equal shapes, or (1, 1, channels) second")
    return left


def _batch_matmul(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    left, right = shapes
    if len(left) < 2 or len(left) != len(right) or left[:-2] != right[:-2]:
        raise ModelError(f"inputs of shapes {left} and {right} are no pairs of matrices; both need the same leading axes and two more")
    rows, depth = left[:-3:-1] if attributes["transpose_left"] else left[-2:]
    right_depth, columns = right[:-3:-1] if attributes["transpose_right"] else right[-2:]
    if depth != right_depth:
        raise ModelError(f"matrices of {rows} x {depth} and {right_depth} x {columns} cannot be multiplied; the inner sizes must be equal")
    return (*left[:-2], rows, columns)


def _pad(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    height, width, channels = _image(shapes[0])
    top, bottom, left, right = attributes["padding"]
    if min(attributes["padding"]) < 0:
        raise ModelError(f"padding {attributes['padding']} crops; only padding of at least 0 is supported")
    return height + top + bottom, width + left + right, channels


def _concat(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    axis = attributes["axis"]
    rest = {shape[:axis] + shape[axis + 1:] for shape in shapes}
    if len({len(shape) for shape in shapes}) != 1 or len(rest) != 1:
        raise ModelError(f"inputs of shapes {', '.join(map(str, shapes))} cannot be joined along axis {axis}")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1:])


def _reshape(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    shape: Shape = attributes["shape"]
    if math.prod(shape) != math.prod(shapes[0]):
        raise ModelError(f"an input of shape {shapes[0]} cannot take the shape {shape}")
    return shape


def _transpose(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    permutation = attributes["permutation"]
    if sorted(permutation) != list(range(len(shapes[0]))):
        raise ModelError(f"permutation {permutation} does not fit an input of shape {shapes[0]}")
    return tuple(shapes[0][axis] for axis in permutation)


def _slice(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    begin, size, step = (attributes[key] for key in ("begin", "size", "step"))
    if not len(begin) == len(size) == len(step) == len(shapes[0]):
        raise ModelError(f"a slice from {begin} of {size} elements by {step} does not fit an input of shape {shapes[0]}")
    for first, count, stride, length in zip(begin, size, step, shapes[0], strict=True):
        if count < 1 or stride == 0 or not (0 <= first < length and 0 <= first + (count - 1) * stride < length):
            raise ModelError(f"a slice from {begin} of {size} elements by {step} takes nothing of an input of shape {shapes[0]}, or goes outside it")
    return tuple(size)


def _unary(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    function = attributes["function"]
    if function == "expression":
        check_steps(attributes["steps"])
    elif function not in UNARY:
        raise ModelError(f"unknown unary function '{function}'; known: {', '.join(sorted(UNARY))}")
    return shapes[0]


def _resize(attributes: Mapping[str, Any], *shapes: Shape) -> Shape:
    return (*attributes["size"], _image(shapes[0])[2])


SHAPE_RULES: dict[str, Callable[..., Shape]] = {
    "conv2d": _conv,
    "depthwise_conv2d": _depthwise,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "add": _add,
    "mul": _mul,
    "batch_matmul": _batch_matmul,
    "average_pool2d": _pool,
    "max_pool2d": _pool,
    "global_average_pool": _global_pool,
    "pad": _pad,
    "concat": _concat,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "softmax": _same,
    "resize_nearest": _resize,
    "unary": _unary,
    "clamp": _same,
    "quantize": _same,
}


class FloatGraphBuilder:
    """Collects nodes for one FloatGraph, infers shapes and keeps names unique. Frontends use it; the product is frozen."""

    def __init__(self, name: str, input_shape: Shape, input_name: str = "input") -> None:
        self.name = name
        self.input = input_name
        self.shapes: dict[str, Shape] = {self.input: input_shape}
        self.nodes: list[FloatNode] = []

    def add(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Appends a node, returns the name of the tensor it writes. Raises ModelError without the node's name: the caller knows the origin."""
        shape = SHAPE_RULES[kind](attributes, *(self.shapes[tensor] for tensor in inputs))
        unique, count = name, 1
        while unique in self.shapes:  # a module that is called twice gives "conv" and "conv:2"
            unique, count = f"{name}:{count + 1}", count + 1
        self.shapes[unique] = shape
        self.nodes.append(FloatNode(unique, kind, inputs, unique, attributes))
        return unique

    def build(self, *outputs: str, metadata: Mapping[str, Any] | None = None) -> FloatGraph:
        """The frozen graph."""
        return FloatGraph(self.name, self.shapes, tuple(self.nodes), self.input, outputs, metadata or {})
