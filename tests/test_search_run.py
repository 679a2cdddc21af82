"""The whole pipeline on digits, small: its result, its determinism, and what is kept when it is killed.

One run is made once; most tests take a copy of it, damage it or delete its late files, and resume. Whole runs cost some 20 s of a core each.
"""

from __future__ import annotations

import fcntl
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

from edgecompress import resources
from edgecompress.cli.main import main
from edgecompress.errors import ExitCode
from edgecompress.run.config import SearchConfig
from edgecompress.run.problem import make_devices, make_problem

SMALL = ["search", "--data", "digits", "--trials", "12", "--population", "6", "--screen", "4", "--top-k", "2", "--epochs", "2", "--seed", "3", "--workers", "2",
         "--test-samples", "20", "--ram", "24KiB", "--flash", "64KiB", "--latency", "8ms", "--format", "json"]
KEYS = {"chosen", "accuracy_float", "accuracy_int8", "latency_s", "ram_bytes", "flash_bytes", "parameters", "macs", "artifact"}
Finished = tuple[Path, dict[str, object]]


def _command(output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "edgecompress", *SMALL, "--output", str(output), *more]


def _resume(output: Path, *more: str) -> int:
    """Resumes in this process with one worker: the number of workers must not matter."""
    return main([*SMALL, "--output", str(output), "--resume", "--workers", "1", *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One finished small run and what it printed."""
    output = tmp_path_factory.mktemp("runs") / "first run, ünï"
    result = subprocess.run(_command(output), capture_output=True, text=True)
    assert result.returncode == ExitCode.DONE, result.stderr
    return output, json.loads(result.stdout)  # one JSON document and nothing else


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of the finished run that a test may damage, with the summary that a resumed run must print."""
    output = tmp_path / "copy"
    shutil.copytree(finished[0], output)
    artifact = output / "candidates" / str(finished[1]["chosen"]) / "artifact"
    return output, {**finished[1], "artifact": str(artifact)}


def _c_files(run: Path, identity: str) -> dict[str, bytes]:
    folder = run / "candidates" / identity / "artifact"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".c", ".h")}


def _questions(run: Path) -> list[str]:
    return [trial["id"] for trial in json.loads((run / "report.json").read_text())["trials"]]


def _same(output: Path, finished: Finished) -> None:
    """The run in `output` came to the same questions, choice and C."""
    run, summary = finished
    report = json.loads((output / "report.json").read_text())
    assert _questions(output) == _questions(run)
    assert {**report["summary"], "artifact": ""} == {**json.loads((run / "report.json").read_text())["summary"], "artifact": ""}
    files = _c_files(run, str(summary["chosen"]))
    assert any(name.endswith(".c") for name in files) and _c_files(output, str(summary["chosen"])) == files


def test_result_keeps_the_budget_and_equals_the_reference(finished: Finished) -> None:
    run, summary = finished
    assert summary.keys() >= KEYS
    assert summary["matches_reference"] is True and summary["within_budget"] is True and summary["on_core_mismatches"] == 0
    assert summary["ram_bytes"] <= 24 * 1024 and summary["flash_bytes"] <= 64 * 1024 and summary["latency_s"] <= 8e-3
    assert summary["accuracy_int8"] > 0.5  # two epochs are enough to leave chance (0.1) far behind
    for name in ("config.toml", "study.log", "report.html", "report.json", "MODEL_CARD.md"):
        assert (run / name).stat().st_size > 0
    assert (Path(str(summary["artifact"])) / "manifest.json").is_file()
    assert not [path for path in run.rglob("*") if path.suffix == ".partial" or path.name.startswith(".")]


