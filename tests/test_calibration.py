"""Calibration: the statistics against scipy and by hand, then whole calibrations of small networks, killed, resumed, damaged."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from edgecompress.data.parts import Normalization, Samples, TrainingData
from edgecompress.errors import BudgetError, ConfigError
from edgecompress.hw.budget import Budget
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.search.calibration import (
    Calibration,
    CalibrationConfig,
    Network,
    calibrate,
    calibration_table,
    load_calibration,
    make_calibration,
)
from edgecompress.search.calibration_statistics import judge, tau
from edgecompress.search.calibration_store import Store, source_version
from edgecompress.search.objective import Device, costs, structure_of
from edgecompress.search.proxies import PROXIES
from edgecompress.search.space import Candidate, SpaceSpec, build, random_candidate

SPACE = SpaceSpec(("ds_cnn", "temporal"))
SETTINGS = CalibrationConfig(networks=8, epochs=1, seed=3)


def make_data(seed: int = 0, name: str = "stripes", digest: str = "0" * 64) -> TrainingData:
    """8x8 images of horizontal, vertical or no stripes with noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(120, dtype=np.int64) % 3
    wave = np.sin(np.arange(8) * 2)
    patterns = np.stack([np.tile(wave, (8, 1)), np.tile(wave, (8, 1)).T, np.zeros((8, 8))])
    x = (patterns[y] + 0.7 * rng.standard_normal((120, 8, 8))).astype(np.float32)[..., None]
    normalization = Normalization(0.0, 1.0, "float32", float(x.min()), float(x.max()), "none")
    return TrainingData(name, "image", Samples(x[:80], y[:80]), Samples(x[80:], y[80:]), ("a", "b", "c"), normalization, "made", digest)


def test_tau_is_scipys_with_ties_and_infinities() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.integers(0, 5, 15).astype(float), rng.standard_normal(15).round(1)
        expected = scipy.stats.kendalltau(a, b).statistic
        assert tau(a, b) == pytest.approx(expected)
        a[a == 0] = -math.inf
        assert tau(a, b) == pytest.approx(expected)
    assert tau(np.full(5, -math.inf), np.arange(5.0)) is None


def test_tau_in_family_counts_pairs_of_one_family() -> None:
    """Within each family the order is right, between them it is wrong."""
    values, accuracy = np.array([5.0, 6, 7, 1, 2, 3]), np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    same = np.equal.outer(np.array(list("aaabbb")), np.array(list("aaabbb")))
    assert tau(values, accuracy, same) == 1.0
    assert tau(values, accuracy) == pytest.approx((6 - 9) / 15)


def ranking(count: int, swaps: int, seed: int) -> list[float]:
    """0, 1, 2, ... with some neighbours exchanged."""
    values, rng = list(range(count)), np.random.default_rng(seed)
    for place in rng.choice(np.arange(0, count - 1, 2), swaps, replace=False):
        values[place], values[place + 1] = values[place + 1], values[place]
    return [float(value) for value in values]


def shuffled(count: int, seed: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).permutation(count)]


def verdicts_of(proxies: dict[str, list[float]], keep: int = 4) -> dict[str, object]:
    found = judge(proxies, [i / 20 for i in range(20)], [i % 4 for i in range(20)], ["a", "b"] * 10, keep, 0)
    taus = [-2.0 if v.tau is None else v.tau for v in found]
    assert taus == sorted(taus, reverse=True)
    return {v.name: v.reason for v in found if v.kept} | {f"not {v.name}": v.reason for v in found if not v.kept}


