"""Profiles, estimates and budgets: fits that recover what made the rows, shipped profiles that fit the shipped kernels, clear errors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from op_cases import ALL_CASES

from edgecompress import resources
from edgecompress.bench.pipeline import block_cost
from edgecompress.bench.profiling import kernel_version
from edgecompress.bench.sweep import random_layers
from edgecompress.errors import ConfigError
from edgecompress.hw.budget import Budget
from edgecompress.hw.estimate import Cost, estimate
from edgecompress.hw.profile import FirmwareRow, LayerRow, fit_code, fit_layers, fit_overhead, judge, linked_bytes, load_profile
from edgecompress.hw.target import load_target, target_names
from edgecompress.lower import plan

SHIPPED = resources.names("hw_profiles", ".json")


def test_layer_fit_recovers_the_costs_that_made_the_rows() -> None:
    random = np.random.default_rng(0)
    truth = {"call": 40.0, "macs": 2.5, "outputs": 17.0}
    rows = []
    for index in range(60):
        features = {"call": 1.0, "macs": float(random.integers(10, 100_000)), "outputs": float(random.integers(1, 5000))}
        cost = sum(truth[name] * value for name, value in features.items())
        rows.append(LayerRow("k", "", features, cost, held_back=index % 5 == 0))
    fitted = fit_layers(rows)
    for name, value in truth.items():
        assert fitted["k"][name] == pytest.approx(value, rel=1e-4)
    error = judge(rows, fitted)
    assert error.rows == 12 and error.worst_percent < 0.01


def test_held_back_rows_do_not_shape_the_fit() -> None:
    rows = [LayerRow("k", "", {"macs": float(n)}, 2.0 * n, False) for n in range(1, 20)]
    strange = [LayerRow("k", "", {"macs": 5.0}, 1e6, True)]
    assert fit_layers(rows + strange) == fit_layers(rows)
    assert judge(rows + strange, fit_layers(rows)).worst_percent == pytest.approx(100.0, abs=0.01)


def test_code_and_overhead_fits() -> None:
    sizes = {"a": 700.0, "b": 1200.0, "c": 90.0}
    rows = []
    for index in range(1, 8):
        used = tuple(name for bit, name in enumerate(sizes) if index >> bit & 1)
        layers = index * 3 % 5 + 1
        shared = 300 if {"a", "b"} & set(used) else 0
        rows.append(FirmwareRow(used, layers, int(400 + 24 * layers + shared + sum(sizes[u] for u in used)), 100, 30.0 + 5 * layers, False))
    functions = {"a": {"gather": 300}, "b": {"gather": 300}}
    assert [linked_bytes(names, functions) for names in ((), ("a",), ("a", "b"), ("c",))] == [0, 300, 300, 0]
    base, layer, kernels = fit_code(rows, functions)
    assert base == pytest.approx(400, abs=1) and layer == pytest.approx(24, abs=0.2)
    assert all(kernels[name] == pytest.approx(size, abs=2) for name, size in sizes.items())
    assert fit_overhead(rows) == (pytest.approx(30), pytest.approx(5))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_belong_to_the_shipped_kernels(name: str) -> None:
    profile = load_profile(name)
    assert profile.kernel_version == kernel_version(load_target(profile.target)), \
        f"the kernels changed; run 'edgecompress profile --target {profile.target} --overwrite'"
    counted = "cycles" if block_cost(load_target(profile.target).core) else "instructions"
    timed = load_target(profile.target).family == "host"
    assert (profile.source, profile.unit) == (("measured", "seconds") if timed else ("simulated", counted))
    assert profile.fit_error.rows >= 50 and profile.fit_error.mean_absolute_percent <= (15.0 if timed else 5.0)
    assert profile.target in target_names() and profile.clock_hz == load_target(profile.target).clock_hz
    errors = [abs(profile.code_bytes(row.kernels, row.layers) / row.code_bytes - 1) for row in profile.firmware_rows]
    assert timed == (not errors) and (timed or (np.mean(errors) < 0.01 and max(errors) < 0.06))
    # the file is what the tool writes, not edited; a file's sorted keys add up in another order, hence the last bits
    again = dataclasses.asdict(judge(profile.layer_rows, profile.coefficients, profile.floor))
    kept = dataclasses.asdict(profile.fit_error)
    assert again.pop("kernels") == pytest.approx(kept.pop("kernels")) and again == pytest.approx(kept)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_know_every_kernel_that_a_layer_may_get(name: str) -> None:
    """Also those that a layer gets because a faster kernel cannot hold it: a search would drop all models with such a layer."""
    profile = load_profile(name)
    target = load_target(profile.target)
    subsets = [target.extensions, *(tuple(set(target.extensions) - gone) for gone in ({"mve"}, {"mve", "dsp"}))]
    found = {kernel for case in ALL_CASES for extensions in subsets
             for kernel in plan(case.graph, dataclasses.replace(target, extensions=extensions)).kernels if kernel}
    assert len(found) > 20 and sorted(found - profile.coefficients.keys()) == []


def test_the_search_targets_have_their_profiles() -> None:
    assert {"cortex-m4-emulated", "cortex-m7-emulated"} <= set(SHIPPED)


def test_estimate_adds_up_and_refuses_another_targets_profile() -> None:
    target, profile = load_target("cortex-m7"), load_profile("cortex-m7-emulated")
    lowered = plan(random_layers(5, 3), target)
    cost = estimate(lowered, profile, target)
    calls = sum(1 for layer in lowered.layers if layer.kernel)
    overhead = target.seconds(profile.overhead_base + profile.overhead_per_layer * calls)
    assert cost.latency_s == pytest.approx(sum(cost.layers) + overhead)
    assert cost.ram_bytes == lowered.memory.arena_bytes + lowered.state_bytes + profile.stack_of(lowered.kernels)
    assert cost.flash_bytes > lowered.constant_bytes and cost.macs == lowered.macs
    with pytest.raises(ConfigError, match="was made for cortex-m7"):
        estimate(lowered, profile, load_target("cortex-m4"))
    poor = dataclasses.replace(profile, coefficients={})
    with pytest.raises(ConfigError, match=r"knows nothing of kernel .*edgecompress profile --target cortex-m7"):
        estimate(lowered, poor, target)


def test_budget_says_by_how_much() -> None:
    budget = Budget(latency_s=0.01, ram_bytes=1000, flash_bytes=2000, macs=500)
    cost = Cost(latency_s=0.02, ram_bytes=900, flash_bytes=2000, macs=1000, arena_bytes=800, layers=())
    assert budget.violations(cost) == {"latency": 1.0, "ram": pytest.approx(-0.1), "flash": 0.0, "macs": 1.0}
    assert not budget.allows(cost)
    assert Budget(0.02, 1000, 2000).allows(cost)


@pytest.mark.parametrize(("text", "part"), [("{", "not usable"), ("[]", "not usable"), ("{}", "not an edgecompress profile"),
                                            ('{"format": "edgecompress-profile", "version": 99}', "version 1"),
                                            ('{"format": "edgecompress-profile", "version": 1}', "KeyError")])
def test_damaged_profiles_are_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "board.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=part) as caught:
        load_profile(str(path))
    assert "board.json" in caught.value.message


def test_profile_round_trip(tmp_path: Path) -> None:
    profile = load_profile("cortex-m7-emulated")
    profile.save(tmp_path / "copy.json")
    assert dataclasses.replace(load_profile(str(tmp_path / "copy.json")), name=profile.name) == profile
    document = json.loads((tmp_path / "copy.json").read_text())
    document["source"] = "guessed"
    (tmp_path / "copy.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="source must be one of"):
        load_profile(str(tmp_path / "copy.json"))
