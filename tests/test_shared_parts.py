"""Parts of a shared search: URLs and passwords, answers that are whole or not, identity, claims, silence."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import shared_worker
from hypothesis import given
from hypothesis import strategies as st

from edgecompress.errors import ConfigError, DeviceError, ToolMissingError
from edgecompress.search import shared_identity, shared_life
from edgecompress.search.evaluator import Answer, Task
from edgecompress.search.evaluators import make_evaluator
from edgecompress.search.shared_answers import Unsent, as_stored, assembled, checked, chunks, described, joined, question
from edgecompress.search.shared_storage import HIDDEN, is_lost, open_storage, reason, redact
from edgecompress.search.shared_table import AnswerTable

ANSWER = Answer({"accuracy": 0.1 + 0.2, "lost": float("nan"), "name": "µ"}, {"weights": bytes(range(256)) * 400, "empty": b""})
PASSWORDS = st.text(st.characters(codec="ascii", exclude_characters="/?#@&=: *", categories=("L", "N", "P")), min_size=4)


@given(PASSWORDS)
def test_a_password_never_shows(password: str) -> None:
    for url in (f"postgresql+psycopg2://user:{password}@host:5432/base", f"postgresql://host/base?user=me&password={password}&sslmode=require"):
        shown = redact(url)
        assert HIDDEN in shown and redact(shown) == shown
        assert shown.replace(HIDDEN, password) == url
        assert password not in reason(RuntimeError(f"could not connect with {url}"), url).replace("could not connect with", "").replace(shown, "")


@pytest.mark.parametrize("url", ["grpc://host:13000", "sqlite:///study.db", "postgresql://user@host/base", "mysql+pymysql://host/base?charset=utf8"])
def test_a_url_without_password_is_shown_as_it_is(url: str) -> None:
    assert redact(url) == url


@pytest.mark.parametrize(("url", "kind", "words"), [
    ("study.db", ConfigError, "no database URL; it must look like postgresql"),
    ("nosql://host/base", ConfigError, "no database URL"),
    ("postgresql://user:hidden@host:port/base", ConfigError, r"user:\*\*\*@host"),
    ("sqlite://", ConfigError, "nobody shares"),
    ("sqlite:////no/such/folder/study.db", DeviceError, "unable to open database file"),
    ("grpc://host", ConfigError, "must look like grpc://host:13000"),
    ("grpc://host:99999", ConfigError, "must look like"),
    ("grpc://user:hidden@host:13000", ConfigError, r"user:\*\*\*@host"),
    ("mysql+oursql://host/base", (ConfigError, ToolMissingError), "driver|database URL"),
    ("mysql+pymysql://host/base", (ToolMissingError, DeviceError), "needs a Python driver|cannot be used"),
    ("postgresql+psycopg2://user:hidden@127.0.0.1:9/base", DeviceError, "Connection refused"),
    (f"postgresql://user:{HIDDEN}@host/base", ConfigError, "password left out"),
])
def test_urls_that_cannot_be_used(url: str, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words) as failure:
        open_storage(url)
    assert "hidden" not in failure.value.message and "\n" not in failure.value.message


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"something else, long enough to look like a page" * 100)
    with pytest.raises(DeviceError, match="not a database"):
        open_storage(f"sqlite:///{tmp_path}/study.db")


def test_only_an_absent_database_is_waited_for() -> None:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import OperationalError, ProgrammingError

    away, wrong = StorageInternalError("commit"), StorageInternalError("commit")
    away.__cause__, wrong.__cause__ = OperationalError("select", {}, Exception("gone")), ProgrammingError("select", {}, Exception("no such table"))
    assert is_lost(away) and is_lost(ConnectionResetError()) and reason(away, "sqlite:///x").endswith("gone")
    assert not is_lost(wrong) and not is_lost(ZeroDivisionError()) and not is_lost(KeyError("Record does not exist."))


def test_an_answer_survives_json_and_pieces() -> None:
    description = json.loads(json.dumps(described(ANSWER)))
    files = {name: joined(list(chunks(content, 1000))) for name, content in ANSWER.files.items()}
    assert checked(description) == description
    found = assembled(description, {name: content for name, content in files.items() if content is not None})
    assert found is not None and found.files == ANSWER.files and repr(found.values) == repr(dict(sorted(ANSWER.values.items())))
    assert as_stored(Answer({"pair": (1, 2)})).values == {"pair": [1, 2]}


@pytest.mark.parametrize("spoil", [
    lambda d: d["values"].update(accuracy=0.9), lambda d: d.pop("error"), lambda d: d["files"].pop("weights"), lambda d: d.update(extra=1),
    lambda d: d["files"]["weights"].update(bytes=3), lambda d: d.update(sha256="0" * 64), lambda d: d.update(values=[1]),
])
def test_a_spoilt_answer_is_none(spoil: Any) -> None:
    description = described(ANSWER)
    spoil(description)
    assert checked(description) is None


@pytest.mark.parametrize("files", [{}, {**ANSWER.files, "weights": ANSWER.files["weights"][:-1]}, {**ANSWER.files, "empty": b"x"}])
def test_files_that_are_torn_make_no_answer(files: dict[str, bytes]) -> None:
    assert assembled(described(ANSWER), files) is None


def test_a_file_name_that_leads_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="only letters"):
        described(Answer({}, {"../weights": b""}))


def test_pieces_that_are_no_text_are_none() -> None:
    assert joined(["AAAA", 3]) is None and joined(["AA=A"]) is None and joined(["\u00e4"]) is None and joined([]) == b""


def test_answers_that_wait_on_this_machine(tmp_path: Path) -> None:
    unsent = Unsent(tmp_path / "unsent", "study")
    unsent.keep("train/1", "asked", ANSWER)
    kept = Unsent(tmp_path / "unsent", "study").find("train/1", "asked")
    assert kept is not None and kept.files == ANSWER.files and unsent.count() == 1
    assert unsent.find("train/1", "asked otherwise") is None and unsent.find("train/2", "asked") is None
    assert Unsent(tmp_path / "unsent", "another study").find("train/1", "asked") is None
    (path,) = (tmp_path / "unsent").iterdir()
    content = path.read_text()
    for damaged in (content[:-20], content.replace("0.3000", "0.9000"), "[]", "", '{"key": 1}', "[" * 100_000):
        path.write_text(damaged)
        assert unsent.find("train/1", "asked") is None
    unsent.drop("train/1")
    assert unsent.count() == 0


def test_the_code_hash_is_of_what_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hashed() -> str:
        shared_identity.code_hash.cache_clear()
        return shared_identity.code_hash()

    for name in ("search/a.py", "cli/b.py", "__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(shared_identity.edgecompress, "__file__", str(tmp_path / "__init__.py"))
    try:
        first = hashed()
        (tmp_path / "cli" / "b.py").write_text("other words")
        assert hashed() == first
        (tmp_path / "search" / "a.py").write_text("other work")
        assert hashed() != first
    finally:
        shared_identity.code_hash.cache_clear()


def test_identity_names_the_code_and_what_it_computes_with() -> None:
    identity = shared_identity.code_identity()
    assert {"edgecompress", "code", "optuna", "numpy", "torch"} <= set(identity) and "+" not in identity["torch"]
    assert shared_identity.default_name(identity) == shared_identity.default_name(dict(reversed(identity.items())))
    assert shared_identity.default_name(identity) != shared_identity.default_name({**identity, "data": "other"})


@pytest.mark.parametrize("name", ["a\nb", " a", "x" * 201, "\x1b[31m"])
def test_study_names_that_cannot_be_used(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        shared_identity.check_name(name)


def test_the_same_question_has_the_same_hash() -> None:
    task = Task("key", shared_worker.score, {"a": 1, "b": (2.5, None)}, {"weights": b"1"})
    assert question(task) == question(Task("key", shared_worker.score, {"b": [2.5, None], "a": 1}, {"weights": b"1"}))
    others = [Task("key", shared_worker.train, task.payload, task.files), Task("key", shared_worker.score, {"a": 1}, task.files),
              Task("key", shared_worker.score, task.payload, {"weights": b"2"})]
    assert len({question(task), *(question(other) for other in others)}) == 4


def _table(tmp_path: Path, owner: str) -> AnswerTable:
    table = AnswerTable(open_storage(f"sqlite:///{tmp_path}/study.db"), "study", owner, "host", shared_worker.DISPLAY)
    table.join(shared_worker.IDENTITY)
    return table


def test_the_oldest_claim_holds_and_a_taken_one_cannot_be_answered(tmp_path: Path) -> None:
    one, two = _table(tmp_path, "one"), _table(tmp_path, "two")
    task = Task("train/0", shared_worker.train, {})
    first, second = one.claim(task, "asked"), two.claim(task, "asked")
    assert [claim.trial_id for claim in two.read(False)["train/0"]] == [first, second]
    two.release(first)
    assert [claim.owner for claim in one.read(False)["train/0"]] == ["two"]
    assert two.answer(second, task, ANSWER, 1.0)
    assert not one.answer(first, task, Answer({"accuracy": 0.0}), 1.0), "this machine was taken for dead"
    one.release(second)
    (claim,) = one.read(False)["train/0"]
    answer = one.load(claim)
    assert answer is not None and answer.files == ANSWER.files


def test_a_large_answer_fits_into_small_columns(tmp_path: Path) -> None:
    one = _table(tmp_path, "one")
    task, large = Task("train/0", shared_worker.train, {}), Answer({"curve": list(range(50_000))}, error="ä" * 70_000)
    assert one.answer(one.claim(task, "asked"), task, large, 1.0)
    assert one.load(one.read(False)["train/0"][0]) == large
    with sqlite3.connect(tmp_path / "study.db") as database:
        assert database.execute("select max(length(value_json)) from trial_user_attributes where key = 'answer'").fetchone()[0] < 65_535


@pytest.mark.parametrize("change", [
    "update trial_user_attributes set value_json = replace(value_json, '\"accuracy\": 0.', '\"accuracy\": 1.') where key = 'answer'",
    "update trial_user_attributes set value_json = '\"AAAA\"' where key = '000000'",
    "delete from trial_user_attributes where key = '000000'",
    "update trial_user_attributes set value_json = '[[]]' where key = 'answer'",
    "delete from trial_user_attributes where key = 'answer'",
    "update trial_user_attributes set value_json = '3' where key = 'claim'",
], ids=["value", "bytes", "no bytes", "another shape", "no answer", "no claim"])
def test_damage_in_the_database_is_no_answer(change: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = {"storage": f"sqlite:///{tmp_path}/study.db", "study": "study", "identity": shared_worker.IDENTITY, "workers": 1, "grace": 5.0, "outage": 5.0}
    inline = shared_worker.Inline(shared_worker.Context(str(log), 0.0, 500))
    tasks = [Task("train/0/0", shared_worker.train, {"index": 0, "rung": 0}), Task("train/1/0", shared_worker.train, {"index": 1, "rung": 0})]
    found = []
    for name in ("one", "two"):
        with shared_worker.shared(inline, {**settings, "folder": str(tmp_path / name)}, print) as evaluator:
            found.append({task.key: answer for task, answer in evaluator.answers(tasks)})
        with sqlite3.connect(tmp_path / "study.db") as database:
            assert database.execute(change).rowcount > 0
    assert found[0] == found[1]
    assert log.read_text().count("train/") == 4, "both were computed again"


def test_a_foreign_study_is_left_alone(tmp_path: Path) -> None:
    import optuna

    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    optuna.create_study(storage=storage, study_name="study")
    with pytest.raises(ConfigError, match="was not made by edgecompress"):
        _table(tmp_path, "one")
    assert [study.study_name for study in storage.get_all_studies()] == ["study"]


def test_silence_is_measured_with_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(shared_life.time, "monotonic", lambda: now[0])
    watch = shared_life.Watch(30.0)

    def after(seconds: float, beats: dict[str, str]) -> tuple[bool, bool]:
        now[0] += seconds
        watch.look(beats)
        return watch.is_silent("alive"), watch.is_silent("dead")

    assert watch.due()
    assert after(0, {"alive": "1", "dead": "7"}) == (False, False)
    assert not watch.due()
    assert after(29, {"alive": "2", "dead": "7"}) == (False, False)
    assert after(5, {"alive": "3", "dead": "7"}) == (False, True)
    assert after(500, {"alive": "4", "dead": "7"}) == (False, True), "one who looks seldom sees that the counter moved"
    watch.forget()
    assert after(1, {"alive": "4", "dead": "7"}) == (False, False), "after an outage everybody gets the whole time"
    watch.is_silent("never beat")
    assert after(31, {"alive": "5"}) == (False, True) and watch.is_silent("never beat")


def test_make_evaluator_shares_this_machines_processes(tmp_path: Path) -> None:
    context = shared_worker.Context(os.devnull, 0.0, 32)
    tasks = shared_worker.scoring_tasks(8)
    with make_evaluator(context, workers=1, folder=tmp_path / "unused", identity={}) as local:
        expected = {task.key: as_stored(answer) for task, answer in local.answers(tasks)}
    assert expected["score/6"].error == "candidate 6 cannot be lowered" and not (tmp_path / "unused").exists()
    url = f"sqlite:///{tmp_path}/study.db"
    with make_evaluator(context, workers=2, folder=tmp_path / "one", identity=shared_worker.IDENTITY, storage=url, display=shared_worker.DISPLAY) as evaluator:
        assert {task.key: answer for task, answer in evaluator.answers(tasks)} == expected
        assert list(evaluator.answers([])) == []
        come_up = [shared_worker.scoring_tasks(12)[8:], []]
        assert {task.key for task, _ in evaluator.answers(tasks[:1], lambda: come_up.pop(0) if come_up else [])} == {f"score/{n}" for n in (0, 8, 9, 10, 11)}
    names = {study.study_name for study in open_storage(url).get_all_studies()}
    assert shared_identity.default_name(shared_worker.IDENTITY) in names
