"""The searches of docs/results.md: runs them one after the other and prints the table.

    python benchmarks/results.py [--output runs/results] [--only digits,fashion,speech] [--shared ../shared/data]

A run that is finished in the output folder is not repeated; one that was stopped goes on (its minutes then count only
the last part, and the table says so). Fashion-MNIST comes from Debian's dataset-fashion-mnist, Speech Commands features from the
folder given with --shared.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

RUNS = {
    "digits": ["--data", "digits"],
    "fashion": ["--data", "fashion-mnist?train=12000&test=3000", "--ram", "64KiB", "--flash", "128KiB", "--latency", "40ms"],
    "speech": ["--data", "{shared}/audio/speech_commands12_features.npz?x=mfcc_f16&y=labels&split=split&classes=classes",
               "--macs", "2700000", "--latency", "40ms"],
}
COLUMNS = ("run", "minutes", "float", "int8", "on core (samples, differing)", "family", "MACs", "parameters", "instructions", "latency", "RAM",
           "flash")


def _run(name: str, output: Path, shared: str) -> tuple[dict[str, object], str]:
    words = [word.format(shared=shared) for word in RUNS[name]]
    command = [sys.executable, "-m", "edgecompress", "search", "--target", "cortex-m7", *words, "--seed", "0", "--output", str(output / name),
               "--resume", "--format", "json"]
    timing = output / f"{name}.minutes"
    resumed = (output / name).exists()
    started = time.monotonic()
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode not in (0, 1):
        raise SystemExit(f"{name} ended with code {result.returncode}")
    if not timing.exists():
        timing.write_text(f"{(time.monotonic() - started) / 60:.1f}" + (" (resumed)" if resumed else ""))
    return json.loads(result.stdout), timing.read_text()


def main() -> None:
    """Runs and prints Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=Path("runs/results"))
    parser.add_argument("--only", default=",".join(RUNS))
    parser.add_argument("--shared", default="../shared/data")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in arguments.only.split(","):
        summary, minutes = _run(name, arguments.output, arguments.shared)
        candidate = json.loads((arguments.output / name / "candidates" / str(summary["chosen"]) / "candidate.json").read_text())
        rows.append((
            name, minutes, f"{100 * float(str(summary['accuracy_float'])):.2f} %", f"{100 * float(str(summary['accuracy_int8'])):.2f} %",
            f"{100 * float(str(summary['accuracy_on_core'])):.2f} % ({summary['test_samples_on_core']}, {summary['on_core_mismatches']})",
            candidate["family"], f"{summary['macs']:,}", f"{summary['parameters']:,}", f"{summary['instructions']:,}",
            f"{1e3 * float(str(summary['latency_s'])):.1f} ms", f"{summary['ram_bytes']:,} B", f"{summary['flash_bytes']:,} B",
        ))
    print(f"{datetime.date.today()}, seed 0, `python benchmarks/results.py`\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
