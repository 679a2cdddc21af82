"""Progress on stderr: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TITLES = {"search": "scoring candidates", "screen": "training briefly", "train": "training the chosen few", "calibrate": "training to judge proxies",
          "own model": "judging the own model", "neighbours": "scoring neighbours of the best", "bench": "lowering and running",
          "prove": "running the test part", "profile": "measuring layers", "build": "building programs", "time": "timing programs"}


class _Bars:
    def __init__(self, bars: Any) -> None:
        self._bars, self._task = bars, None

    def stage(self, name: str, total: int) -> None:
        self._task = self._bars.add_task(TITLES.get(name, name), total=total)

    def step(self, done: int) -> None:
        self._bars.update(self._task, completed=done)

    def say(self, text: str) -> None:
        self._bars.console.print(text)


class _Lines:
    def stage(self, name: str, total: int) -> None:
        print(f"{TITLES.get(name, name)}: {total} steps", file=sys.stderr)

    def step(self, done: int) -> None:
        pass  # a log file wants no bar; the stages and the results are enough

    def say(self, text: str) -> None:
        print(text, file=sys.stderr)


@contextmanager
def progress_display() -> Iterator[Any]:
    """A Progress for the pipeline."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False, markup=False)) as bars:
        yield _Bars(bars)
