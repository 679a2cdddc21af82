"""C lowering: straight-line C99 over the kernels in firmware_export/c/kernels."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

import edgecompress
from edgecompress.hw.plan import LoweredPlan
from edgecompress.hw.target import Target
from edgecompress.ir import serialize
from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.lower.artifact import FORMAT, FORMAT_VERSION, MANIFEST, Artifact
from edgecompress.lower.c.planning import Decisions, decide
from edgecompress.lower.c.render import RenderedModel, render
from edgecompress.lower.c.table import EMIT, FAST, UNSUPPORTED
from edgecompress.lower.options import QUICK, LowerOptions
from edgecompress.lower.passes import passes_done
from edgecompress.lower.vectors import check_same_outputs, named_vectors, vector_arrays
from edgecompress.resources import data_dir

__all__ = ["EMIT", "FAST", "UNSUPPORTED", "lower", "plan"]


def plan(graph: QuantizedGraph, target: Target, options: LowerOptions = QUICK) -> LoweredPlan:
    """Kernels, loop counts, memory plan and constant bytes. Raises ModelError for what C cannot do, BudgetError for a RAM limit out of reach."""
    return decide(graph, target, options).plan


def lower(graph: QuantizedGraph, target: Target, vectors: np.ndarray | Mapping[str, np.ndarray] | None = None,
          vectors_source: str = "random", options: LowerOptions | None = None) -> Artifact:
    """All files of the model, deterministic bytes; see edgecompress.lower.lower."""
    options = options or LowerOptions()
    decisions = decide(graph, target, options)
    inputs = named_vectors(graph, vectors)
    check_same_outputs(graph, decisions.graph, inputs)
    rendered = render(graph, target, decisions, options)
    files = {name: text.encode() for name, text in rendered.texts.items()}
    kernels = data_dir("firmware_export") / "c" / "kernels"
    files.update({name: (kernels / name).read_bytes() for name in rendered.kernel_files})
    files["graph.json"], files["graph.npz"] = serialize.to_files(graph)
    files["vectors.npz"] = _npz(vector_arrays(graph, inputs))
    manifest = {**_manifest(graph, target, decisions, rendered, sorted(files), vectors_source), **_memory_facts(graph, decisions.plan, options)}
    files[MANIFEST] = _json(manifest)
    return Artifact(rendered.name, target.name, dict(sorted(files.items())), decisions.plan, manifest["graph_hash"], manifest)


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub reads **arrays as allow_pickle
    return buffer.getvalue()


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "scale": tensor.scale, "zero_point": tensor.zero_point,
            **({} if tensor.dtype == "int8" else {"dtype": tensor.dtype})}


def _manifest(graph: QuantizedGraph, target: Target, decisions: Decisions, rendered: RenderedModel, files: list[str],
              vectors_source: str) -> dict[str, Any]:
    plan = decisions.plan
    return {
        "format": FORMAT, "version": FORMAT_VERSION, "tool_version": edgecompress.__version__,
        "name": rendered.name, "target": target.name, "graph_hash": graph.hash,
        "source_hash": graph.metadata.get("source_hash", graph.hash), "passes": passes_done(graph),
        "inputs": [_tensor(graph.tensors[name]) for name in graph.inputs], "outputs": [_tensor(graph.tensors[name]) for name in graph.outputs],
        "run": f"{rendered.name}_run", "arena_symbol": f"{rendered.name}_arena",
        "arena_bytes": plan.memory.arena_bytes, "lower_bound_bytes": plan.memory.lower_bound_bytes, "constant_bytes": plan.constant_bytes,
        "macs": plan.macs, "parameters": graph.parameters,
        "header": f"{rendered.name}.h", "sources": [name for name in files if name.endswith(".c")], "files": files,
        "kernels": list(plan.kernels),
        "layers": [asdict(layer) for layer in plan.layers],
        "memory": [{**asdict(placement.buffer), "offset": placement.offset} for placement in plan.memory.placements],
        "vectors_source": vectors_source,
    }


def _memory_facts(graph: QuantizedGraph, plan: LoweredPlan, options: LowerOptions) -> dict[str, Any]:
    """What RAM holds beside the arena, and what was asked for. With io "arena" the arena holds inputs and outputs too."""
    sizes = {f"{kind}_bytes": sum(graph.tensors[name].size for name in names) for kind, names in (("input", graph.inputs), ("output", graph.outputs))}
    return {"io": options.io, **sizes, "state_bytes": plan.state_bytes, "recomputed_macs": plan.macs - graph.total_macs,
            "ram_limit_bytes": options.ram_bytes, "fitted": list(plan.fitted),
            "weights_section": options.weights_section, "arena_section": options.arena_section}
