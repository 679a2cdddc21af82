"""Static quantization: float graph and calibration samples to an integer graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.compress.quantize.config import QuantizeConfig, WeightBits, layer_bits
from edgecompress.compress.quantize.equalize import equalize
from edgecompress.compress.quantize.parameters import BIAS_LIMIT, choose_parameters, observed_tensors, roots
from edgecompress.compress.quantize.ranges import Range, choose_range, observe
from edgecompress.compress.quantize.weights import QuantizedWeights, quantize_weights, rounded
from edgecompress.errors import DataError
from edgecompress.frontend.emit import LayerConstants, emit_graph
from edgecompress.frontend.float_graph import FloatGraph, FloatNode
from edgecompress.frontend.passes import prepare
from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.ir.requant import Requant

if TYPE_CHECKING:
    import torch

    from edgecompress.compress.quantize.bias_correction import Rounder

__all__ = ["Calibrated", "QuantizeConfig", "WeightBits", "calibrate", "quantize", "quantize_calibrated", "round_weights"]


def quantize(graph: FloatGraph, calibration: np.ndarray, config: QuantizeConfig | None = None) -> QuantizedGraph:
    """Integer graph of a float graph; the graph need not be prepared.

    `calibration` float32 [n, *input shape], normalised as in training. The metadata of the result holds config.metadata and, under
    "quantization", the settings and notes about layers that needed special care. Raises DataError for unusable calibration data,
    ConfigError for wrong settings, ModelError for a model that integers cannot hold.
    """
    config = config or QuantizeConfig()
    calibrated = calibrate(graph, calibration, config)
    return quantize_calibrated(calibrated, config)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A prepared graph (equalised if the settings say so), the samples x float32 [n, *input shape] it was calibrated on, and its tensors' scales."""

    graph: FloatGraph
    x: np.ndarray
    tensors: Mapping[str, Tensor]


def calibrate(graph: FloatGraph, calibration: np.ndarray, config: QuantizeConfig) -> Calibrated:
    """What does not depend on weight bits and rounding: the first half of `quantize`, with its errors."""
    prepared = prepare(graph)
    calibration = _checked(prepared, calibration)
    if config.equalize != "none":
        prepared = equalize(prepared, calibration, config.equalize, config.batch_size)
    return Calibrated(prepared, calibration, choose_parameters(prepared, _ranges(prepared, calibration, config)))


def quantize_calibrated(calibrated: Calibrated, config: QuantizeConfig) -> QuantizedGraph:
    """Second half of `quantize`: weights, biases, integers. Raises as `quantize` does."""
    prepared, tensors, notes = calibrated.graph, calibrated.tensors, list[str]()
    weights, biases = round_weights(calibrated, config, notes)
    constants = {node.name: _constants(node, weights[node.name], biases[node.name], tensors, notes) for node in prepared.weighted}
    metadata = {**prepared.metadata, **config.metadata, "quantization": _summary(config, len(calibrated.x), notes)}
    return emit_graph(prepared, tensors, constants, metadata)


def round_weights(calibrated: Calibrated, config: QuantizeConfig, notes: list[str]) -> tuple[Mapping[str, QuantizedWeights], Mapping[str, np.ndarray]]:
    """Integer weights and real biases [channels] of every layer; what needed special care is added to `notes`."""
    prepared, tensors = calibrated.graph, calibrated.tensors
    bits = layer_bits(prepared, config.weight_bits)
    weights = {node.name: _fitting_weights(node, bits[node.name], tensors[node.inputs[0]], notes) for node in prepared.weighted}
    biases: Mapping[str, np.ndarray] = {node.name: node.attributes["bias"] for node in prepared.weighted}
    adaptive = config.rounding == "adaptive" and min(bits.values(), default=8) < 8
    if config.bias_correction or adaptive:
        from edgecompress.compress.quantize.bias_correction import reconstruct

        rounder = _rounder(bits, tensors, config) if adaptive else None
        weights, biases = reconstruct(prepared, calibrated.x, tensors, weights, rounder, config.bias_correction)
    return weights, biases


