"""Sensitivities, bit assignment by integer programme, costs from lowered plans."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgecompress.compress.quantize.assign import BitCosts, BitLimits, LayerCost, assign_bits
from edgecompress.compress.quantize.sensitivity import DIVERGENCE, RELATIVE_ERROR, Sensitivity, sensitivity
from edgecompress.compress.quantize.structure import quantize_structure
from edgecompress.errors import BudgetError, ConfigError, DataError, ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.torch_import import from_torch
from edgecompress.hw.estimate import estimate
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.lower import plan
from edgecompress.search.bit_costs import bit_costs


class Small(nn.Module):
    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.stem, self.depthwise, self.point = nn.Conv2d(2, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 48, 1)
        self.head, self.softmax = nn.Linear(48, 4), softmax

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = self.head(F.relu(self.point(F.relu(self.depthwise(x)) + x)).mean((2, 3)))
        return F.softmax(x, 1) if self.softmax else x


def small(softmax: bool = False) -> tuple[FloatGraph, np.ndarray]:
    torch.manual_seed(0)
    module = Small(softmax).eval()
    with torch.no_grad():
        module.head.weight *= 8
    return from_torch(module, (12, 12, 2)), np.random.default_rng(0).standard_normal((48, 12, 12, 2)).astype(np.float32)


@pytest.mark.parametrize("rounding", ["nearest", "adaptive"])
def test_fewer_bits_do_more_damage(rounding: str) -> None:
    graph, x = small()
    table = sensitivity(graph, x, rounding=rounding)
    assert table.measure == DIVERGENCE and list(table.layers) == ["stem", "depthwise", "point", "head"]
    for row in table.layers.values():
        assert 0 <= row[8] < row[4] < row[2]
    assert table.total({"stem": 8, "depthwise": 4, "point": 2, "head": 8}) == pytest.approx(
        table.layers["stem"][8] + table.layers["depthwise"][4] + table.layers["point"][2] + table.layers["head"][8])
    assert pickle.loads(pickle.dumps(table)) == table
    softmaxed = sensitivity(small(True)[0], x, rounding=rounding)
    for name, row in table.layers.items():
        assert softmaxed.layers[name][4] == pytest.approx(row[4], rel=2e-2, abs=1e-9)


def test_images_are_judged_by_their_error() -> None:
    graph = from_torch(nn.Sequential(nn.Conv2d(2, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval(), (6, 6, 2))
    table = sensitivity(graph, np.random.default_rng(0).standard_normal((8, 6, 6, 2)).astype(np.float32))
    assert table.measure == RELATIVE_ERROR and all(row[4] < row[2] for row in table.layers.values())


def test_unusable_samples() -> None:
    graph, x = small()
    with pytest.raises(DataError, match="at least one sample"):
        sensitivity(graph, x[:0])
    with pytest.raises(ModelError, match="takes samples of shape"):
        sensitivity(graph, x[:, :5])


def random_problem(rng: np.random.Generator, layers: int) -> tuple[Sensitivity, BitCosts]:
    names, kernels = [f"l{index}" for index in range(layers)], ["a", "b"]
    damage = {name: dict(zip((8, 4, 2), np.sort(rng.random(3)) ** 3, strict=True)) for name in names}
    costs = {}
    for name in names:
        size, kind = int(rng.integers(10, 500)), str(rng.choice(kernels))
        widths = (8, 4, 2) if rng.random() < 0.8 else (8, 4)
        costs[name] = {bits: LayerCost(size * bits // 8, float(size * (1 + rng.random())), f"{kind}_{bits}") for bits in widths}
    code = {f"{kind}_{bits}": float(rng.integers(0, 200)) for kind in kernels for bits in (8, 4, 2)}
    functions = {f"{kind}_{bits}": {"shared": 50.0, f"unpack_{bits}": float(10 * bits)} for kind in kernels for bits in (8, 4, 2)}
    return Sensitivity(damage, DIVERGENCE), BitCosts(costs, code, functions, 123.0, 45.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1)))
def test_assignments_are_the_best_of_all(seed: int, tightness: float, speed: float | None) -> None:
    rng = np.random.default_rng(seed)
    damage, costs = random_problem(rng, int(rng.integers(1, 6)))
    everything = [dict(zip(costs.layers, choice, strict=True)) for choice in itertools.product(*(tuple(row) for row in costs.layers.values()))]
    sizes, times = [costs.flash_bytes(bits) for bits in everything], [costs.seconds(bits) for bits in everything]
    limits = BitLimits(min(sizes) - 5 + tightness * (max(sizes) - min(sizes) + 10), None if speed is None else min(times) + speed * (max(times) - min(times)))
    inside = [bits for bits, size, seconds in zip(everything, sizes, times, strict=True)
              if size <= (limits.flash_bytes or 0) and (limits.latency_s is None or seconds <= limits.latency_s * (1 + 1e-12))]
    if not inside:
        with pytest.raises(BudgetError, match="no assignment of weight bits"):
            assign_bits(damage, costs, limits)
        return
    found = assign_bits(damage, costs, limits)
    assert costs.flash_bytes(found) <= (limits.flash_bytes or 0) * (1 + 1e-6)
    assert damage.total(found) <= min(damage.total(bits) for bits in inside) + 1e-6
    others = [bits for bits in inside if bits != found]
    if others:
        second = assign_bits(damage, costs, limits, [found])
        assert second != found and damage.total(second) <= min(damage.total(bits) for bits in others) + 1e-6
    else:
        with pytest.raises(BudgetError, match="no other assignment"):
            assign_bits(damage, costs, limits, [found])


def test_infeasible_says_the_least_need() -> None:
    damage, costs = random_problem(np.random.default_rng(3), 4)
    sizes = [costs.flash_bytes(dict(zip(costs.layers, choice, strict=True)))
             for choice in itertools.product(*(tuple(row) for row in costs.layers.values()))]
    with pytest.raises(BudgetError) as caught:
        assign_bits(damage, costs, BitLimits(flash_bytes=min(sizes) - 1))
    assert f"least flash of any assignment: {int(np.ceil(min(sizes)))} B" in str(caught.value) or "KiB" in caught.value.details[0]
    assert caught.value.exit_code == 1
    with pytest.raises(ConfigError, match="different models: only one of them has layer 'l3'"):
        assign_bits(Sensitivity({name: row for name, row in damage.layers.items() if name != "l3"}, DIVERGENCE), costs, BitLimits())


@pytest.mark.parametrize("name", ["cortex-m7", "cortex-m4"])
def test_costs_add_up_to_the_estimate(name: str) -> None:
    graph, _ = small()
    target = load_target(name)
    profile = load_profile(target.profile)
    costs = bit_costs(graph, target, profile)
    rng = np.random.default_rng(0)
    for _ in range(6):
        bits = {layer: int(rng.choice(list(row))) for layer, row in costs.layers.items()}
        whole = estimate(plan(quantize_structure(graph, bits), target), profile, target)
        assert int(np.ceil(costs.flash_bytes(bits) - 1e-6)) == whole.flash_bytes
        assert costs.seconds(bits) == pytest.approx(whole.latency_s, rel=1e-6)
    assert costs.layers["point"][4].constant_bytes < costs.layers["point"][8].constant_bytes
    assert pickle.loads(pickle.dumps(costs)) == costs
