"""A float graph as a trainable module that computes what the integers will compute: weights and activations go through their codes.

Gradients pass the rounding as if it were not there and stop at the ends of the range (straight-through estimator); weight scales are learned with
the gradient that follows (Esser et al., "Learned Step Size Quantization", 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from edgecompress.compress.quantize.weights import QuantizedWeights, to_rows
from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import UNBOUNDED, WEIGHTED, FloatGraph, FloatNode, frozen_float
from edgecompress.frontend.float_run import execute_node
from edgecompress.ir.graph import Tensor
from edgecompress.ir.packing import WEIGHT_RANGE

ON_CODE = 0.45  # of a step: how far from its starting integer a weight may start, so that training begins with these integers
TYPICAL_SPREAD = 40.0  # codes of one standard deviation of an activation: the unit in which biases move


class _Constants:
    """What no copy of the module changes; shared by all of them."""

    def __init__(self, graph: FloatGraph, tensors: Mapping[str, Tensor]) -> None:
        self.graph, self.tensors = graph, dict(tensors)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Constants:
        return self


class FakeQuantized(nn.Module):
    """NCHW (or [n, features]) in, the one output's values out. Starts at the given integers and biases of a prepared graph's layers."""

    def __init__(self, graph: FloatGraph, tensors: Mapping[str, Tensor], weights: Mapping[str, QuantizedWeights], biases: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._constants = _Constants(graph, tensors)
        self.layers = nn.ModuleList(
            _Layer(node, weights[node.name], biases[node.name], tensors[node.inputs[0]], tensors[node.output]) for node in graph.weighted)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits as the integer graph gives them, up to single codes at ties."""
        graph, tensors = self._constants.graph, self._constants.tensors
        values = {graph.input: _through_codes(x, tensors[graph.input])}
        layers: Iterator[nn.Module] = iter(self.layers)
        for node in graph.nodes:
            inputs = [values[name] for name in node.inputs]
            result = next(layers)(*inputs) if node.kind in WEIGHTED else execute_node(node, *inputs, clamp=False)
            if node.clamp != UNBOUNDED:
                result = result.clamp(*node.clamp)
            values[node.output] = _through_codes(result, tensors[node.output])
        return values[graph.output]

    def trained_graph(self) -> FloatGraph:
        """The float graph whose weights lie on their integers now: quantizing it to the same bits rounds nothing."""
        graph = self._constants.graph
        layers = dict(zip((node.name for node in graph.weighted), self.layers, strict=True))
        nodes = []
        for node in graph.nodes:
            layer = layers.get(node.name)
            nodes.append(layer.finished(node) if isinstance(layer, _Layer) else node)
        return graph.rebuilt(nodes)


class FloatModule(nn.Module):
    """A float graph with one output as a module without parameters: a teacher. NCHW (or [n, features]) in."""

    def __init__(self, graph: FloatGraph) -> None:
        super().__init__()
        self._constants = _Constants(graph, {})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output's values."""
        graph = self._constants.graph
        values = {graph.input: x}
        for node in graph.nodes:
            values[node.output] = execute_node(node, *(values[name] for name in node.inputs))
        return values[graph.output]


class _Layer(nn.Module):
    """One convolution or dense layer. `latent` is in multiples of `unit` integers, `log_scale` and `bias` are changes from the start."""

    start: torch.Tensor
    scales: torch.Tensor

    def __init__(self, node: FloatNode, weights: QuantizedWeights, bias: np.ndarray, source: Tensor, output: Tensor) -> None:
        super().__init__()
        self.kind, self.bits = node.kind, weights.bits
        self.stride, self.dilation = node.attributes.get("stride", (1, 1)), node.attributes.get("dilation", (1, 1))
        self.padding = node.attributes.get("padding", (0, 0, 0, 0))
        depthwise = node.kind == "depthwise_conv2d"
        integers = to_rows(weights.values, depthwise).astype(np.float64)
        real = to_rows(node.attributes["weights"], depthwise) / weights.scales[:, None]
        latent = integers + np.clip(real - integers, -ON_CODE, ON_CODE)
        self.unit = float(max(np.sqrt(np.square(integers).mean()), 0.5))
        self.groups = 1 if node.kind == "dense" else node.attributes.get("groups", 1)
        self.taps = weights.values.shape[:2] if depthwise else weights.values.shape[1:]
        self.latent = nn.Parameter(torch.from_numpy((latent / self.unit).astype(np.float32)))
        self.log_scale = nn.Parameter(torch.zeros(len(latent)))
        self.bias = nn.Parameter(torch.zeros(len(latent)))
        self.source_scale, self.bias_unit = source.scale, TYPICAL_SPREAD * output.scale
        self.register_buffer("start", torch.from_numpy(np.asarray(bias, np.float32)))
        self.register_buffer("scales", torch.from_numpy(weights.scales.astype(np.float32)))

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Integers [channels, taps] with the gradient of what they were rounded from, and scales [channels]."""
        low, high = WEIGHT_RANGE[self.bits]
        latent = (self.latent * self.unit).clamp(low, high)
        return latent + (latent.round() - latent).detach(), self.scales * self.log_scale.exp()

    def real_bias(self, scales: torch.Tensor) -> torch.Tensor:
        """The bias as its integer holds it, in multiples of input scale x weight scale."""
        bias, step = self.start + self.bias_unit * self.bias, self.source_scale * scales.detach()
        return bias + (torch.round(bias / step) * step - bias).detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Before the activation."""
        integers, scales = self.rows()
        weights, bias = integers * scales[:, None], self.real_bias(scales)
        if self.kind == "dense":
            return nn.functional.linear(x, weights, bias)
        top, bottom, left, right = self.padding
        if (top, left) != (bottom, right):
            x, top, left = nn.functional.pad(x, (left, right, top, bottom)), 0, 0
        if self.kind == "depthwise_conv2d":
            kernel, groups = weights.reshape(len(weights), 1, *self.taps), x.shape[1]
        else:
            kernel, groups = weights.reshape(len(weights), *self.taps).permute(0, 3, 1, 2), self.groups
        return nn.functional.conv2d(x, kernel, bias, self.stride, (top, left), self.dilation, groups)

    @torch.no_grad()
    def finished(self, node: FloatNode) -> FloatNode:
        """The node with the weights that the integers stand for, and the trained bias."""
        integers, scales = self.rows()
        weights = (integers * scales[:, None]).numpy()
        shape = node.attributes["weights"].shape
        real = weights.T.reshape(shape) if self.kind == "depthwise_conv2d" else weights.reshape(shape)
        if not np.isfinite(real).all():
            raise ModelError(f"layer '{node.name}': quantization-aware training left weights that are not finite")
        return node.changed(weights=frozen_float(real), bias=frozen_float(self.real_bias(scales).numpy()))


def _through_codes(values: torch.Tensor, tensor: Tensor) -> torch.Tensor:
    """Values after their int8 codes, with the gradient of a clamp."""
    low, high = (-128 - tensor.zero_point) * tensor.scale, (127 - tensor.zero_point) * tensor.scale
    inside = values.clamp(low, high)
    return inside + (torch.round(inside / tensor.scale) * tensor.scale - inside).detach()
