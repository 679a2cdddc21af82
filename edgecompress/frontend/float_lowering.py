"""FloatGraph to a graph of float32 ops, which lowers to C for a core with an FPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.expression import describe
from edgecompress.frontend.float_graph import FloatGraph, FloatNode
from edgecompress.frontend.passes import prepare_float
from edgecompress.ir.float_ops import (
    FloatBinary,
    FloatConcat,
    FloatConv2D,
    FloatDense,
    FloatDepthwiseConv2D,
    FloatGlobalAveragePool,
    FloatPad,
    FloatPool2D,
    FloatSoftmax,
    FloatUnary,
)
from edgecompress.ir.float_ops.functions import FUNCTIONS
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.transpose import Transpose

HINT = "try: --calibrate DATA, which makes the model int8, where more operators are supported"


def _bounds(node: FloatNode) -> np.ndarray:
    return np.array(node.clamp, dtype=np.float64)


def _windowed(node: FloatNode) -> dict[str, object]:
    attributes = node.attributes
    return {"weights": attributes["weights"], "bias": attributes["bias"], "bounds": _bounds(node),
            **{key: tuple(int(size) for size in attributes[key]) for key in ("stride", "dilation", "padding")}}


def _pool(function: str) -> Callable[[FloatNode], Op]:
    return lambda node: FloatPool2D(function, node.attributes["kernel"], node.attributes["stride"], node.attributes["padding"], _bounds(node))


def _function(node: FloatNode) -> str:
    """The function's name among those of FloatUnary. Raises ModelError for an expression that expand_expressions could not take apart."""
    function = str(node.attributes["function"])
    if function != "expression":
        return function
    steps = node.attributes["steps"]
    if len(steps) == 1 and steps[0][0] in FUNCTIONS:
        return str(steps[0][0])
    raise ModelError(f"there is no float kernel for {describe(steps)}; there are some for {', '.join(FUNCTIONS)}")


CONVERT: dict[str, Callable[[FloatNode], Op]] = {
    "conv2d": lambda node: FloatConv2D(**_windowed(node), groups=int(node.attributes["groups"])),  # type: ignore[arg-type]
    "depthwise_conv2d": lambda node: FloatDepthwiseConv2D(**_windowed(node)),  # type: ignore[arg-type]
    "dense": lambda node: FloatDense(node.attributes["weights"], node.attributes["bias"], _bounds(node)),
    "add": lambda node: FloatBinary("add", _bounds(node)),
    "mul": lambda node: FloatBinary("mul", _bounds(node)),
    "average_pool2d": _pool("average"),
    "max_pool2d": _pool("max"),
    "global_average_pool": lambda node: FloatGlobalAveragePool(_bounds(node)),
    "pad": lambda node: FloatPad(tuple(node.attributes["padding"]), np.array([node.attributes["value"]], np.float32)),
    "concat": lambda node: FloatConcat(int(node.attributes["axis"])),
    "reshape": lambda node: Reshape(tuple(node.attributes["shape"])),
    "transpose": lambda node: Transpose(tuple(node.attributes["permutation"])),
    "slice": lambda node: Slice(*(tuple(node.attributes[key]) for key in ("begin", "size", "step"))),
    "resize_nearest": lambda node: ResizeNearest(tuple(node.attributes["size"])),
    "softmax": lambda node: FloatSoftmax(),
    "unary": lambda node: FloatUnary(_function(node)),
    "clamp": lambda node: FloatUnary("identity", np.array([node.attributes["low"], node.attributes["high"]])),
}


def to_float_ops(graph: FloatGraph) -> QuantizedGraph:
    """The same model as float32 tensors and ops, batch norms folded and activations fused first.

    Raises ModelError naming the node for a kind that has no float kernel.
    """
    prepared = prepare_float(graph)
    used = {prepared.input, *prepared.outputs, *(name for node in prepared.nodes for name in (*node.inputs, node.output))}
    tensors = {name: Tensor(name, shape, 1.0, 0, "float32") for name, shape in prepared.shapes.items() if name in used}
    nodes = tuple(map(_node, prepared.nodes))
    return QuantizedGraph(prepared.name, tensors, nodes, (prepared.input,), prepared.outputs, dict(graph.metadata))


def _node(node: FloatNode) -> Node:
    if node.kind not in CONVERT:
        raise ModelError(f"node {node.name!r} ({node.kind}) has no float kernel in C; float kernels exist for {', '.join(CONVERT)}", HINT)
    try:
        return Node(node.name, CONVERT[node.kind](node), node.inputs, node.output)
    except ModelError as error:
        raise ModelError(f"node {node.name!r} ({node.kind}): {error.message}", HINT) from None
