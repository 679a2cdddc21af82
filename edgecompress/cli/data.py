"""`edgecompress data list` and `edgecompress data inspect`: which data sets there are, and what is in one."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any

from edgecompress.cli.output import add_format, print_json
from edgecompress.errors import ExitCode

if TYPE_CHECKING:
    from edgecompress.data.dataset import Dataset

Rows = list[tuple[str, ...]]


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb `data` with its two actions."""
    verb = subparsers.add_parser("data", help="list and inspect data sets", description="List and inspect data sets.")
    actions = verb.add_subparsers(dest="data_action", required=True, metavar="{list,inspect}")

    listing = actions.add_parser("list", help="data sets with a name, and what else works", description="List data sets.")
    listing.set_defaults(run=run_list)

    inspect = actions.add_parser("inspect", help="what is in a data set", description="Read a data set, check it, and say what is in it.")
    inspect.add_argument("spec", metavar="SPEC", help="a name from 'data list', a .npz file or a folder, with ?key=value&key=value options")
    inspect.add_argument("--seed", type=int, default=0, help="chooses the validation samples when the data has no such part (default 0)")
    inspect.add_argument("--validation-fraction", type=float, default=0.15, metavar="F", help="how much to split off for validation (default 0.15)")
    inspect.set_defaults(run=run_inspect)

    add_format(listing)
    add_format(inspect)


def _print_rows(title: str, header: tuple[str, ...], rows: Rows) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left")
        for name in header:
            table.add_column(name, overflow="fold")  # a cut hash or path is of no use
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    print(title)
    for row in (header, *rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def run_list(arguments: argparse.Namespace) -> ExitCode:
    """Prints the known sets, where they are on this machine or how to get them, and the other kinds of spec."""
    from edgecompress.data.sources import KNOWN, PATTERNS

    found = {name: known.where() for name, known in KNOWN.items()}
    if arguments.format == "json":
        sets = [
            {
                "name": name, "description": known.description, "available": found[name] is not None, "where": found[name],
                "how_to_get": known.how_to_get,
            }
            for name, known in KNOWN.items()
        ]
        print_json({"sets": sets, "other_specs": [{"spec": spec, "description": text} for spec, text in PATTERNS.items()]})
        return ExitCode.DONE
    rows: Rows = [(name, "yes" if found[name] else "no", found[name] or "-", known.description) for name, known in KNOWN.items()]
    _print_rows("Data sets with a name", ("name", "here", "where", "what"), rows)
    print()
    _print_rows("Your own data", ("spec", "what"), list(PATTERNS.items()))
    for name, known in KNOWN.items():
        if found[name] is None:
            print(f"\nto get {name}: {known.how_to_get}")
    return ExitCode.DONE


def _describe(dataset: Dataset, spec: str) -> dict[str, Any]:
    """JSON-ready account of a data set."""
    import numpy as np

    from edgecompress.data.dataset import duplicates

    normalization, class_count = dataset.normalization, len(dataset.classes)
    return {
        "spec": spec, "name": dataset.name, "kind": dataset.kind, "source": dataset.source, "hash": dataset.hash,
        "input_shape": list(dataset.input_shape), "dtype": str(dataset.train.x.dtype),
        "range": [float(dataset.train.x.min()), float(dataset.train.x.max())],
        "raw": {
            "dtype": normalization.raw_dtype, "range": [normalization.raw_min, normalization.raw_max], "front_end": normalization.front_end,
        },
        "normalization": {"mean": normalization.mean, "scale": normalization.scale, "rule": "model input = (raw - mean) * scale"},
        "classes": list(dataset.classes),
        "parts": {
            name: {"samples": len(samples), "shape": list(samples.x.shape), "per_class": np.bincount(samples.y, minlength=class_count).tolist()}
            for name, samples in dataset.parts.items()
        },
        "duplicates": duplicates(dataset), "notes": list(dataset.notes),
    }


def run_inspect(arguments: argparse.Namespace) -> ExitCode:
    """Prints shapes, ranges, classes by part, duplicates across parts, normalisation and hash of one data set."""
    from edgecompress.data.dataset import load_dataset

    account = _describe(load_dataset(arguments.spec, arguments.seed, arguments.validation_fraction), arguments.spec)
    if arguments.format == "json":
        print_json(account)
    else:
        _print_account(account)
    return ExitCode.DONE


def _print_account(account: dict[str, Any]) -> None:
    raw, rule, parts = account["raw"], account["normalization"], account["parts"]
    facts: Rows = [
        ("kind", account["kind"]), ("source", account["source"]), ("front end", raw["front_end"]),
        ("raw values", f"{raw['dtype']}, {raw['range'][0]:g} to {raw['range'][1]:g} in the train part"),
        ("normalisation", f"input = (raw {'-' if rule['mean'] >= 0 else '+'} {abs(rule['mean']):g}) * {rule['scale']:g}"),
        ("model input", f"{account['dtype']} {account['input_shape']} (height, width, channels)"),
        ("input range", f"{account['range'][0]:.3g} to {account['range'][1]:.3g} in the train part"),
        ("hash", account["hash"]),
    ]
    _print_rows(account["name"], ("fact", "value"), facts)
    print()
    names = tuple(parts)
    counts: Rows = [
        (name, *(str(parts[part]["per_class"][index]) for part in names)) for index, name in enumerate(account["classes"])
    ]
    counts.append(("all", *(str(parts[part]["samples"]) for part in names)))
    _print_rows("Samples by class", ("class", *names), counts)
    for pair, count in account["duplicates"].items():
        if count:
            earlier, later = pair.split("-")
            print(f"\nwarning: {count} of {parts[later]['samples']} {later} samples also occur in the {earlier} part")
    for note in account["notes"]:
        print(f"\nnote: {note}")
    print(f"\nuse it with: edgecompress search --data {shlex.quote(account['spec'])}")
