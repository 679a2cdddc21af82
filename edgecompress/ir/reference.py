"""Runs a QuantizedGraph with the numpy reference: the bytes every backend must produce."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.graph import QuantizedGraph


def run_all(graph: QuantizedGraph, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor's values [batch, *shape] for inputs by name, each of its tensor's dtype. Raises ModelError on a wrong name, dtype or shape.

    Where the graph has a state the batch is time: its samples are consecutive steps from the initial state."""
    values: dict[str, np.ndarray] = {}
    for name in graph.inputs:
        if name not in inputs:
            raise ModelError(f"input {name!r} is missing; the graph takes {', '.join(graph.inputs)}")
        value = np.asarray(inputs[name])
        tensor = graph.tensors[name]
        if value.dtype != np.dtype(tensor.dtype) or value.shape[1:] != tensor.shape:
            raise ModelError(f"input {name!r} must be {tensor.dtype} [batch, {', '.join(map(str, tensor.shape))}], "
                             f"got {value.dtype} {list(value.shape)}")
        values[name] = value
    with np.errstate(all="ignore"):  # float32 ops define what infinity and NaN become
        for node in graph.nodes:
            values[node.output] = node.op.reference(*(values[name] for name in node.inputs))
    return values


def run(graph: QuantizedGraph, x: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Output of a one-input, one-output graph: int8 [n, *shape] in, int8 [n, *shape] out, in batches that bound memory.

    A graph with a state sees all samples as one stream from its initial state, as in `run_all`."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(f"graph {graph.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; use run_all")
    if graph.state_bytes:
        batch_size = max(len(x), 1)
    parts = [run_all(graph, {graph.inputs[0]: x[start : start + batch_size]})[graph.outputs[0]] for start in range(0, len(x), batch_size)]
    return np.concatenate(parts) if parts else np.zeros((0, *graph.tensors[graph.outputs[0]].shape), dtype=graph.tensors[graph.outputs[0]].dtype)