def reversed_halves() -> list[float]:
    """Agrees with accuracy but inside blocks of four, whose order is turned around: tau 0.68, unlike any ranking with few swaps."""
    return [float(4 * (i // 4) + 3 - i % 4) for i in range(20)]


def test_proxies_above_macs_stay_those_below_go() -> None:
    proxies = {"macs": shuffled(20, 1), "good": ranking(20, 3, 0), "bad": [-float(i) for i in range(20)], "flat": [-math.inf] * 20}
    assert 0 < (tau(np.array(proxies["macs"]), np.arange(20.0)) or 0) < 0.6
    assert verdicts_of(proxies) == {"good": "kept", "not macs": "baseline", "not bad": "not above MACs", "not flat": "ranks nothing"}


def test_macs_alone_stays_when_nothing_beats_it() -> None:
    proxies = {"macs": ranking(20, 1, 0), "good": ranking(20, 4, 0), "bad": shuffled(20, 2)}
    kept = verdicts_of(proxies)
    assert kept["macs"] == "baseline, kept as no proxy beats it" and kept["not good"] == "not above MACs"


def test_a_useless_baseline_does_not_let_useless_proxies_in() -> None:
    proxies = {"macs": [-float(i) for i in range(20)], "bad": [-value for value in ranking(20, 5, 0)]}
    assert verdicts_of(proxies)["not bad"] == "not above 0" and "macs" in verdicts_of(proxies)


def test_of_two_proxies_with_nearly_one_ranking_the_better_stays() -> None:
    proxies = {"macs": shuffled(20, 1), "first": ranking(20, 1, 0), "second": ranking(20, 2, 0), "other": reversed_halves()}
    assert verdicts_of(proxies) == {"first": "kept", "other": "kept", "not second": "ranks like first", "not macs": "baseline"}
    assert verdicts_of(proxies, keep=1)["not other"] == "beyond the best 1"


def test_the_interval_surrounds_tau_and_narrows_with_more_networks() -> None:
    widths = []
    for count in (10, 40):
        values = [float(i + 4 * (i % 3)) for i in range(count)]
        (verdict,) = judge({"macs": values}, [i / count for i in range(count)], [1] * count, ["a"] * count, 4, 0)
        assert verdict.low is not None and verdict.high is not None and verdict.tau is not None and verdict.p_value is not None
        assert verdict.low < verdict.tau < verdict.high and verdict.p_value < 0.05 and verdict.beats == 0.0 and verdict.tau_depth is None
        widths.append(verdict.high - verdict.low)
    assert widths[1] < widths[0] / 1.5


def some_networks(count: int = 10) -> list[Network]:
    rng = np.random.default_rng(0)
    return [Network(Candidate({"family": "ds_cnn", "width": i}).to_json(), "ds_cnn", i % 3 + 1, i / count, 1.0,
                    {name: -math.inf if name == "meco" and i == 0 else float(rng.standard_normal()) for name in PROXIES}) for i in range(count)]


def test_a_calibration_survives_json_and_every_proxy_has_a_row() -> None:
    found = make_calibration("digits", "cortex-m7: any", CalibrationConfig(), some_networks())
    text = json.dumps(found.to_json(), allow_nan=False)
    again = Calibration.from_json(json.loads(text))
    assert again == found and again.networks[0].proxies["meco"] == -math.inf
    titles, rows = calibration_table(found)
    assert {row[0] for row in rows} == set(PROXIES) and all(len(row) == len(titles) for row in rows)
    assert [row[-2] for row in rows if row[0] == "meco"] == ["1"]
    assert set(found.kept) == {row[0] for row in rows if row[-1] == "kept"} or found.kept == ("macs",)


@pytest.mark.parametrize("change", [
    {"networks": []}, {"networks": None}, {"settings": {"networks": 20, "other": 1}}, {"settings": {"networks": "20"}}, {"data": None, "networks": 3},
])
def test_a_document_of_another_shape_is_refused(change: dict[str, object]) -> None:
    document = make_calibration("digits", "", CalibrationConfig(), some_networks()).to_json() | change
    with pytest.raises((KeyError, TypeError, ValueError, IndexError, ConfigError)):
        Calibration.from_json(document)


@pytest.mark.parametrize("change", [{"accuracy": 2.0}, {"accuracy": "high"}, {"depth": -1}, {"proxies": {"macs": 1.0}}, {"candidate": "[]"}])
def test_a_network_of_another_shape_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, ConfigError)):
        Network.from_json(some_networks(1)[0].to_json() | change)


@pytest.mark.parametrize("settings", [{"networks": 7}, {"seconds": -1.0}, {"seconds": math.nan}, {"epochs": -1}, {"keep": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"calibration: {next(iter(settings))} is"):
        CalibrationConfig(**settings)  # type: ignore[arg-type]


def device(latency_s: float) -> Device:
    return Device(load_target("cortex-m7"), load_profile("cortex-m7-emulated"), Budget(latency_s, 320 * 1024, 2**20))


TIGHT = device(5e-4)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C at a known moment."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Calibration]:
    """A calibration that was interrupted after three trainings and then finished by two workers."""
    folder = tmp_path_factory.mktemp("calibrations")

    def interrupt(done: int, of: int) -> None:
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        calibrate(make_data(), SPACE, (TIGHT,), SETTINGS, folder, 1, interrupt)
    assert load_calibration(make_data(), SPACE, (TIGHT,), folder) is None
    steps: list[int] = []
    found = calibrate(make_data(), SPACE, (TIGHT,), SETTINGS, folder, 2, lambda done, of: steps.append(done))
    assert steps == [3, 4, 5, 6, 7, 8]  # what was trained before Ctrl-C is not trained again
    return folder, found


def test_a_whole_calibration(finished: tuple[Path, Calibration]) -> None:
    _, found = finished
    assert len(found.networks) == 8 and {v.name for v in found.verdicts} == set(PROXIES)
    assert len({network.candidate for network in found.networks}) == 8
    assert all(set(network.proxies) == set(PROXIES) and 0 < network.accuracy <= 1 and network.depth > 2 for network in found.networks)
    assert found.kept


def test_a_second_calibration_only_reads(finished: tuple[Path, Calibration]) -> None:
    folder, found = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    steps: list[int] = []
    assert calibrate(make_data(), SPACE, (TIGHT,), SETTINGS, folder, 2, lambda done, of: steps.append(done)) == found
    assert steps == [8] and before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    assert load_calibration(make_data(), SPACE, (TIGHT,), folder) == found


def test_a_damaged_file_is_told_and_made_again_with_the_same_result(finished: tuple[Path, Calibration], tmp_path: Path) -> None:
    folder, found = finished
    copy = tmp_path / "copy"
    for path in folder.rglob("*.json"):
        (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(folder)).write_bytes(path.read_bytes())
    (verdict,) = copy.rglob("verdict.json")
    networks = sorted(path for path in verdict.parent.glob("*.json") if path.name not in ("verdict.json", "candidates.json"))
    verdict.write_bytes(verdict.read_bytes()[:-40])
    networks[0].write_text(networks[0].read_text().replace('"accuracy": 0.', '"accuracy": 1.'))
    notes: list[str] = []
    steps: list[int] = []
    again = calibrate(make_data(), SPACE, (TIGHT,), SETTINGS, copy, 1, lambda done, of: steps.append(done), notes.append)
    assert [replace(n, seconds=0.0) for n in again.networks] == [replace(n, seconds=0.0) for n in found.networks]
    assert again.verdicts == found.verdicts and steps == [7, 8]
    assert len(notes) == 2 and all("is damaged" in note for note in notes) and "checksum is wrong" in notes[1]


def test_a_sealed_file_of_another_shape_counts_as_missing(finished: tuple[Path, Calibration], tmp_path: Path) -> None:
    folder, _ = finished
    (verdict,) = folder.rglob("verdict.json")
    place = verdict.relative_to(folder).with_suffix("").as_posix()
    for content in ({"kept": ["naswot"]}, {"data": "", "limits": "", "settings": {}, "networks": [[]]}, {"networks": {}}):
        notes: list[str] = []
        Store(tmp_path, notes.append).write(place, content)
        assert load_calibration(make_data(), SPACE, (), tmp_path, notes.append) is None and len(notes) == 1 and "is damaged" in notes[0]


def test_other_data_and_another_space_have_no_verdict(finished: tuple[Path, Calibration]) -> None:
    folder, found = finished
    assert load_calibration(make_data(digest="1" * 64), SPACE, (), folder) is None
    assert load_calibration(make_data(), SpaceSpec(("ds_cnn",)), (), folder) is None
    assert load_calibration(make_data(), SpaceSpec(("ds_cnn", "temporal"), width_multiple=8), (), folder) is None
    assert load_calibration(make_data(), SPACE, (device(0.5),), folder) == found  # of the same data, for other limits


def test_of_two_verdicts_the_one_for_these_limits_counts(finished: tuple[Path, Calibration], tmp_path: Path) -> None:
    folder, found = finished
    (verdict,) = folder.rglob("verdict.json")
    other = replace(found, limits="cortex-m7: other")
    store, base = Store(tmp_path, lambda text: None), verdict.relative_to(folder).parts[0]
    store.write(f"{base}/these/verdict", found.to_json())
    store.write(f"{base}/others/verdict", other.to_json())
    assert load_calibration(make_data(), SPACE, (TIGHT,), tmp_path) == found
    assert load_calibration(make_data(), SPACE, (device(0.5),), tmp_path) == other  # the latest


def test_networks_keep_the_limits_of_the_devices(finished: tuple[Path, Calibration]) -> None:
    """The first candidates drawn that fit, and not all that were drawn do."""
    _, found = finished
    space, rng = SPACE.make((8, 8, 1), 3), np.random.default_rng(SETTINGS.seed)
    fitting: list[str] = []
    drawn = 0
    while len(fitting) < 8:
        candidate = random_candidate(rng, space)
        ((_, cost),) = costs(structure_of(build(candidate, (8, 8, 1), 3, space=space).eval(), candidate, (8, 8, 1), space), (TIGHT,))
        drawn += 1
        fitting += [candidate.to_json()] * TIGHT.budget.allows(cost)
    assert drawn > 8 and [network.candidate for network in found.networks] == fitting
    assert found.limits == f"cortex-m7: {TIGHT.budget.describe()}"


def test_a_budget_that_nothing_fits_is_told(tmp_path: Path) -> None:
    nothing = device(1e-7)
    with pytest.raises(BudgetError, match=r"only 0 of [0-9]+ random candidates fit cortex-m7"):
        calibrate(make_data(), SpaceSpec(("temporal",)), (nothing,), SETTINGS, tmp_path, 2)


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    store = Store(tmp_path / "file", notes.append)
    store.write("a/verdict", {})
    store.write("b/verdict", {})
    assert len(notes) == 1 and "cannot be kept" in notes[0] and store.read("a/verdict") is None


def test_the_version_of_sources_depends_on_them() -> None:
    first, second = source_version("edgecompress.search.proxies"), source_version("edgecompress.search.families")
    assert first == source_version("edgecompress.search.proxies") != second
