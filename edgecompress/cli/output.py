"""What every verb prints: a table for people or JSON for programs, on stdout."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from edgecompress.errors import printable


def add_format(parser: argparse.ArgumentParser) -> None:
    """Adds --format table|json."""
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print the result (default: table)")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN
    return value


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(_plain(value), indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; plain text when stdout is not a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None if not sys.stdout.isatty() else Table().box, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 or len(columns) == 2 else "right", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else printable(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)
