"""A keyword spotter for a microcontroller: from recordings to a folder of C that was run on an emulated core.

    python examples/keyword_spotting.py speech_commands/ --latency 20ms --ram 32KiB --flash 64KiB

DATA is a folder of 16 kHz wav files by class, such as Speech Commands (http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz, 2.3 GB:
unpack it and keep the folders of the words you want), or an .npz file of features: 'features.npz?x=mfcc_f16&y=labels&split=split&classes=classes'.
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
from edgecompress.run.pipeline import Outcome, search
from edgecompress.units import format_bytes, format_duration

WHERE = ("DATA is a folder CLASS/*.wav (16 kHz, 16 bit, mono) or an .npz file of features; Speech Commands is at "
         "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz")


def make_config(arguments: argparse.Namespace) -> SearchConfig:
    """What to search, for which core, within which limits."""
    config = SearchConfig(
        data=arguments.data, target=arguments.target, latency=arguments.latency, ram=arguments.ram, flash=arguments.flash,
        minutes=arguments.minutes, seed=arguments.seed,
    )
    if arguments.quick:
        return replace(config, trials=6, population=4, screen=0, top_k=1, epochs=2, minutes=0.0, test_samples=10, samples=10)
    return config


def show(outcome: Outcome) -> None:
    """What was found, and where it is."""
    chosen = outcome.summary
    float_accuracy, clips = 100 * chosen["accuracy_float"], chosen["test_samples"]
    print(f"test accuracy   {100 * chosen['accuracy_int8']:.2f} % int8, {float_accuracy:.2f} % float ({clips} clips)")
    print(f"latency         {format_duration(chosen['latency_s'])} on {chosen['target']} ({chosen['latency_basis']})")
    print(f"memory          RAM {format_bytes(chosen['ram_bytes'])}, flash {format_bytes(chosen['flash_bytes'])}")
    print(f"network         {chosen['parameters']:,} parameters, {chosen['macs']:,} MACs")
    print(f"emulated core   {'equals' if chosen['matches_reference'] else 'DIFFERS FROM'} the reference; "
          f"{chosen['on_core_mismatches']} of {chosen['test_samples_on_core']} test clips differ")
    print(f"budget          {'kept' if outcome.within_budget else 'MISSED'}")
    print(f"C folder        {chosen['artifact']}")
    print(f"report          {outcome.run / 'report.html'}")


def main() -> int:
    """0: found, 1: nothing keeps the budget, 2 or 3: an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="folder of wav files by class, or .npz file of features")
    parser.add_argument("--target", default="cortex-m7")
    parser.add_argument("--latency", default="20ms")
    parser.add_argument("--ram", default="32KiB")
    parser.add_argument("--flash", default="64KiB")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training (default: 5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/keywords"))
    parser.add_argument("--quick", action="store_true", help="few candidates and epochs, to see that it runs: the accuracy means nothing")
    arguments = parser.parse_args()
    try:
        with progress_display() as progress:
            outcome = search(make_config(arguments), arguments.output, resume=False, progress=progress)
        write_report(outcome.run)
    except EdgecompressError as error:
        missing = not Path(arguments.data.partition("?")[0]).exists()
        print(f"error: {error}" + (f"\n  {WHERE}" if missing else ""), file=sys.stderr)
        return int(error.exit_code)
    show(outcome)
    return 0 if outcome.within_budget else 1


if __name__ == "__main__":
    sys.exit(main())
