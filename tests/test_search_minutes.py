"""How a race spends limited minutes, on made-up answers; and one real search in little time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecompress.cli.main import main
from edgecompress.run.config import SearchConfig
from edgecompress.run.directory import RunDirectory
from edgecompress.run.race import Course, Race
from edgecompress.search.evaluator import Answer, More, Task, no_more
from edgecompress.search.knob import Knob
from edgecompress.search.objective import Score
from edgecompress.search.space import SPACE, Candidate, random_candidate
from edgecompress.search.study import Trial

EPOCHS = 40  # of a full training


class _Silent:
    def stage(self, name: str, total: int) -> None:
        """Nothing to see."""

    def step(self, done: int) -> None:
        """Nothing to see."""

    def say(self, text: str) -> None:
        """Nothing to see."""


class _Trainer:
    """Answers at once: an epoch takes `epoch` seconds for a width of 8 and grows with the width; accuracies grow with the capacity and the epochs."""

    def __init__(self, epoch: float, teacher: float = 0.99) -> None:
        self.epoch, self.teacher, self.asked = epoch, teacher, list[Task]()

    def answers(self, tasks: Sequence[Task], more: More = no_more) -> Iterator[tuple[Task, Answer]]:
        assert more is no_more, "trainings do not bring up others"
        for task in reversed(tasks):
            self.asked.append(task)
            seconds = self.epoch * float(Candidate.from_json(task.payload["candidate"]).choices["width"]) / 8
            if task.key.endswith("/speed"):
                yield task, Answer({"epoch_seconds": seconds, "epochs": EPOCHS})
                continue
            accuracy = self.teacher if task.key == "train/wider" else 0.9 - 0.5 / task.payload.get("epochs", 50)
            spent = task.payload.get("seconds", task.payload.get("epochs", 0) * seconds)
            values = {"accuracy": accuracy, "epochs": task.payload.get("epochs", 1), "seconds": spent, "accuracy_dense": accuracy,
                      "accuracy_pruned": accuracy, "accuracy_int8": accuracy, "layers_sqnr": [], "quantization": [], "weight_bits": {}}
            yield task, Answer(values, dict.fromkeys(("model.pt", "graph.json", "graph.npz"), task.key.encode()))

    def kind(self, number: int) -> list[Task]:
        """The tasks of a rung."""
        return [task for task in self.asked if task.key.endswith(f"/{number}")]


def _trial(number: int, rng: np.random.Generator) -> Trial:
    candidate = random_candidate(rng, SPACE.restricted(("ds_cnn", "resnet")))
    while float(candidate["width"]) > 16:  # a teacher is to be wider
        candidate = random_candidate(rng, SPACE.restricted(("ds_cnn", "resnet")))
    macs = int(10 ** rng.uniform(4, 6))
    return Trial(number, candidate, Score({"zico_mean": float(np.log(macs))}, macs, macs // 50, 8, 1e-3, 4000, 20_000, {}, 0.9, 0.1, {}))


def _race(folder: Path, trainer: _Trainer, minutes: float) -> list[Trial]:
    rng = np.random.default_rng(0)
    trials = list({t.candidate.id: t for t in (_trial(number, rng) for number in range(40))}.values())
    config = SearchConfig(target="cortex-m7", data="digits", minutes=minutes)
    with RunDirectory.open(folder, config, {}, (folder / "config.toml").exists()) as run:
        return Race(run, config, trainer, Course(SPACE, lambda candidates: [], {}, 60 * minutes), _Silent()).winners(trials)


def test_a_rung_has_equal_epochs_and_the_last_one_what_is_left(tmp_path: Path) -> None:
    trainer = _Trainer(0.1)
    assert _race(tmp_path, trainer, 10.0)
    first, second = trainer.kind(0), trainer.kind(1)
    assert len(first) >= 6 and len({task.payload["epochs"] for task in first}) == 1 and first[0].payload["epochs"] >= 0.15 * EPOCHS
    assert 1 < len(second) < len(first) and len({task.payload["epochs"] for task in second}) == 1
    assert all(task.files["model.pt"].endswith(b"/0") for task in second), "the second rung goes on from the first"
    spent = sum(task.payload["epochs"] * 0.1 * float(Candidate.from_json(task.payload["candidate"]).choices["width"]) / 8 for task in first + second)
    [teacher] = [task for task in trainer.asked if task.key == "train/wider"]
    last = trainer.kind(2)
    assert spent + teacher.payload["seconds"] + sum(task.payload["seconds"] for task in last) == pytest.approx(600)


def test_the_last_rung_learns_from_a_wider_network_that_knows_more(tmp_path: Path) -> None:
    trainer = _Trainer(0.1)
    _race(tmp_path / "good", trainer, 10.0)
    [teacher] = [Candidate.from_json(task.payload["candidate"]) for task in trainer.asked if task.key == "train/wider"]
    assert teacher["prune"] == 0.0 and teacher["bits"] == 8
    last = trainer.kind(2)
    assert last and all(task.payload["teacher"] == teacher.to_json() and task.files["wider.pt"] == b"train/wider" for task in last)
    seconds = 0.1 * float(teacher["width"]) / 8
    assert 1.5 * 0.1 <= seconds <= 0.3 * 600 / EPOCHS, "slower than its students, and fully trained in its share of the time"
    weak = _Trainer(0.1, teacher=0.85)
    _race(tmp_path / "weak", weak, 10.0)
    assert all("teacher" not in task.payload and "wider.pt" not in task.files for task in weak.kind(2))
    slow = _Trainer(1.0)
    _race(tmp_path / "slow", slow, 10.0)
    assert slow.kind(2) and not [task for task in slow.asked if task.key == "train/wider"], "there is no time for a teacher"


def test_a_first_rung_that_the_families_fill_has_no_neighbours(tmp_path: Path) -> None:
    rng, trainer = np.random.default_rng(0), _Trainer(0.5)
    trials = [replace(_trial(number, rng), candidate=random_candidate(rng, SPACE.restricted((name,)))) for number, name in enumerate(SPACE.families)]
    config = SearchConfig(target="cortex-m7", data="digits", minutes=10.0)

    def score(candidates: Sequence[Candidate]) -> list[Trial]:
        raise AssertionError("no more candidates are wanted")

    with RunDirectory.open(tmp_path / "run", config, {}, False) as run:
        assert len(Race(run, config, trainer, Course(SPACE, score, {}, 600.0), _Silent()).winners(trials)) == 2, "one a worker"
    first = [Candidate.from_json(task.payload["candidate"]) for task in trainer.kind(0)]
    assert len(first) == 6 == len({candidate.family for candidate in first})


def test_too_little_time_for_rungs_goes_to_one_candidate(tmp_path: Path) -> None:
    trainer = _Trainer(20.0)
    assert len(_race(tmp_path, trainer, 1.0)) == 1
    [task] = [task for task in trainer.asked if not task.key.endswith("/speed")]
    assert task.payload["seconds"] == pytest.approx(60)


def test_a_stopped_race_goes_on_with_the_same_decisions(tmp_path: Path) -> None:
    whole = _Trainer(0.5)
    chosen = _race(tmp_path / "whole", whole, 10.0)
    _race(tmp_path / "part", _Trainer(0.5), 10.0)
    for path in [*(tmp_path / "part" / "screen").glob("*-1.*"), *(tmp_path / "part" / "candidates").glob("*/*")]:
        path.unlink()
    again = _Trainer(0.5)
    assert [t.candidate for t in _race(tmp_path / "part", again, 10.0)] == [t.candidate for t in chosen]
    assert {task.key: dict(task.payload) for task in again.asked} == {task.key: dict(task.payload) for task in whole.kind(1) + whole.kind(2)}


@pytest.mark.parametrize(("name", "content"), [("speed.json", "[]"), ("speed.json", '[{"epoch_seconds": -1, "epochs": 40}]'), ("wider.json", "{}")])
def test_damaged_notes_are_named(tmp_path: Path, name: str, content: str) -> None:
    from edgecompress.errors import ConfigError

    _race(tmp_path, _Trainer(0.1), 10.0)
    (tmp_path / "screen" / name).write_text(content)
    with pytest.raises(ConfigError, match=f"{name}' is damaged; delete it and run again with --resume"):
        _race(tmp_path, _Trainer(0.1), 10.0)


def test_the_tasks_of_a_teacher_and_its_student() -> None:
    """The work itself, on digits: a wider network is trained for seconds, and a student's last training learns from it and ends as an integer graph."""
    from edgecompress.data.dataset import load_dataset
    from edgecompress.run.problem import make_devices, make_problem
    from edgecompress.run.trainer import Context, final_task, rung_task

    config = SearchConfig(target="cortex-m7", data="digits", minutes=1.0)
    data = load_dataset("digits")
    context = Context(make_problem(config, data, make_devices(config)), data.without_test(), config, 60.0)
    student = next(c for c in SPACE.designs() if c.family == "ds_cnn")
    wider = Candidate({**student.choices, "width": 16})
    first = rung_task(context, {"candidate": student.to_json(), "rung": 0, "share": 0.1, "epochs": 3}, {})
    assert first.values["epochs"] == 3
    teacher = rung_task(context, {"candidate": wider.to_json(), "rung": 0, "share": 1.0, "seconds": 4.0}, {})
    assert teacher.values["seconds"] > 3.5 and teacher.values["epochs"] > 3
    last = final_task(context, {"candidate": student.to_json(), "rung": 2, "share": 1.0, "seconds": 4.0, "teacher": wider.to_json()},
                      {"model.pt": first.files["model.pt"], "wider.pt": teacher.files["model.pt"]})
    assert set(last.files) == {"model.pt", "graph.json", "graph.npz"} and last.values["accuracy_int8"] > first.values["accuracy"]


def test_a_family_whose_widths_are_words_has_no_teacher(tmp_path: Path) -> None:
    family = replace(SPACE.families["ds_cnn"], knobs=(Knob("width", ("narrow", "wide"), "channels"),), common_knobs=False, designs=())
    space = replace(SPACE, families={"mine": family})
    config = SearchConfig(target="cortex-m7", data="digits", minutes=10.0)
    with RunDirectory.open(tmp_path, config, {}, False) as run:
        race = Race(run, config, _Trainer(0.1), Course(space, lambda candidates: [], {}, 600.0), _Silent())
        assert race._wider(Candidate({"family": "mine", "width": "narrow"})) is None


def test_a_real_search_in_little_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--target", "cortex-m7", "--data", "digits", "--latency", "2ms", "--ram", "8KiB", "--flash", "24KiB", "--families", "ds_cnn,resnet"]
    assert main([*words, "--trials", "24", "--population", "8", "--minutes", "0.2", "--workers", "2", "--output", str(tmp_path / "run"),
                 "--format", "json"]) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert summary["within_budget"] and summary["matches_reference"] and summary["accuracy_int8"] > 0.8
