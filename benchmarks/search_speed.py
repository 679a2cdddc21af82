"""How long the zero-shot search takes for 300 candidates.

    python benchmarks/search_speed.py [--data digits] [--trials 300] [--workers 2]
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from pathlib import Path

from edgecompress.data.dataset import load_dataset
from edgecompress.hw.target import load_target
from edgecompress.run.config import SearchConfig
from edgecompress.run.pipeline import make_problem
from edgecompress.search.space import SPACE
from edgecompress.search.study import Study


def main() -> None:
    """Runs the search, without training, and prints seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    config = SearchConfig(data=arguments.data)
    target = load_target(config.target)
    problem = make_problem(config, target, config.budget(target), load_dataset(arguments.data))
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder) / "study.log", SPACE, config.seed, config.population)
        started = time.perf_counter()
        trials = study.run(problem, arguments.trials, arguments.workers, lambda done, total: None)
        seconds = time.perf_counter() - started
    inside = sum(trial.score.feasible for trial in trials)
    print(f"{datetime.date.today()}: {len(trials)} candidates on {arguments.data} in {seconds:.1f} s with {arguments.workers} workers; "
          f"{len({t.candidate.id for t in trials})} different, {inside} inside the budget; "
          f"{sum(t.score.seconds for t in trials) / len(trials):.3f} s of one core a candidate")


if __name__ == "__main__":
    main()
