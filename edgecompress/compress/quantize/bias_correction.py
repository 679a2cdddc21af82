"""Walks the float model and the quantized one side by side: rounds weights against what they really read, and moves mean errors into biases."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from edgecompress.compress.quantize.weights import QuantizedWeights
from edgecompress.frontend.float_graph import WEIGHTED, FloatGraph, FloatNode, frozen_float
from edgecompress.frontend.float_run import execute_node, last_uses, to_torch
from edgecompress.ir.graph import Tensor

CORRECTION_SAMPLES = 256  # channel means are averages over samples and pixels; more change little

# layer, its input in the quantized model, its result in the float model before the activation -> integers, or None to keep the given ones
Rounder = Callable[[FloatNode, torch.Tensor, torch.Tensor], QuantizedWeights | None]


def through_codes(values: torch.Tensor, tensor: Tensor) -> torch.Tensor:
    """Values after rounding to the tensor's int8 codes and back."""
    codes = torch.clamp(torch.round(values / tensor.scale) + tensor.zero_point, -128, 127)
    return (codes - tensor.zero_point) * tensor.scale


def _channel_means(values: torch.Tensor) -> np.ndarray:
    axes = [axis for axis in range(values.ndim) if axis != 1]
    return values.to(torch.float64).mean(dim=axes).numpy()


def reconstruct(graph: FloatGraph, x: np.ndarray, tensors: Mapping[str, Tensor], weights: Mapping[str, QuantizedWeights],
                rounder: Rounder | None = None, correct: bool = True) -> tuple[dict[str, QuantizedWeights], dict[str, np.ndarray]]:
    """(weights, float64 bias [channels]) of every layer; the biases are such that channel means before the activation agree with the float
    model's, or, without `correct`, the float model's own.

    Each layer is treated with the inputs that the finished, quantized layers before it produce. The quantized side is simulated in float
    with every tensor rounded to its codes; it differs from the integer reference by single codes at ties, which means do not see.
    """
    x = x[:: max(1, len(x) // CORRECTION_SAMPLES)][:CORRECTION_SAMPLES]
    floats = {graph.input: to_torch(x)}
    rounded = {graph.input: through_codes(floats[graph.input], tensors[graph.input])}
    last, chosen, biases = last_uses(graph), dict(weights), dict[str, np.ndarray]()
    with torch.no_grad():
        for index, node in enumerate(graph.nodes):
            expected = execute_node(node, *(floats[name] for name in node.inputs), clamp=False)
            inputs = [rounded[name] for name in node.inputs]
            if node.kind in WEIGHTED:
                chosen[node.name] = (rounder(node, inputs[0], expected) if rounder else None) or weights[node.name]
                seen = execute_node(_with_codes(node, chosen[node.name]), *inputs, clamp=False)
                error = _channel_means(expected) - _channel_means(seen) if correct else np.zeros(len(node.attributes["bias"]))
                biases[node.name] = node.attributes["bias"] + error
                shape = (1, -1, 1, 1) if seen.ndim == 4 else (1, -1)
                seen = seen + torch.from_numpy(error.astype(np.float32)).reshape(shape)
            else:
                seen = execute_node(node, *inputs, clamp=False)
            floats[node.output] = expected.clamp(*node.clamp)
            rounded[node.output] = through_codes(seen.clamp(*node.clamp), tensors[node.output])
            for name in {name for name in node.inputs if last[name] == index}:
                del floats[name], rounded[name]
    return chosen, biases


def _with_codes(node: FloatNode, weights: QuantizedWeights) -> FloatNode:
    return node.changed(weights=frozen_float(weights.real(node.kind == "depthwise_conv2d")))
