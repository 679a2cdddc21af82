"""Signal to quantization noise, layer by layer: which layer hurts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import WEIGHTED, FloatGraph, FloatNode
from edgecompress.frontend.float_run import run_tensors
from edgecompress.frontend.passes import prepare
from edgecompress.ir.graph import Node, QuantizedGraph
from edgecompress.ir.reference import run_all

LIMIT_DB = 120.0  # stands for "no error" (and, negative, for noise without a signal), so that reports stay plain JSON


@dataclass(frozen=True)
class LayerSqnr:
    """One node. `cumulative_db`: output in the quantized model against the float model; `local_db`: the node alone, fed with the float model's
    values rounded to int8. Weight fields are None for nodes without weights; the range is the float weights'."""

    node: str
    kind: str
    cumulative_db: float
    local_db: float
    activation_scale: float
    weight_bits: int | None
    weight_min: float | None
    weight_max: float | None


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise), within +-LIMIT_DB."""
    if noise <= 0.0:
        return LIMIT_DB
    return float(np.clip(10.0 * np.log10(signal / noise), -LIMIT_DB, LIMIT_DB)) if signal > 0.0 else -LIMIT_DB


def output_sqnr(float_graph: FloatGraph, quantized_graph: QuantizedGraph, x: np.ndarray) -> float:
    """Decibels of all outputs together, over x float32 [n, *input shape]: whether the integer model is still the float one."""
    source = quantized_graph.tensors[quantized_graph.inputs[0]]
    codes = run_all(quantized_graph, {source.name: source.quantize(x)})
    real = run_tensors(float_graph, x, float_graph.outputs)
    pairs = [(real[name], quantized_graph.tensors[other].dequantize(codes[other]))
             for name, other in zip(float_graph.outputs, quantized_graph.outputs, strict=True)]
    return decibel(sum(_energy(signal) for signal, _ in pairs), sum(_energy(got - signal) for signal, got in pairs))


def layer_sqnr(float_graph: FloatGraph, quantized_graph: QuantizedGraph, x: np.ndarray, batch_size: int = 32) -> tuple[LayerSqnr, ...]:
    """One row a node in graph order, over x float32 [n, *input shape]. Raises ModelError if the graphs do not belong together."""
    prepared = prepare(float_graph)
    floats = {node.name: node for node in prepared.nodes}
    names = tuple(node.name for node in quantized_graph.nodes)
    if tuple(floats) != names or quantized_graph.inputs != (prepared.input,):
        raise ModelError(f"graph {quantized_graph.name!r} was not quantized from float graph {prepared.name!r}: their nodes differ")
    if len(x) == 0:
        raise ModelError("signal to noise needs at least one sample")
    energies = np.zeros((len(names), 3))
    for start in range(0, len(x), batch_size):
        energies += _energies(prepared, quantized_graph, x[start : start + batch_size])
    return tuple(_row(floats[node.name], node, quantized_graph, *energies[index]) for index, node in enumerate(quantized_graph.nodes))


def _energies(prepared: FloatGraph, graph: QuantizedGraph, x: np.ndarray) -> np.ndarray:
    """[nodes, 3]: energy of the signal, of the error in the whole model, of the error of the node alone."""
    real = run_tensors(prepared, x, graph.tensors)
    codes = run_all(graph, {prepared.input: graph.tensors[prepared.input].quantize(x)})
    rows = []
    for node in graph.nodes:
        output, signal = graph.tensors[node.output], real[node.output]
        alone = node.op.reference(*(graph.tensors[name].quantize(real[name]) for name in node.inputs))
        rows.append([_energy(signal), _energy(output.dequantize(codes[node.output]) - signal), _energy(output.dequantize(alone) - signal)])
    return np.array(rows)


def _energy(values: np.ndarray) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _row(source: FloatNode, node: Node, graph: QuantizedGraph, signal: float, error: float, alone: float) -> LayerSqnr:
    weights = source.attributes["weights"] if source.kind in WEIGHTED else None
    return LayerSqnr(node.name, node.op.kind, decibel(signal, error), decibel(signal, alone), graph.tensors[node.output].scale,
                     getattr(node.op, "weight_bits", None), *((None, None) if weights is None else (float(weights.min()), float(weights.max()))))
