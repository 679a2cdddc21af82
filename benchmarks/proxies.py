"""How well each zero-shot proxy ranks networks of the space that fit a target: Kendall's tau with the accuracy of short trainings.

    python benchmarks/proxies.py [--data digits] [--target cortex-m7] [--networks 20] [--seconds 0] [--epochs 0] [--seed 0] [--families a,b]

The same calibration as `edgecompress search --calibrate-proxies`; finished trainings are kept in the user's cache, so a second run goes on.
"""

from __future__ import annotations

import argparse
import datetime
import sys

import torch

from edgecompress import __version__
from edgecompress.data.dataset import load_dataset
from edgecompress.run.config import SearchConfig
from edgecompress.run.problem import calibrations, make_devices, make_problem
from edgecompress.search.calibration import CalibrationConfig, calibrate, calibration_table


def main() -> None:
    """Calibrates and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--target", default="cortex-m7")
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", default="")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    config = SearchConfig(data=arguments.data, target=arguments.target, families=arguments.families, seed=arguments.seed)
    data = load_dataset(arguments.data, seed=arguments.seed)
    devices = make_devices(config)
    settings = CalibrationConfig(arguments.networks, arguments.seconds, arguments.epochs, seed=arguments.seed)
    found = calibrate(data.without_test(), make_problem(config, data, devices).space, devices, settings, calibrations(),
                      arguments.workers, lambda done, of: print(f"{done} of {of}", file=sys.stderr), lambda text: print(text, file=sys.stderr))
    titles, rows = calibration_table(found)
    accuracies = sorted(network.accuracy for network in found.networks)
    print(f"{datetime.date.today()}, edgecompress {__version__}, torch {torch.__version__}: {len(found.networks)} random networks within {found.limits}; "
          f"{data.name}, seed {arguments.seed}, {sum(n.seconds for n in found.networks):.0f} s of training, "
          f"validation accuracy {accuracies[0]:.3f} to {accuracies[-1]:.3f} (median {accuracies[len(accuracies) // 2]:.3f})")
    families = sorted({network.family for network in found.networks})
    print("networks: " + ", ".join(f"{sum(n.family == name for n in found.networks)} {name}" for name in families))
    print()
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        print("  ".join(text.ljust(width) if column in (0, len(row) - 1) else text.rjust(width)
                        for column, (text, width) in enumerate(zip(row, widths, strict=True))).rstrip())
    print()
    print(f"kept: {', '.join(found.kept)}")


if __name__ == "__main__":
    main()
