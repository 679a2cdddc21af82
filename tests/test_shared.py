"""Machines that share a search: processes on a real PostgreSQL server, on a file, and through Optuna's gRPC proxy; killed, cut off, refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import shared_worker
from postgres import Postgres, available, free_port, postgres
from tools import require_tool

from edgecompress.search.evaluator import Answer

ROOT = Path(__file__).resolve().parent.parent
WAIT = 100.0  # seconds; only a hung machine needs them


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    require_tool("postgresql", available())
    with postgres() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Of a machine on a database file, with a study of this test's own."""
    name = request.node.name.replace("[", "-").rstrip("]")
    return {"log": str(tmp_path / "log"), "seconds": 0.02, "answer_bytes": 200_000, "storage": f"sqlite:///{tmp_path}/study.db", "study": name,
            "identity": shared_worker.IDENTITY, "workers": 2, "folder": str(tmp_path / "machine"), "grace": 30.0, "outage": 60.0, "scores": 20,
            "trainings": 3, "processes": False}


class Machine:
    """A process that takes part in the study; it may be killed."""

    def __init__(self, tmp_path: Path, name: str, settings: Mapping[str, Any], **changes: Any) -> None:
        path = tmp_path / f"{name}.json"
        self.settings = {**settings, "folder": str(tmp_path / name), **changes}
        path.write_text(json.dumps(self.settings))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._errors = tmp_path / f"{name}.errors"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen([sys.executable, str(ROOT / "tests" / "shared_worker.py"), str(path)], env=environment, text=True,
                                            stdout=subprocess.PIPE, stderr=errors)

    def has_begun(self) -> bool:
        """Whether it has worked on a task yet."""
        path = Path(self.settings["log"])
        return path.exists() and any(line.endswith(f" {self.process.pid}") for line in path.read_text().splitlines())

    def said(self) -> str:
        """What it has said so far."""
        return self._errors.read_text()

    def result(self) -> tuple[int, Any, str]:
        """Exit code, what it printed as JSON, and what it said on the way."""
        output, _ = self.process.communicate(timeout=WAIT)
        assert output, self.said()
        return self.process.returncode, json.loads(output), self.said()

    def kill(self) -> None:
        """At once, mid-task."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=WAIT)


@pytest.fixture
def machines(tmp_path: Path, settings: Mapping[str, Any]) -> Iterator[Any]:
    """Starts machines of this test's study; none is left at its end."""
    started: list[Machine] = []

    def start(name: str, **changes: Any) -> Machine:
        started.append(Machine(tmp_path, name, settings, **changes))
        return started[-1]

    yield start
    for machine in started:
        if machine.process.poll() is None:
            machine.kill()


def alone(settings: Mapping[str, Any], **changes: Any) -> Any:
    """What one machine without any database answers, as JSON."""
    changed = {**settings, **changes}
    context = shared_worker.Context(os.devnull, 0.0, changed["answer_bytes"])
    return json.loads(json.dumps(shared_worker.run(shared_worker.Inline(context), changed["scores"], changed["trainings"])))


def begun(settings: Mapping[str, Any]) -> Counter[str]:
    """How often each task was begun, on all machines."""
    path = Path(settings["log"])
    return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()


def wait_until(true: Any) -> None:
    """Waits for something that must happen."""
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["postgresql", "grpc", "sqlite"])
def storage(request: pytest.FixtureRequest, settings: dict[str, Any]) -> Iterator[str]:
    """Each kind of database that the documentation names and that can run here."""
    if request.param == "sqlite":
        yield settings["storage"]
        return
    server: Postgres = request.getfixturevalue("server")
    if request.param == "postgresql":
        yield server.url
        return
    port = free_port()
    code = f"from optuna.storages import get_storage, run_grpc_proxy_server as run; run(get_storage({server.url!r}), host='127.0.0.1', port={port})"
    proxy = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _is_open(port))
        yield f"grpc://127.0.0.1:{port}"
    finally:
        proxy.kill()
        proxy.wait()


