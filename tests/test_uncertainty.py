"""Predicted latencies say how far they may be off: intervals that hold what they promise, and layers unlike the profile's are named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from graph_cases import small_network

from edgecompress.cli.main import main
from edgecompress.hw.estimate import estimate
from edgecompress.hw.profile import HardwareProfile, LayerRow, fit_layers, judge, load_profile
from edgecompress.hw.target import load_target
from edgecompress.hw.uncertainty import BEYOND, DEVIATIONS, deviation, fit_statistics
from edgecompress.ir import serialize
from edgecompress.lower import plan

TRUTH = {"call": 300.0, "macs": 2.0, "outputs": 11.0}


def drawn(random: np.random.Generator, scatter: float, kernel: str = "k") -> LayerRow:
    """A call whose cost is linear in its features but for a relative scatter."""
    features = {"call": 1.0, "macs": float(random.integers(100, 20_000)), "outputs": float(random.integers(10, 900))}
    cost = sum(TRUTH[name] * value for name, value in features.items()) * (1.0 + scatter * float(random.normal()))
    return LayerRow(kernel, "", features, cost, bool(random.integers(6) == 0))


@pytest.mark.parametrize("scatter", [0.02, 0.1])
def test_the_interval_holds_what_it_promises(scatter: float) -> None:
    """Models of ten layers of five kernels, none of them in the fit."""
    random = np.random.default_rng(1)
    inside = []
    for _ in range(30):
        rows = [drawn(random, scatter, f"k{index}") for index in range(5) for _ in range(20)]
        coefficients = fit_layers(rows)
        statistics = fit_statistics(rows, coefficients, 0.0)
        for _ in range(10):
            model = [drawn(random, scatter, f"k{index % 5}") for index in range(10)]
            calls = [(row.kernel, row.features, sum(coefficients[row.kernel][n] * v for n, v in row.features.items())) for row in model]
            error = sum(cost for *_, cost in calls) - sum(row.cost for row in model)
            inside.append(abs(error) <= DEVIATIONS * deviation(calls, statistics, 0.0, 0.0))
    assert 0.88 <= np.mean(inside) <= 0.99  # a little wide: calls of one kernel are taken to err alike, and these do not


def test_few_rows_and_many_calls_make_the_interval_wider() -> None:
    random = np.random.default_rng(2)
    rows = [drawn(random, 0.05) for _ in range(200)]
    widths = []
    for count in (8, 200):
        coefficients = fit_layers(rows[:count])
        statistics = fit_statistics(rows[:count], coefficients, 0.0)
        assert statistics["k"].rows == count
        vector = statistics["k"].vector({"call": 1.0, "macs": 5000.0, "outputs": 400.0})
        widths.append(np.sqrt(statistics["k"].variance * (vector @ statistics["k"].inverse @ vector)))
    assert widths[0] > 2 * widths[1]
    call = ("k", {"call": 1.0, "macs": 5000.0}, 10_300.0)
    one, four = (deviation([call] * count, statistics, 0.0, 0.0) for count in (1, 4))
    assert 2 * one < four < 4 * one  # between errors that cancel and errors that add up
    shared = deviation([call] * 4, statistics, 0.0, 0.5)
    assert shared > 0.5 * 4 * 10_300.0


def test_an_unfitted_floor_keeps_tiny_calls_from_ruling() -> None:
    rows = [LayerRow("k", "", {"call": 1.0, "n": float(n)}, 20e-9 * (n % 3 + 1) + 1e-9 * n, n % 6 == 0) for n in (1, 2, 3, 4, 5, 6, 5000, 9000, 20_000)]
    coefficients = fit_layers(rows, 1e-7)
    assert coefficients["k"]["n"] == pytest.approx(1e-9, rel=0.02)
    assert judge(rows, coefficients, 1e-7).mean_absolute_percent < 40 < judge(rows, coefficients).worst_percent


def test_a_call_unlike_the_rows_is_named_with_the_reason() -> None:
    random = np.random.default_rng(3)
    rows = [drawn(random, 0.01) for _ in range(40)]
    fit = fit_statistics(rows, fit_layers(rows), 0.0)["k"]
    usual = {"call": 1.0, "macs": 10_000.0, "outputs": 400.0}
    whole = sum(TRUTH[name] * value for name, value in usual.items())
    assert fit.surprise(usual, whole) == ""
    assert "'macs' is 99999" in fit.surprise({**usual, "macs": 99_999.0}, whole)
    assert fit.surprise({**usual, "macs": BEYOND * fit.largest["macs"]}, whole) == ""
    assert fit.surprise({**usual, "bands": 3.0}, whole) == "no row had 'bands'"
    few = [dataclasses.replace(row, features={**row.features, "rare": 1.0 + index % 2}, held_back=False) for index, row in enumerate(rows[:5])]
    unsure = fit_statistics([drawn(random, 0.3) for _ in range(4)] + few, {"k": {**TRUTH, "rare": 50.0}}, 0.0)["k"]
    assert "another proportion" in unsure.surprise({"rare": 2.0}, 100.0)


@pytest.fixture(scope="module")
def profile() -> HardwareProfile:
    return load_profile("cortex-m4-emulated")


def test_estimates_have_a_deviation_at_the_targets_clock(profile: HardwareProfile) -> None:
    core = load_target("cortex-m4")
    slow = dataclasses.replace(core, clock_hz=core.clock_hz / 2)
    fast_cost, slow_cost = (estimate(plan(small_network(), target), profile, target) for target in (core, slow))
    assert 0 < fast_cost.latency_std_s < 0.1 * fast_cost.latency_s
    assert slow_cost.latency_std_s == pytest.approx(2 * fast_cost.latency_std_s)
    assert slow_cost.latency_margin_s == DEVIATIONS * slow_cost.latency_std_s
    assert profile.deviation([]) == 0.0


def test_a_layer_larger_than_any_row_is_named(profile: HardwareProfile) -> None:
    target = load_target("cortex-m4")
    rows = tuple(dataclasses.replace(row, features={k: v / 1e4 for k, v in row.features.items()}, cost=row.cost / 1e4) for row in profile.layer_rows)
    small = dataclasses.replace(profile, layer_rows=rows)
    cost = estimate(plan(small_network(), target), small, target)
    assert cost.extrapolated and "the rows end at" in cost.extrapolated[0]
    assert estimate(plan(small_network(), target), profile, target).extrapolated == ()


def test_a_profile_file_of_before_has_the_same_uncertainty(profile: HardwareProfile, tmp_path: Path) -> None:
    """The figures come from the rows, so files that know nothing of them need not be made again."""
    profile.save(tmp_path / "p.json")
    document = json.loads((tmp_path / "p.json").read_text())
    assert document.pop("calibration_s") is None and document.pop("repeatability") == 0.0
    (tmp_path / "p.json").write_text(json.dumps(document))
    again = load_profile(str(tmp_path / "p.json"))
    calls = [(row.kernel, row.features) for row in profile.layer_rows[:40]]
    assert again.deviation(calls) == pytest.approx(profile.deviation(calls))


def test_inspect_shows_the_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serialize.save(small_network(), tmp_path / "graph.json")
    assert main(["inspect", str(tmp_path / "graph.json"), "--target", "cortex-m4"]) == 0
    assert " ± " in (printed := capsys.readouterr().out) and "(90 %) predicted (cortex-m4-emulated" in printed
    assert main(["inspect", str(tmp_path / "graph.json"), "--target", "cortex-m4", "--format", "json"]) == 0
    predicted = json.loads(capsys.readouterr().out)["predicted"]
    assert 0 < predicted["latency_std_s"] < predicted["latency_s"] and predicted["extrapolated"] == []
