"""The whole pipeline on digits, small: its result, its determinism, and what is kept when it is killed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgecompress.cli.main import main
from edgecompress.errors import ExitCode
from edgecompress.run.config import SearchConfig
from edgecompress.run.pipeline import make_problem

SMALL = ["search", "--data", "digits", "--trials", "16", "--population", "8", "--top-k", "2", "--epochs", "4", "--seed", "3", "--workers", "2",
         "--test-samples", "40", "--ram", "24KiB", "--flash", "64KiB", "--latency", "8ms", "--format", "json"]
KEYS = {"chosen", "accuracy_float", "accuracy_int8", "latency_s", "ram_bytes", "flash_bytes", "parameters", "macs", "artifact"}


def _command(output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "edgecompress", *SMALL, "--output", str(output), *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """One finished small run and what it printed."""
    output = tmp_path_factory.mktemp("runs") / "first"
    result = subprocess.run(_command(output), capture_output=True, text=True)
    assert result.returncode == ExitCode.DONE, result.stderr
    return output, json.loads(result.stdout)


def _c_files(run: Path, identity: str) -> dict[str, bytes]:
    folder = run / "candidates" / identity / "artifact"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".c", ".h")}


def _questions(run: Path) -> list[str]:
    return [trial["id"] for trial in json.loads((run / "report.json").read_text())["trials"]]


def test_result_keeps_the_budget_and_equals_the_reference(finished: tuple[Path, dict[str, object]]) -> None:
    run, summary = finished
    assert summary.keys() >= KEYS
    assert summary["matches_reference"] is True and summary["within_budget"] is True and summary["on_core_mismatches"] == 0
    assert summary["ram_bytes"] <= 24 * 1024 and summary["flash_bytes"] <= 64 * 1024 and summary["latency_s"] <= 8e-3
    assert summary["accuracy_int8"] > 0.5  # four epochs are enough to leave chance (0.1) far behind
    for name in ("config.toml", "study.log", "report.html", "report.json", "MODEL_CARD.md"):
        assert (run / name).stat().st_size > 0
    assert (Path(str(summary["artifact"])) / "manifest.json").is_file()


def test_bench_takes_the_artifact(finished: tuple[Path, dict[str, object]], capsys: pytest.CaptureFixture[str]) -> None:
    _, summary = finished
    assert main(["bench", str(summary["artifact"]), "--format", "json"]) == ExitCode.DONE
    seen = json.loads(capsys.readouterr().out)
    for key in ("target", "where", "instructions", "latency_s", "flash_bytes", "ram_bytes", "stack_bytes", "matches_reference", "samples"):
        assert key in seen
    assert seen["matches_reference"] is True and seen["samples"] >= 10 and seen["instructions"] == summary["instructions"]


def test_same_seed_same_candidates_same_c(finished: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    run, summary = finished
    again = tmp_path / "again"
    words = _command(again)
    words[words.index("--workers") + 1] = "1"  # the number of workers must not matter
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == ExitCode.DONE, result.stderr
    assert _questions(again) == _questions(run)
    other = json.loads(result.stdout)
    assert other["chosen"] == summary["chosen"]
    files = _c_files(run, str(summary["chosen"]))
    assert any(name.endswith(".c") for name in files)
    assert _c_files(again, other["chosen"]) == files


def test_a_finished_run_is_not_overwritten(finished: tuple[Path, dict[str, object]]) -> None:
    run, _ = finished
    before = (run / "report.json").read_bytes()
    result = subprocess.run(_command(run), capture_output=True, text=True)
    assert result.returncode == ExitCode.USAGE and "--resume" in result.stderr and "Traceback" not in result.stderr
    changed = subprocess.run([*_command(run), "--resume", "--trials", "20"], capture_output=True, text=True)
    assert changed.returncode == ExitCode.USAGE and "trials: 16 then, 20 now" in changed.stderr
    assert (run / "report.json").read_bytes() == before


def test_resuming_a_finished_run_repeats_nothing(finished: tuple[Path, dict[str, object]]) -> None:
    run, summary = finished
    model = run / "candidates" / str(summary["chosen"]) / "model.pt"
    before = model.stat().st_mtime_ns
    result = subprocess.run([*_command(run), "--resume"], capture_output=True, text=True)
    assert result.returncode == ExitCode.DONE, result.stderr
    assert json.loads(result.stdout) == summary
    assert model.stat().st_mtime_ns == before


def _wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run did not get far enough"
        time.sleep(0.02)


def _answers(log: Path) -> int:
    return log.read_text(errors="replace").count('"index"') if log.exists() else 0


def _group_members(group: int) -> list[str]:
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[2]) == group and fields[0] != "Z":
            members.append(stat.parent.name)
    return members


@pytest.mark.parametrize("moment", ["scoring", "training"])
def test_sigkill_loses_at_most_what_was_in_flight(finished: tuple[Path, dict[str, object]], tmp_path: Path, moment: str) -> None:
    run, summary = finished
    output = tmp_path / "killed"
    process = subprocess.Popen(_command(output), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    if moment == "scoring":
        _wait_for(lambda: _answers(output / "study.log") >= 5, process)
    else:
        _wait_for(lambda: any(output.glob("candidates/*/training.json")), process)
    answered = _answers(output / "study.log")
    process.kill()  # the parent alone, as `kill -9` would: its workers must notice and end
    process.wait(timeout=60)
    time.sleep(1.5)
    assert not _group_members(process.pid)
    assert _answers(output / "study.log") >= answered
    kept = {path: path.stat().st_mtime_ns for path in output.glob("candidates/*/model.pt") if (path.parent / "training.json").exists()}
    result = subprocess.run([*_command(output), "--resume"], capture_output=True, text=True)
    assert result.returncode == ExitCode.DONE, result.stderr
    assert _questions(output) == _questions(run)
    assert json.loads(result.stdout)["chosen"] == summary["chosen"]
    assert _c_files(output, str(summary["chosen"])) == _c_files(run, str(summary["chosen"]))
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    output = tmp_path / "interrupted"
    process = subprocess.Popen(_command(output), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _wait_for(lambda: _answers(output / "study.log") >= 3, process)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends Ctrl-C to the whole group
    process.wait(timeout=60)
    assert process.stderr is not None
    text = process.stderr.read()
    assert process.returncode == ExitCode.INTERRUPTED and "--resume" in text and "Traceback" not in text
    assert _answers(output / "study.log") >= 3


def test_a_torn_last_line_of_the_log_is_survived(finished: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    run, summary = finished
    output = tmp_path / "torn"
    shutil.copytree(run, output)
    log = (output / "study.log").read_bytes()
    (output / "study.log").write_bytes(log[: len(log) - 40])
    result = subprocess.run([*_command(output), "--resume"], capture_output=True, text=True)
    assert result.returncode == ExitCode.DONE, result.stderr
    assert json.loads(result.stdout)["chosen"] == summary["chosen"] and _questions(output) == _questions(run)


@pytest.mark.parametrize(("name", "content"), [("study.log", b"not json\n"), ("config.toml", b"= ="), ("provenance.json", b"{")])
def test_damaged_run_files_are_named(finished: tuple[Path, dict[str, object]], tmp_path: Path, name: str, content: bytes) -> None:
    run, _ = finished
    output = tmp_path / "damaged"
    shutil.copytree(run, output)
    (output / name).write_bytes(content)
    result = subprocess.run([*_command(output), "--resume"], capture_output=True, text=True)
    assert result.returncode == ExitCode.USAGE and name in result.stderr and "Traceback" not in result.stderr


def test_damaged_weights_are_named(finished: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    run, summary = finished
    output = tmp_path / "weights"
    shutil.copytree(run, output)
    folder = output / "candidates" / str(summary["chosen"])
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:500])
    result = subprocess.run([*_command(output), "--resume"], capture_output=True, text=True)
    assert result.returncode == ExitCode.USAGE and "model.pt" in result.stderr and "Traceback" not in result.stderr


def test_a_full_disk_ends_in_one_sentence_and_can_be_resumed(finished: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    _, summary = finished
    output = tmp_path / "full"

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))

    result = subprocess.run(_command(output), capture_output=True, text=True, preexec_fn=small_files)
    assert result.returncode == ExitCode.USAGE and "Traceback" not in result.stderr, result.stderr
    assert "error: cannot write" in result.stderr
    assert not list(output.rglob("*.partial"))
    resumed = subprocess.run([*_command(output), "--resume"], capture_output=True, text=True)
    assert resumed.returncode == ExitCode.DONE, resumed.stderr
    assert json.loads(resumed.stdout)["chosen"] == summary["chosen"]


def test_two_processes_cannot_share_a_run(finished: tuple[Path, dict[str, object]]) -> None:
    import fcntl

    run, _ = finished
    with (run / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = subprocess.run([*_command(run), "--resume"], capture_output=True, text=True)
    assert result.returncode == ExitCode.USAGE and "another process" in result.stderr


def test_impossible_budget_names_the_smallest_that_can_be_met(tmp_path: Path) -> None:
    words = _command(tmp_path / "impossible")
    words[words.index("24KiB")] = "200B"
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == ExitCode.ANSWER_IS_NO and "Traceback" not in result.stderr
    assert "none of the 16 candidates meets the budget" in result.stderr and "smallest found one by one" in result.stderr
    assert "RAM" in result.stderr and "flash" in result.stderr


def test_the_search_sees_no_test_sample() -> None:
    from edgecompress.data.dataset import load_dataset
    from edgecompress.hw.target import load_target

    config = SearchConfig()
    data = load_dataset("digits")
    target = load_target("cortex-m7")
    problem = make_problem(config, target, config.budget(target), data)
    train = {x.tobytes() for x in data.train.x}
    assert all(x.tobytes() in train for x in problem.batch)
    assert not hasattr(data.without_test(), "test")
