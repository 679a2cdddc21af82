"""Our search against random search, selection by multiply-accumulates alone, and a fixed reference network scaled to the budget.

    python benchmarks/search_quality.py [--minutes 4] [--seeds 0,1,2] [--settings gnss-tight,...] [--arms search,...] [--shared ../shared/data]

Every run is one `edgecompress search` on cortex-m7 with the same budget and the same CPU time of training: what two workers have in `--minutes`. Random
search trains four candidates; selection by multiply-accumulates the two with the most; the reference network its two largest widths that fit, one a worker.
A run that is finished in --output is not repeated, one that was stopped goes on. The candidate of each run is chosen on validation; the figures are
int8 accuracies on the test part, mean and standard deviation over the seeds. `--table` only prints what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompress.search.shared_identity import code_hash

WORKERS = 2
SPEECH = "{shared}/audio/speech_commands12_features.npz?x=mfcc_f16&y=labels&split=split&classes=classes"


@dataclass(frozen=True)
class Setting:
    """A task under a budget, and the network that one would take without a search."""

    data: str
    latency: str
    ram: str
    flash: str
    reference: str


# tight: the reference fits only at a width far below the published one
SETTINGS = {
    "gnss-tight": Setting("gnss?test=6000", "3ms", "8KiB", "20KiB", "benchmarks.references:MOBILENET"),
    "gnss-loose": Setting("gnss?test=6000", "20ms", "64KiB", "128KiB", "benchmarks.references:MOBILENET"),
    "speech-tight": Setting(SPEECH, "1.5ms", "8KiB", "16KiB", "benchmarks.references:DS_CNN"),
    "fashion-tight": Setting("fashion-mnist?train=12000", "4ms", "8KiB", "20KiB", "benchmarks.references:RESNET8"),
}
ARMS = {
    "search": [],
    "random": ["--sampler", "random", "--trials", "100", "--proxies", "macs", "--pick", "random", "--screen", "0", "--top-k", "4"],
    "macs": ["--proxies", "macs", "--pick", "macs", "--screen", "0", "--top-k", "2"],
    "reference": ["--families", "{reference}", "--sampler", "random", "--proxies", "macs", "--pick", "macs", "--screen", "0", "--top-k", "2"],
}
TITLES = {"search": "our search", "random": "random search", "macs": "MACs only", "reference": "scaled reference"}


def run(setting: str, arm: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Summary of one run; None when it is not there and only the table is wanted."""
    folder = arguments.output / setting / f"{arm}-{seed}"
    finished = folder / "finished.json"
    if finished.exists():
        return json.loads(finished.read_text())
    if arguments.table:
        return None
    chosen = SETTINGS[setting]
    words = [word.format(reference=chosen.reference) for word in ARMS[arm]]
    command = [sys.executable, "-m", "edgecompress", "search", "--target", "cortex-m7", "--data", chosen.data.format(shared=arguments.shared),
               "--latency", chosen.latency, "--ram", chosen.ram, "--flash", chosen.flash,
               "--minutes", str(arguments.minutes * WORKERS), "--workers", str(WORKERS),
               "--seed", str(seed), "--output", str(folder), "--resume", "--format", "json", *words]
    started = time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"{setting}, {arm}, seed {seed} ended with code {done.returncode}")
    printed = json.loads(done.stdout)
    family = family_of(folder, printed["chosen"])
    minutes = (time.monotonic() - started) / 60
    summary = {**printed, "code": code_hash(), "minutes": minutes, "training_minutes": arguments.minutes, "family": family}
    finished.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return summary


def family_of(folder: Path, identity: str) -> str:
    """Family of a trained candidate."""
    return str(json.loads((folder / "candidates" / identity / "candidate.json").read_text())["family"])


def spread(values: list[float]) -> float:
    """Standard deviation of the seeds; 0 for one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def with_spread(values: list[float]) -> str:
    """Mean and standard deviation; one seed has none."""
    return f"{statistics.mean(values):.2f}" + (f" ± {spread(values):.2f}" if len(values) > 1 else "")


def table(results: Mapping[tuple[str, str], list[dict[str, Any]]], settings: list[str], arms: list[str]) -> str:
    """Markdown: a row a setting and arm, and how far ours is ahead in terms of the spread."""
    heads = ("setting", "arm", "seeds", "test accuracy int8", "ahead by (spread)", "latency", "RAM", "flash", "families", "minutes a run")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for setting in settings:
        ours = [100 * r["accuracy_int8"] for r in results.get((setting, "search"), [])]
        for arm in arms:
            rows = results.get((setting, arm), [])
            if not rows:
                continue
            values = [100 * r["accuracy_int8"] for r in rows]
            ahead = ""
            if arm != "search" and ours:
                difference = statistics.mean(ours) - statistics.mean(values)
                noise = max(spread(ours), spread(values))
                verdict = "ahead" if difference > noise else "behind" if difference < -noise else "even"
                ahead = f"{difference:+.2f} ({noise:.2f}): {verdict}" if min(len(ours), len(values)) > 1 else f"{difference:+.2f} (one seed tells no spread)"
            exact = all(r["matches_reference"] and r["within_budget"] and r["on_core_mismatches"] == 0 for r in rows)
            mean = {key: statistics.mean(r[key] for r in rows) for key in ("latency_s", "ram_bytes", "flash_bytes", "minutes")}
            lines.append(
                f"| {setting} | {TITLES[arm]} | {len(rows)} | {with_spread(values)} %{'' if exact else ' (!)'} | {ahead} | "
                f"{1e3 * mean['latency_s']:.2f} ms | {mean['ram_bytes'] / 1024:.1f} KiB | {mean['flash_bytes'] / 1024:.1f} KiB | "
                f"{', '.join(sorted({str(r['family']) for r in rows}))} | {mean['minutes']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/search_quality"))
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--shared", default="../shared/data")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    settings, arms = arguments.settings.split(","), arguments.arms.split(",")
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in map(int, arguments.seeds.split(",")):
        for setting in settings:
            for arm in arms:
                summary = run(setting, arm, seed, arguments)
                if summary is not None:
                    results.setdefault((setting, arm), []).append(summary)
                    print(f"{setting} {arm} {seed}: {100 * summary['accuracy_int8']:.2f} % {summary['family']} {summary['minutes']:.1f} min", file=sys.stderr)
    for setting in settings:
        chosen = SETTINGS[setting]
        print(f"- `{setting}`: {Path(chosen.data.partition('?')[0]).stem}, {chosen.latency}, {chosen.ram} RAM, {chosen.flash} flash; "
              f"reference {chosen.reference.partition(':')[2]}")
    print()
    print(table(results, settings, arms))
    codes = sorted({str(row.get("code", "unknown")) for rows in results.values() for row in rows})
    print(f"\ncode of the runs: {', '.join(codes)}{'; compare only runs of the same code' if len(codes) > 1 else ''}")


if __name__ == "__main__":
    main()
