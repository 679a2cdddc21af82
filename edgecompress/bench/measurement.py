"""Measurement: what was seen when an artifact ran somewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgecompress.errors import DataError

INSTRUCTIONS_OVER_CLOCK = "instructions / clock"
CYCLES_OVER_CLOCK = "estimated cycles / clock"
CYCLES_AND_WAITS_OVER_CLOCK = "estimated cycles with flash waits / clock"
WALL_CLOCK = "wall clock"
MEASURED_CYCLES_OVER_CLOCK = "measured cycles / clock"


@dataclass(frozen=True)
class LayerMeasurement:
    """Executed instructions of one layer, from its kernel's entry to the next kernel's; the last one includes run's return.

    On qemu from the end of the layer before, the first one with run's own instructions before it."""

    node: str
    kernel: str
    instructions: int
    estimated_cycles: int | None  # None where there is no model of the core's pipeline
    memory_words: int | None  # registers loaded and stored
    flash_wait_cycles: int | None  # on top of estimated_cycles; None where the target's file has no flash_timing

    @property
    def cost(self) -> int:
        """Cycles with waits where they are estimated, else instructions."""
        return self.instructions if self.estimated_cycles is None else self.estimated_cycles + (self.flash_wait_cycles or 0)


@dataclass(frozen=True)
class InstructionSpread:
    """Instructions of the counted frames; equal numbers say that the time does not depend on the data."""

    minimum: int
    median: int
    maximum: int
    frames: int


@dataclass(frozen=True)
class Measurement:
    """One bench run. None means: this transport cannot see it (this machine has no flash, qemu no cycles)."""

    target: str
    where: str  # unicorn, qemu, host, ssh, serial
    instructions: int | None  # median of the counted frames
    instruction_spread: InstructionSpread | None
    estimated_cycles: int | None  # bench/pipeline.py; None where it has no model of the core
    memory_words: int | None  # registers loaded and stored
    flash_wait_cycles: int | None  # on top of estimated_cycles, bench/flash_wait.py; None where the target's file has no flash_timing
    latency_s: float
    latency_basis: str  # CYCLES_AND_WAITS_OVER_CLOCK, CYCLES_OVER_CLOCK, INSTRUCTIONS_OVER_CLOCK, MEASURED_CYCLES_OVER_CLOCK or WALL_CLOCK
    latency_spread_s: tuple[float, float] | None  # fastest and slowest record or frame, measured times only
    flash_bytes: int | None  # model, kernels, compiler runtime, startup; of a program its constants
    harness_flash_bytes: int | None  # what the bench added, not in flash_bytes
    ram_bytes: int | None  # static data of the model (its arena included) + stack; of a program arena and state
    stack_bytes: int | None  # deepest of all frames
    arena_bytes: int
    caller_bytes: int  # inputs and outputs that the caller holds, not in ram_bytes; 0 where the arena holds them
    matches_reference: bool | None
    samples: int
    mismatches: int | None  # frames whose output differs
    vectors_source: str
    compiler: str
    emulator: str
    overhead_instructions: int | None  # of run before its first kernel; qemu counts them with the first layer
    layers: tuple[LayerMeasurement, ...]
    date: str  # UTC

    def to_document(self) -> dict[str, Any]:
        """JSON-ready."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]  # tuples to lists

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Measurement:
        """Inverse of to_document; raises DataError on missing, unknown or mistyped fields."""
        known = {field.name for field in fields(cls)}
        if set(document) != known:
            raise DataError(f"a measurement has unknown or missing fields: {', '.join(sorted(set(document) ^ known))}")
        values = dict(document)
        try:
            spread, latencies = values["instruction_spread"], values["latency_spread_s"]
            values["instruction_spread"] = InstructionSpread(**spread) if spread is not None else None
            values["latency_spread_s"] = (float(latencies[0]), float(latencies[1])) if latencies is not None else None
            values["layers"] = tuple(LayerMeasurement(**layer) for layer in values["layers"])
            return cls(**values)
        except (TypeError, ValueError, IndexError) as error:
            raise DataError(f"a measurement has a field of the wrong form: {error}") from None
