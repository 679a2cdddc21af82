"""Test vectors of an artifact: inputs by name, and the proof that the passes changed no output on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecompress.errors import ConfigError, ModelError
from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.ir.reference import run_all

RANDOM_VECTORS = 10
VECTOR_MACS = 10**9  # of all random vectors together: lowering a large model stays a matter of seconds
MOST_MACS = 10**11  # of one inference


def named_vectors(graph: QuantizedGraph, vectors: np.ndarray | Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """Test inputs by name; None makes ten random ones, fewer for a model of more than 100 M MACs.

    Raises ConfigError for one array beside several inputs, ModelError for a model too large to compute its reference outputs.
    """
    if graph.total_macs > MOST_MACS:
        raise ModelError(f"graph {graph.name!r} needs {graph.total_macs:.2g} MACs an inference; at most {MOST_MACS:.0e} are computed for its test vectors",
                         "no microcontroller runs such a model; check the sizes of its layers")
    if vectors is None:
        count = max(1, min(RANDOM_VECTORS, VECTOR_MACS // max(graph.total_macs, 1)))
        generator = np.random.default_rng(0)
        return {name: _random(generator, graph.tensors[name], count) for name in graph.inputs}
    if isinstance(vectors, Mapping):
        return dict(vectors)
    if len(graph.inputs) != 1:
        raise ConfigError(f"graph {graph.name!r} has {len(graph.inputs)} inputs; give test vectors as a mapping from input name to array")
    return {graph.inputs[0]: vectors}


def _random(generator: np.random.Generator, tensor: Tensor, count: int) -> np.ndarray:
    shape = (count, *tensor.shape)
    if tensor.dtype == "float32":
        return generator.normal(size=shape).astype(np.float32)
    return generator.integers(-128, 128, shape, dtype=np.int8)


def vector_arrays(graph: QuantizedGraph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`inputs` and `outputs`, or `inputs0`, `inputs1`, ... for several, in the order of the run function's arguments."""
    counts = {name: len(values) for name, values in inputs.items()}
    if len(set(counts.values())) > 1 or min(counts.values(), default=0) == 0:
        raise ModelError(f"test vectors must be at least one and equally many for all inputs, got {counts}")
    values = run_all(graph, inputs)
    arrays = {}
    for kind, names in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        for index, name in enumerate(names):
            arrays[kind if len(names) == 1 else f"{kind}{index}"] = np.ascontiguousarray(values[name])
    return arrays


def check_same_outputs(before: QuantizedGraph, after: QuantizedGraph, inputs: Mapping[str, np.ndarray]) -> None:
    """Raises AssertionError if a pass changed an output on these inputs; that is a fault of ours, which must not reach a device."""
    if after is before:
        return
    expected, got = run_all(before, dict(inputs)), run_all(after, dict(inputs))
    for name in before.outputs:
        if expected[name].tobytes() != got[name].tobytes():  # bytes: in floats NaN would differ from itself
            raise AssertionError(f"a graph pass changed output {name!r}; please report this with the model")
