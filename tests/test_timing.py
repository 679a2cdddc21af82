"""Wall-clock times of a shared machine: readings are trusted by the moment they were made in, and profiles of such times predict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from graph_cases import small_network
from tools import require_tool

from edgecompress.bench.subject import count_differing, load_subject, load_vectors
from edgecompress.bench.sweep import choose
from edgecompress.bench.timing import ENOUGH, Records, Schedule, fastest_calibration, split_records, trust
from edgecompress.bench.toolchain import host_compiler
from edgecompress.bench.transport.host import build_program, run_program
from edgecompress.cli.main import main
from edgecompress.errors import DeviceError, ExitCode
from edgecompress.hw.estimate import estimate
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.lower import lower, plan


def records(seconds: np.ndarray, calibration: np.ndarray, interrupted: np.ndarray | None = None) -> Records:
    return Records(seconds.reshape(-1, 1), calibration, np.zeros(len(seconds), bool) if interrupted is None else interrupted)


def test_the_file_of_times_is_taken_apart_by_frame_and_round() -> None:
    schedule = Schedule(rounds=2, records=3, frames=2)
    rows = [[10 + record, 11, interrupted, 100 * frame + record] + [7] * frame
            for round_ in range(2) for frame in range(2) for record, interrupted in ((0, 0), (1, round_), (2, 0))]
    first, second = split_records(np.array([value for row in rows for value in row], dtype=float), schedule, (1, 2))
    assert first.seconds[:, 0].tolist() == pytest.approx([0, 1e-9, 2e-9] * 2) and second.seconds.shape == (6, 2)
    assert second.seconds[:, 1].tolist() == pytest.approx([7e-9] * 6) and first.calibration.tolist() == pytest.approx([11e-9, 11e-9, 12e-9] * 2)
    assert first.interrupted.tolist() == [False, False, False, False, True, False]
    for damaged in (np.zeros(5), np.full(len(rows) * 4 + 6, np.nan)):
        with pytest.raises(DeviceError, match="the program wrote"):
            split_records(damaged, schedule, (1, 2))


def test_readings_of_busy_moments_do_not_count() -> None:
    """A neighbour on the core for nine tenths of the time makes everything half as fast again."""
    random = np.random.default_rng(0)
    busy = random.random(400) < 0.9
    seconds = 1e-3 * np.where(busy, 1.6, 1.0) * random.normal(1.0, 0.01, 400)
    calm = records(seconds, 7e-6 * np.where(busy, 1.5, 1.0) * random.normal(1.0, 0.01, 400))
    reading = trust(calm, fastest_calibration([calm]))
    assert reading.seconds[0] == pytest.approx(1e-3, rel=0.02) and ENOUGH <= reading.trusted < 100
    interrupted = records(np.where(busy, 5e-3, seconds), np.full(400, 7e-6), busy)
    assert trust(interrupted, 7e-6).seconds[0] == pytest.approx(1e-3, rel=0.02)


def test_without_a_calm_moment_the_best_quarter_is_taken() -> None:
    seen = records(np.linspace(1.0, 2.0, 100), np.linspace(1.0, 2.0, 100))
    reading = trust(seen, 0.5)
    assert reading.trusted == 25 and 1.0 < reading.seconds[0] < 1.25 and reading.calibration_s == pytest.approx(1.12, abs=0.02)


def test_layers_add_up_to_the_model_and_outputs_are_right(tmp_path: Path) -> None:
    require_tool("gcc", shutil.which("gcc") is not None)
    lower(small_network(), load_target("host-x86")).write(tmp_path / "a")
    subject = load_subject(tmp_path / "a")
    vectors = load_vectors(subject, 3)
    frames = [(0, frame) for frame in subject.encode(vectors.inputs)]
    readings = []
    for layers in (True, False):
        program = build_program([subject], host_compiler(), time_layers=layers)
        done = run_program(program, [subject], frames, Schedule(3, 20, frames=2), layers)
        assert count_differing(subject.decode(done.outputs), vectors.outputs) == 0 and len(done.records) == 2
        readings.append(trust(done.records[0], fastest_calibration(done.records)))
    assert readings[0].seconds.shape == (len(subject.layers),) and (readings[0].seconds > 0).any() and readings[1].seconds.shape == (1,)
    assert 0.3 < readings[0].seconds.sum() / readings[1].seconds[0] < 3.0  # how near they are is for the benchmark to say, on a calm machine


def test_a_profile_of_this_machine_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    require_tool("gcc", shutil.which("gcc") is not None)
    monkeypatch.setattr("edgecompress.bench.timed_profiling.choose", lambda target, seed, layers, *rows: choose(target, seed, layers)[:6])
    path = tmp_path / "mine.json"
    assert main(["profile", "--target", "host-x86", "--on", "host", "--layers", "60", "--output", str(path), "--format", "json"]) == ExitCode.DONE
    printed = json.loads(capsys.readouterr().out)
    assert (printed["source"], printed["unit"], printed["target"]) == ("measured", "seconds", "host-x86")
    profile = load_profile(str(path))
    assert len(profile.layer_rows) >= 48 and profile.calibration_s is not None and 1e-7 < profile.calibration_s < 1e-2
    assert 0.05 <= profile.repeatability < 1 and all(0 < row.cost < 1 for row in profile.layer_rows)
    assert (profile.code_bytes(["x"], 3), profile.stack_of(["x"])) == (0.0, 0)


@pytest.mark.parametrize(("arguments", "part"), [
    (["--target", "cortex-m4", "--on", "host"], "times of another machine say nothing of it"),
    (["--target", "raspberry-pi-4"], "say how to reach it with --on ssh://user@host"),
    (["--target", "raspberry-pi-4", "--on", "host"], "is another machine: profile it with --on ssh"),
    (["--target", "cortex-m4", "--on", "ssh://pi"], "runs no programs over ssh"),
    (["--target", "host-x86", "--on", "moon"], "unknown place to bench on 'moon'"),
])
def test_profiles_that_would_mislead_are_refused(arguments: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *arguments, "--output", str(tmp_path / "p.json")]) == ExitCode.USAGE
    assert part in capsys.readouterr().err and not (tmp_path / "p.json").exists()


def test_the_packaged_profile_of_a_pc_estimates() -> None:
    target = load_target("host-x86")
    lowered = plan(small_network(), target)
    cost = estimate(lowered, load_profile(target.profile), target)
    assert 1e-6 < cost.latency_s < 1e-3 and 0 < cost.latency_std_s < cost.latency_s
    assert (cost.ram_bytes, cost.flash_bytes) == (lowered.memory.arena_bytes, lowered.constant_bytes)  # a PC's code and stack are not counted
