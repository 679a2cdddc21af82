"""One table from keys to answers in an Optuna storage, for many machines: claims, heartbeats, answers that are there or not.

Three Optuna studies hold it: NAME has the scored candidates, NAME.tasks all other tasks, the identity and the heartbeats, NAME.files the bytes.
A claim is a running trial. Of the running trials with one key, the oldest is the claim; taking over from a dead machine fails its trial, and a
finished trial can never be changed (Optuna's rule), so exactly one trial of a key is ever answered and everybody reads that one.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecompress.errors import ConfigError
from edgecompress.search.evaluator import Answer, Task
from edgecompress.search.shared_answers import assembled, canonical, checked, chunks, described, digest, joined
from edgecompress.search.shared_identity import check_same

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

MAXIMUM_ATTRIBUTE = 60_000  # characters; MySQL's TEXT holds 65,535
_PIECE_BYTES = {"postgresql": 786_432, "sqlite": 786_432}  # of a file in one attribute; text there has no such limit
_SMALL_PIECE_BYTES = 45_000  # 60,000 characters in base64


@dataclass(frozen=True)
class Display:
    """How scored candidates look in Optuna's tools: names of what is minimised, and from an answer's values (objectives, excesses of limits)."""

    objectives: tuple[str, ...]
    of: Callable[[Mapping[str, Any]], tuple[Sequence[float], Mapping[str, float]]]


NO_DISPLAY = Display(("seconds",), lambda values: ((math.nan,), {}))


@dataclass(frozen=True)
class Claim:
    """A machine's word that it works on a key, or the answer that came of it (`answer`, as stored)."""

    trial_id: int
    key: str
    question: str
    owner: str
    host: str
    answer: Any = None


