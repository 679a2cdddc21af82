"""Pools of processes: what is thrown inside one ends it, and the program too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_an_interrupted_pool_with_large_tasks_lets_the_program_end(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0 and done.stdout == "ended\n", done.stderr
