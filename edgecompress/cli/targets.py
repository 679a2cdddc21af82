"""`edgecompress targets`: the devices that are known, or all that is known of one."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ExitCode
from edgecompress.hw.target import Target, load_target, target_names
from edgecompress.units import format_bytes


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("targets", help="list the known devices, or show one")
    parser.add_argument("name", nargs="?", help="device name or the path of its TOML file: show all that is known of it")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Prints one row a target, or the facts of one."""
    if arguments.name:
        target = load_target(arguments.name)
        print_json(_document(target)) if arguments.format == "json" else _print_one(target)
        return ExitCode.DONE
    found = [load_target(name) for name in target_names()]
    if arguments.format == "json":
        print_json([_document(target) for target in found])
    else:
        rows = [(t.name, t.core, f"{t.clock_hz / 1e6:g} MHz", format_bytes(t.flash_bytes), format_bytes(t.ram_bytes), t.description) for t in found]
        print_table(("target", "core", "clock", "flash", "RAM", "description"), rows)
    return ExitCode.DONE


def _document(target: Target) -> dict[str, Any]:
    return {"name": target.name, "family": target.family, "core": target.core, "extensions": list(target.extensions), "clock_hz": target.clock_hz,
            "flash_bytes": target.flash_bytes, "ram_bytes": target.ram_bytes,
            "regions": [{"name": r.name, "kind": r.kind, "bytes": r.size, "note": r.note} for r in target.regions],
            "flash_timing": None if target.flash_timing is None else asdict(target.flash_timing),
            "lowering": target.lowering, "profile": target.profile, "bases": list(target.bases), "source": target.source, "verified": target.verified,
            "description": target.description}


def _print_one(target: Target) -> None:
    timing = target.flash_timing
    print_table(("target", target.name), [
        ("description", target.description),
        ("core", f"{target.core} at {target.clock_hz / 1e6:g} MHz, extensions: {', '.join(target.extensions) or 'none'}"),
        ("flash, RAM", f"{format_bytes(target.flash_bytes)}, {format_bytes(target.ram_bytes)} in one piece"),
        ("flash waits", "not documented here" if timing is None else
         f"{timing.wait_cycles} cycles for {timing.read_bytes} bytes; caches of {format_bytes(timing.code_cache_bytes)} for code and "
         f"{format_bytes(timing.constant_cache_bytes)} for constants ({timing.source})"),
        ("figures from", target.source),
        ("checked against", target.verified or "nothing"),
        ("base", ", ".join(target.bases) or "none"),
        ("latency profile", target.profile),
    ])
    if target.regions:
        print()
        print_table(("region", "kind", "size", "note"), [(r.name, r.kind, format_bytes(r.size), r.note) for r in target.regions])
