"""The zero-shot search: Optuna's NSGA-II asks, a pool of processes scores, a journal remembers.

The same seed gives the same candidates however many workers there are and however often the run is killed: each
question has its own seed and depends only on finished generations, and answers are put in the order of the questions.
A killed run loses the trials in flight, nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.study import StudyDirection

from edgecompress.errors import ConfigError, DeviceError, EdgecompressError
from edgecompress.processes import process_pool
from edgecompress.search.objective import Problem, Score, score
from edgecompress.search.space import Candidate, Space

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]  # naswot, macs (the baseline proxy), latency
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trial:
    """One scored candidate; `number` is the place of its question."""

    number: int
    candidate: Candidate
    score: Score


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def worker_pool(workers: int) -> AbstractContextManager[ProcessPoolExecutor]:
    """Processes with one torch thread each."""
    return process_pool(workers, _one_thread)


def _question_seed(seed: int, index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:4], "little") & 0x7FFFFFFF


def suggest_everywhere(trial: optuna.trial.Trial, space: Space) -> Candidate:
    """The trial's candidate, with the knobs of all families suggested.

    NSGA-II crosses over only parameters that every trial has; with knobs suggested for the chosen family alone, all of
    them would be drawn at random for ever.
    """
    from edgecompress.search.space import suggest

    for name, family in space.families.items():
        for knob in family.knobs:
            trial.suggest_categorical(f"{name}.{knob.name}", knob.choices)
    return suggest(trial, space)


class Study:
    """The journal in `study.log` (any Optuna tool opens it) and the loop that fills it."""

    def __init__(self, log: Path, space: Space, seed: int, population: int) -> None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._seed, self._population = space, seed, population
        _drop_torn_line(log)
        try:
            self._journal = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(log))), study_name="search",
                                                directions=DIRECTIONS, load_if_exists=True)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise ConfigError(f"the study log '{log}' is damaged ({type(error).__name__}: {error}); delete it to search again") from None

    def _answered(self) -> dict[int, optuna.trial.FrozenTrial]:
        return {t.user_attrs["index"]: t for t in self._journal.get_trials(deepcopy=False) if "index" in t.user_attrs}

    def trials(self) -> list[Trial]:
        """All scored candidates, in the order of their questions."""
        return [Trial(index, Candidate.from_json(t.user_attrs["candidate"]), Score(**t.user_attrs["score"]))
                for index, t in sorted(self._answered().items()) if "score" in t.user_attrs]

    def failures(self) -> list[str]:
        """Reasons of the candidates that could not be scored."""
        return [t.user_attrs["error"] for _, t in sorted(self._answered().items()) if "error" in t.user_attrs]

    def run(self, problem: Problem, trials: int, workers: int, progress: Progress) -> list[Trial]:
        """Goes on until `trials` questions are answered. Raises DeviceError if worker processes die."""
        if len(self._answered()) < trials:
            with worker_pool(workers) as pool:
                for first in range(0, trials, self._population):
                    self._generation(pool, range(first, min(first + self._population, trials)), problem, trials, progress)
        progress(trials, trials)
        return self.trials()

    def _generation(self, pool: ProcessPoolExecutor, indices: range, problem: Problem, trials: int, progress: Progress) -> None:
        answered = self._answered()
        missing = [index for index in indices if index not in answered]
        if not missing:
            return
        memory = optuna.create_study(directions=DIRECTIONS)
        memory.add_trials([answered[index] for index in sorted(answered) if index < indices.start])
        # the whole generation is asked again: Optuna orders the parents otherwise for the first question of a process than for the later ones
        asked = {index: self._ask(memory, index) for index in indices}
        questions = [asked[index] for index in missing]
        done = len(answered)
        for members, outcome in _outcomes(pool, questions, {t.candidate.id: t.score for t in self.trials()}, problem):
            for trial in members:
                self._tell(memory, trial, outcome)
            done += len(members)
            progress(done, trials)

    def _ask(self, memory: optuna.Study, index: int) -> optuna.trial.Trial:
        memory.sampler = optuna.samplers.NSGAIISampler(population_size=self._population, seed=_question_seed(self._seed, index))
        trial = memory.ask()
        trial.set_user_attr("index", index)
        trial.set_user_attr("candidate", suggest_everywhere(trial, self._space).to_json())
        return trial

    def _tell(self, memory: optuna.Study, trial: optuna.trial.Trial, outcome: Score | str) -> None:
        if isinstance(outcome, str):
            trial.set_user_attr("error", outcome)
            frozen = memory.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            trial.set_user_attr("score", outcome.to_json())
            for name, excess in outcome.violations.items():
                trial.set_constraint(name, excess)
            frozen = memory.tell(trial, [outcome.naswot, float(outcome.macs), outcome.latency_s])
        self._journal.add_trial(frozen)  # one line, one write: a kill leaves it there or not


def _drop_torn_line(log: Path) -> None:
    """A process killed while it wrote, or a full disk, leaves half a last line; it was never answered, so it goes."""
    if log.exists():
        content = log.read_bytes()
        keep = content.rfind(b"\n") + 1
        if keep != len(content):
            with log.open("rb+") as file:
                file.truncate(keep)


def _outcomes(pool: ProcessPoolExecutor, questions: Sequence[optuna.trial.Trial], known: dict[str, Score],
              problem: Problem) -> Iterator[tuple[list[optuna.trial.Trial], Score | str]]:
    """(trials with one candidate, its score or the reason why it has none), as they are found; equal candidates are scored once."""
    owners: dict[str, list[optuna.trial.Trial]] = {}
    futures: dict[Future[Score], str] = {}
    for trial in questions:
        candidate = Candidate.from_json(trial.user_attrs["candidate"])
        if candidate.id not in owners and candidate.id not in known:
            futures[pool.submit(score, candidate, problem)] = candidate.id
        owners.setdefault(candidate.id, []).append(trial)
    for identity, members in owners.items():
        if identity in known:
            yield members, known[identity]
    for future in as_completed(futures):
        try:
            yield owners[futures[future]], future.result()
        except BrokenProcessPool:
            raise DeviceError("a worker process of the search was killed (out of memory?); run again with --resume and fewer --workers") from None
        except EdgecompressError as error:
            yield owners[futures[future]], error.message
