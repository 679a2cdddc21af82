"""Tasks that many machines work on together: each claims what nobody has, computes it with its own evaluator, and everybody reads the same answers."""

from __future__ import annotations

import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edgecompress.errors import ConfigError, DeviceError
from edgecompress.search.evaluator import Answer, Evaluator, More, Task, no_more
from edgecompress.search.shared_answers import Unsent, as_stored, question
from edgecompress.search.shared_identity import check_name, default_name
from edgecompress.search.shared_life import Heart, Outage, Timing, Watch
from edgecompress.search.shared_storage import is_deleted, is_lost, open_storage, reason, redact
from edgecompress.search.shared_table import NO_DISPLAY, AnswerTable, Claim, Display


@dataclass(frozen=True)
class Found:
    """An answer that this machine computed and has not written yet."""

    trial_id: int
    answer: Answer
    seconds: float


class Batch:
    """The questions of one call of `answers`, and what this machine does about them."""

    def __init__(self, evaluator: SharedEvaluator, more: More) -> None:
        self._shared, self._table, self._more = evaluator, evaluator.table, more
        self._missing: dict[str, Task] = {}
        self._asked: dict[str, str] = {}
        self._order: list[str] = []
        self._claims: dict[str, list[Claim]] = {}
        self._held: dict[str, int] = {}  # claims of this machine that are worked on or written
        self._lanes: dict[Future[tuple[Answer, float]], str] = {}
        self._found: dict[str, Found] = {}
        self._delivered: deque[tuple[Task, Answer]] = deque()
        self._spare: dict[str, Answer] = {}  # computed here for a claim that was taken over: worth keeping until somebody's answer is there
        self._damaged: set[int] = set()
        self._at_once = False  # whether the next look cannot wait
        self._looked = False

    def add(self, tasks: Sequence[Task]) -> None:
        """More questions of this batch."""
        if not tasks:
            return
        assert len({task.key for task in tasks} - self._asked.keys()) == len(tasks), "two tasks of a batch have one key"
        self._missing |= {task.key: task for task in tasks}
        self._asked |= {task.key: question(task) for task in tasks}
        # machines that come to the same questions at the same time start at different places
        start = self._shared.place % len(tasks)
        self._order += [task.key for task in (*tasks[start:], *tasks[:start])]
        self._at_once, self._looked = True, False  # others may have answered some of them

    def run(self) -> Iterator[tuple[Task, Answer]]:
        """Yields until all are answered."""
        outage, pause = self._shared.outage, self._shared.timing.look
        try:
            while self._missing:
                before = len(self._missing), len(self._held)
                try:
                    self._step()
                    outage.end()
                except Exception as error:
                    if is_deleted(error):
                        raise ConfigError(f"the study '{self._shared.study}' was deleted from the storage during the search; run the same command again "
                                          "with --resume to make it anew") from None
                    if not is_lost(error):
                        raise
                    self._lost(error)
                while self._delivered:
                    yield self._delivered.popleft()
                    self.add(self._more())
                changed = before != (len(self._missing), len(self._held))
                pause = self._shared.timing.look if changed else min(1.5 * pause, 10 * self._shared.timing.look)
                if self._missing:
                    self._wait(outage.pause if outage.now else pause)
        finally:
            self._leave()

    def _step(self) -> None:
        """Writes, claims by what the last look showed, and looks: that tells which claims hold. One look costs as much as a claim."""
        self._at_once = False
        if self._shared.heart.failure is not None:
            raise self._shared.heart.failure
        for key in list(self._found):
            self._write(key)
        if not self._looked:
            self._read()
        self._release_dead()
        chosen = self._claim(self._shared.workers - len(self._lanes))
        if self._missing:
            self._read()
            self._begin(chosen)

    def _write(self, key: str) -> None:
        found = self._found[key]
        task = self._missing.get(key)
        accepted = task is not None and self._table.answer(found.trial_id, task, found.answer, found.seconds)
        del self._found[key]
        self._held.pop(key, None)
        if accepted and task is not None:
            self._give(key, as_stored(found.answer))
        elif task is not None:
            self._spare[key] = found.answer

    def _give(self, key: str, answer: Answer) -> None:
        self._delivered.append((self._missing.pop(key), answer))
        self._held.pop(key, None)
        self._shared.unsent.drop(key)

    def _read(self) -> None:
        kinds = {task.trial is not None for task in self._missing.values()}
        everything: dict[str, list[Claim]] = {}
        for scored in kinds:
            everything |= self._table.read(scored)
        self._claims, self._looked = {key: everything[key] for key in self._missing if key in everything}, True
        for key, claims in self._claims.items():
            for claim in claims:
                self._check_question(claim)
                if claim.answer is not None and claim.trial_id not in self._damaged and self._deliver(key, claim):
                    break

    def _check_question(self, claim: Claim) -> None:
        if claim.question != self._asked[claim.key]:
            raise ConfigError(f"this machine and '{claim.host}' ask different things under '{claim.key}' of the study '{self._shared.study}', "
                              "so their searches have diverged; use machines with the same packages, or give another --study")

    def _deliver(self, key: str, claim: Claim) -> bool:
        answer = self._table.load(claim)
        if answer is None:
            self._damaged.add(claim.trial_id)
            return False
        for other in self._claims[key]:
            if other.answer is None and other.owner == self._shared.owner:
                self._table.release(other.trial_id)  # made while somebody answered
        self._give(key, answer)
        return True

    def _holder(self, key: str) -> Claim | None:
        return next((claim for claim in self._claims.get(key, []) if claim.answer is None), None)

    def _release_dead(self) -> None:
        others = [holder for key in self._missing if (holder := self._holder(key)) is not None and holder.owner != self._shared.owner]
        if others and self._shared.watch.due():
            self._shared.watch.look(self._table.beats())
        for holder in others:
            if holder.owner == self._shared.former_owner or self._shared.watch.is_silent(holder.owner):
                self._table.release(holder.trial_id)
                self._claims[holder.key] = [claim for claim in self._claims[holder.key] if claim.trial_id != holder.trial_id]

    def _claim(self, count: int) -> dict[str, int | None]:
        """Claims up to `count` tasks that nobody holds: {key: number of the claim}. None stands for a claim of this machine whose writing was cut off."""
        chosen: dict[str, int | None] = {}
        for key in self._order:
            if key in self._missing and key not in self._held and len(chosen) < count:
                holder = self._holder(key)
                if holder is None:
                    chosen[key] = self._table.claim(self._missing[key], self._asked[key])
                elif holder.owner == self._shared.owner:
                    chosen[key] = None
        return chosen

    def _begin(self, chosen: Mapping[str, int | None]) -> None:
        """Starts on claims that turned out to be the oldest of their key, and gives up the others."""
        for key, made in chosen.items():
            holder = self._holder(key) if key in self._missing else None
            if holder is not None and holder.owner == self._shared.owner:
                self._start(key, holder.trial_id)
            if made is not None and (holder is None or holder.trial_id != made):
                self._at_once = True
                self._table.release(made)

    def _start(self, key: str, trial_id: int) -> None:
        self._held[key] = trial_id
        kept = self._spare.get(key) or self._shared.unsent.find(key, self._asked[key])
        if kept is not None:
            self._found[key] = Found(trial_id, kept, 0.0)
            self._at_once = True
        else:
            self._lanes[self._shared.submit(self._missing[key])] = key

    def _wait(self, seconds: float) -> None:
        """Until a task of this machine is done, or it is time to look again."""
        if self._at_once and not self._shared.outage.now:
            seconds = 0.0
        if self._lanes:
            wait(self._lanes, seconds, FIRST_COMPLETED)
        else:
            time.sleep(seconds)
        self._collect()

    def _collect(self) -> None:
        for future in [future for future in self._lanes if future.done()]:
            key = self._lanes.pop(future)
            answer, seconds = future.result()
            if key in self._missing:
                self._found[key] = Found(self._held[key], answer, seconds)

    def _lost(self, error: Exception) -> None:
        """The database is away: what was computed is kept on this machine, and what is being computed goes on."""
        self._shared.outage.note(error)
        self._shared.watch.forget()
        self._keep()
        if not self._lanes:
            self._shared.outage.give_up()

    def _keep(self) -> None:
        for key, found in self._found.items():
            self._shared.unsent.keep(key, self._asked[key], found.answer)

    def _leave(self) -> None:
        """When the caller stops early: finished answers stay on this machine, claims are given back."""
        for future in [future for future in self._lanes if future.done() and not future.cancelled() and future.exception() is None]:
            key = self._lanes.pop(future)
            if key in self._missing:
                self._found[key] = Found(self._held[key], *future.result())
        self._keep()
        if self._shared.outage.now:
            return
        try:
            for key, trial_id in self._held.items():
                if key in self._missing:
                    self._table.release(trial_id)
        except Exception as error:
            if not is_lost(error):  # else other machines take them over after the grace time
                raise


