"""The zero-shot search: Optuna asks, an evaluator's processes score, a journal remembers.

Every family is a study of its own, with the same number of questions: proxies compare networks of one family well and families badly, and in a study
of all families one of them soon has all the questions. The same seed gives the same candidates however many workers there are and however often the
run is killed: each generation has its own seeds and depends only on finished ones, and answers are put in the order of the questions. A killed run
loses the trials in flight, nothing else.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.study import StudyDirection

from edgecompress.errors import ConfigError
from edgecompress.search.evaluator import Answer, Evaluator, Task
from edgecompress.search.neighbourhood import neighbours, promising
from edgecompress.search.objective import Problem, Score, score
from edgecompress.search.space import Candidate, Space, suggest, trial_parameters

CLIMBERS = ("nsga2", "nsga3")  # samplers whose later questions are neighbours of the best
CLIMB_FROM = 0.5  # of the questions
PARENTS = 3  # of a family, whose neighbours are asked

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trial:
    """One scored candidate; `number` is the place of its question."""

    number: int
    candidate: Candidate
    score: Score


@dataclass(frozen=True)
class StudySettings:
    """Who asks (a name in SAMPLERS), how many questions a generation has at least, and how many objectives an answer has."""

    sampler: str
    population: int
    seed: int
    objectives: int


SAMPLERS: dict[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {  # population, seed -> sampler
    "nsga2": lambda population, seed: optuna.samplers.NSGAIISampler(population_size=population, seed=seed),
    "nsga3": lambda population, seed: optuna.samplers.NSGAIIISampler(population_size=population, seed=seed),
    "tpe": lambda population, seed: optuna.samplers.TPESampler(n_startup_trials=population, multivariate=True, constant_liar=True, seed=seed),
    "random": lambda population, seed: optuna.samplers.RandomSampler(seed=seed),
}


def _question_seed(seed: int, family: str, index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{family}/{index}".encode()).digest()[:4], "little") & 0x7FFFFFFF


class HasProblem(Protocol):
    """The context of a search, as far as scoring needs it."""

    @property
    def problem(self) -> Problem: ...


def score_task(context: HasProblem, payload: Mapping[str, Any], files: Mapping[str, bytes]) -> Answer:
    """The work of a question: `payload["candidate"]` scored for the context's problem; an own model may get weights from `files`."""
    if files:
        from edgecompress.search.teacher import teacher_of

        teacher_of(context.problem, files)
    return Answer(score(Candidate.from_json(payload["candidate"]), context.problem).to_json())


@dataclass
class _Line:
    """A family's questions: the generations to come, as the number of each one's first question of any family and its own, and what is open of the
    one before, by task."""

    family: str
    generations: deque[tuple[int, list[int]]] = field(default_factory=deque)
    open: dict[str, list[optuna.trial.Trial]] = field(default_factory=dict)


