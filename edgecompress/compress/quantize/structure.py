"""The integer graph that `quantize` would make, with arbitrary scales and zero weights: what memory and latency planning needs, without data."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from edgecompress.compress.quantize.config import WeightBits, layer_bits
from edgecompress.compress.quantize.parameters import BIAS_LIMIT, affine_parameters, fixed_parameters
from edgecompress.compress.quantize.ranges import Range
from edgecompress.compress.quantize.weights import quantize_weights
from edgecompress.frontend.emit import LayerConstants, emit_graph
from edgecompress.frontend.float_graph import TIED, FloatGraph, FloatNode
from edgecompress.frontend.passes import prepare
from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.ir.requant import Requant

RANGE = 8.0  # of tensors whose activation sets no bound
TYPICAL_WEIGHT = {8: 45.0, 4: 3.0, 2: 0.8}  # root mean square of the integers that bell-shaped weights become

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


def quantize_uncalibrated(graph: FloatGraph) -> QuantizedGraph:
    """The model's own weights in int8 with scales of activations that no data chose: memory, constants and code are those of any calibration,
    except for channels that real data show to be dead; outputs mean nothing. Needs no torch. Raises ModelError as `quantize` does."""
    prepared = prepare(graph)
    tensors = _tensors(prepared)
    constants = {node.name: _real(node, tensors[node.inputs[0]].scale, tensors[node.output].scale) for node in prepared.weighted}
    return emit_graph(prepared, tensors, constants, dict(prepared.metadata))


def _real(node: FloatNode, input_scale: float, output_scale: float) -> LayerConstants:
    weights = quantize_weights(node.attributes["weights"], 8, node.kind == "depthwise_conv2d")
    scales = input_scale * weights.scales.astype(np.float64)
    bias = np.clip(np.rint(np.asarray(node.attributes["bias"], np.float64) / scales), -BIAS_LIMIT, BIAS_LIMIT)
    return LayerConstants(weights.values, bias.astype(np.int32), Requant.from_real(scales / output_scale), weights.bits)


def _tensors(graph: FloatGraph) -> dict[str, Tensor]:
    tensors = {graph.input: Tensor(graph.input, graph.shapes[graph.input], *affine_parameters(-RANGE, RANGE))}
    for index, node in enumerate(graph.nodes):
        inputs = [tensors[name] for name in node.inputs]
        if node.kind in TIED:
            scale, zero_point = inputs[0].scale, inputs[0].zero_point
        else:
            scale, zero_point = fixed_parameters(node) or affine_parameters(*_range(node, inputs, index))
        tensors[node.output] = Tensor(node.output, graph.shapes[node.output], scale, zero_point)
    return tensors


def _range(node: FloatNode, inputs: list[Tensor], index: int) -> Range:
    """Inside the activation's bounds, so that they cut nothing off the 256 codes; a little different for every tensor, as calibration makes
    them: kernels have shortcuts for inputs of equal scale."""
    low, high = node.clamp if node.kind != "clamp" else (node.attributes["low"], node.attributes["high"])
    low = 0.0 if _is_positive(node, inputs) else min(max(low, -RANGE), 0.0)
    high = max(min(high, RANGE), 0.0)
    shrink = 1.0 - 0.25 * (index + 1) / (index + 2)
    return (low * shrink, high * shrink) if low < high else (0.0, shrink)


def _is_positive(node: FloatNode, inputs: list[Tensor]) -> bool:
    if node.clamp[0] >= 0 or node.attributes.get("low", -1.0) >= 0 or node.attributes.get("function") in _NEVER_NEGATIVE:
        return True
    return node.kind in _KEEPS_SIGN and all(tensor.zero_point == -128 for tensor in inputs)


@lru_cache(maxsize=1024)
def _requant(channels: int, taps: int, bits: int) -> Requant:
    """Factors of the size that calibration gives: sums of `taps` products fill the output's codes. Kernels have shortcuts for small ones and for
    one that all channels share."""
    return Requant.from_real([(1.0 - 0.1 * channel / channels) * 1.5 / (math.sqrt(taps) * TYPICAL_WEIGHT[bits]) for channel in range(channels)])


def _zeros(node: FloatNode, bits: int) -> LayerConstants:
    shape = node.attributes["weights"].shape
    channels = shape[-1] if node.kind == "depthwise_conv2d" else shape[0]
    return LayerConstants(np.zeros(shape, np.int8), np.zeros(channels, np.int32), _requant(channels, math.prod(shape) // channels, bits), bits)
