"""Where the work of a search is done: tasks go in, answers come out, in processes of this machine, on many machines or on a cluster.

A search is a loop of questions. Every question is a `Task` with a key; the same key always has the same answer, whoever finds it. So a killed
search repeats only what was in flight, and machines that run the same search can share one table of answers.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import edgecompress
from edgecompress.errors import DeviceError, EdgecompressError
from edgecompress.processes import process_pool

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Answer:
    """What came of a task: plain JSON values and named files, or `error`, the reason in one sentence why there is nothing."""

    values: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    error: str = ""


Work = Callable[[Any, Mapping[str, Any], Mapping[str, bytes]], Answer]  # context, payload, files; a function that processes can import


@dataclass(frozen=True)
class Task:
    """One question. `payload` is JSON, `files` are bytes that the work goes on from; what all tasks share is the evaluator's context.

    `trial` holds Optuna's view of a scored candidate (parameters and distributions), for storages that people open with Optuna's tools.
    """

    key: str
    work: Work
    payload: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    trial: FrozenTrial | None = None


More = Callable[[], Sequence[Task]]


def no_more() -> Sequence[Task]:
    """Nothing comes up while tasks are worked on."""
    return ()


class Evaluator(Protocol):
    """Somewhere that tasks are worked on."""

    def answers(self, tasks: Sequence[Task], more: More = no_more) -> Iterator[tuple[Task, Answer]]:
        """Each task with its answer, in the order in which they are found. Raises DeviceError when those who work are gone.

        `more` is called after each answer, for the tasks that have come up with it: they are worked on beside those that are left.
        """


_context: Any = None


def one_thread() -> None:
    """Prepares a worker process: torch uses one thread, the other cores have workers of their own."""
    import torch

    torch.set_num_threads(1)


def set_context(context: Any) -> None:
    """Prepares a worker process: one torch thread, and what all its tasks share."""
    global _context
    os.dup2(2, 1)  # what a user's model prints must not get between the results on stdout
    one_thread()
    _context = context


def perform(task: Task) -> Answer:
    """The task's answer, in a process prepared by `set_context`; a user's error becomes the answer, a bug stays an exception."""
    try:
        return task.work(_context, task.payload, task.files)
    except EdgecompressError as error:
        return Answer({}, error=error.message)
    except Exception as error:
        place = foreign_place(error)
        if place is None:
            raise
        return Answer({}, error=f"your code raised {type(error).__name__} in {place}: {error}")


def foreign_place(error: BaseException) -> str | None:
    """File and line, innermost first, where the exception passed through code that is neither ours nor installed; None where it did not."""
    own = (str(Path(edgecompress.__file__).parent), sys.prefix, sys.base_prefix, str(Path(logging.__file__).parent.parent))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_absolute() and not frame.filename.startswith(own)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else None


class LocalEvaluator:
    """A pool of processes on this machine."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def answers(self, tasks: Sequence[Task], more: More = no_more) -> Iterator[tuple[Task, Answer]]:
        """As Evaluator says."""
        futures = {self._pool.submit(perform, task): task for task in tasks}
        while futures:
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                yield futures.pop(future), self._result(future)
                futures |= {self._pool.submit(perform, task): task for task in more()}

    def _result(self, future: Future[Answer]) -> Answer:
        try:
            return future.result()
        except BrokenProcessPool:
            raise DeviceError("a worker process of the search was killed (out of memory?); run again with --resume and fewer --workers") from None


@contextmanager
def local_evaluator(context: Any, workers: int) -> Iterator[LocalEvaluator]:
    """A pool whose processes get `context` once, when they start."""
    with process_pool(workers, functools.partial(set_context, context)) as pool:
        yield LocalEvaluator(pool)
