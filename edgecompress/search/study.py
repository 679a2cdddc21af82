"""The zero-shot search: Optuna's NSGA-II asks, a pool of processes scores, a journal remembers.

The same seed gives the same candidates however many workers there are and however often the run is killed: each
question has its own seed, a generation is asked as a whole before it is scored, and a resumed run first scores
the trials that were asked but not answered.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from edgecompress.errors import ConfigError, DeviceError, EdgecompressError
from edgecompress.search.objective import Problem, Score, score
from edgecompress.search.space import Candidate, Space, suggest

DIRECTIONS = ("maximize", "maximize", "minimize")  # naswot, macs (the baseline proxy), latency
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trial:
    """One scored candidate."""

    number: int
    candidate: Candidate
    score: Score


def _start_worker() -> None:
    import signal

    import torch

    # Ctrl-C is the parent's to handle: it keeps what is done and ends the pool
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    torch.set_grad_enabled(True)


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes with one torch thread each; killed, not awaited, when the block ends in an exception."""
    import multiprocessing

    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    pool.shutdown()


def default_workers() -> int:
    """One a core that this process may use."""
    return len(os.sched_getaffinity(0))


def _question_seed(seed: int, index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:4], "little") & 0x7FFFFFFF


class Study:
    """An Optuna study in a journal file, and the loop over it."""

    def __init__(self, log: Path, space: Space, seed: int, population: int) -> None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._seed, self._population = space, seed, population
        try:
            self._study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(log))), study_name="search",
                                              directions=list(DIRECTIONS), load_if_exists=True)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"the study log '{log}' is damaged ({type(error).__name__}: {error}); delete it to search again") from None
        self._known: dict[str, dict[str, Any]] = {}

    def _frozen(self) -> list[optuna.trial.FrozenTrial]:
        return [t for t in self._study.get_trials(deepcopy=False) if "candidate" in t.user_attrs]

    def trials(self) -> list[Trial]:
        """All scored candidates, in the order they were asked."""
        return [Trial(t.number, Candidate.from_json(t.user_attrs["candidate"]), Score(**t.user_attrs["score"]))
                for t in self._frozen() if "score" in t.user_attrs and t.state == optuna.trial.TrialState.COMPLETE]

    def failures(self) -> list[str]:
        """Reasons of the candidates that could not be scored."""
        return [t.user_attrs["error"] for t in self._frozen() if "error" in t.user_attrs]

    def _ask(self, index: int) -> None:
        sampler = optuna.samplers.NSGAIISampler(population_size=self._population, seed=_question_seed(self._seed, index))
        self._study.sampler = sampler
        trial = self._study.ask()
        candidate = suggest(trial, self._space)
        trial.set_user_attr("candidate", candidate.to_json())

    def _discard_half_asked(self) -> None:
        # killed between ask and the last suggestion: such a trial holds nothing yet
        for frozen in self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if "candidate" not in frozen.user_attrs:
                self._study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)

    def run(self, problem: Problem, trials: int, workers: int, progress: Progress) -> list[Trial]:
        """Goes on until `trials` candidates were scored. Raises DeviceError if worker processes die."""
        self._discard_half_asked()
        with worker_pool(workers) as pool:
            while True:
                asked = self._frozen()
                pending = [t for t in asked if t.state == optuna.trial.TrialState.RUNNING]
                if not pending:
                    if len(asked) >= trials:
                        break
                    for index in range(len(asked), min(len(asked) + self._population, trials)):
                        self._ask(index)
                    continue
                self._score_all(pool, pending, problem, len(asked) - len(pending), trials, progress)
        return self.trials()

    def _score_all(self, pool: ProcessPoolExecutor, pending: list[optuna.trial.FrozenTrial], problem: Problem, done: int, trials: int,
                   progress: Progress) -> None:
        known = {t.candidate.id: t.score for t in self.trials()}
        futures: dict[str, Future[Score]] = {}
        owners: dict[str, list[optuna.trial.FrozenTrial]] = {}
        for frozen in pending:
            candidate = Candidate.from_json(frozen.user_attrs["candidate"])
            owners.setdefault(candidate.id, []).append(frozen)
            if candidate.id not in known and candidate.id not in futures:
                futures[candidate.id] = pool.submit(score, candidate, problem)
        for identity, members in owners.items():
            if identity in known:
                done += self._tell(members, known[identity])
                progress(done, trials)
        names = {future: identity for identity, future in futures.items()}
        for future in as_completed(names):
            try:
                outcome: Score | str = future.result()
            except BrokenProcessPool:
                raise DeviceError("a worker process of the search was killed (out of memory?); run again with --resume and fewer --workers") from None
            except EdgecompressError as error:
                outcome = error.message
            done += self._tell(owners[names[future]], outcome)
            progress(done, trials)

    def _tell(self, members: list[optuna.trial.FrozenTrial], outcome: Score | str) -> int:
        for frozen in members:
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            if isinstance(outcome, str):
                trial.set_user_attr("error", outcome)
                self._study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
                continue
            trial.set_user_attr("score", outcome.to_json())
            for name, excess in outcome.violations.items():
                trial.set_constraint(name, excess)
            self._study.tell(frozen.number, [outcome.naswot, float(outcome.macs), outcome.latency_s])
        return len(members)
