"""How much the output suffers when one layer alone has few weight bits: what bits are assigned by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from edgecompress.compress.quantize.rounding import layer_data, round_layer
from edgecompress.compress.quantize.weights import QuantizedWeights, quantize_weights
from edgecompress.errors import DataError
from edgecompress.frontend.float_graph import WEIGHTED, FloatGraph, FloatNode, frozen_float
from edgecompress.frontend.float_run import check_samples, execute_node, to_torch
from edgecompress.frontend.passes import prepare
from edgecompress.ir.packing import WEIGHT_RANGE

SAMPLES = 192
DIVERGENCE, RELATIVE_ERROR = "Kullback-Leibler divergence", "relative squared error"


@dataclass(frozen=True)
class Sensitivity:
    """`layers`: layer -> bits -> damage, in graph order. `measure` of the damage: DIVERGENCE of class probabilities in nats (one flat output), else
    RELATIVE_ERROR of the outputs."""

    layers: Mapping[str, Mapping[int, float]]
    measure: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", MappingProxyType({name: MappingProxyType(dict(row)) for name, row in self.layers.items()}))

    def total(self, bits: Mapping[str, int]) -> float:
        """Sum over layers: what the additive model predicts for an assignment."""
        return sum(row[bits[name]] for name, row in self.layers.items())

    def __reduce__(self) -> tuple[type[Sensitivity], tuple[dict[str, dict[int, float]], str]]:
        return Sensitivity, ({name: dict(row) for name, row in self.layers.items()}, self.measure)  # mapping proxies do not pickle


def sensitivity(graph: FloatGraph, x: np.ndarray, bits: tuple[int, ...] = (8, 4, 2), rounding: str = "adaptive") -> Sensitivity:
    """Damage on x float32 [n, *input shape] of every layer at each of `bits`, everything else in float.

    Weights are rounded as `quantize` with this `rounding` does it, and the mean error is put into the bias; only what lies behind the layer is computed
    again. Raises DataError without samples, ModelError for samples of another shape.
    """
    prepared = prepare(graph)
    x = x[:: max(1, len(x) // SAMPLES)][:SAMPLES]
    check_samples(prepared, x)
    if len(x) == 0:
        raise DataError("sensitivity needs at least one sample")
    values = {prepared.input: to_torch(x)}
    with torch.no_grad():
        for node in prepared.nodes:
            values[node.output] = execute_node(node, *(values[name] for name in node.inputs))
        scores = len(prepared.outputs) == 1 and values[prepared.outputs[0]].ndim == 2
        softmaxed = {node.output for node in prepared.nodes if node.kind == "softmax"}
        table: dict[str, dict[int, float]] = {}
        for index, node in enumerate(prepared.nodes):
            if node.kind in WEIGHTED:
                rows = {width: _changed_outputs(prepared, index, _perturbed(node, width, values, rounding), values) for width in bits}
                table[node.name] = {width: _divergence(prepared.outputs[0], values, after, softmaxed) if scores else _relative_error(values, after)
                                    for width, after in rows.items()}
    return Sensitivity(table, DIVERGENCE if scores else RELATIVE_ERROR)


def _perturbed(node: FloatNode, bits: int, values: Mapping[str, torch.Tensor], rounding: str) -> torch.Tensor:
    """The node's output with rounded weights and a corrected bias."""
    source, depthwise = values[node.inputs[0]], node.kind == "depthwise_conv2d"
    expected = execute_node(node, source, clamp=False)
    weights = _rounded(node, bits, source, expected) if rounding == "adaptive" and bits < max(WEIGHT_RANGE) else \
        quantize_weights(node.attributes["weights"], bits, depthwise)
    seen = execute_node(node.changed(weights=frozen_float(weights.real(depthwise))), source, clamp=False)
    axes = [axis for axis in range(seen.ndim) if axis != 1]
    return (seen + (expected - seen).mean(dim=axes, keepdim=True)).clamp(*node.clamp)


def _rounded(node: FloatNode, bits: int, source: torch.Tensor, expected: torch.Tensor) -> QuantizedWeights:
    return round_layer(node, bits, layer_data(node, source, expected), np.zeros(len(node.attributes["bias"])), True)


def _changed_outputs(graph: FloatGraph, index: int, output: torch.Tensor, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Outputs of the graph when node `index` gives `output`."""
    changed = {graph.nodes[index].output: output}
    for node in graph.nodes[index + 1 :]:
        if any(name in changed for name in node.inputs):
            changed[node.output] = execute_node(node, *(changed.get(name, values[name]) for name in node.inputs))
    return {name: changed.get(name, values[name]) for name in graph.outputs}


def _divergence(output: str, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], softmaxed: set[str]) -> float:
    def logarithms(scores: torch.Tensor) -> torch.Tensor:
        return scores.double().clamp_min(1e-12).log() if output in softmaxed else torch.log_softmax(scores.double(), dim=1)

    p, q = logarithms(before[output]), logarithms(after[output])
    return max(0.0, float((p.exp() * (p - q)).sum(dim=1).mean()))


def _relative_error(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> float:
    error = sum(float((after[name] - before[name]).double().square().sum()) for name in after)
    signal = sum(float(before[name].double().square().sum()) for name in after)
    return error / signal if signal > 0 else 0.0
