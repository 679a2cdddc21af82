"""A real search that two machines share through PostgreSQL: same result as alone, no work twice, and a killed machine costs only its task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import Postgres, available, postgres
from tools import require_tool

from edgecompress.errors import ExitCode

WORDS = ["search", "--data", "digits", "--families", "plain", "--trials", "12", "--population", "6", "--screen", "4", "--top-k", "1", "--epochs", "2",
         "--workers", "1", "--samples", "10", "--test-samples", "10", "--latency", "4ms", "--ram", "24KiB", "--flash", "64KiB", "--format", "json"]
WAIT = 300.0  # seconds; only a hung machine needs them


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    require_tool("postgresql", available())
    with postgres() as running:
        yield running


def _start(folder: Path, name: str, storage: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgecompress", *WORDS, *(["--storage", storage, "--study", "together"] if storage else []), *more,
               "--output", str(folder / name), "--resume"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == ExitCode.DONE, err
    found: dict[str, Any] = json.loads(out)
    return {**found, "artifact": Path(found["artifact"]).parent.name}


def _answered(folder: Path, name: str) -> int:
    log = folder / name / "study.log"
    return log.read_text(errors="replace").count('"score"') if log.exists() else 0


def _score_seconds(folder: Path, name: str) -> dict[str, float]:
    """What each candidate's scoring took: the time itself tells whose answer it is."""
    report = json.loads((folder / name / "report.json").read_text())
    return {trial["id"]: trial["seconds"] for trial in report["trials"]}


def test_two_machines_find_together_what_one_finds_alone(server: Postgres, tmp_path: Path) -> None:
    killed = _start(tmp_path, "killed", server.url)
    deadline = time.monotonic() + WAIT
    while _answered(tmp_path, "killed") < 3:
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)  # the machine, with its workers, in the middle of a task
    killed.wait()
    machines = [_start(tmp_path, name, server.url) for name in ("killed", "second")]  # it comes back, and another one joins
    alone = _start(tmp_path, "alone", "")
    first, second = (_result(machine) for machine in machines)
    expected = _result(alone)
    assert first == second == expected
    assert _score_seconds(tmp_path, "killed") == _score_seconds(tmp_path, "second")  # one answer a question, used by both
    for path in (tmp_path / "killed").rglob("*"):
        if path.is_file():
            assert b"s%40cret" not in path.read_bytes() and b"s@cret" not in path.read_bytes(), path
    other = _start(tmp_path, "other", server.url, "--data", "digits", "--seed", "4")
    out, err = other.communicate(timeout=WAIT)
    assert other.returncode == ExitCode.USAGE and out == "" and "seed" in err and "Traceback" not in err
