"""What a lowering decided for a graph on a target, before any byte is emitted. Estimates and reports read this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """One block of the arena, live from node `first` to node `last` (indices, inclusive)."""

    name: str
    size: int  # bytes
    first: int
    last: int


@dataclass(frozen=True)
class Placement:
    """A buffer with its place; `offset` in bytes from the arena's start."""

    buffer: Buffer
    offset: int


@dataclass(frozen=True)
class MemoryPlan:
    """All placements; buffers whose lifetimes meet never overlap."""

    placements: tuple[Placement, ...]
    arena_bytes: int
    lower_bound_bytes: int  # most bytes alive at once: no plan can need less


@dataclass(frozen=True)
class LayerPlan:
    """One kernel call. `features` are the loop counts that the latency model is linear in."""

    node: str
    op: str
    kernel: str
    macs: int
    features: Mapping[str, float]
    constant_bytes: int
    scratch_bytes: int
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class LoweredPlan:
    """The whole model. `constant_bytes` is exact; code size and stack come from the target's profile."""

    target: str
    layers: tuple[LayerPlan, ...]
    memory: MemoryPlan
    constant_bytes: int

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels used, sorted."""
        return tuple(sorted({layer.kernel for layer in self.layers}))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)