class AnswerTable:
    """The table of one study. Methods let the storage's exceptions pass: only the caller knows whether to wait."""

    def __init__(self, storage: BaseStorage, name: str, owner: str, host: str, display: Display = NO_DISPLAY) -> None:
        self._storage, self._name, self._owner, self._host, self._display = storage, name, owner, host, display
        self._finished: dict[int, Claim | None] = {}
        self._piece_bytes = _PIECE_BYTES.get(_dialect(storage), _SMALL_PIECE_BYTES)
        self._tasks = self._scored = self._files = -1

    def join(self, identity: Mapping[str, str]) -> None:
        """Makes the study or joins it. Raises ConfigError if it is something else's, or was made by another version or for other data."""
        exists = {study.study_name for study in self._storage.get_all_studies()}
        if self._name in exists and f"{self._name}.tasks" not in exists:
            raise ConfigError(f"the study '{self._name}' in the storage was not made by edgecompress search; give another --study")
        self._tasks = self._study(f"{self._name}.tasks", ("seconds",))
        self._check_identity(identity)
        self._scored = self._study(self._name, self._display.objectives)
        self._files = self._study(f"{self._name}.files", ("none",))

    def _study(self, name: str, objectives: tuple[str, ...]) -> int:
        import optuna
        from optuna.study import StudyDirection

        try:
            found = self._storage.create_new_study([StudyDirection.MINIMIZE] * len(objectives), name)
        except optuna.exceptions.DuplicatedStudyError:
            return self._storage.get_study_id_from_name(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names of objectives are experimental in Optuna
            optuna.load_study(study_name=name, storage=self._storage).set_metric_names(list(objectives))
        return found

    def _check_identity(self, identity: Mapping[str, str]) -> None:
        found = self._identities()
        if not found:
            self._add(self._tasks, "PRUNED", {"identity": dict(identity)})
            found = self._identities()
        # of machines that made the study together, the first one decides
        check_same(self._name, found[0], identity)

    def _identities(self) -> list[Mapping[str, str]]:
        found = [trial.user_attrs["identity"] for trial in self._storage.get_all_trials(self._tasks, deepcopy=False) if "identity" in trial.user_attrs]
        return [value if isinstance(value, dict) else {} for value in found]

    def _add(self, study: int, state: str, attributes: Mapping[str, Any]) -> int:
        from optuna.trial import TrialState, create_trial

        trial = create_trial(state=TrialState[state], user_attrs=dict(attributes))
        return self._storage.create_new_trial(study, trial)

    # claims

    def read(self, scored: bool) -> dict[str, list[Claim]]:
        """By key, oldest first: answered claims, or those that somebody holds. `scored` says of which tasks."""
        from optuna.trial import TrialState

        found: dict[str, list[Claim]] = {}
        for trial in self._storage.get_all_trials(self._scored if scored else self._tasks, deepcopy=False):
            if trial.state == TrialState.FAIL:
                continue
            claim = self._claim_of(trial)
            if claim is not None:
                found.setdefault(claim.key, []).append(claim)
        return found

    def _claim_of(self, trial: FrozenTrial) -> Claim | None:
        number = trial._trial_id
        if number in self._finished:
            return self._finished[number]
        claim = None
        try:
            facts = trial.user_attrs["claim"]
            answer = trial.user_attrs["answer"] if trial.state.is_finished() else None
            if all(isinstance(facts[name], str) for name in ("key", "question", "owner", "host")):
                claim = Claim(number, facts["key"], facts["question"], facts["owner"], facts["host"], answer)
        except (KeyError, TypeError):
            claim = None  # the identity, or another tool's trial
        if trial.state.is_finished():
            self._finished[number] = claim
        return claim

    def claim(self, task: Task, asked: str) -> int:
        """A new claim of this machine: the number of its trial. It counts once `read` shows that it is the oldest."""
        facts = {"key": task.key, "question": asked, "owner": self._owner, "host": self._host}
        attributes = {**_shown(task.trial), "claim": facts}
        return self._add(self._scored if task.trial is not None else self._tasks, "RUNNING", attributes)

    def release(self, trial_id: int) -> None:
        """Gives a claim up, this machine's own or a dead one's; one that was answered meanwhile stays answered."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return

    def beat(self, count: int) -> None:
        """Says that this machine lives: a number that changes."""
        self._storage.set_study_user_attr(self._tasks, f"worker/{self._owner}", {"host": self._host, "beat": count})

    def beats(self) -> dict[str, str]:
        """Each machine's last sign of life, to be compared with the one before: no clock of another machine is read."""
        found = self._storage.get_study_user_attrs(self._tasks)
        return {key.removeprefix("worker/"): canonical(value) for key, value in found.items() if key.startswith("worker/")}

    # answers

    def answer(self, trial_id: int, task: Task, answer: Answer, seconds: float) -> bool:
        """Writes the answer to a claim: files, then the description, then the end of the trial, which makes it an answer. False: taken over."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        stored: dict[str, Any] = {"description": described(answer), "files": {name: self._write(content) for name, content in answer.files.items()}}
        text = canonical(stored)
        if len(text) > MAXIMUM_ATTRIBUTE:
            stored = {"large": {"trial": self._write(text.encode()), "sha256": digest(text.encode())}}
        objectives, excesses = self._measures(task, answer, seconds)
        try:
            self._storage.set_trial_user_attr(trial_id, "answer", stored)
            if excesses:
                self._storage.set_trial_system_attr(trial_id, "constraints", excesses)
            complete = not answer.error and not any(math.isnan(value) for value in objectives)
            return self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE if complete else TrialState.PRUNED, objectives if complete else None)
        except UpdateFinishedTrialError:
            return False

    def _measures(self, task: Task, answer: Answer, seconds: float) -> tuple[list[float], list[float]]:
        if task.trial is None:
            return [seconds], []
        if answer.error:
            return [], []
        objectives, excesses = self._display.of(answer.values)
        return [float(value) for value in objectives], [float(value) for value in excesses.values()]

    def load(self, claim: Claim) -> Answer | None:
        """The answer of a claim, its files read and compared with their checksums; None where something is missing or damaged."""
        stored = claim.answer
        if isinstance(stored, dict) and set(stored) == {"large"}:
            stored = self._large(stored["large"])
        if not isinstance(stored, dict) or set(stored) != {"description", "files"} or not isinstance(stored["files"], dict):
            return None
        description = checked(stored["description"])
        if description is None or set(description["files"]) != set(stored["files"]):
            return None
        files = {name: self._read(number) for name, number in stored["files"].items()}
        return assembled(description, {name: content for name, content in files.items() if content is not None})

    def _large(self, facts: Any) -> Any:
        content = self._read(facts.get("trial")) if isinstance(facts, dict) else None
        if content is None or digest(content) != facts.get("sha256"):
            return None
        return json.loads(content)

    def _write(self, content: bytes) -> int:
        """Bytes in pieces, each an attribute of a trial in NAME.files. One call each: a proxy takes at most 4 MB a message."""
        from optuna.trial import TrialState

        number = self._add(self._files, "RUNNING", {})
        for index, piece in enumerate(chunks(content, self._piece_bytes)):
            self._storage.set_trial_user_attr(number, f"{index:06}", piece)
        self._storage.set_trial_state_values(number, TrialState.PRUNED)
        return number

    def _read(self, number: Any) -> bytes | None:
        if type(number) is not int:
            return None
        try:
            pieces = self._storage.get_trial(number).user_attrs
        except KeyError:
            return None
        return joined([pieces[name] for name in sorted(pieces)])


def _shown(trial: FrozenTrial | None) -> dict[str, Any]:
    return {} if trial is None else {key: value for key, value in trial.user_attrs.items() if len(canonical(value)) < MAXIMUM_ATTRIBUTE}


def _dialect(storage: BaseStorage) -> str:
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    return getattr(engine, "name", "")
