"""Rewrites of a QuantizedGraph that never change an output byte. `optimize` runs them all; each is graph -> (graph, notes)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.passes.channels import remove_dead_channels
from edgecompress.lower.passes.fusion import compose_unary, fuse_clamps, fuse_pads
from edgecompress.lower.passes.parts import join_slices, merge_equal, remove_concats
from edgecompress.lower.passes.shapes import (
    full_windows_to_dense,
    join_reshapes,
    join_transposes,
    one_channel_to_convolution,
    remove_identities,
    remove_unread,
)

__all__ = ["PASSES", "optimize", "passes_done"]

Notes = tuple[str, ...]

PASSES: dict[str, Callable[[QuantizedGraph], tuple[QuantizedGraph, Notes]]] = {
    "remove_unread": remove_unread,
    "join_transposes": join_transposes,
    "join_reshapes": join_reshapes,
    "merge_equal": merge_equal,
    "join_slices": join_slices,
    "remove_concats": remove_concats,
    "remove_identities": remove_identities,
    "fuse_pads": fuse_pads,
    "compose_unary": compose_unary,
    "fuse_clamps": fuse_clamps,
    "remove_dead_channels": remove_dead_channels,
    "one_channel_to_convolution": one_channel_to_convolution,
    "full_windows_to_dense": full_windows_to_dense,
}
MAX_ROUNDS = 8  # each pass may open a way for an earlier one; no pass undoes what another did, so few rounds are ever needed


def passes_done(graph: QuantizedGraph) -> list[str]:
    """What earlier calls of `optimize` noted in the metadata; these may come from a file, so anything but texts is left out."""
    noted = graph.metadata.get("passes")
    return [note for note in noted if isinstance(note, str)] if isinstance(noted, list) else []


def optimize(graph: QuantizedGraph) -> QuantizedGraph:
    """Runs all passes until none changes anything. Inputs, outputs and their bytes stay as they are.

    Returns the given object itself where nothing changed. Otherwise the new graph's metadata hold "source_hash", the given graph's hash, and
    "passes", a list of what was done in words for people.
    """
    source, notes = graph, passes_done(graph)
    for _ in range(MAX_ROUNDS):
        before = graph
        for one in PASSES.values():
            graph, said = one(graph)
            notes += said
        if graph is before:
            break
    if graph is source:
        return graph
    return replace(graph, metadata={**graph.metadata, "source_hash": graph.metadata.get("source_hash", source.hash), "passes": notes})
