"""Graph to artifact. `plan` decides (fast, no bytes), `lower` emits."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

from edgecompress.errors import unknown_name
from edgecompress.lower.options import QUICK, LowerOptions

if TYPE_CHECKING:
    import numpy as np

    from edgecompress.hw.plan import LoweredPlan
    from edgecompress.hw.target import Target
    from edgecompress.ir.graph import QuantizedGraph
    from edgecompress.lower.artifact import Artifact

# name in a target's TOML -> module with EMIT, UNSUPPORTED, plan(graph, target, options) and lower(graph, target, vectors, vectors_source, options)
LOWERINGS: dict[str, str] = {"c": "edgecompress.lower.c"}


def lowering(name: str) -> ModuleType:
    """The lowering's module, imported when it is first asked for. Raises ConfigError for an unknown name."""
    if name not in LOWERINGS:
        raise unknown_name("lowering", name, LOWERINGS)
    return importlib.import_module(LOWERINGS[name])


def plan(graph: QuantizedGraph, target: Target, options: LowerOptions = QUICK) -> LoweredPlan:
    """Kernels, loop counts, memory plan and constant bytes, without emitting anything. Raises ModelError for what the target cannot do.

    Without `options` it takes milliseconds, for a search; with those given to `lower` the figures are exactly that artifact's.
    """
    result: LoweredPlan = lowering(target.lowering).plan(graph, target, options)
    return result


def lower(graph: QuantizedGraph, target: Target, vectors: np.ndarray | Mapping[str, np.ndarray] | None = None,
          vectors_source: str = "random", options: LowerOptions | None = None) -> Artifact:
    """The files of the model for the target, deterministic. The graph goes through the passes of lower/passes first, which change no output.

    `vectors`: int8 test inputs [n, *shape] (by input name for several inputs) whose reference outputs go into
    `vectors.npz`; None makes ten random ones. `vectors_source` says in the manifest where they come from.
    Raises BudgetError when the RAM limit of the options cannot be met.
    """
    from edgecompress.lower.passes import optimize
    from edgecompress.lower.vectors import check_same_outputs, named_vectors

    inputs = named_vectors(graph, vectors)
    optimized = optimize(graph)
    check_same_outputs(graph, optimized, inputs)
    result: Artifact = lowering(target.lowering).lower(optimized, target, inputs, vectors_source, options or LowerOptions())
    return result
