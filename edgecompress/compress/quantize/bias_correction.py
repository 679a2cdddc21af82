"""Moves the mean error that rounded weights and inputs leave in each channel into the bias, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from edgecompress.compress.quantize.weights import QuantizedWeights
from edgecompress.frontend.float_graph import WEIGHTED, FloatGraph, FloatNode, frozen_float
from edgecompress.frontend.float_run import execute_node, last_uses, to_torch
from edgecompress.ir.graph import Tensor

CORRECTION_SAMPLES = 256  # channel means are averages over samples and pixels; more change little


def through_codes(values: torch.Tensor, tensor: Tensor) -> torch.Tensor:
    """Values after rounding to the tensor's int8 codes and back."""
    codes = torch.clamp(torch.round(values / tensor.scale) + tensor.zero_point, -128, 127)
    return (codes - tensor.zero_point) * tensor.scale


def _channel_means(values: torch.Tensor) -> np.ndarray:
    axes = [axis for axis in range(values.ndim) if axis != 1]
    return values.to(torch.float64).mean(dim=axes).numpy()


def corrected_biases(graph: FloatGraph, x: np.ndarray, tensors: Mapping[str, Tensor],
                     weights: Mapping[str, QuantizedWeights]) -> dict[str, np.ndarray]:
    """float64 bias [channels] of every layer with weights, such that channel means before the activation agree with the float model's.

    Each layer is corrected with the inputs that the corrected, quantized layers before it produce. The quantized side is simulated in float
    with every tensor rounded to its codes; it differs from the integer reference by single codes at ties, which means do not see.
    """
    x = x[:: max(1, len(x) // CORRECTION_SAMPLES)][:CORRECTION_SAMPLES]
    floats = {graph.input: to_torch(x)}
    rounded = {graph.input: through_codes(floats[graph.input], tensors[graph.input])}
    last, biases = last_uses(graph), {}
    with torch.inference_mode():
        for index, node in enumerate(graph.nodes):
            expected = execute_node(node, *(floats[name] for name in node.inputs), clamp=False)
            inputs = [rounded[name] for name in node.inputs]
            if node.kind in WEIGHTED:
                seen = execute_node(_with_codes(node, weights[node.name]), *inputs, clamp=False)
                error = _channel_means(expected) - _channel_means(seen)
                biases[node.name] = node.attributes["bias"] + error
                shape = (1, -1, 1, 1) if seen.ndim == 4 else (1, -1)
                seen = seen + torch.from_numpy(error.astype(np.float32)).reshape(shape)
            else:
                seen = execute_node(node, *inputs, clamp=False)
            floats[node.output] = expected.clamp(*node.clamp)
            rounded[node.output] = through_codes(seen.clamp(*node.clamp), tensors[node.output])
            for name in {name for name in node.inputs if last[name] == index}:
                del floats[name], rounded[name]
    return biases


def _with_codes(node: FloatNode, weights: QuantizedWeights) -> FloatNode:
    return node.changed(weights=frozen_float(weights.real(node.kind == "depthwise_conv2d")))