def test_bench_takes_the_artifact(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    _, summary = finished
    assert main(["bench", str(summary["artifact"]), "--format", "json"]) == ExitCode.DONE
    seen = json.loads(capsys.readouterr().out)
    for key in ("target", "where", "instructions", "latency_s", "flash_bytes", "ram_bytes", "stack_bytes", "matches_reference", "samples"):
        assert key in seen
    assert seen["matches_reference"] is True and seen["samples"] >= 10 and seen["instructions"] == summary["instructions"]


def test_a_finished_run_is_not_overwritten(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = finished
    before = (run / "report.json").read_bytes()
    assert main([*SMALL, "--output", str(run)]) == ExitCode.USAGE
    assert "--resume" in capsys.readouterr().err
    assert _resume(run, "--trials", "20") == ExitCode.USAGE
    assert "trials: 12 then, 20 now" in capsys.readouterr().err
    assert (run / "report.json").read_bytes() == before


def test_resuming_a_finished_run_repeats_nothing(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run, summary = copied
    files = [path for path in (run / "candidates").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert _resume(run) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == summary
    assert {path: path.stat().st_mtime_ns for path in (run / "candidates").rglob("*") if path.is_file()} == before


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


def _kill(process: subprocess.Popen[str]) -> None:
    """The parent alone, as `kill -9` would: its workers must notice and end."""
    process.kill()
    process.wait(timeout=60)
    deadline = time.monotonic() + 20
    while _group_members(process.pid):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.1)


def _start(output: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(_command(output, *more), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)


def test_killed_twice_and_with_one_worker_it_gives_the_same(finished: Finished, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    process = _start(output, "--workers", "1")  # the finished run had two: their number must not matter
    _wait_for(lambda: _answers(output / "study.log") >= 8, process)  # in the middle of the second generation
    answered = _answers(output / "study.log")
    _kill(process)
    assert _answers(output / "study.log") >= answered
    process = _start(output, "--resume", "--workers", "1")
    _wait_for(lambda: any(output.glob("candidates/*/training.json")), process)
    _kill(process)
    kept = {path: path.stat().st_mtime_ns for path in output.glob("candidates/*/model.pt") if (path.parent / "training.json").exists()}
    assert kept
    assert _resume(output) == ExitCode.DONE
    _same(output, finished)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    assert not [path for path in output.rglob("*") if path.suffix == ".partial" or path.name.startswith(".")]


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs, such as a test run's, start with it ignored


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    output = tmp_path / "interrupted"
    process = subprocess.Popen(_command(output, "--workers", "1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True, preexec_fn=_heed_interrupts)
    _wait_for(lambda: _answers(output / "study.log") >= 3, process)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends Ctrl-C to the whole group
    process.wait(timeout=60)
    assert process.stderr is not None and process.stdout is not None
    text = process.stderr.read()
    assert process.returncode == ExitCode.INTERRUPTED, f"code {process.returncode}: {text}"
    assert "--resume" in text and "Traceback" not in text and process.stdout.read() == ""
    assert _answers(output / "study.log") >= 3


def test_a_torn_last_line_of_the_log_is_survived(copied: Finished, finished: Finished) -> None:
    output, _ = copied
    log = (output / "study.log").read_bytes()
    (output / "study.log").write_bytes(log[: len(log) - 40])
    assert _resume(output) == ExitCode.DONE
    _same(output, finished)


def test_files_that_somebody_deleted_are_made_again(copied: Finished, finished: Finished) -> None:
    output, summary = copied
    chosen = output / "candidates" / str(summary["chosen"])
    (chosen / "graph.npz").unlink()
    for path in sorted((chosen / "artifact").iterdir())[::2]:
        path.unlink()
    (other,) = (path for path in (output / "candidates").iterdir() if path != chosen)
    for name in ("model.pt", "measurement.json"):
        (other / name).unlink()
    for name in ("summary.json", "report.json", "report.html"):
        (output / name).unlink()
    (other / ".artifact-old").mkdir()  # what a kill during the writing of an artifact leaves
    assert _resume(output) == ExitCode.DONE
    _same(output, finished)
    assert (output / "report.html").is_file() and not (other / ".artifact-old").exists()


@pytest.mark.parametrize(("name", "content"), [("study.log", b"not json\n"), ("config.toml", b"= ="), ("provenance.json", b"{"),
                                               ("candidates/*/result.json", b"{"), ("candidates/*/result.json", b"{}"),
                                               ("candidates/*/model.pt", b"PK half"), ("candidates/*/graph.json", b"{")])
def test_damaged_run_files_are_named(copied: Finished, capsys: pytest.CaptureFixture[str], name: str, content: bytes) -> None:
    output, summary = copied
    (output / name.replace("*", str(summary["chosen"]))).write_bytes(content)
    assert _resume(output) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert Path(name).name in captured.err and captured.err.count("error: ") == 1 and captured.out == ""


@pytest.mark.parametrize("left", [[], ["run.lock"], ["run.lock", "candidates/"], ["candidates/", "provenance.json", "config.toml.7.partial"]])
def test_a_run_killed_in_its_first_moment_can_start_again(tmp_path: Path, left: list[str]) -> None:
    from edgecompress.run.directory import RunDirectory

    for name in left:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text("{")
    with RunDirectory.open(tmp_path, SearchConfig(), {"data_hash": "0"}, resume=True):
        assert (tmp_path / "config.toml").is_file()
    with RunDirectory.open(tmp_path, SearchConfig(), {"data_hash": "0"}, resume=True) as run:
        assert run.path == tmp_path


def test_a_full_disk_ends_in_one_sentence_and_can_be_resumed(copied: Finished, finished: Finished) -> None:
    output, _ = copied
    lines = (output / "study.log").read_bytes().splitlines(keepends=True)
    (output / "study.log").write_bytes(b"".join(lines[:-3]))
    room = (output / "study.log").stat().st_size + 300

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    result = subprocess.run(_command(output, "--resume", "--workers", "1"), capture_output=True, text=True, preexec_fn=small_files)
    assert result.returncode == ExitCode.USAGE and "Traceback" not in result.stderr, result.stderr
    assert "error: cannot write" in result.stderr and "--resume" in result.stderr and result.stdout == ""
    assert not list(output.rglob("*.partial"))
    assert _resume(output) == ExitCode.DONE
    _same(output, finished)


def test_two_processes_cannot_share_a_run(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = finished
    with (run / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert _resume(run) == ExitCode.USAGE
    assert "another process" in capsys.readouterr().err


def test_impossible_budget_names_the_smallest_that_can_be_met(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    output, _ = copied
    words = [*SMALL, "--output", str(output.parent / "impossible"), "--trials", "2", "--population", "2", "--workers", "1", "--ram", "200B"]
    assert main(words) == ExitCode.ANSWER_IS_NO
    captured = capsys.readouterr()
    assert "none of the 2 candidates meets the budget" in captured.err and "smallest found one by one" in captured.err
    assert "RAM" in captured.err and "flash" in captured.err and captured.out == ""


def _own_board(folder: Path, clock: str = "80MHz") -> None:
    """./board.toml and its profile, which are the shipped Cortex-M7's under another name."""
    text = (resources.data_dir("targets") / "cortex-m7.toml").read_text()
    lines = ["profile = \"board\"" if line.startswith("profile") else f'clock = "{clock}"' if line.startswith("clock") else line
             for line in text.splitlines()]
    (folder / "board.toml").write_text("\n".join(lines) + "\n")
    document = json.loads((resources.data_dir("hw_profiles") / "cortex-m7-emulated.json").read_text())
    (folder / "hw_profiles").mkdir(exist_ok=True)
    (folder / "hw_profiles" / "board.json").write_text(json.dumps({**document, "target": "board"}))


def test_a_board_of_ones_own_is_one_toml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    _own_board(tmp_path)
    words = ["search", "--target", "./board.toml", "--output", "run", "--trials", "3", "--population", "3", "--top-k", "1", "--epochs", "1",
             "--workers", "1", "--samples", "10", "--test-samples", "10", "--families", "ds_cnn", "--format", "json"]
    assert main(words) == ExitCode.DONE
    summary = json.loads(capsys.readouterr().out)
    assert summary["target"] == "board" and summary["matches_reference"] is True
    assert 0.3 * summary["instructions"] / 80e6 < summary["latency_s"] < 2 * summary["instructions"] / 80e6  # estimated cycles at the own clock
    assert main(["bench", summary["artifact"]]) == ExitCode.USAGE
    assert "unknown target 'board'" in (message := capsys.readouterr().err) and "--target" in message
    assert main(["bench", summary["artifact"], "--target", "board.toml", "--format", "json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["instructions"] == summary["instructions"]
    _own_board(tmp_path, clock="90MHz")  # the same name, another board: its figures must not mix with the old ones
    assert main([*words, "--resume"]) == ExitCode.USAGE
    assert "target_hash" in capsys.readouterr().err


def test_a_profile_of_an_own_board_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecompress.bench.profiling import make_profile
    from edgecompress.cli.progress import progress_display
    from edgecompress.hw.target import load_target

    monkeypatch.chdir(tmp_path)
    _own_board(tmp_path)
    with progress_display() as progress:
        profile = make_profile(load_target("./board.toml"), "board", 2, 0, None, None, progress)
    assert profile.target == "board" and profile.clock_hz == 80e6 and profile.coefficients


def test_the_search_sees_no_test_sample() -> None:
    from edgecompress.data.dataset import load_dataset

    config = SearchConfig()
    data = load_dataset("digits")
    problem = make_problem(config, data, make_devices(config))
    train = {x.tobytes() for x in data.train.x}
    assert all(x.tobytes() in train for x in problem.batch)
    assert not hasattr(data.without_test(), "test")
