"""Pools of processes that end with their parent and leave Ctrl-C to it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

SETTLING = 5.0  # seconds at most for the thread of a pool whose processes were killed


def _end_with_parent() -> None:
    """Ends this process when the one that made the pool is gone: an orphan would wait for work for ever, or write into a resumed run."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _start_worker(prepare: Callable[[], None] | None) -> None:
    import signal

    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C is the parent's to handle: it keeps what is done and ends the pool
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prepare is not None:
        prepare()


@contextmanager
def process_pool(workers: int, prepare: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes, each of which calls `prepare` first; killed when the block ends in an exception."""
    import multiprocessing

    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(prepare,))
    try:
        yield pool
    except BaseException:
        processes, tasks = list((getattr(pool, "_processes", None) or {}).values()), getattr(pool, "_call_queue", None)
        manager = getattr(pool, "_executor_manager_thread", None)
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        if tasks is not None and sys.version_info < (3, 11, 6):
            # the thread that writes tasks may wait in a full pipe that nobody reads any more, and the interpreter for that thread at its exit;
            # without a reader the write fails. Later versions do this themselves (CPython issue 94777), and twice would be an error.
            tasks._reader.close()
        if manager is not None:
            manager.join(SETTLING)  # at its exit the interpreter writes to that thread's pipe, which must be open or known to be closed
        raise
    pool.shutdown()


def default_workers() -> int:
    """One a core that this process may use."""
    return len(os.sched_getaffinity(0))
