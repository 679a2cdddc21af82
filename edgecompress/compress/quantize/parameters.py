"""Scale and zero point of every tensor: which tensors share them, which are fixed, which need a floor for the integer arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecompress.compress.quantize.ranges import Range
from edgecompress.compress.quantize.weights import to_rows
from edgecompress.frontend.float_graph import TIED, WEIGHTED, FloatGraph, FloatNode
from edgecompress.ir.graph import Tensor

FIXED: dict[str, tuple[float, int]] = {"softmax": (1 / 256, -128), "sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0)}  # as TFLite demands
BIAS_LIMIT = 2**30  # of a quantized bias; leaves the other half of the accumulator to the products
SOFTMAX_INPUT_FLOOR = 2.0**-26


def fixed_parameters(node: FloatNode) -> tuple[float, int] | None:
    """(scale, zero point) that the kind prescribes for its output."""
    return FIXED.get(node.attributes.get("function", node.kind)) if node.kind in ("softmax", "unary") else None


def roots(graph: FloatGraph) -> dict[str, str]:
    """For every tensor the one whose scale and zero point it shares; itself if it has its own."""
    table = {graph.input: graph.input}
    for node in graph.nodes:
        table[node.output] = table[node.inputs[0]] if node.kind in TIED else node.output
    return table


def observed_tensors(graph: FloatGraph) -> list[str]:
    """Tensors whose range the calibration must find."""
    fixed = {node.output for node in graph.nodes if fixed_parameters(node) is not None}
    return [name for name in dict.fromkeys(roots(graph).values()) if name not in fixed]


def include_pad_values(graph: FloatGraph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Ranges widened to hold the constants that pads write."""
    result, table = dict(ranges), roots(graph)
    for node in graph.nodes:
        root = table[node.output]
        if node.kind == "pad" and root in result:
            low, high = result[root]
            result[root] = min(low, node.attributes["value"]), max(high, node.attributes["value"])
    return result


def affine_parameters(low: float, high: float, floor: float = 0.0) -> tuple[float, int]:
    """(scale, zero point) for 256 codes from low to high, 0 exact; the scale is a normal float32 number and at least `floor`."""
    scale = (high - low) / 255.0
    zero_point = int(np.clip(np.rint(-128.0 - low / scale), -128, 127))
    return float(np.float32(max(scale, floor, float(np.finfo(np.float32).tiny)))), zero_point


def choose_parameters(graph: FloatGraph, ranges: Mapping[str, Range]) -> dict[str, Tensor]:
    """Tensors with scale and zero point, in topological order; `ranges` has an entry for each of `observed_tensors`."""
    table, ranges = roots(graph), include_pad_values(graph, ranges)
    softmax_roots = {table[node.inputs[0]] for node in graph.nodes if node.kind == "softmax"}
    tensors: dict[str, Tensor] = {}

    def own(name: str, floor: float) -> Tensor:
        floor = max(floor, SOFTMAX_INPUT_FLOOR if name in softmax_roots else 0.0)
        return Tensor(name, graph.shapes[name], *affine_parameters(*ranges[name], floor))

    tensors[graph.input] = own(graph.input, 0.0)
    for node in graph.nodes:
        fixed, root = fixed_parameters(node), table[node.output]
        if fixed is not None:
            tensors[node.output] = Tensor(node.output, graph.shapes[node.output], *fixed)
        elif root == node.output:
            tensors[node.output] = own(node.output, scale_floor(node, [tensors[name] for name in node.inputs]))
        else:
            tensors[node.output] = Tensor(node.output, graph.shapes[node.output], tensors[root].scale, tensors[root].zero_point)
    return tensors


def scale_floor(node: FloatNode, inputs: list[Tensor]) -> float:
    """Least output scale at which the node's rescaling cannot overflow its 32-bit left shift.

    It only bites where results are some millions of times smaller than what they are summed from: dead or cancelling layers.
    """
    if node.kind in WEIGHTED:
        rows = np.abs(to_rows(node.attributes["weights"], node.kind == "depthwise_conv2d")).sum(axis=1, dtype=np.float64)
        return float((255.0 * inputs[0].scale * rows + np.abs(node.attributes["bias"])).max() / 2**29)
    if node.kind == "add":
        return 2.0 * max(tensor.scale for tensor in inputs) / 2**20
    if node.kind == "mul":
        return inputs[0].scale * inputs[1].scale / 2**13
    if node.kind == "batch_matmul":
        depth = inputs[0].shape[-2 if node.attributes["transpose_left"] else -1]
        return float(node.attributes["factor"] * inputs[0].scale * inputs[1].scale * depth / 2**13)
    if node.kind in ("concat", "global_average_pool", "clamp"):
        return max(tensor.scale for tensor in inputs) / 2**20
    return 0.0
