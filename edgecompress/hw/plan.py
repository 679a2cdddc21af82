"""What a lowering decided for a graph on a target, before any byte is emitted. Estimates and reports read this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ARENA_ALIGNMENT = 4  # bytes; kernels load words from scratch memory and like to from activations


@dataclass(frozen=True)
class Buffer:
    """One block of the arena, live from node `first` to node `last` (indices, inclusive)."""

    name: str
    size: int  # bytes
    first: int
    last: int
    alignment: int = ARENA_ALIGNMENT  # bytes, a power of two


@dataclass(frozen=True)
class Overlap:
    """Two buffers (indices) that may share bytes though both are alive, where `upper` begins at least `distance` bytes after `lower`.

    A kernel that reads ahead of what it writes may overwrite an input that nobody reads again; one that works in an order of its own may
    do so only at one `exact` distance. `distance` may be negative when only a later part of `lower` or an earlier part of `upper` is alive
    with the other.
    """

    lower: int
    upper: int
    distance: int
    exact: bool = False


@dataclass(frozen=True)
class Placement:
    """A buffer with its place; `offset` in bytes from the arena's start."""

    buffer: Buffer
    offset: int


@dataclass(frozen=True)
class MemoryPlan:
    """All placements; buffers whose lifetimes meet overlap only as permitted."""

    placements: tuple[Placement, ...]
    arena_bytes: int
    lower_bound_bytes: int  # no plan can need less

    @property
    def is_optimal(self) -> bool:
        """Whether it is proved that no plan needs less than this one."""
        return self.arena_bytes == self.lower_bound_bytes


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
    step: int  # when it runs, in the count of Buffer.first and Buffer.last


@dataclass(frozen=True)
class LoweredPlan:
    """The whole model. `constant_bytes` is exact; code size and stack come from the target's profile."""

    target: str
    layers: tuple[LayerPlan, ...]
    memory: MemoryPlan
    constant_bytes: int
    state_bytes: int = 0  # RAM beside the arena that outlives an inference
    fitted: tuple[str, ...] = ()  # what was done to keep a RAM limit, in words for people

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels used, sorted."""
        return tuple(sorted({layer.kernel for layer in self.layers}))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)
