"""Tasks on a Ray cluster: the context goes to the object store once, each task is a remote function on one CPU."""

from __future__ import annotations

import os
import pickle
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import Any

from edgecompress.errors import ConfigError, DeviceError, ToolMissingError
from edgecompress.search.evaluator import Answer, More, Task, no_more, perform, set_context
from edgecompress.search.shared_identity import code_identity, differences

RETRIES = 3  # of a task whose worker process or machine died

_prepared: Any = None  # in a worker process: the reference whose context it has


def _perform(reference: list[Any], identity: dict[str, str], task: Task) -> Answer | str:
    """On a machine of the cluster: the task's answer, or how its code differs. Ray would fetch a bare reference anew for each task."""
    import ray

    global _prepared
    if reference[0] != _prepared:
        found = differences(identity, code_identity(), "with the driver", f"on {ray.util.get_node_ip_address()}")
        if found:
            return found
        set_context(pickle.loads(ray.get(reference[0])))  # from the driver of this search, as everything that a Ray worker runs
        _prepared = reference[0]
    return perform(task)


class RayEvaluator:
    """A connected cluster; `workers` is how many tasks it does at once."""

    def __init__(self, context: Any, workers: int) -> None:
        import ray

        self.workers = workers
        # pickled here: Ray would hand out arrays that cannot be written, unlike a process of this machine
        self._context = ray.put(pickle.dumps(context))
        self._identity = code_identity()
        self._function = ray.remote(num_cpus=1, max_retries=RETRIES)(_perform)

    def answers(self, tasks: Sequence[Task], more: More = no_more) -> Iterator[tuple[Task, Answer]]:
        """As Evaluator says. Raises ConfigError where a machine of the cluster has other code."""
        import ray

        def started(tasks: Sequence[Task]) -> dict[Any, Task]:
            return {self._function.remote([self._context], self._identity, replace(task, trial=None)): task for task in tasks}

        pending = started(tasks)
        try:
            while pending:
                (done, *_), _ = ray.wait(list(pending), num_returns=1)
                task = pending.pop(done)
                yield task, _fetch(done)
                pending |= started(more())
        finally:
            for reference in pending:
                ray.cancel(reference)  # not by force: Ray 2.60 aborts this process when the task ends at the same moment


def _fetch(reference: Any) -> Answer:
    import ray

    try:
        answer = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except (ray.exceptions.RayError, ConnectionError) as error:
        line = " ".join(str(error).split())[:200]
        raise DeviceError(f"the Ray cluster lost a task and gave up after {RETRIES} more tries ({type(error).__name__}: {line}); "
                          "look at 'ray status' and run again with --resume") from None
    if isinstance(answer, str):
        raise ConfigError(f"a machine of the Ray cluster has another edgecompress: {answer}; install the same version on all of its machines")
    assert isinstance(answer, Answer)
    return answer


def _check_address(address: str) -> None:
    """Raises ConfigError for what is no address, DeviceError where nobody listens: Ray itself would try for minutes."""
    if address in ("auto", "local"):
        return
    match = re.fullmatch(r"(?:ray://)?(?P<host>[^:/?#@\s]+):(?P<port>[0-9]{1,5})", address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ConfigError(f"'{address}' is no address of a Ray cluster; allowed are auto, local, HOST:6379 and ray://HOST:10001")
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=10).close()
    except OSError as error:
        raise _nobody(address, error) from None


def _nobody(address: str, error: Exception) -> DeviceError:
    line = " ".join(str(error).split())[:200]
    return DeviceError(f"no Ray cluster answers at '{address}' ({line}); start one with 'ray start --head', or give --ray local")


@contextmanager
def ray_evaluator(context: Any, address: str, workers: int) -> Iterator[RayEvaluator]:
    """Connects to a cluster ("auto", "host:6379", "ray://host:10001") or starts one with `workers` CPUs on this machine ("local").

    Raises ToolMissingError without the package, DeviceError where no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ToolMissingError("--ray needs the package 'ray'; install edgecompress[ray]") from None
    _check_address(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options |= {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address=address, **options)
    except (ray.exceptions.RayError, ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise _nobody(address, error) from None
    try:
        with redirect_stdout(sys.stderr):  # Ray prints what happened to its workers to stdout, where results go
            yield RayEvaluator(context, max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        ray.shutdown()
