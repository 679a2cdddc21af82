"""Does a model fit a device? Exact memory from the plan that `lower` would emit, code size and latency from the device's profile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgecompress import resources
from edgecompress.errors import BudgetError, ConfigError, EdgecompressError
from edgecompress.hw.estimate import Cost, applies, estimate
from edgecompress.hw.plan import LoweredPlan, Placement
from edgecompress.hw.profile import HardwareProfile, load_profile
from edgecompress.hw.target import Target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower import plan
from edgecompress.lower.options import LowerOptions
from edgecompress.lower.passes import optimize
from edgecompress.units import format_bytes

BASIS = {"instructions": "instructions / clock", "cycles": "estimated cycles / clock", "seconds": "seconds"}  # what a latency is made of


@dataclass(frozen=True)
class InspectedLayer:
    """One kernel call. `ram_bytes` are the bytes of the arena that are in use while it runs, its scratch memory included."""

    node: str
    op: str
    kernel: str
    seconds: float | None  # predicted; None without a profile
    ram_bytes: int
    scratch_bytes: int
    constant_bytes: int
    macs: int


@dataclass(frozen=True)
class Inspection:
    """A model on a device. Bytes of arena, scratch, state, constants, inputs and outputs are exact; `cost` is predicted (None: see `profile_note`).

    The arena holds the scratch memory; `input_output_bytes` are the caller's buffers (0 when the arena holds them). `profile_note` says which
    profile the prediction comes from, or why there is none.
    """

    target: Target
    arena_bytes: int
    lower_bound_bytes: int
    scratch_bytes: int  # of the layer that needs most
    state_bytes: int
    input_output_bytes: int
    constant_bytes: int
    macs: int
    cost: Cost | None
    profile: HardwareProfile | None
    profile_note: str
    layers: tuple[InspectedLayer, ...]
    fitted: tuple[str, ...] = ()  # what was done to keep the RAM limit of the options

    @property
    def stack_bytes(self) -> int | None:
        """Predicted; None without a prediction."""
        return None if self.cost is None else self.cost.ram_bytes - self.arena_bytes - self.state_bytes

    @property
    def ram_bytes(self) -> int:
        """Arena, state, inputs and outputs, and the stack where it is predicted."""
        return self.arena_bytes + self.state_bytes + self.input_output_bytes + (self.stack_bytes or 0)

    @property
    def flash_bytes(self) -> int:
        """Constants, and the code where it is predicted."""
        return self.constant_bytes if self.cost is None else self.cost.flash_bytes

    @property
    def misses(self) -> tuple[str, ...]:
        """What the device has too little of, one text each; empty when the model fits."""
        pairs = (("RAM", self.ram_bytes, self.target.ram_bytes), ("flash", self.flash_bytes, self.target.flash_bytes))
        return tuple(f"needs {format_bytes(need)} of {what}, {self.target.name} has {format_bytes(has)}" for what, need, has in pairs if need > has)


@dataclass(frozen=True)
class Refusal:
    """A device that cannot run the model at all, and why."""

    target: Target
    reason: str


class Inspector:
    """Looks at one model on many devices; devices with the same extensions share one plan, devices with the same profile read it once."""

    def __init__(self, graph: QuantizedGraph, options: LowerOptions | None = None) -> None:
        self.graph = optimize(graph)
        self.options = options or LowerOptions()
        self._plans: dict[tuple[object, ...], LoweredPlan | BudgetError] = {}
        self._profiles: dict[str, HardwareProfile | str] = {}

    def inspect(self, target: Target) -> Inspection:
        """Raises ModelError for a model that the device cannot run, BudgetError for a RAM limit of the options that cannot be met,
        ConfigError for a target whose lowering is unknown."""
        found = self._plan(target)
        profile, cost, note = self._prediction(found, target)
        callers = (*self.graph.inputs, *self.graph.outputs) if self.options.io == "caller" else ()
        return Inspection(
            target=target, arena_bytes=found.memory.arena_bytes, lower_bound_bytes=found.memory.lower_bound_bytes,
            scratch_bytes=max((layer.scratch_bytes for layer in found.layers), default=0), state_bytes=found.state_bytes,
            input_output_bytes=sum(self.graph.tensors[name].size for name in callers),
            constant_bytes=found.constant_bytes, macs=found.macs, cost=cost, profile=profile, profile_note=note, layers=self._layers(found, cost),
            fitted=found.fitted)

    def inspect_all(self, targets: Iterable[Target]) -> list[Inspection | Refusal]:
        """The devices that fit first, the smallest at the top; then those that do not, the largest at the top; then those that cannot."""
        found: list[Inspection | Refusal] = []
        for target in targets:
            try:
                found.append(self.inspect(target))
            except EdgecompressError as error:
                found.append(Refusal(target, error.message))
        return sorted(found, key=_rank)

    def _plan(self, target: Target) -> LoweredPlan:
        key = (target.lowering, target.extensions)  # all of a device that a plan depends on
        if key not in self._plans:
            try:
                self._plans[key] = plan(self.graph, target, self.options)
            except BudgetError as error:
                self._plans[key] = error
        known = self._plans[key]
        if isinstance(known, BudgetError):
            raise known
        return replace(known, target=target.name)

    def _prediction(self, found: LoweredPlan, target: Target) -> tuple[HardwareProfile | None, Cost | None, str]:
        """(profile, cost, note); without a usable profile both are None and the note says why."""
        profile = self._profile(target)
        if isinstance(profile, str):
            return None, None, profile
        if not applies(profile, target):
            return None, None, f"no profile: '{profile.name}' was made for {profile.target}"
        try:
            cost = estimate(found, profile, target)
        except ConfigError as error:
            return None, None, f"no prediction: {error.message}"
        origin = "" if profile.target == target.name else f" of {profile.target}, taken at {target.clock_hz / 1e6:g} MHz"
        if target.flash_timing is not None and profile.target != target.name:
            origin += " without this chip's flash waits, which 'edgecompress bench' estimates"
        error_text = f"mean error {profile.fit_error.mean_absolute_percent:.1f} % on layers it was not fitted to"
        return profile, cost, f"{profile.name}{origin}: {profile.source}, {BASIS[profile.unit]}, {error_text}"

    def _profile(self, target: Target) -> HardwareProfile | str:
        """The profile, or why there is none."""
        name = target.profile
        if name not in self._profiles:
            if resources.exists("hw_profiles", name, ".json"):
                self._profiles[name] = load_profile(name)
            else:
                self._profiles[name] = f"no profile '{name}'{_how_to_make(target)}"
        return self._profiles[name]

    def _layers(self, found: LoweredPlan, cost: Cost | None) -> tuple[InspectedLayer, ...]:
        seconds = [None] * len(found.layers) if cost is None else list(cost.layers)
        result = []
        for layer, time in zip(found.layers, seconds, strict=True):
            used = _used_bytes([place for place in found.memory.placements if place.buffer.first <= layer.step <= place.buffer.last])
            result.append(InspectedLayer(layer.node, layer.op, layer.kernel, time, used, layer.scratch_bytes, layer.constant_bytes, layer.macs))
        return tuple(result)


def _used_bytes(alive: Sequence[Placement]) -> int:
    """Bytes of the arena that the buffers cover; those that two of them share count once."""
    used = end = 0
    for place in sorted(alive, key=lambda place: place.offset):
        top = place.offset + place.buffer.size
        used += max(top - max(place.offset, end), 0)
        end = max(end, top)
    return used


def _how_to_make(target: Target) -> str:
    """The command that makes a target's profile, where there is one."""
    command = f"edgecompress profile --target {(target.name, *target.bases)[-1]}"
    if target.family == "linux":
        return f"; '{command} --on ssh://user@host' makes one"
    return f"; '{command}' makes one" if target.emulator.unicorn or target.family == "host" else ""


def _rank(found: Inspection | Refusal) -> tuple[object, ...]:
    target = found.target
    if isinstance(found, Refusal):
        return (2, 0, 0, target.name)
    if found.misses:
        return (1, -target.ram_bytes, -target.flash_bytes, target.name)
    return (0, target.ram_bytes, target.flash_bytes, target.name)
