"""Scores one untrained candidate: proxies on real inputs, and the cost of its *lowered* plan on the target."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.hw.budget import Budget
from edgecompress.hw.estimate import Cost, estimate
from edgecompress.hw.plan import LoweredPlan
from edgecompress.hw.profile import HardwareProfile
from edgecompress.hw.target import Target
from edgecompress.search.space import Candidate

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Problem:
    """What is searched for. `batch` float32 [n, height, width, channels] are training inputs for the proxies."""

    input_shape: tuple[int, int, int]
    classes: int
    target: Target
    profile: HardwareProfile
    budget: Budget
    batch: np.ndarray
    seed: int


@dataclass(frozen=True)
class Score:
    """What the zero-shot search knows of a candidate. Latency, RAM and flash are estimates from the lowered plan."""

    naswot: float
    macs: int
    parameters: int
    latency_s: float
    ram_bytes: int
    flash_bytes: int
    violations: Mapping[str, float]
    seconds: float

    @property
    def feasible(self) -> bool:
        """Whether every limit is kept."""
        return all(excess <= 0 for excess in self.violations.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def plan_module(module: nn.Module, candidate: Candidate, input_shape: tuple[int, int, int], target: Target,
                profile: HardwareProfile) -> tuple[LoweredPlan, Cost, int]:
    """(plan, estimated cost, parameters) of an untrained module of the candidate's structure. Raises ModelError if it cannot be lowered."""
    from edgecompress.compress.quantize.structure import quantize_structure
    from edgecompress.frontend.torch_import import from_torch
    from edgecompress.lower import plan
    from edgecompress.search.space import weight_bits

    structure = quantize_structure(from_torch(module, input_shape), weight_bits(candidate, module))
    lowered = plan(structure, target)
    return lowered, estimate(lowered, profile, target), structure.parameters


def score(candidate: Candidate, problem: Problem) -> Score:
    """Builds the candidate at its pruned widths, measures the proxies, plans and estimates. Raises ModelError if it cannot be lowered."""
    import torch

    from edgecompress.search.proxies import PROXIES
    from edgecompress.search.proxies.batch import Batch
    from edgecompress.search.space import build

    started = time.perf_counter()
    torch.manual_seed(problem.seed)
    module = build(candidate, problem.input_shape, problem.classes).eval()
    _, cost, parameters = plan_module(module, candidate, problem.input_shape, problem.target, problem.profile)
    x = torch.from_numpy(problem.batch).permute(0, 3, 1, 2).contiguous()
    batch = Batch(x, torch.zeros(len(x), dtype=torch.int64))
    naswot = PROXIES["naswot"](module, batch, problem.seed)
    return Score(naswot, cost.macs, parameters, cost.latency_s, cost.ram_bytes, cost.flash_bytes, problem.budget.violations(cost),
                 time.perf_counter() - started)