class Study:
    """The journal in `study.log` (any Optuna tool opens it) and the loop that fills it."""

    def __init__(self, log: Path, space: Space, settings: StudySettings, starts: Sequence[Candidate] = (), files: Mapping[str, bytes] | None = None) -> None:
        """`starts` are the first questions; `files` go with every question."""
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._log, self._space, self._settings, self._starts, self._files = log, space, settings, starts, files or {}
        _drop_torn_line(log)
        try:
            self._journal = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(log))), study_name="search",
                                                directions=self._directions, load_if_exists=True)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise ConfigError(f"the study log '{log}' is damaged ({type(error).__name__}: {error}); delete it to search again") from None

    @property
    def _members(self) -> int:
        """Questions of one family in a generation."""
        return max(2, -(-self._settings.population // len(self._space.families)))

    def _family(self, index: int) -> str:
        """Whose question this is."""
        if index < len(self._starts):
            return self._starts[index].family
        names = list(self._space.families)
        return names[index % len(names)]

    @property
    def _directions(self) -> list[StudyDirection]:
        return [StudyDirection.MINIMIZE] * self._settings.objectives

    def _answered(self) -> dict[int, optuna.trial.FrozenTrial]:
        return {t.user_attrs["index"]: t for t in self._journal.get_trials(deepcopy=False) if "index" in t.user_attrs}

    def trials(self) -> list[Trial]:
        """All scored candidates, in the order of their questions."""
        try:
            return _scored(self._answered())
        except (KeyError, TypeError) as error:
            raise ConfigError(f"the study log '{self._log}' is damaged ({type(error).__name__}: {error}); delete it to search again") from None

    def failures(self) -> list[str]:
        """Reasons of the candidates that could not be scored."""
        return [t.user_attrs["error"] for _, t in sorted(self._answered().items()) if "error" in t.user_attrs]

    def run(self, evaluator: Evaluator, trials: int, progress: Progress) -> list[Trial]:
        """Goes on until `trials` questions are answered. Raises DeviceError if worker processes die.

        A family whose generation is answered asks its next one while the others' are worked on: no worker waits for the end of a generation.
        """
        self.trials()  # a damaged log is told before anything is asked
        lines = self._lines(trials)
        fresh = [task for line in lines.values() for task in self._ask_on(line, trials)]

        def more() -> list[Task]:
            found = fresh[:]
            fresh.clear()
            return found

        for task, answer in evaluator.answers(more(), more):
            line = next(line for line in lines.values() if task.key in line.open)
            for trial in line.open.pop(task.key):
                self._tell(trial, answer)
            if not line.open:
                fresh += self._ask_on(line, trials)
            progress(min(len(self._answered()), trials), trials)
        progress(trials, trials)
        return self.trials()

    def score_also(self, evaluator: Evaluator, candidates: Sequence[Candidate], first: int, progress: Progress) -> list[Trial]:
        """Scores these candidates as the questions from number `first` on; those that are answered already are not asked again."""
        answered = self._answered()
        memories = {candidate.family: self._memory(candidate.family, {}, first) for candidate in candidates}
        questions = []
        for index, candidate in enumerate(candidates, start=first):
            if index not in answered:
                memory = memories[candidate.family]
                memory.enqueue_trial(trial_parameters(candidate, self._space))
                questions.append(self._ask(memory, index))
        owners, tasks = self._tasks(questions)
        for task, answer in evaluator.answers(tasks):
            for trial in owners.pop(task.key):
                self._tell(trial, answer)
            progress(len(candidates) - sum(map(len, owners.values())), len(candidates))
        return [trial for trial in self.trials() if first <= trial.number < first + len(candidates)]

    def _lines(self, trials: int) -> dict[str, _Line]:
        """By family its questions below number `trials`."""
        size = self._members * len(self._space.families)
        lines = {family: _Line(family) for family in self._space.families}
        for first in range(0, trials, size):
            indices = range(first, min(first + size, trials))
            for family, line in lines.items():
                line.generations.append((first, [index for index in indices if self._family(index) == family]))
        return lines

    def _ask_on(self, line: _Line, trials: int) -> list[Task]:
        """The tasks of the family's next generation that is not answered; nothing after the last one."""
        while line.generations:
            first, indices = line.generations.popleft()
            answered = self._answered()
            missing = [index for index in indices if index not in answered]
            if missing:
                # the whole generation is asked again: Optuna orders the parents otherwise for the first question of a process than for the later ones
                asked = self._generation(line.family, first, indices, {index: trial for index, trial in answered.items() if index < first}, trials)
                line.open, tasks = self._tasks([asked[index] for index in missing])
                if tasks:
                    return tasks
        return []

    def _generation(self, family: str, first: int, indices: Sequence[int], before: Mapping[int, optuna.trial.FrozenTrial],
                    trials: int) -> dict[int, optuna.trial.Trial]:
        """The family's questions of the generation that begins with question `first`, after these answers."""
        climbs = self._settings.sampler in CLIMBERS and first >= CLIMB_FROM * trials
        # a sampler that has nothing to choose needs no memory, and filling it takes time
        memory = self._memory(family, {} if climbs else before, first)
        for index in indices:
            if index < len(self._starts):
                memory.enqueue_trial(trial_parameters(self._starts[index], self._space))
        if climbs:
            self._climb(memory, family, before, first, len(indices))
        return {index: self._ask(memory, index) for index in indices}

    def _memory(self, family: str, answered: Mapping[int, optuna.trial.FrozenTrial], first: int) -> optuna.Study:
        """The family's study in memory, with these answers; its sampler is that of the generation which begins with question `first`."""
        memory = optuna.create_study(directions=self._directions)
        memory.add_trials([trial for _, trial in sorted(answered.items()) if trial.params["family"] == family])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # constraints.txt holds the version that was tried
            sampler = SAMPLERS[self._settings.sampler](self._members, _question_seed(self._settings.seed, family, first))
            memory.sampler = optuna.samplers.PartialFixedSampler({"family": family}, sampler)
        return memory

    def _climb(self, memory: optuna.Study, family: str, answered: Mapping[int, optuna.trial.FrozenTrial], first: int, count: int) -> None:
        """Queues neighbours of the family's best as its questions: a few generations of crossing over come near the limits, steps of single knobs
        come to them."""
        members = [trial for trial in _scored(answered) if trial.candidate.family == family]
        if members:
            parents = [trial.candidate for trial in promising(members, PARENTS)]
            seed = _question_seed(self._settings.seed, family, first)
            for candidate in neighbours(parents, self._space, {trial.candidate.id for trial in members}, count, seed):
                memory.enqueue_trial(trial_parameters(candidate, self._space))

    def _ask(self, memory: optuna.Study, index: int) -> optuna.trial.Trial:
        trial = memory.ask()
        trial.set_user_attr("index", index)
        trial.set_user_attr("candidate", suggest(trial, self._space).to_json())
        return trial

    def _known(self) -> dict[str, Answer]:
        """By candidate what was answered, failures too: a key has one answer for ever."""
        found = (trial.user_attrs for trial in self._answered().values())
        return {Candidate.from_json(attributes["candidate"]).id: Answer(attributes.get("score", {}), error=attributes.get("error", "")) for attributes in found}

    def _tasks(self, questions: Sequence[optuna.trial.Trial]) -> tuple[dict[str, list[optuna.trial.Trial]], list[Task]]:
        """(by task the questions that it answers, the tasks); equal candidates are scored once, and what is known is told at once."""
        known = self._known()
        owners: dict[str, list[optuna.trial.Trial]] = {}
        tasks = []
        for trial in questions:
            candidate = Candidate.from_json(trial.user_attrs["candidate"])
            if candidate.id in known:
                self._tell(trial, known[candidate.id])
                continue
            key = f"score/{candidate.id}"
            if key not in owners:
                # Optuna's view of an open question is a copy; its parameters are complete by now
                frozen = trial.study.get_trials(deepcopy=False)[trial.number]
                shown = optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING, params=frozen.params, distributions=frozen.distributions,
                                                  user_attrs={"candidate": candidate.to_json()})
                tasks.append(Task(key, score_task, {"candidate": candidate.to_json()}, self._files, shown))
            owners.setdefault(key, []).append(trial)
        return owners, tasks

    def _tell(self, trial: optuna.trial.Trial, answer: Answer) -> None:
        if answer.error:
            trial.set_user_attr("error", answer.error)
            frozen = trial.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            found = Score(**answer.values)
            trial.set_user_attr("score", dict(answer.values))
            for name, excess in found.violations.items():
                trial.set_constraint(name, excess)
            frozen = trial.study.tell(trial, list(found.objectives))
        self._journal.add_trial(frozen)  # one line, one write: a kill leaves it there or not


def _scored(answered: Mapping[int, optuna.trial.FrozenTrial]) -> list[Trial]:
    return [Trial(index, Candidate.from_json(t.user_attrs["candidate"]), Score(**t.user_attrs["score"]))
            for index, t in sorted(answered.items()) if "score" in t.user_attrs]


def _drop_torn_line(log: Path) -> None:
    """A process killed while it wrote, or a full disk, leaves half a last line; it was never answered, so it goes."""
    if log.exists():
        content = log.read_bytes()
        keep = content.rfind(b"\n") + 1
        if keep != len(content):
            with log.open("rb+") as file:
                file.truncate(keep)
