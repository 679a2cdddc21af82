"""Predicted latency against the emulator on random models of the search space that the profile never saw.

    python benchmarks/latency_prediction.py [--target cortex-m7] [--models 20] [--seed 1]

Prints a row a model, then the mean absolute error and Spearman's rank correlation. The profile is fitted on random
layer chains of `bench/sweep.py`; these models come from the search space, so none of them was seen.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from edgecompress.bench import bench
from edgecompress.cli.output import print_table
from edgecompress.compress.quantize.structure import quantize_structure
from edgecompress.frontend.torch_import import from_torch
from edgecompress.hw.estimate import estimate
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.lower import lower
from edgecompress.search.space import build, random_candidate, weight_bits

SHAPES = ((8, 8, 1, 10), (28, 28, 1, 10), (49, 10, 1, 12), (32, 32, 3, 10), (128, 9, 1, 6))  # height, width, channels, classes
MAX_MACS = 4_000_000


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", default="cortex-m7")
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    target = load_target(arguments.target)
    profile = load_profile(target.profile)
    random = np.random.default_rng(arguments.seed)
    rows: list[tuple[str, ...]] = []
    pairs = []
    sizes = []
    while len(pairs) < arguments.models:
        height, width, channels, classes = SHAPES[len(pairs) % len(SHAPES)]
        candidate = random_candidate(random)
        torch.manual_seed(arguments.seed)
        module = build(candidate, (height, width, channels), classes).eval()
        graph = quantize_structure(from_torch(module, (height, width, channels)), weight_bits(candidate, module))
        if graph.total_macs > MAX_MACS:
            continue
        artifact = lower(graph, target)
        cost = estimate(artifact.plan, profile, target)
        with tempfile.TemporaryDirectory() as folder:
            artifact.write(Path(folder) / "artifact")
            seen = bench(Path(folder) / "artifact")
        assert seen.latency_s is not None and seen.flash_bytes is not None and seen.ram_bytes is not None
        pairs.append((cost.latency_s, seen.latency_s))
        sizes.append((cost.flash_bytes / seen.flash_bytes - 1, cost.ram_bytes / seen.ram_bytes - 1))
        rows.append((candidate.id, candidate.family, f"{height}x{width}x{channels}", f"{graph.total_macs}", f"{cost.latency_s * 1e3:.3f}",
                     f"{seen.latency_s * 1e3:.3f}", f"{100 * (cost.latency_s / seen.latency_s - 1):+.1f}", f"{100 * sizes[-1][0]:+.1f}",
                     f"{100 * sizes[-1][1]:+.1f}"))
    predicted, measured = np.array(pairs).T
    error = 100 * np.abs(predicted / measured - 1)
    print(f"# {datetime.date.today()}  target {target.name}  profile {profile.name} ({profile.date})  seed {arguments.seed}")
    print_table(("model", "family", "input", "MACs", "predicted ms", "emulated ms", "error %", "flash error %", "RAM error %"), rows)
    print(f"latency: mean absolute error {error.mean():.2f} %, worst {error.max():.2f} %, rank correlation {spearmanr(predicted, measured)[0]:.4f}")
    print(f"flash: mean absolute error {100 * np.abs([s[0] for s in sizes]).mean():.2f} %, RAM: {100 * np.abs([s[1] for s in sizes]).mean():.2f} %")


if __name__ == "__main__":
    main()