def test_each_task_is_done_once_and_all_read_the_same(storage: str, settings: dict[str, Any], tmp_path: Path) -> None:
    settings["storage"] = storage
    results: dict[str, Any] = {}

    def work(name: str) -> None:
        context = shared_worker.Context(settings["log"], settings["seconds"], settings["answer_bytes"])
        changed = {**settings, "folder": str(tmp_path / name)}
        with shared_worker.shared(shared_worker.Inline(context), changed, lambda text: None) as evaluator:
            results[name] = json.loads(json.dumps(shared_worker.run(evaluator, settings["scores"], settings["trainings"])))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    expected = alone(settings)
    assert [results[name] for name in ("one", "two", "three")] == [expected] * 3
    assert begun(settings) == Counter(expected.keys())
    _check_as_optuna_sees_it(storage, settings, expected)


def _check_as_optuna_sees_it(storage: str, settings: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    from optuna import load_study
    from optuna.trial import TrialState

    from edgecompress.search.shared_storage import open_storage

    study = load_study(study_name=settings["study"], storage=open_storage(storage))
    complete = {trial.user_attrs["index"]: trial for trial in study.get_trials(states=[TrialState.COMPLETE])}
    assert study.metric_names == ["square", "index"]
    scored = {value[0]["index"]: value[0] for key, value in expected.items() if key.startswith("score/") and not value[1]}
    assert {index: trial.values for index, trial in complete.items()} == {index: [value["square"], value["index"]] for index, value in scored.items()}
    assert all(trial.system_attrs["constraints"] == [index - 100.0] for index, trial in complete.items())
    assert len(study.get_trials(states=[TrialState.PRUNED])) == sum(1 for value in expected.values() if value[1])
    assert not study.get_trials(states=[TrialState.RUNNING])


def test_two_killed_machines_lose_only_what_was_in_flight(server: Postgres, settings: dict[str, Any], machines: Any) -> None:
    settings |= {"storage": server.url, "seconds": 0.3, "processes": True, "grace": 2.0}
    pair = [machines("one"), machines("two")]
    wait_until(lambda: len(begun(settings)) >= 10)
    for machine in pair:
        machine.kill()
    time.sleep(1.2)  # their worker processes end by themselves
    before = begun(settings)
    assert set(before.values()) == {1} and len(before) < len(alone(settings))
    code, result, _ = machines("one", seconds=0.02).result()
    assert (code, result) == (0, alone(settings))
    repeated = [key for key, times in begun(settings).items() if times > 1]
    assert len(repeated) <= 4, "each of the two machines had two tasks in flight"


def test_a_machine_takes_over_from_a_killed_one(server: Postgres, settings: dict[str, Any], machines: Any) -> None:
    settings |= {"storage": server.url, "scores": 12, "workers": 1, "grace": 2.0}
    stuck = machines("stuck", seconds=60.0)
    wait_until(lambda: begun(settings))
    stuck.kill()
    code, result, _ = machines("other").result()
    assert (code, result) == (0, alone(settings))
    assert sorted(begun(settings).values())[-2:] == [1, 2]


def test_a_machine_that_slept_uses_what_the_others_found(server: Postgres, settings: dict[str, Any], machines: Any) -> None:
    settings |= {"storage": server.url, "scores": 6, "workers": 1, "grace": 1.0}
    sleeper = machines("sleeper", seconds=1.0)
    wait_until(lambda: begun(settings))
    sleeper.process.send_signal(signal.SIGSTOP)
    try:
        code, result, _ = machines("other").result()
    finally:
        sleeper.process.send_signal(signal.SIGCONT)
    assert (code, result) == (0, alone(settings))
    assert sleeper.result()[:2] == (0, result)


def test_a_database_that_comes_back(server: Postgres, settings: dict[str, Any], machines: Any) -> None:
    settings |= {"storage": server.url, "seconds": 0.2, "scores": 60}
    pair = [machines("one"), machines("two")]
    wait_until(lambda: len(begun(settings)) >= 8 and all(machine.has_begun() for machine in pair))
    server.stop()
    wait_until(lambda: all("does not answer" in machine.said() for machine in pair))  # one with several tasks in hand asks it only after them
    server.start()
    results = [machine.result() for machine in pair]
    assert [result[:2] for result in results] == [(0, alone(settings))] * 2
    assert set(begun(settings).values()) == {1}, "what was found while the database was away is not computed again"
    for _, _, said in results:
        assert "answers again" in said and "s%40cret" not in said and "s@cret" not in said


def test_a_database_that_stays_away(server: Postgres, settings: dict[str, Any], machines: Any) -> None:
    settings |= {"storage": server.url, "seconds": 0.3}
    machine = machines("one", outage=1.5)
    wait_until(lambda: len(begun(settings)) >= 6)
    server.stop()
    try:
        code, answer, said = machine.result()
    finally:
        server.start()
    assert code == 4
    assert "has not answered for" in answer["error"] and "2 finished answers are kept in the run folder" in answer["error"]
    assert "s%40cret" not in answer["error"] + said and "s@cret" not in answer["error"] + said and "tester:***@" in answer["error"]
    code, result, _ = machines("one").result()
    assert (code, result) == (0, alone(settings))
    assert set(begun(settings).values()) == {1}, "the kept answers were used"


@pytest.mark.parametrize(("key", "value"), [("code", "bbbb"), ("data", "eeee"), ("edgecompress", "2")])
def test_another_version_is_refused(key: str, value: str, settings: dict[str, Any], machines: Any) -> None:
    settings["scores"] = 4
    assert machines("one").result()[0] == 0
    code, answer, _ = machines("two", identity={**shared_worker.IDENTITY, key: value}).result()
    assert code == 2
    both = f"{key} is {shared_worker.IDENTITY[key]} there and {value} here"
    assert answer["error"].startswith(f"this machine cannot join the study '{settings['study']}': {both};")
    code, result, _ = machines("three").result()
    assert (code, result) == (0, alone(settings))
    assert set(begun(settings).values()) == {1}, "the study is as usable as before"


def test_machines_that_ask_differently_are_stopped(settings: dict[str, Any], tmp_path: Path) -> None:
    from dataclasses import replace

    from edgecompress.errors import ConfigError

    tasks = shared_worker.scoring_tasks(4)
    context = shared_worker.Context(settings["log"], 0.0, 32)
    with shared_worker.shared(shared_worker.Inline(context), settings, lambda text: None) as one:
        assert len(list(one.answers(tasks))) == 4
    tasks[2] = replace(tasks[2], payload={"index": 20})
    other = {**settings, "folder": str(tmp_path / "other")}
    with shared_worker.shared(shared_worker.Inline(context), other, lambda text: None) as two, pytest.raises(ConfigError, match=r"'score/2'.*have diverged"):
        list(two.answers(tasks))


def test_a_caller_that_stops_gives_its_claims_back(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["grace"] = 1000.0
    context = shared_worker.Context(settings["log"], 0.05, 32)
    with shared_worker.shared(shared_worker.Inline(context), settings, lambda text: None) as one:
        answers = one.answers(shared_worker.scoring_tasks(10))
        next(answers)
        answers.close()
    other = {**settings, "folder": str(tmp_path / "other")}
    with shared_worker.shared(shared_worker.Inline(context), other, lambda text: None) as two:
        assert len(list(two.answers(shared_worker.scoring_tasks(10)))) == 10


def test_a_bug_in_a_task_is_raised(settings: dict[str, Any]) -> None:
    class Broken:
        def answers(self, tasks: Any) -> Iterator[tuple[Any, Answer]]:
            raise ZeroDivisionError("a bug")
            yield

    with shared_worker.shared(Broken(), settings, lambda text: None) as evaluator, pytest.raises(ZeroDivisionError):
        list(evaluator.answers(shared_worker.scoring_tasks(3)))


def test_a_deleted_study_is_told(settings: dict[str, Any]) -> None:
    from edgecompress.errors import ConfigError
    from edgecompress.search.shared_storage import open_storage

    context = shared_worker.Context(settings["log"], 0.0, 32)
    with shared_worker.shared(shared_worker.Inline(context), settings, lambda text: None) as evaluator:
        storage = open_storage(settings["storage"])
        storage.delete_study(storage.get_study_id_from_name(settings["study"]))
        with pytest.raises(ConfigError, match="was deleted from the storage"):
            list(evaluator.answers(shared_worker.scoring_tasks(3)))