class SharedEvaluator:
    """An evaluator whose answers many machines share. A context manager: inside it this machine counts as alive."""

    def __init__(self, inner: Evaluator, storage: str, study_name: str, identity: Mapping[str, str], workers: int, folder: Path,
                 display: Display = NO_DISPLAY, timing: Timing | None = None, say: Callable[[str], None] = lambda text: None) -> None:
        """`folder` is this machine's alone: its name there, and answers that could not be written. Raises as `open_storage` and `AnswerTable.join`."""
        self.study = check_name(study_name) if study_name else default_name(identity)
        self.timing = timing or Timing()
        self.workers, self._inner = workers, inner
        self.owner, self.former_owner = secrets.token_hex(8), _former(folder)
        self.place = int(self.owner, 16)
        self.table = AnswerTable(open_storage(storage), self.study, self.owner, socket.gethostname()[:64], display)
        self.unsent = Unsent(folder / "unsent", self.study)
        self.outage = Outage(storage, self.timing, self.unsent, say)
        self.watch = Watch(self.timing.grace)
        self.heart = Heart(self.table, self.timing.grace / 6)
        try:
            self.table.join(identity)
            self.table.beat(0)
        except Exception as error:
            if not is_lost(error):
                raise
            raise DeviceError(f"the storage '{redact(storage)}' went away while this machine joined the study ({reason(error, storage)}); "
                              "run the same command again when it is back") from None
        _write_owner(folder, self.owner)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="lane")

    def submit(self, task: Task) -> Future[tuple[Answer, float]]:
        """Starts a task on this machine; the future has its answer and the seconds it took."""
        return self._threads.submit(self._work, task)

    def _work(self, task: Task) -> tuple[Answer, float]:
        started = time.monotonic()
        ((_, answer),) = self._inner.answers([task])
        return answer, time.monotonic() - started

    def answers(self, tasks: Sequence[Task], more: More = no_more) -> Iterator[tuple[Task, Answer]]:
        """As Evaluator says. Raises DeviceError when the database stays away, ConfigError when another machine asks something else under a key."""
        batch = Batch(self, more)
        batch.add(tasks)
        yield from batch.run()

    def __enter__(self) -> SharedEvaluator:
        self.heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.heart.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _former(folder: Path) -> str:
    """The name under which an earlier process worked in this folder on this machine; it is dead, as a run folder has one process at a time."""
    try:
        host, _, owner = (folder / "worker").read_text().strip().partition(" ")
    except (OSError, UnicodeDecodeError):
        return ""
    return owner if host == socket.gethostname()[:64] else ""


def _write_owner(folder: Path, owner: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "worker").write_text(f"{socket.gethostname()[:64]} {owner}\n")
    except OSError as error:
        raise ConfigError(f"the folder '{folder}' cannot be written ({error.strerror}); choose another --output") from None
