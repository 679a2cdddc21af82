"""Tasks on a real Ray cluster of this machine; what is lost, refused or missing. Skipped where Ray is not installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shared_worker
from tools import require_tool

from edgecompress.errors import ConfigError, DeviceError, ModelError, ToolMissingError
from edgecompress.search import ray_evaluator, shared_identity
from edgecompress.search.evaluator import Answer, Task
from edgecompress.search.evaluators import make_evaluator
from edgecompress.search.study import score_task

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Shared:
    """A context with an array, as a search's is, and a log."""

    log: str
    batch: np.ndarray = field(default_factory=lambda: np.zeros(100_000, np.float32))


def work(context: Shared, payload: Mapping[str, Any], files: Mapping[str, bytes]) -> Answer:
    """Some arithmetic; `kill` ends the worker process, at the first try only or at each."""
    import torch

    tries = Path(f"{context.log}.{payload['index']}")
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if payload.get("kill") == "always" or (payload.get("kill") == "once" and tries.read_text() == "x"):
        os._exit(1)
    context.batch[0] = payload["index"]  # as in a process of this machine, arrays can be written
    facts = {"sum": float(context.batch[:1].sum()), "threads": torch.get_num_threads(), "size": len(context.batch)}
    return Answer(facts, {"copy": bytes(reversed(files["weights"]))})


def refuse(context: Shared, payload: Mapping[str, Any], files: Mapping[str, bytes]) -> Answer:
    """A user's error."""
    raise ModelError("this model cannot be lowered")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    require_tool("ray", importlib.util.find_spec("ray") is not None)
    os.environ["PYTHONPATH"] = f"{HERE}:{HERE.parent}"  # Ray's workers find the package and this module
    log = tmp_path_factory.mktemp("ray") / "log"
    with make_evaluator(Shared(str(log)), workers=2, folder=log.parent, identity={}, ray="local") as evaluator:
        yield evaluator


def _task(index: int, **more: Any) -> Task:
    return Task(f"task/{index}", work, {"index": index, **more}, {"weights": b"abc"})


def test_tasks_are_answered_on_the_cluster(cluster: Any) -> None:
    assert cluster.workers == 2
    found = {task.key: answer for task, answer in cluster.answers([_task(index) for index in range(12)])}
    assert found == {f"task/{index}": Answer({"sum": float(index), "threads": 1, "size": 100_000}, {"copy": b"cba"}) for index in range(12)}


def test_tasks_that_come_up_are_answered_too(cluster: Any) -> None:
    later = [[_task(61), _task(62)], [], [_task(63)]]
    found = [task.key for task, _ in cluster.answers([_task(60)], lambda: later.pop(0) if later else [])]
    assert sorted(found) == [f"task/{index}" for index in (60, 61, 62, 63)]


def test_a_cluster_is_one_machine_of_a_shared_search(cluster: Any, tmp_path: Path) -> None:
    settings = {"storage": f"sqlite:///{tmp_path}/study.db", "study": "study", "identity": shared_worker.IDENTITY, "workers": cluster.workers, "grace": 5.0,
                "outage": 5.0, "folder": str(tmp_path / "machine")}
    tasks = [_task(index) for index in range(50, 58)]
    with shared_worker.shared(cluster, settings, print) as evaluator:
        found = {task.key: answer for task, answer in evaluator.answers(tasks)}
    assert found == {task.key: answer for task, answer in cluster.answers(tasks)}


def test_a_users_error_is_an_answer_and_a_bug_is_raised(cluster: Any) -> None:
    ((_, answer),) = cluster.answers([Task("refused", refuse, {})])
    assert answer == Answer({}, error="this model cannot be lowered")
    ((_, answer),) = cluster.answers([Task("theirs", work, {})])
    assert answer.error.startswith("your code raised KeyError in ")
    with pytest.raises(KeyError, match="candidate"):
        list(cluster.answers([Task("ours", score_task, {})]))


def test_a_killed_worker_is_replaced(cluster: Any) -> None:
    found = {task.key: answer.values["sum"] for task, answer in cluster.answers([_task(20), _task(21, kill="once"), _task(22)])}
    assert found == {"task/20": 20.0, "task/21": 21.0, "task/22": 22.0}


def test_a_task_that_kills_its_worker_every_time(cluster: Any) -> None:
    with pytest.raises(DeviceError, match=r"gave up after 3 more tries \(WorkerCrashedError") as failure:
        list(cluster.answers([_task(30, kill="always")]))
    assert "\n" not in failure.value.message


def test_a_machine_with_other_code_is_refused(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shared_identity.code_identity()
    monkeypatch.setattr(ray_evaluator, "code_identity", lambda: {**real, "code": "another"})
    other = ray_evaluator.RayEvaluator(Shared("unused"), 2)
    with pytest.raises(ConfigError, match=f"code is another with the driver and {real['code']} on "):
        list(other.answers([_task(40)]))


@pytest.mark.parametrize(("address", "kind", "words"), [
    ("127.0.0.1:9", DeviceError, "no Ray cluster answers at '127.0.0.1:9' .*Connection refused.*'ray start --head'"),
    ("ray://127.0.0.1:9", DeviceError, "no Ray cluster answers"),
    ("somewhere", ConfigError, "'somewhere' is no address of a Ray cluster; allowed are auto, local"),
    ("ray://host:99999", ConfigError, "is no address"),
])
def test_addresses_where_no_cluster_is(address: str, kind: type[Exception], words: str) -> None:
    require_tool("ray", importlib.util.find_spec("ray") is not None)
    with pytest.raises(kind, match=words), ray_evaluator.ray_evaluator(None, address, 1):
        pass


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ToolMissingError, match=r"edgecompress\[ray\]"), make_evaluator(None, workers=1, folder=tmp_path, identity={}, ray="auto"):
        pass
