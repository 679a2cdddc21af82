"""Cross-layer equalisation: channels of neighbouring layers rescaled against each other, so that both use their integers well.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019: a positively homogeneous activation lets channel i
of a layer's output be divided by s_i and the next layer's input multiplied by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecompress.compress.quantize.weights import from_rows, to_rows
from edgecompress.frontend.float_graph import UNBOUNDED, WEIGHTED, FloatGraph, FloatNode, frozen_float

Array = np.ndarray

EQUALIZATIONS = ("none", "weights", "activations")
ROUNDS = 20
TOLERANCE = 1e-3
LARGEST_FACTOR = 1e3  # of one channel in all: beyond it float32 sums would lose what equalisation wins

_HOMOGENEOUS = ("max_pool2d", "average_pool2d", "global_average_pool", "resize_nearest")


@dataclass(frozen=True)
class Pair:
    """Two layers by name with only homogeneous nodes between them; `ceiling` is the upper bound of the clamps on the way (inf: none)."""

    first: str
    second: str
    output: str  # of the first layer, after its clamp
    ceiling: float


def equalizable_pairs(graph: FloatGraph) -> tuple[Pair, ...]:
    """Layers of a prepared graph joined by ReLU (or nothing), pools and views, where nobody else reads what lies between."""
    consumers = graph.consumers
    pairs = []
    for node in graph.weighted:
        current, ceiling = node, math.inf
        while current.output not in graph.outputs and len(consumers[current.output]) == 1 and _is_homogeneous(current):
            ceiling = min(ceiling, current.clamp[1])
            current = consumers[current.output][0]
            if current.kind in WEIGHTED:
                if _takes_channels(graph, node, current):
                    pairs.append(Pair(node.name, current.name, node.output, ceiling))
                break
            if not _passes_channels(graph, current):
                break
    return tuple(pairs)


def _is_homogeneous(node: FloatNode) -> bool:
    """Whether the clamp keeps its form under a positive factor, up to its ceiling."""
    return node.clamp == UNBOUNDED or (node.clamp[0] == 0.0 and node.clamp[1] > 0.0)


def _passes_channels(graph: FloatGraph, node: FloatNode) -> bool:
    if node.kind in _HOMOGENEOUS:
        return True
    if node.kind == "pad":
        return float(node.attributes["value"]) == 0.0
    return node.kind == "reshape" and len(graph.shapes[node.inputs[0]]) == 3 and len(graph.shapes[node.output]) == 1


def _takes_channels(graph: FloatGraph, first: FloatNode, second: FloatNode) -> bool:
    if "integers" in first.attributes or "integers" in second.attributes:
        return False
    channels = graph.shapes[first.output][-1]
    if second.kind == "conv2d":
        return int(second.attributes["groups"]) == 1
    return second.kind == "dense" or int(second.attributes["weights"].shape[2]) == channels


def equalize(graph: FloatGraph, x: Array, method: str, batch_size: int = 64) -> FloatGraph:
    """The prepared graph with equalised pairs; on x float32 [n, *input shape] its outputs are those of `graph` up to rounding.

    "weights" balances max |w| of a channel in both layers, as published. "activations" balances the channel's largest activation on x against
    the second layer's weights: with weights that have a scale a channel anyway, the tensor between the layers is what shares one.
    ReLU6 is not homogeneous: a channel that reaches the ceiling on x keeps its factor 1, another one may grow up to the ceiling.
    """
    pairs = equalizable_pairs(graph)
    if method == "none" or not pairs:
        return graph
    peaks = _peaks(graph, x, {pair.output for pair in pairs}, batch_size)
    nodes = {node.name: node for node in graph.nodes}
    factors = {pair: np.ones(len(peaks[pair.output])) for pair in pairs}
    for _ in range(ROUNDS):
        furthest = 0.0
        for pair in pairs:
            step = _factors(nodes[pair.first], nodes[pair.second], peaks[pair.output] / factors[pair], pair.ceiling, method)
            step = np.clip(factors[pair] * step, 1 / LARGEST_FACTOR, LARGEST_FACTOR) / factors[pair]
            factors[pair] *= step
            nodes[pair.first], nodes[pair.second] = _divided(nodes[pair.first], step), _multiplied(nodes[pair.second], step)
            furthest = max(furthest, float(np.abs(np.log(step)).max()))
        if furthest < TOLERANCE:
            break
    return graph.rebuilt(nodes[node.name] for node in graph.nodes)


def _peaks(graph: FloatGraph, x: Array, tensors: set[str], batch_size: int) -> Mapping[str, Array]:
    """Largest magnitude of each channel of the tensors on x."""
    from edgecompress.frontend.float_run import iterate_float

    peaks: dict[str, Array] = {}
    for batch in iterate_float(graph, x, batch_size):
        for name, values in batch:
            if name in tensors:
                largest = values.abs().amax(dim=[axis for axis in range(values.ndim) if axis != 1]).double().numpy()
                peaks[name] = np.maximum(peaks.get(name, 0.0), largest)
    return peaks


def _input_rows(node: FloatNode, channels: int) -> Array:
    """[channels, everything that multiplies this input channel]."""
    weights = node.attributes["weights"]
    if node.kind == "depthwise_conv2d":
        return to_rows(weights, True)
    return np.asarray(np.moveaxis(weights.reshape(len(weights), -1, channels), 2, 0).reshape(channels, -1))


def _factors(first: FloatNode, second: FloatNode, peaks: Array, ceiling: float, method: str) -> Array:
    """s = sqrt(r1 r2) / r2 a channel; 1 for channels where nothing can be balanced."""
    rows = to_rows(first.attributes["weights"], first.kind == "depthwise_conv2d")
    before = (np.abs(rows).max(axis=1) if method == "weights" else peaks).astype(np.float64)
    after = np.abs(_input_rows(second, len(rows))).max(axis=1).astype(np.float64)
    usable = (before > 0) & (after > 0) & (peaks > 0) & (peaks < ceiling)
    factors = np.ones(len(rows))
    factors[usable] = np.sqrt(before[usable] / after[usable])
    if method == "activations":  # only ratios between channels matter: the tensor has one scale
        factors[usable] /= np.exp(np.log(factors[usable]).mean()) if usable.any() else 1.0
    if math.isfinite(ceiling):
        factors[usable] = np.maximum(factors[usable], peaks[usable] / (ceiling * (1 - 1e-6)))
    return factors


def _divided(node: FloatNode, factors: Array) -> FloatNode:
    weights, depthwise = node.attributes["weights"], node.kind == "depthwise_conv2d"
    rows = to_rows(weights, depthwise) / factors[:, None]
    return node.changed(weights=frozen_float(from_rows(rows, weights.shape, depthwise)), bias=frozen_float(node.attributes["bias"] / factors))


def _multiplied(node: FloatNode, factors: Array) -> FloatNode:
    weights = node.attributes["weights"]
    if node.kind == "depthwise_conv2d":
        return node.changed(weights=frozen_float(weights * factors))
    scaled = weights.reshape(len(weights), -1, len(factors)) * factors
    return node.changed(weights=frozen_float(scaled.reshape(weights.shape)))
