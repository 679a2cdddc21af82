"""Seconds that each zero-shot proxy takes for a random candidate of the space: 28x28 inputs, 32 samples, one core.

    python benchmarks/proxy_speed.py [--candidates 10] [--seed 0] [--families a,b]

Times are CPU time of the process, so that other work on the machine disturbs them less.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import time

import numpy as np
import torch

from edgecompress.search.proxies import LABELLED, PROXIES, Batch
from edgecompress.search.space import SPACE, build, random_candidate

SHAPE, CLASSES, SAMPLES = (28, 28, 1), 10, 32


def main() -> None:
    """Prints one line for each proxy."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space = SPACE.restricted(tuple(arguments.families.split(","))) if arguments.families else SPACE
    rng = np.random.default_rng(arguments.seed)
    batch = Batch(torch.randn(SAMPLES, SHAPE[2], *SHAPE[:2], generator=torch.Generator().manual_seed(0)), torch.arange(SAMPLES) % CLASSES)
    seconds: dict[str, list[float]] = {name: [] for name in PROXIES}
    macs = []
    for _ in range(arguments.candidates):
        torch.manual_seed(0)
        module = build(random_candidate(rng, space), SHAPE, CLASSES, space=space).eval()
        macs.append(PROXIES["macs"](module, batch, 0))
        for name, proxy in PROXIES.items():
            started = time.process_time()
            proxy(module, batch, 0)
            seconds[name].append(time.process_time() - started)
    print(f"{datetime.date.today()}, torch {torch.__version__}: {len(macs)} random candidates of {', '.join(space.families)}; {min(macs) / 1e6:.2f} to "
          f"{max(macs) / 1e6:.2f} million MACs, median {statistics.median(macs) / 1e6:.2f}")
    print(f"{'proxy':<22}{'median s':>10}{'mean s':>10}{'max s':>10}  labels")
    for name, values in sorted(seconds.items(), key=lambda item: statistics.fmean(item[1])):
        print(f"{name:<22}{statistics.median(values):>10.3f}{statistics.fmean(values):>10.3f}{max(values):>10.3f}  {'yes' if name in LABELLED else 'no'}")


if __name__ == "__main__":
    main()
