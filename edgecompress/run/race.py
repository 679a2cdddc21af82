"""Trains what the zero-shot search found: rungs of ever fewer candidates, then the last few to the end. Every finished training is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgecompress.errors import ConfigError, TrainingError
from edgecompress.run.candidate import trained
from edgecompress.run.config import SearchConfig
from edgecompress.run.directory import RunDirectory
from edgecompress.run.files import read_json, write_atomic, write_json
from edgecompress.run.problem import Progress
from edgecompress.run.trainer import final_task, rung_task, teacher_task
from edgecompress.search.evaluator import Answer, Evaluator, Task
from edgecompress.search.halving import Halving
from edgecompress.search.space import Candidate, Space
from edgecompress.search.study import Trial
from edgecompress.search.surrogate import Observation
from edgecompress.search.teacher import TEACHER

TEACHER_SHARE = 0.3  # of the minutes, for an own model that has to be trained first



@dataclass(frozen=True)
class Screened:
    """A training of a rung before the last: number of the rung, share of a full training, accuracy on validation."""

    id: str
    rung: int
    share: float
    accuracy: float
    epochs: int
    seconds: float


class Race:
    """The trainings of one run."""

    def __init__(self, run: RunDirectory, config: SearchConfig, evaluator: Evaluator, feasible: Sequence[Trial], space: Space, progress: Progress,
                 files: Mapping[str, bytes]) -> None:
        """`files` go with every training: an own model's weights."""
        self._files = dict(files)
        self._run, self._config, self._evaluator, self._progress = run, config, evaluator, progress
        self._halving = Halving(feasible, space, config.screen, config.top_k, config.pick, config.seed)
        self._inherits = {name for name, family in space.families.items() if family.inherits}
        self._failures: list[str] = []
        self._left_out: set[str] = set()
        self.screened: list[Screened] = []

    def winners(self) -> list[Trial]:
        """The candidates of the last rung that trained; their folders hold the weights and the integer graph. Raises TrainingError when none did."""
        rungs = self._halving.rungs
        self._progress.stage("screen" if len(rungs) > 1 else "train", sum(rung.count for rung in rungs[:-1]) or rungs[-1].count)
        standing = self._halving.first(lambda trials: self._train_rung(trials, 0))
        seen: list[Observation] = []
        for number, rung in enumerate(rungs[:-1]):
            accuracies = self._train_rung(standing, number)
            standing = [trial for trial in standing if trial.candidate.id in accuracies]
            seen += [Observation(trial, rung.share, accuracies[trial.candidate.id]) for trial in standing]
            self.screened += [Screened(trial.candidate.id, number, rung.share, accuracies[trial.candidate.id], *self._cost(trial, number))
                              for trial in standing]
            standing = self._halving.next(number + 1, seen, standing)
        if len(rungs) > 1:
            self._progress.stage("train", len(standing))
        return self._train_fully(standing, len(rungs) - 1)

    def _portion(self, number: int) -> float:
        """Part of all training that one training of a rung is."""
        rungs = self._halving.rungs
        return rungs[number].share / sum(rung.count * rung.share for rung in rungs)

    def _task(self, trial: Trial, number: int, last: bool) -> Task:
        candidate = trial.candidate
        before = self._stored(candidate, number - 1) if number and (not last or self._goes_on(candidate)) else None
        files = {**self._files, "model.pt": before[1]} if before else self._files
        payload = {"candidate": candidate.to_json(), "rung": number, "share": self._halving.rungs[number].share, "portion": self._portion(number)}
        return Task(f"train/{candidate.id}/{number}", final_task if last else rung_task, payload, files)

    def _goes_on(self, candidate: Candidate) -> bool:
        """Whether a full training goes on from the weights of the screening: not where a wider network is trained first, and pruned."""
        return candidate.family in self._inherits or self._config.minutes > 0 or float(candidate.choices.get("prune", 0.0)) == 0

    def _stored(self, candidate: Candidate, number: int) -> tuple[dict[str, Any], bytes] | None:
        folder = self._run.path / "screen"
        values, weights = folder / f"{candidate.id}-{number}.json", folder / f"{candidate.id}-{number}.pt"
        if not values.exists() or not weights.exists():
            return None
        document = read_json(values)
        if not isinstance(document, dict) or not {"accuracy", "epochs", "seconds"} <= document.keys():
            raise ConfigError(f"'{values}' is damaged; delete it and run again with --resume")
        return document, weights.read_bytes()

    def _cost(self, trial: Trial, number: int) -> tuple[int, float]:
        stored = self._stored(trial.candidate, number)
        assert stored is not None
        return stored[0]["epochs"], stored[0]["seconds"]

    def _train_rung(self, trials: Sequence[Trial], number: int) -> dict[str, float]:
        """Accuracies by candidate of those that trained."""
        known = {trial.candidate.id: stored[0]["accuracy"] for trial in trials if (stored := self._stored(trial.candidate, number)) is not None}
        tasks = [self._task(trial, number, False) for trial in trials if trial.candidate.id not in known and trial.candidate.id not in self._left_out]
        owners = {f"train/{trial.candidate.id}/{number}": trial.candidate for trial in trials}
        (self._run.path / "screen").mkdir(exist_ok=True)
        for task, answer in self._evaluator.answers(tasks):
            candidate = owners[task.key]
            if self._failed(candidate, answer):
                continue
            write_atomic(self._run.path / "screen" / f"{candidate.id}-{number}.pt", answer.files["model.pt"])
            write_json(self._run.path / "screen" / f"{candidate.id}-{number}.json", dict(answer.values))
            known[candidate.id] = answer.values["accuracy"]
            self._progress.step(len(list((self._run.path / "screen").glob("*.json"))))
        return {trial.candidate.id: known[trial.candidate.id] for trial in trials if trial.candidate.id in known}

    def _failed(self, candidate: Candidate, answer: Answer) -> bool:
        if not answer.error:
            return False
        # one network that does not train says nothing about the others
        self._failures.append(answer.error)
        self._left_out.add(candidate.id)
        self._progress.say(f"{candidate.id} is left out: {answer.error}")
        return True

    def _train_fully(self, trials: Sequence[Trial], number: int) -> list[Trial]:
        missing = [trial for trial in trials if not trained(self._run.candidate(trial.candidate.id))]
        owners = {f"train/{trial.candidate.id}/{number}": trial.candidate for trial in missing}
        done = len(trials) - len(missing)
        self._progress.step(done)
        for task, answer in self._evaluator.answers([self._task(trial, number, True) for trial in missing]):
            if self._failed(owners[task.key], answer):
                continue
            self._keep(owners[task.key], answer)
            done += 1
            self._progress.step(done)
        ready = [trial for trial in trials if trained(self._run.candidate(trial.candidate.id))]
        if not ready:
            raise TrainingError(self._failures[0] if self._failures else "no candidate was trained; choose --top-k of at least 1")
        return ready

    def _keep(self, candidate: Candidate, answer: Answer) -> None:
        folder = self._run.candidate(candidate.id)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "candidate.json", candidate.to_json() + "\n")
        for name, content in sorted(answer.files.items()):
            write_atomic(folder / name, content)
        write_json(folder / "training.json", dict(answer.values))  # last: with it the training is done


def train_teacher(run: RunDirectory, config: SearchConfig, evaluator: Evaluator, progress: Progress) -> dict[str, bytes]:
    """Files that all tasks of an own model need: its weights, if they had to be trained first; kept in the run."""
    values, weights = run.path / "teacher.json", run.path / TEACHER
    if not values.exists():
        progress.stage("own model", 1)
        for _, answer in evaluator.answers([Task("train/teacher", teacher_task, {"portion": TEACHER_SHARE})]):
            if answer.error:
                raise TrainingError(f"the own model cannot be judged: {answer.error}")
            for content in answer.files.values():
                write_atomic(weights, content)
            write_json(values, dict(answer.values))
        progress.step(1)
    found = read_json(values)
    how = "was trained first" if found["trained"] else "is trained already"
    progress.say(f"own model {how}: {100 * found['accuracy']:.1f} % on validation")
    return {TEACHER: weights.read_bytes()} if found["trained"] else {}


def screened_rows(screened: Sequence[Screened]) -> list[Mapping[str, Any]]:
    """Plain values for the report."""
    return [{"id": row.id, "rung": row.rung, "share": row.share, "accuracy": row.accuracy, "epochs": row.epochs, "seconds": row.seconds} for row in screened]
