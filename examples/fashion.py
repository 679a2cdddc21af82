"""Fashion-MNIST under a tight budget: the best classifier that fits 48 KiB of flash and 16 KiB of RAM and answers in 5 ms on a Cortex-M7.

    python examples/fashion.py

The data comes from Debian's package dataset-fashion-mnist, torchvision's folder or Keras' cache; --data takes another place, such as
'fashion-mnist?path=FOLDER' with the four idx files, or an .npz file with x_train y_train x_test y_test.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from edgecompress.cli.progress import progress_display
from edgecompress.errors import EdgecompressError
from edgecompress.report import write_report
from edgecompress.run.config import SearchConfig
from edgecompress.run.pipeline import search
from edgecompress.units import format_bytes, format_duration

CONFIG = SearchConfig(data="fashion-mnist?train=12000&test=3000", target="cortex-m7", latency="5ms", ram="16KiB", flash="48KiB", minutes=5.0)


def main() -> int:
    """0: found, 1: nothing keeps the budget, 2 or 3: an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=CONFIG.data)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/fashion"))
    parser.add_argument("--quick", action="store_true", help="few candidates and one epoch, to see that it runs: the accuracy means nothing")
    arguments = parser.parse_args()
    config = replace(CONFIG, data=arguments.data, seed=arguments.seed)
    if arguments.quick:
        config = replace(config, trials=6, population=4, screen=0, top_k=1, epochs=1, minutes=0.0, test_samples=10, samples=10)
    try:
        with progress_display() as progress:
            outcome = search(config, arguments.output, resume=False, progress=progress)
        write_report(outcome.run)
    except EdgecompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    chosen = outcome.summary
    limits = f"limits {config.latency}, {config.ram}, {config.flash}: {'kept' if outcome.within_budget else 'MISSED'}"
    print(f"{100 * chosen['accuracy_int8']:.2f} % int8 on {chosen['test_samples']} test images ({100 * chosen['accuracy_float']:.2f} % float)")
    print(f"{format_duration(chosen['latency_s'])}, RAM {format_bytes(chosen['ram_bytes'])}, flash {format_bytes(chosen['flash_bytes'])} ({limits})")
    print(f"{chosen['on_core_mismatches']} of {chosen['test_samples_on_core']} outputs of the emulated core differ from the reference")
    print(f"C folder {chosen['artifact']}, report {outcome.run / 'report.html'}")
    return 0 if outcome.within_budget else 1


if __name__ == "__main__":
    sys.exit(main())
