"""Pools of processes: what is thrown inside one ends it, and the program too."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from edgecompress.processes import process_pool

PROGRAM = """
import time
from edgecompress.processes import process_pool

def work(data):
    time.sleep(600)

if __name__ == "__main__":
    try:
        with process_pool(2) as pool:
            for _ in range(6):
                pool.submit(work, bytes(4_000_000))  # more than a pipe holds
            time.sleep(2)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        print("ended")
"""


@pytest.mark.parametrize("folder", ["t", "t" * 120])
def test_an_interrupted_pool_with_large_tasks_lets_the_program_end(tmp_path: Path, folder: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with tempfile.TemporaryDirectory() as short:
        (Path(short) / folder).mkdir()
        done = subprocess.run([sys.executable, str(tmp_path / "program.py")], env={**os.environ, "TMPDIR": str(Path(short) / folder)}, capture_output=True,
                              text=True, check=False, timeout=100)
    assert done.returncode == 0 and done.stdout == "ended\n", done.stderr

ORPHANS = """
import os, signal, sys, time
from pathlib import Path
from edgecompress.processes import process_pool

def work(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    with process_pool(2) as pool:
        for _ in range(2):
            pool.submit(work, sys.argv[1])
        while len(os.listdir(sys.argv[1])) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_soon_after_their_parent_was_killed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(ORPHANS)
    (tmp_path / "workers").mkdir()
    subprocess.run([sys.executable, str(tmp_path / "program.py"), str(tmp_path / "workers")], check=False, timeout=100)
    workers = [int(path.name) for path in (tmp_path / "workers").iterdir()]
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(map(_lives, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_lives, workers))


def _environment() -> dict[str, str]:
    return dict(os.environ)


def test_workers_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMPRESS_TEST", "first")
    with process_pool(1) as pool:
        assert pool.submit(_environment).result()["EDGECOMPRESS_TEST"] == "first"
    monkeypatch.delenv("EDGECOMPRESS_TEST")
    monkeypatch.setenv("EDGECOMPRESS_OTHER", "second")
    with process_pool(1) as pool:
        found = pool.submit(_environment).result()
    assert "EDGECOMPRESS_TEST" not in found and found["EDGECOMPRESS_OTHER"] == "second"
