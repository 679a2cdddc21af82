"""One machine of a shared search, as a process of its own: `python tests/shared_worker.py SETTINGS.json` works on fake tasks and prints the answers.

The tasks come in batches, as a search's do; each later batch goes on from the answers of the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompress.errors import EdgecompressError, ModelError
from edgecompress.search.evaluator import Answer, More, Task, local_evaluator, no_more
from edgecompress.search.shared import SharedEvaluator
from edgecompress.search.shared_life import Timing
from edgecompress.search.shared_table import Display

DISPLAY = Display(("square", "index"), lambda values: ((values["square"], values["index"]), {"small": values["index"] - 100.0}))
IDENTITY = {"edgecompress": "1", "code": "aaaa", "data": "dddd"}


@dataclass(frozen=True)
class Context:
    """`log` gets a line whenever a task begins, whoever works on it."""

    log: str
    seconds: float
    answer_bytes: int


def score(context: Context, payload: Mapping[str, Any], files: Mapping[str, bytes]) -> Answer:
    """A scoring: some time, some arithmetic; every seventh fails as a user's model may."""
    index = payload["index"]
    _begin(context, f"score/{index}")
    if index % 7 == 6:
        raise ModelError(f"candidate {index} cannot be lowered")
    return Answer({"index": index, "square": index * index / 7, "pair": (index, float("inf"))})


def train(context: Context, payload: Mapping[str, Any], files: Mapping[str, bytes]) -> Answer:
    """A training that goes on from weights: bytes that depend on the bytes given."""
    _begin(context, f"train/{payload['index']}/{payload['rung']}")
    seed = hashlib.sha256(files.get("weights", b"") + str(payload).encode()).digest()
    weights = (seed * (context.answer_bytes // 32 + 1))[:context.answer_bytes]
    return Answer({"accuracy": seed[0] / 255}, {"weights": weights})


def _begin(context: Context, key: str) -> None:
    with Path(context.log).open("a") as log:
        log.write(f"{key} {os.getpid()}\n")
    time.sleep(context.seconds)


def scoring_tasks(count: int) -> list[Task]:
    """A generation, with Optuna's view of the candidates."""
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import TrialState, create_trial

    knob = {"width": CategoricalDistribution((8, 16))}
    return [Task(f"score/{index}", score, {"index": index},
                 trial=create_trial(state=TrialState.RUNNING, params={"width": 8}, distributions=knob, user_attrs={"index": index}))
            for index in range(count)]


def run(evaluator: Any, scores: int, trainings: int) -> dict[str, Any]:
    """The whole little search: {key: what came of it}."""
    result: dict[str, Any] = {}

    def ask(tasks: list[Task]) -> dict[str, Answer]:
        found = {task.key: answer for task, answer in evaluator.answers(tasks)}
        for key, answer in found.items():
            result[key] = [dict(answer.values), answer.error, {name: hashlib.sha256(content).hexdigest() for name, content in answer.files.items()}]
        return found

    ask(scoring_tasks(scores))
    weights = dict.fromkeys(range(trainings), b"")
    for rung in range(2):
        answers = ask([Task(f"train/{index}/{rung}", train, {"index": index, "rung": rung}, {"weights": weights[index]} if rung else {})
                       for index in weights])
        weights = {index: answers[f"train/{index}/{rung}"].files["weights"] for index in weights}
    return result


class Inline:
    """The simplest evaluator: in the thread that asks. Starting processes that import torch takes longer than most of these tests."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def answers(self, tasks: Sequence[Task], more: More = no_more) -> Iterator[tuple[Task, Answer]]:
        """As Evaluator says."""
        waiting = list(tasks)
        while waiting:
            task = waiting.pop(0)
            try:
                yield task, task.work(self._context, task.payload, task.files)
            except EdgecompressError as error:
                yield task, Answer({}, error=error.message)
            waiting += more()


def shared(inner: Any, settings: Mapping[str, Any], say: Callable[[str], None]) -> SharedEvaluator:
    """This machine's evaluator."""
    return SharedEvaluator(inner, settings["storage"], settings["study"], settings["identity"], settings["workers"], Path(settings["folder"]), DISPLAY,
                           Timing(settings["grace"], settings["outage"], 0.05), say)


def main(settings: Mapping[str, Any]) -> int:
    """Works as one machine and prints a line of JSON: the answers, or the error."""
    context = Context(settings["log"], settings["seconds"], settings["answer_bytes"])
    try:
        with ExitStack() as stack:
            inner = stack.enter_context(local_evaluator(context, settings["workers"])) if settings["processes"] else Inline(context)
            evaluator = stack.enter_context(shared(inner, settings, lambda text: print(text, file=sys.stderr, flush=True)))
            result = run(evaluator, settings["scores"], settings["trainings"])
    except EdgecompressError as error:
        print(json.dumps({"error": error.message, "code": int(error.exit_code)}))
        return int(error.exit_code)
    print(json.dumps(result, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