def _rounder(bits: Mapping[str, int], tensors: Mapping[str, Tensor], config: QuantizeConfig) -> Rounder:
    from edgecompress.compress.quantize.rounding import layer_data, round_layer

    def rounder(node: FloatNode, x: torch.Tensor, expected: torch.Tensor) -> QuantizedWeights | None:
        if bits[node.name] == 8:
            return None
        data = layer_data(node, x, expected)
        return round_layer(node, bits[node.name], data, _least_scales(node, tensors[node.inputs[0]]), config.bias_correction)

    return rounder


def _checked(graph: FloatGraph, calibration: np.ndarray) -> np.ndarray:
    x = np.asarray(calibration)
    shape = graph.shapes[graph.input]
    if x.ndim != len(shape) + 1 or x.shape[1:] != shape or len(x) == 0:
        raise DataError(f"calibration data must have shape (n, {', '.join(map(str, shape))}) with at least one sample, got {x.shape}")
    if x.dtype.kind != "f":
        raise DataError(f"calibration data must be float and normalised as in training, got {x.dtype}")
    if not np.isfinite(x).all():
        raise DataError("calibration data holds NaN or infinite values")
    return x.astype(np.float32, copy=False)


def _ranges(graph: FloatGraph, x: np.ndarray, config: QuantizeConfig) -> dict[str, Range]:
    """Ranges by the configured method; outputs keep everything, because clipped scores would tie."""
    names = observed_tensors(graph)
    histograms = observe(graph, x, names, config.batch_size, counts=config.range_method != "minmax")
    table = roots(graph)
    outputs = {table[name] for name in graph.outputs}
    ranges = {name: choose_range(histograms[name], "minmax" if name in outputs else config.range_method, config.percentile) for name in names}
    return ranges if config.input_range is None else {**ranges, graph.input: config.input_range}


def _fitting_weights(node: FloatNode, bits: int, source: Tensor, notes: list[str]) -> QuantizedWeights:
    """Quantized weights whose scales are coarse enough for the bias to be an int32 at scale input x weight."""
    depthwise = node.kind == "depthwise_conv2d"
    weights = quantize_weights(node.attributes["weights"], bits, depthwise)
    least = _least_scales(node, source)
    raised = weights.scales < least
    if raised.any():
        count = int(raised.sum())
        notes.append(f"{node.name}: {count} channels have a bias so large beside their weights that the weights are rounded more coarsely")
        weights = rounded(node.attributes["weights"], np.where(raised, least.astype(np.float32), weights.scales).astype(np.float64), bits, depthwise)
    return weights


def _least_scales(node: FloatNode, source: Tensor) -> np.ndarray:
    """Scales [channels] at which the bias is an int32 with room to spare."""
    return np.asarray(np.abs(node.attributes["bias"]).astype(np.float64) / (source.scale * BIAS_LIMIT / 2))


def _constants(node: FloatNode, weights: QuantizedWeights, bias: np.ndarray, tensors: Mapping[str, Tensor], notes: list[str]) -> LayerConstants:
    scales = tensors[node.inputs[0]].scale * weights.scales
    exact = np.rint(np.asarray(bias, dtype=np.float64) / scales)
    clipped = np.clip(exact, -BIAS_LIMIT, BIAS_LIMIT)
    if (exact != clipped).any():
        notes.append(f"{node.name}: the bias of {int((exact != clipped).sum())} channels was clipped to fit its integer")
    return LayerConstants(weights.values, clipped.astype(np.int32), Requant.from_real(scales / tensors[node.output].scale), weights.bits)


def _summary(config: QuantizeConfig, samples: int, notes: list[str]) -> dict[str, Any]:
    bits = dict(config.weight_bits) if isinstance(config.weight_bits, Mapping) else config.weight_bits
    summary: dict[str, Any] = {"range_method": config.range_method, "bias_correction": config.bias_correction, "weight_bits": bits,
                               "equalize": config.equalize, "rounding": config.rounding, "calibration_samples": samples, "notes": notes}
    return {**summary, "percentile": config.percentile} if config.range_method == "percentile" else summary
