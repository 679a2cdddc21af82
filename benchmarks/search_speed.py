"""Seconds that the zero-shot search takes: candidates built, scored by the default proxies, planned for the target and costed; nothing is trained.

    python benchmarks/search_speed.py [--data digits,fashion-mnist] [--trials 500] [--workers 2,1]

The last row of each data set is what the machine allows two workers: two searches of one worker each at the same time.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgecompress.data.dataset import load_dataset
from edgecompress.run.config import SearchConfig
from edgecompress.run.problem import make_devices, make_problem
from edgecompress.search.evaluator import local_evaluator
from edgecompress.search.objective import Problem
from edgecompress.search.study import Study, StudySettings


@dataclass(frozen=True)
class Context:
    """What scoring needs of a search's context."""

    problem: Problem


def seconds(data: str, trials: int, workers: int, target: str, seed: int) -> tuple[float, int]:
    """(wall-clock seconds from the start of the processes to the last answer, candidates that could not be scored)."""
    config = SearchConfig(target=target, data=data, trials=trials, seed=seed)
    problem = make_problem(config, load_dataset(data), make_devices(config))
    with tempfile.TemporaryDirectory() as folder:
        settings = StudySettings(config.sampler, config.population, config.seed, len(problem.proxies) + 2)
        study = Study(Path(folder) / "study.log", problem.make_space(), settings)
        started = time.perf_counter()
        with local_evaluator(Context(problem), workers) as evaluator:
            study.run(evaluator, trials, lambda done, total: None)
        return time.perf_counter() - started, len(study.failures())


def limit(data: str, trials: int, target: str, seed: int, one: float) -> float:
    """Share of one worker's time that two workers can reach at best on this machine: two searches of one worker each, side by side, against two of them
    one after the other. Logical cores of one core share its arithmetic."""
    with ThreadPoolExecutor(2) as pool:
        started = time.perf_counter()
        for done in [pool.submit(seconds, data, trials, 1, target, seed) for _ in range(2)]:
            done.result()
        return (time.perf_counter() - started) / (2 * one)


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits,fashion-mnist")
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--workers", default="2,1")
    parser.add_argument("--target", default="cortex-m7")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{arguments.trials} candidates, {arguments.target}, seed {arguments.seed}, {datetime.date.today()}\n")
    print("| data | workers | seconds | not scored | share of one worker's time |")
    print("|---|---|---|---|---|")
    for data in arguments.data.split(","):
        rows = [(workers, *seconds(data, arguments.trials, workers, arguments.target, arguments.seed)) for workers in map(int, arguments.workers.split(","))]
        one = next((time for workers, time, _ in rows if workers == 1), None)
        for workers, time_taken, failed in rows:
            print(f"| {data} | {workers} | {time_taken:.1f} | {failed} | {'' if one is None else f'{time_taken / one:.0%}'} |", flush=True)
        if one is not None:
            share = limit(data, arguments.trials, arguments.target, arguments.seed, one)
            print(f"| {data} | 1 + 1 side by side | {2 * one * share:.1f} | | at best {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
