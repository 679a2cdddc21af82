"""Scores one untrained candidate: proxies on real inputs, and the cost of its *lowered* plan on every device it is meant for."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.hw.budget import Budget
from edgecompress.hw.estimate import Cost, estimate
from edgecompress.hw.plan import LoweredPlan
from edgecompress.hw.profile import HardwareProfile
from edgecompress.hw.target import Target
from edgecompress.search.space import Candidate, Space, SpaceSpec, weight_bits

if TYPE_CHECKING:
    from torch import nn

    from edgecompress.ir.graph import QuantizedGraph


SETTLING = 64  # samples that repair the statistics of a compressed own model
COMFORT = 0.5  # of a latency limit: a model that is faster than that is not better for it
INHERITED = "inherited"  # the proxy of networks that come with trained weights


@dataclass(frozen=True)
class Device:
    """A target with its latency profile and the limits that a model must keep on it."""

    target: Target
    profile: HardwareProfile
    budget: Budget


@dataclass(frozen=True)
class Problem:
    """What is searched for. A model must fit every device; the first one is what is reported and what latency is minimised on.

    `batch` float32 [n, height, width, channels] and `labels` int64 [n] are training samples for the proxies.
    """

    input_shape: tuple[int, int, int]
    classes: int
    devices: tuple[Device, ...]
    space: SpaceSpec
    batch: np.ndarray
    labels: np.ndarray
    proxies: tuple[str, ...]
    seed: int

    @property
    def target(self) -> Target:
        """The first device's target."""
        return self.devices[0].target

    @property
    def profile(self) -> HardwareProfile:
        """The first device's profile."""
        return self.devices[0].profile

    @property
    def budget(self) -> Budget:
        """The first device's limits."""
        return self.devices[0].budget

    def make_space(self) -> Space:
        """The candidates to choose from."""
        return self.space.make(self.input_shape, self.classes)


@dataclass(frozen=True)
class Score:
    """What the zero-shot search knows of a candidate: proxies, and estimates from its lowered plan.

    `latency_s`, `ram_bytes`, `flash_bytes` are the first device's; `also` has the others' by target. `violations` are relative excesses of limits.
    `pressure` is the largest share of a latency limit that a device needs. `network` is equal where knobs differ that have no effect.
    """

    proxies: Mapping[str, float]
    macs: int
    parameters: int
    layers: int
    latency_s: float
    ram_bytes: int
    flash_bytes: int
    violations: Mapping[str, float]
    pressure: float
    seconds: float
    also: Mapping[str, Mapping[str, float]]
    network: str = ""

    @property
    def feasible(self) -> bool:
        """Whether every limit is kept."""
        return all(excess <= 0 for excess in self.violations.values())

    @property
    def objectives(self) -> tuple[float, ...]:
        """What is minimised: the proxies, the multiply-accumulates as their baseline (both negated), and the latency pressure where it is felt."""
        return (*(-value for value in self.proxies.values()), -float(self.macs), max(self.pressure, COMFORT))

    @property
    def capacity(self) -> tuple[float, ...]:
        """What makes a network able to learn, negated: proxies, multiply-accumulates and parameters."""
        return (*(-value for value in self.proxies.values()), -float(self.macs), -float(self.parameters))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def structure_of(module: nn.Module, candidate: Candidate, input_shape: tuple[int, int, int], space: Space) -> QuantizedGraph:
    """The integer graph that quantization would make of the candidate's module, with placeholder weights."""
    from edgecompress.compress.quantize.structure import quantize_structure
    from edgecompress.frontend.torch_import import from_torch

    return quantize_structure(from_torch(module, input_shape), weight_bits(candidate, module, space))


def costs(structure: QuantizedGraph, devices: tuple[Device, ...]) -> tuple[tuple[LoweredPlan, Cost], ...]:
    """Plan and estimated cost on each device. Raises ModelError if it cannot be lowered, ConfigError if a profile lacks a kernel."""
    from edgecompress.lower import plan

    plans = [plan(structure, device.target) for device in devices]
    return tuple((lowered, estimate(lowered, device.profile, device.target)) for lowered, device in zip(plans, devices, strict=True))


def violations(found: tuple[Cost, ...], devices: tuple[Device, ...]) -> dict[str, float]:
    """Relative excesses of all limits; those of further devices are named "target: limit"."""
    result: dict[str, float] = {}
    for index, (cost, device) in enumerate(zip(found, devices, strict=True)):
        excess = device.budget.violations(cost)
        result |= excess if index == 0 else {f"{device.target.name}: {name}": value for name, value in excess.items()}
    return result


def score(candidate: Candidate, problem: Problem) -> Score:
    """Builds the candidate at its pruned widths, measures the proxies, plans and estimates. Raises ModelError if it cannot be lowered."""
    import torch

    from edgecompress.search.inherited import inherited
    from edgecompress.search.proxies import PROXIES
    from edgecompress.search.proxies.batch import Batch
    from edgecompress.search.space import build

    started = time.perf_counter()
    torch.manual_seed(problem.seed)
    space = problem.make_space()
    x = torch.from_numpy(problem.batch).permute(0, 3, 1, 2).contiguous()
    if problem.space.model:
        from edgecompress.search.teacher import settled

        module = settled(problem, candidate, x[:SETTLING]).eval()
    else:
        module = build(candidate, problem.input_shape, problem.classes, space=space).eval()
    structure = structure_of(module, candidate, problem.input_shape, space)
    outputs = [math.prod(structure.tensors[name].shape) for name in structure.outputs]
    if outputs != [problem.classes]:
        raise ModelError(f"the network has {' and '.join(map(str, outputs))} outputs, the data has {problem.classes} classes; they must be as many")
    found = tuple(cost for _, cost in costs(structure, problem.devices))
    batch = Batch(x, torch.from_numpy(problem.labels))
    bits = weight_bits(candidate, module, space)
    proxies = {name: inherited(module, batch, problem.seed, bits) if name == INHERITED else PROXIES[name](module, batch, problem.seed)
               for name in problem.proxies}
    first = found[0]
    return Score(
        proxies, first.macs, structure.parameters, len(first.layers), first.latency_s, first.ram_bytes, first.flash_bytes,
        violations(found, problem.devices),
        max(cost.latency_s / device.budget.latency_s for cost, device in zip(found, problem.devices, strict=True)),
        time.perf_counter() - started,
        {device.target.name: {"latency_s": cost.latency_s, "ram_bytes": cost.ram_bytes, "flash_bytes": cost.flash_bytes}
         for cost, device in zip(found[1:], problem.devices[1:], strict=True)},
        structure.hash[:16],
    )
