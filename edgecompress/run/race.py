"""Trains what the zero-shot search found: rungs of ever fewer candidates, then the last few to the end. Every finished training is kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompress.errors import ConfigError, ModelError, TrainingError
from edgecompress.run.candidate import trained
from edgecompress.run.config import SearchConfig
from edgecompress.run.directory import RunDirectory
from edgecompress.run.files import read_json, write_atomic, write_json
from edgecompress.run.kept import keep, kept
from edgecompress.run.problem import Progress
from edgecompress.run.trainer import final_task, rung_task, speed_task, teacher_task
from edgecompress.search.evaluator import Answer, Evaluator, Task
from edgecompress.search.halving import BUDGET_SHARES, LIMITED_SHARES, Halving
from edgecompress.search.neighbourhood import distinct, neighbours
from edgecompress.search.space import Candidate, Space
from edgecompress.search.study import Trial
from edgecompress.search.surrogate import LEARNING_CURVE, Observation
from edgecompress.search.teacher import TEACHER

LEAST_SHARE, LEAST_EPOCHS = 0.2, 3  # of a full training's epochs, and epochs, in the first rung: less says little about a longer training
LEAST_SCREEN = 6  # candidates of the first rung, if they get LEAST_EPOCHS
LEAST_RUNG = 3  # candidates; for fewer a rung is not worth its time, and all of it goes to the most promising one
FINALISTS = 2  # at least, where there are rungs: a second core has nothing else to do, and no promise is sure
DEEP = 4.0  # times the recipe's epochs that the last rung should give where time is limited: a longer training then gains more than another candidate
LEAST_FINAL = 0.3  # of the minutes, for the last rung, however long the others took
TEACHER_SHARE = 0.3  # of the minutes, for an own model that has to be trained first
TAUGHT_SHARE = 0.3  # of the minutes, for a wider network that teaches the last rung
TAUGHT_AFTER = 12.0  # times the recipe's epochs that a student must get beside: one that still learns from the data gains more by that time itself
WIDER = 1.5  # times as slow as what it teaches: a teacher that is hardly larger knows hardly more
SPEED = ("epoch_seconds", "epochs")  # what is known of a candidate's speed

@dataclass(frozen=True)
class Screened:
    """A training of a rung before the last: number of the rung, share of a full training, accuracy on validation."""

    id: str
    rung: int
    share: float
    accuracy: float
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Lesson:
    """What tasks of the last rung get to learn from: more payload, and files."""

    payload: Mapping[str, Any]
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Course:
    """What a race runs on: how to score more candidates, the files that go with every training, and whether time limits the trainings."""

    space: Space
    score: Callable[[Sequence[Candidate]], list[Trial]]
    files: Mapping[str, bytes]
    seconds: float


class Race:
    """The trainings of one run."""

    def __init__(self, run: RunDirectory, config: SearchConfig, evaluator: Evaluator, course: Course, progress: Progress) -> None:
        self._run, self._config, self._evaluator, self._course, self._progress = run, config, evaluator, course, progress
        self._inherits = {name for name, family in course.space.families.items() if family.inherits}
        self._failures: list[str] = []
        self._left_out: set[str] = set()
        self._halving = Halving(course.space, 0, 1, config.pick, config.seed)
        self._epoch_seconds = 0.0  # of CPU time; only known where time is limited
        self._full_epochs = 0.0  # of a training by the data's recipe; only known where time is limited
        self._teaching = 0.0  # CPU seconds for a teacher's training
        self.screened: list[Screened] = []

    def winners(self, feasible: Sequence[Trial]) -> list[Trial]:
        """The candidates of the last rung that trained; their folders hold the weights and the integer graph. Raises TrainingError when none did."""
        (self._run.path / "screen").mkdir(exist_ok=True)
        self._halving = self._planned(feasible)
        rungs = self._halving.rungs
        if len(rungs) > 1:
            self._progress.stage("screen", sum(rung.count for rung in rungs[:-1]))
        standing = self._halving.first(feasible)
        seen: list[Observation] = []
        if self._halving.guided and len(standing) < rungs[0].count:
            feasible = [*feasible, *self._near_the_best(self._observed(standing, 0), feasible)]
            standing += self._halving.second(feasible, self._observed(standing, 0), standing)
        for number, _ in enumerate(rungs[:-1]):
            observed = self._observed(standing, number)
            seen += observed
            self.screened += [Screened(o.trial.candidate.id, number, o.share, o.accuracy, *self._cost(o.trial, number)) for o in observed]
            standing = self._halving.next(number + 1, feasible, seen, [o.trial for o in observed])
        lesson = self._lesson(standing, seen) if self._teaching and standing else Lesson({}, {})
        self._progress.stage("train", len(standing))
        return self._train_fully(standing, len(rungs) - 1, lesson)

    def _planned(self, feasible: Sequence[Trial]) -> Halving:
        """The rungs. Where time is limited, only as many candidates as can be told apart in it, and only as many finalists as it can train well."""
        config, space = self._config, self._course.space
        screen, top_k = min(config.screen, len(feasible)), min(config.top_k, len(feasible))
        shares = LIMITED_SHARES if self._course.seconds else BUDGET_SHARES

        def halving(first: int, last: int) -> Halving:
            return Halving(space, first, last, config.pick, config.seed, shares)

        whole = halving(screen, top_k)
        if not self._course.seconds or len(whole.rungs) == 1:
            return whole
        speeds = self._speeds(whole.first(feasible))
        epochs, self._epoch_seconds = max(speed["epochs"] for speed in speeds), statistics.mean(speed["epoch_seconds"] for speed in speeds)
        self._full_epochs = epochs
        students = (1 - TAUGHT_SHARE) * self._seconds * whole.parts[-1] / (FINALISTS * self._epoch_seconds)  # epochs of each
        if whole.guided and not self._inherits and students >= TAUGHT_AFTER * epochs:
            self._teaching = TAUGHT_SHARE * self._seconds
        seconds = self._seconds - self._teaching
        first, last = (seconds * whole.parts[place] / self._epoch_seconds for place in (0, -1))  # in epochs of one candidate
        few = min(int(LIMITED_SHARES[2][0] * seconds / self._epoch_seconds / LEAST_EPOCHS), LEAST_SCREEN)
        fewer = min(screen, max(int(first / max(LEAST_EPOCHS, LEAST_SHARE * epochs)), few))
        if fewer < LEAST_RUNG:
            self._teaching = 0.0
            return halving(1, 1)
        return halving(fewer, min(top_k, max(FINALISTS, int(last / (DEEP * epochs)))))

    def _speeds(self, trials: Sequence[Trial]) -> list[dict[str, float]]:
        """Of these candidates the CPU seconds of an epoch, from a few batches, and the epochs of a full training; measured once a run."""
        path = self._run.path / "screen" / "speed.json"
        if not path.exists():
            owners = {f"train/{trial.candidate.id}/speed": trial.candidate for trial in trials}
            tasks = [Task(key, speed_task, {"candidate": candidate.to_json()}, self._course.files) for key, candidate in owners.items()]
            answers = {task.key: answer.values for task, answer in self._evaluator.answers(tasks) if not self._failed(owners[task.key], answer)}
            if not answers:
                raise TrainingError(self._failures[0])
            write_json(path, [dict(answers[key]) for key in sorted(answers)])
        found = read_json(path)
        if not isinstance(found, list) or not found or not all(
                isinstance(row, dict) and all(isinstance(row.get(key), int | float) and 0 < row[key] < 1e9 for key in SPEED) for row in found):
            raise ConfigError(f"'{path}' is damaged; delete it and run again with --resume")
        return found

    @property
    def _seconds(self) -> float:
        """CPU seconds of all trainings of candidates; 0: trainings are measured in epochs."""
        return self._course.seconds * (1 - TEACHER_SHARE if self._course.files else 1.0)

    def _length(self, trials: Sequence[Trial], number: int, last: bool) -> dict[str, Any]:
        """How long these candidates of a rung train. All of them for the same epochs, or for the seconds that are left in the last rung: by the clock
        the networks that learn fast at first would win, which are the small ones."""
        rungs = self._halving.rungs
        share = {"share": rungs[number].share}
        if not self._seconds:
            return share
        if last:
            spent = sum(self._spent(path) for path in sorted((self._run.path / "screen").glob("*-*.json")))
            return {**share, "seconds": max(self._seconds - spent, LEAST_FINAL * self._seconds) / max(len(trials), 1)}
        part = (self._seconds - self._teaching) * self._halving.parts[number]
        if number == 0:
            epochs = part / (rungs[0].count * self._epoch_seconds)
        else:
            costs = [(stored[0]["seconds"], stored[0]["epochs"]) for trial in trials if (stored := self._stored(trial.candidate, number - 1)) is not None]
            epochs = part / max(sum(seconds / max(count, 1) for seconds, count in costs), 1e-3)
        return {**share, "epochs": max(LEAST_EPOCHS, round(epochs))}

    def _spent(self, path: Path) -> float:
        stored = kept(path.with_suffix(""))
        return 0.0 if stored is None else float(stored[0]["seconds"])

    def _observed(self, trials: Sequence[Trial], number: int) -> list[Observation]:
        """Trains for this rung what has not been; those that failed are left out."""
        accuracies = self._train_rung(trials, number)
        return [Observation(trial, self._share(trial, number), accuracies[trial.candidate.id]) for trial in trials if trial.candidate.id in accuracies]

    def _share(self, trial: Trial, number: int) -> float:
        """How much of a full training the candidate has had: of its epochs, or of the seconds that the last rung will give."""
        if not self._seconds:
            return self._halving.rungs[number].share
        had = sum(float(stored[0]["seconds"]) for rung in range(number + 1) if (stored := self._stored(trial.candidate, rung)) is not None)
        return max(float(had) * self._halving.rungs[-1].count / ((self._seconds - self._teaching) * self._halving.parts[-1]), 1e-3)

    def _near_the_best(self, seen: Sequence[Observation], feasible: Sequence[Trial]) -> list[Trial]:
        """Feasible neighbours of the best candidates so far."""
        if not seen:
            return []
        known = {trial.candidate.id for trial in feasible}
        children = neighbours(self._halving.parents(seen), self._course.space, known, self._config.trials // 4, self._config.seed)
        return distinct([trial for trial in self._course.score(children) if trial.score.feasible], feasible)

    def _task(self, trial: Trial, number: int, last: bool, length: Mapping[str, Any], lesson: Mapping[str, bytes] | None = None) -> Task:
        candidate = trial.candidate
        before = self._stored(candidate, number - 1) if number and (not last or self._goes_on(candidate)) else None
        files = {**self._course.files, **(lesson or {}), **({"model.pt": before[1]} if before and before[1] is not None else {})}
        payload = {"candidate": candidate.to_json(), "rung": number, **length}
        return Task(f"train/{candidate.id}/{number}", final_task if last else rung_task, payload, files)

    def _goes_on(self, candidate: Candidate) -> bool:
        """Whether a full training goes on from the weights of the screening: not where a wider network is trained first, and pruned."""
        return candidate.family in self._inherits or self._config.minutes > 0 or float(candidate.choices.get("prune", 0.0)) == 0

    def _stored(self, candidate: Candidate, number: int) -> tuple[dict[str, Any], bytes | None] | None:
        return kept(self._run.path / "screen" / f"{candidate.id}-{number}")

    def _cost(self, trial: Trial, number: int) -> tuple[int, float]:
        stored = self._stored(trial.candidate, number)
        assert stored is not None
        return stored[0]["epochs"], stored[0]["seconds"]

    def _train_rung(self, trials: Sequence[Trial], number: int) -> dict[str, float]:
        """Accuracies by candidate of those that trained."""
        known = {trial.candidate.id: stored[0]["accuracy"] for trial in trials if (stored := self._stored(trial.candidate, number)) is not None}
        length = self._length(trials, number, False)
        tasks = [self._task(trial, number, False, length) for trial in trials
                 if trial.candidate.id not in known and trial.candidate.id not in self._left_out]
        owners = {f"train/{trial.candidate.id}/{number}": trial.candidate for trial in trials}
        for task, answer in self._evaluator.answers(tasks):
            candidate = owners[task.key]
            if self._failed(candidate, answer):
                continue
            keep(self._run.path / "screen" / f"{candidate.id}-{number}", answer.values, answer.files["model.pt"])
            known[candidate.id] = answer.values["accuracy"]
            self._progress.step(len(list((self._run.path / "screen").glob("*.pt"))))
        return {trial.candidate.id: known[trial.candidate.id] for trial in trials if trial.candidate.id in known}

    def _failed(self, candidate: Candidate, answer: Answer) -> bool:
        if not answer.error:
            return False
        # one network that does not train says nothing about the others
        self._failures.append(answer.error)
        self._left_out.add(candidate.id)
        self._progress.say(f"{candidate.id} is left out: {answer.error}")
        return True

    def _lesson(self, standing: Sequence[Trial], seen: Sequence[Observation]) -> Lesson:
        """What a wider variant of the best candidate, trained for the time that is set aside for it, can teach; an empty lesson if it is no better."""
        best = max((o for o in seen if o.trial in standing), key=lambda o: (o.share, o.accuracy), default=None)
        wider = self._wider(best.trial.candidate) if best is not None else None
        if best is None or wider is None:
            return Lesson({}, {})
        place = self._run.path / "screen" / f"teacher-{wider.id}"
        if kept(place) is None:
            self._progress.stage("teacher", 1)
            task = Task("train/wider", rung_task, {"candidate": wider.to_json(), "rung": 0, "share": 1.0, "seconds": self._teaching}, self._course.files)
            for _, answer in self._evaluator.answers([task]):
                if self._failed(wider, answer):
                    return Lesson({}, {})
                keep(place, answer.values, answer.files["model.pt"])
            self._progress.step(1)
        found = kept(place)
        assert found is not None and found[1] is not None
        expected = 1 - (1 - best.accuracy) * min(best.share, 1.0) ** LEARNING_CURVE
        better = found[0]["accuracy"] > expected  # one that knows less than its student will know holds it back
        self._progress.say(f"{wider.id}, the best so far made {wider['width']} wide, {'teaches' if better else 'is not good enough to teach'} the last "
                           f"candidates: {100 * found[0]['accuracy']:.1f} % on validation")
        if not better:
            return Lesson({}, {})
        return Lesson({"teacher": wider.to_json()}, {"wider.pt": found[1]})

    def _wider(self, candidate: Candidate) -> Candidate | None:
        """The widest variant, with all its channels and bits, that a full training of fits in the time for a teacher; None if none is much wider."""
        knobs = {knob.name: knob for knob in self._course.space.knobs(candidate.family)}
        if "width" not in knobs or not all(isinstance(width, int | float) for width in knobs["width"].choices):
            return None
        path = self._run.path / "screen" / "wider.json"
        if not path.exists():
            whole = {name: value for name, value in (("prune", 0.0), ("bits", 8)) if name in knobs and value in knobs[name].choices}
            widths = [width for width in knobs["width"].choices if float(width) >= float(candidate["width"])]
            variants = [Candidate({**candidate.choices, **whole, "width": width}) for width in widths]
            owners = {f"train/{variant.id}/speed": variant for variant in (candidate, *variants)}
            tasks = [Task(key, speed_task, {"candidate": variant.to_json()}, self._course.files) for key, variant in owners.items()]
            speeds = {task.key: answer.values["epoch_seconds"] for task, answer in self._evaluator.answers(tasks) if not answer.error}
            least = WIDER * speeds.get(f"train/{candidate.id}/speed", 0.0)
            fitting = {speed: owners[key] for key, speed in speeds.items() if least <= speed <= self._teaching / self._full_epochs}
            write_json(path, {"teacher": fitting[max(fitting)].to_json() if fitting else ""})
        found = read_json(path)
        if not isinstance(found, dict) or not isinstance(found.get("teacher"), str):
            raise ConfigError(f"'{path}' is damaged; delete it and run again with --resume")
        return Candidate.from_json(found["teacher"]) if found["teacher"] else None

    def _train_fully(self, trials: Sequence[Trial], number: int, lesson: Lesson) -> list[Trial]:
        missing = [trial for trial in trials if not trained(self._run.candidate(trial.candidate.id))]
        owners = {f"train/{trial.candidate.id}/{number}": trial.candidate for trial in missing}
        done = len(trials) - len(missing)
        self._progress.step(done)
        length = {**self._length(trials, number, True), **lesson.payload}
        for task, answer in self._evaluator.answers([self._task(trial, number, True, length, lesson.files) for trial in missing]):
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
    place = run.path / "teacher"
    if kept(place) is None:
        progress.stage("own model", 1)
        for _, answer in evaluator.answers([Task("train/teacher", teacher_task, {"portion": TEACHER_SHARE})]):
            if answer.error:
                raise ModelError(f"the own model cannot be used: {answer.error}")
            keep(place, answer.values, answer.files.get(TEACHER))
        progress.step(1)
    found = kept(place)
    assert found is not None
    values, weights = found
    how = "is trained already" if weights is None else "was trained first"
    progress.say(f"own model {how}: {100 * values['accuracy']:.1f} % on validation")
    return {} if weights is None else {TEACHER: weights}


def screened_rows(screened: Sequence[Screened]) -> list[Mapping[str, Any]]:
    """Plain values for the report."""
    return [{"id": row.id, "rung": row.rung, "share": row.share, "accuracy": row.accuracy, "epochs": row.epochs, "seconds": row.seconds} for row in screened]
