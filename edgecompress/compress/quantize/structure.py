"""The integer graph that `quantize` would make, with arbitrary scales and zero weights: what memory and latency planning needs, without data."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgecompress.compress.quantize.config import WeightBits, layer_bits
from edgecompress.compress.quantize.emit import LayerConstants, emit_graph
from edgecompress.compress.quantize.parameters import TIED, fixed_parameters
from edgecompress.frontend.float_graph import FloatGraph, FloatNode
from edgecompress.frontend.passes import prepare
from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.ir.requant import Requant

SCALE = 1 / 16
CONCAT_SCALE = 1 / 8  # other than the inputs', so that every input is rescaled: the general case

_NEVER_NEGATIVE = ("sigmoid", "relu", "relu6", "hardsigmoid", "softplus", "abs", "square")
_KEEPS_SIGN = (*TIED, "global_average_pool", "add", "mul", "concat")


def quantize_structure(graph: FloatGraph, weight_bits: WeightBits = 8) -> QuantizedGraph:
    """Same nodes, shapes, ops, names and weight bits as `quantize`; weights are 0 and scales mean nothing.

    Tensors that cannot be negative have zero point -128, as they have after calibration. Raises ConfigError and ModelError as `quantize` does.
    """
    prepared = prepare(graph)
    bits = layer_bits(prepared, weight_bits)
    tensors = _tensors(prepared)
    constants = {node.name: _zeros(node, bits[node.name]) for node in prepared.weighted}
    return emit_graph(prepared, tensors, constants, {})


def _tensors(graph: FloatGraph) -> dict[str, Tensor]:
    tensors = {graph.input: Tensor(graph.input, graph.shapes[graph.input], SCALE, 0)}
    for node in graph.nodes:
        inputs = [tensors[name] for name in node.inputs]
        if node.kind in TIED:
            scale, zero_point = inputs[0].scale, inputs[0].zero_point
        else:
            free = (CONCAT_SCALE if node.kind == "concat" else SCALE, -128 if _is_positive(node, inputs) else 0)
            scale, zero_point = fixed_parameters(node) or free
        tensors[node.output] = Tensor(node.output, graph.shapes[node.output], scale, zero_point)
    return tensors


def _is_positive(node: FloatNode, inputs: list[Tensor]) -> bool:
    if node.clamp[0] >= 0 or node.attributes.get("low", -1.0) >= 0 or node.attributes.get("function") in _NEVER_NEGATIVE:
        return True
    return node.kind in _KEEPS_SIGN and all(tensor.zero_point == -128 for tensor in inputs)


@lru_cache(maxsize=256)
def _requant(channels: int) -> Requant:
    return Requant((2**30,) * channels, (-7,) * channels)


def _zeros(node: FloatNode, bits: int) -> LayerConstants:
    shape = node.attributes["weights"].shape
    channels = shape[-1] if node.kind == "depthwise_conv2d" else shape[0]
    return LayerConstants(np.zeros(shape, np.int8), np.zeros(channels, np.int32), _requant(channels), bits)
