"""`edgecompress search`: from data and a target to a proven artifact."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ExitCode
from edgecompress.run.config import DEFAULT_PROXIES, SearchConfig, from_mapping, load_values
from edgecompress.units import format_bytes, format_duration

HELP = {
    "target": "device name or the path of its TOML file",
    "data": "data set: digits, fashion-mnist, a folder of images or wavs by class, or an .npz file (see 'edgecompress data list')",
    "latency": "hard limit of one inference, such as 20ms",
    "ram": "hard limit of RAM, such as 64KiB: arena, static data and stack",
    "flash": "hard limit of flash, such as 256KiB: weights, code and tables",
    "macs": "hard limit of multiply-accumulates, 0 for none",
    "energy": "hard limit of one inference, such as 2mJ; needs a profile with the board's power (edgecompress profile --power)",
    "profile": "hardware profile name or file (default: the target's)",
    "also": "further targets that the same model must fit, such as 'cortex-m4?latency=40ms&ram=64KiB; cortex-m33'",
    "model": "search variants of your own model: pkg.module:factory or a .onnx file",
    "families": "comma-separated network families (default: all)",
    "sampler": "who proposes candidates: nsga2, nsga3, tpe or random",
    "proxies": f"comma-separated zero-shot scores (default: what --calibrate-proxies kept for this data, else {', '.join(DEFAULT_PROXIES)})",
    "pick": "which candidates are trained: hypervolume, macs or random",
    "screen": "candidates that are trained briefly before --top-k of them are trained to the end",
    "minutes": "CPU minutes that all trainings together may take, whatever the number of workers; 0: by epochs",
    "max_drop": "percentage points that quantization may lose on validation before it is trained against",
    "storage": "database that several machines share: an RDB URL or grpc://host:port",
    "study": "name of the study in --storage",
    "ray": "address of a Ray cluster that does the work: auto, local or ray://host:port",
    "trials": "untrained candidates to score",
    "population": "size of a generation of the search",
    "top_k": "candidates to train to the end",
    "epochs": "training epochs (default: by the data's recipe)",
    "seed": "one number that decides every random choice",
    "workers": "processes (default: one a core)",
    "range_method": "activation ranges: minmax, percentile, mse or entropy",
    "bias_correction": "correct the mean error that quantization leaves in each layer",
    "calibration": "training samples that set the activation ranges",
    "samples": "real inputs compared on the emulated core for each trained candidate",
    "test_samples": "at most so many test samples run on the emulated core for the chosen one",
    "on": "where trained candidates run: ssh://user@host for a Linux board (default: the target's emulator, or this machine)",
    "cc": "compiler: zig, gcc (arm-none-eabi-gcc) or a path",
    "emulator": "emulator: unicorn or qemu",
}


def register(subparsers: Any) -> None:
    """Adds the verb; every configuration key is a flag."""
    parser = subparsers.add_parser("search", help="search a model for a device: score, train, prune, quantize, lower, run, report")
    parser.add_argument("--config", type=Path, help="TOML file with any of these settings; flags win over it")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/search"), help="run folder (default: runs/search)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output, if there is one")
    parser.add_argument("--calibrate-proxies", action="store_true",
                        help="first train some 20 candidates on the data and keep the zero-shot scores that rank them better than their MACs do")
    for field in fields(SearchConfig):
        flag = "--" + field.name.replace("_", "-")
        text = HELP[field.name] + ("" if field.default in ("", 0) else f" (default: {field.default})")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=HELP[field.name])
        else:
            parser.add_argument(flag, type=type(field.default), default=None, help=text)
    add_format(parser)
    parser.set_defaults(run=run)


def resolve(arguments: argparse.Namespace) -> SearchConfig:
    """Defaults, then the TOML file, then flags."""
    values = asdict(from_mapping(load_values(arguments.config), f"configuration file '{arguments.config}'")) if arguments.config else {}
    values.update({f.name: getattr(arguments, f.name) for f in fields(SearchConfig) if getattr(arguments, f.name) is not None})
    return from_mapping(values, "command line")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Runs the pipeline and prints the chosen model."""
    config = resolve(arguments)

    from edgecompress.cli.progress import progress_display
    from edgecompress.report import write_report
    from edgecompress.run.pipeline import search

    with progress_display() as progress:
        if arguments.calibrate_proxies:
            _calibrate(config, progress)
        with redirect_stdout(sys.stderr):  # an own model may print
            outcome = search(config, arguments.output, arguments.resume, progress)
        write_report(outcome.run)
    if arguments.format == "json":
        print_json({key: value for key, value in outcome.summary.items() if key != "confusion"})
    else:
        print_table(("chosen model", str(outcome.summary["chosen"])), _rows(outcome.summary, outcome.run))
    return ExitCode.DONE if outcome.within_budget else ExitCode.ANSWER_IS_NO


def _calibrate(config: SearchConfig, progress: Any) -> None:
    """Its table goes to stderr: stdout is for the result."""
    from edgecompress.run.problem import calibrate_proxies
    from edgecompress.search.calibration import calibration_table

    calibration = calibrate_proxies(config, progress)
    titles, rows = calibration_table(calibration)
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        progress.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    progress.say(f"kept: {', '.join(calibration.kept)}")


def _rows(summary: Any, run: Path) -> list[tuple[str, str]]:
    exact = {True: "equals the reference", False: "DIFFERS from the reference", None: "not compared"}[summary["matches_reference"]]
    budget = summary["budget"]
    return [
        ("test accuracy, float", f"{100 * summary['accuracy_float']:.2f} %"),
        ("test accuracy, int8", f"{100 * summary['accuracy_int8']:.2f} %  ({summary['test_samples']} samples)"),
        ("test accuracy, on the core", f"{100 * summary['accuracy_on_core']:.2f} %  ({summary['test_samples_on_core']} samples, "
                                       f"{summary['on_core_mismatches']} outputs differ from the reference)"),
        ("latency", f"{format_duration(summary['latency_s'])} of {format_duration(budget['latency_s'])}  ({summary['latency_basis']})"),
        ("instructions", "not counted" if summary["instructions"] is None else f"{summary['instructions']}"),
        ("RAM", f"{format_bytes(summary['ram_bytes'])} of {format_bytes(budget['ram_bytes'])}"),
        ("flash", f"{format_bytes(summary['flash_bytes'])} of {format_bytes(budget['flash_bytes'])}"),
        ("parameters, MACs", f"{summary['parameters']}, {summary['macs']}"),
        ("on the core", exact),
        ("inside the budget", "yes" if summary["within_budget"] else "NO"),
        ("artifact", summary["artifact"]),
        ("report", str(run / "report.html")),
    ]
