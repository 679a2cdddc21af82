"""Cost of a lowered plan on a device, from its profile: no compiler, no emulator, thousands a minute."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgecompress.errors import ConfigError
from edgecompress.hw.plan import LoweredPlan
from edgecompress.hw.profile import HardwareProfile
from edgecompress.hw.target import Target
from edgecompress.hw.uncertainty import DEVIATIONS


@dataclass(frozen=True)
class Cost:
    """An estimate, never a measurement. Sizes in bytes; `layers` are seconds a layer, in plan order.

    `latency_std_s` is the standard deviation of the latency's error; `extrapolated` names the layers that lie outside what the profile saw, each
    with the reason: for those neither figure is to be relied on."""

    latency_s: float
    ram_bytes: int
    flash_bytes: int
    macs: int
    arena_bytes: int
    layers: tuple[float, ...]
    latency_std_s: float = 0.0
    extrapolated: tuple[str, ...] = ()
    energy_j: float | None = None  # of one inference; None where the profile knows no power

    @property
    def latency_margin_s(self) -> float:
        """Half the width of the interval that holds the latency with a probability of COVERAGE (hw/uncertainty.py)."""
        return DEVIATIONS * self.latency_std_s


def applies(profile: HardwareProfile, target: Target) -> bool:
    """Whether a profile speaks of this target: it was made for it, or for a base of it with the same core."""
    return profile.target in (target.name, *target.bases)


def energy(latency_s: float, profile: HardwareProfile) -> float | None:
    """Joules of an inference: the profile's mean power times the time. Cores draw nearly the same whatever they compute; memories outside the chip do not."""
    return None if profile.power_w is None else latency_s * profile.power_w


def estimate(plan: LoweredPlan, profile: HardwareProfile, target: Target) -> Cost:
    """Latency, RAM and flash. Raises ConfigError if the profile is for another target or lacks a kernel.

    A profile of the target's base is taken at the target's own clock: instructions are divided by it, seconds are stretched in proportion.
    """
    if not applies(profile, target):
        raise ConfigError(f"profile '{profile.name}' was made for {profile.target}, not for {target.name}")
    stretch = 1.0 if profile.target == target.name else profile.clock_hz / target.clock_hz
    to_seconds = {"instructions": target.seconds, "cycles": target.seconds_of_cycles, "seconds": stretch.__mul__}[profile.unit]
    layers = tuple(to_seconds(profile.layer_cost(layer.kernel, layer.features)) if layer.kernel else 0.0 for layer in plan.layers)
    called = [layer for layer in plan.layers if layer.kernel]
    overhead = to_seconds(profile.overhead_base + profile.overhead_per_layer * len(called))
    code = profile.code_bytes([kernel for kernel in plan.kernels if kernel], len(called))
    latency = sum(layers) + overhead
    surprises = [(layer.node, profile.surprise(layer.kernel, layer.features)) for layer in called]
    return Cost(
        latency_s=latency,
        ram_bytes=plan.memory.arena_bytes + plan.state_bytes + profile.stack_of(plan.kernels),
        flash_bytes=plan.constant_bytes + math.ceil(code),
        macs=plan.macs,
        arena_bytes=plan.memory.arena_bytes,
        layers=layers,
        latency_std_s=to_seconds(profile.deviation([(layer.kernel, layer.features) for layer in called])),
        extrapolated=tuple(f"{node}: {reason}" for node, reason in surprises if reason),
        energy_j=energy(latency, profile),
    )
