"""`edgecompress targets`: the devices that are known."""

from __future__ import annotations

import argparse
from typing import Any

from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ExitCode
from edgecompress.hw.target import load_target, target_names
from edgecompress.units import format_bytes


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("targets", help="list the known devices")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Prints one row a target."""
    found = [load_target(name) for name in target_names()]
    if arguments.format == "json":
        print_json([{"name": t.name, "core": t.core, "clock_hz": t.clock_hz, "flash_bytes": t.flash_bytes, "ram_bytes": t.ram_bytes,
                     "lowering": t.lowering, "profile": t.profile, "description": t.description} for t in found])
    else:
        rows = [(t.name, f"{t.clock_hz / 1e6:.0f} MHz", format_bytes(t.flash_bytes), format_bytes(t.ram_bytes), t.description) for t in found]
        print_table(("target", "clock", "flash", "RAM", "description"), rows)
    return ExitCode.DONE
