"""`edgecompress bench`: build an artifact, run it, compare it with its definition."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgecompress.cli.board_input import add_board
from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ExitCode
from edgecompress.units import format_bytes, format_duration


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("bench", help="build an artifact, run it on the emulated core, this host or another one, compare with the reference")
    parser.add_argument("folder", type=Path, help="artifact folder, as 'lower' and 'search' write it")
    parser.add_argument("--target", help="device name or the path of its TOML file (default: the one the artifact was lowered for)")
    parser.add_argument("--on", metavar="WHERE", help="where to run: emulator, unicorn, qemu, host, ssh://user@host[:port] or serial:/dev/ttyACM0"
                                                      "[?baud=115200] (default: the target's emulator; this machine for host targets)")
    add_board(parser)
    parser.add_argument("--emulator", choices=("unicorn", "qemu"), help="same as --on with that name")
    parser.add_argument("--cc", help="compiler: zig, gcc or a path (default: zig for cores, the system's for the host)")
    parser.add_argument("--samples", type=int, default=10, help="inputs to compare, at least 10 where the artifact has them (default: 10)")
    parser.add_argument("--layers", action="store_true", help="also print instructions a layer")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Benches and prints; exit code 1 if outputs differ from the reference."""
    from edgecompress.bench import bench
    from edgecompress.hw.target import load_target

    target = load_target(arguments.target) if arguments.target else None
    on = None if arguments.on == "emulator" else arguments.on
    measurement = bench(arguments.folder, on=on, cc=arguments.cc, emulator=arguments.emulator, samples=arguments.samples, target=target,
                        flash_command=arguments.flash_command, board=arguments.board)
    if arguments.format == "json":
        print_json(measurement.to_document())
    else:
        _print(measurement, arguments.layers)
    return ExitCode.DONE if measurement.matches_reference is not False else ExitCode.ANSWER_IS_NO


def _print(seen: Any, layers: bool) -> None:
    exact = {True: "yes", False: f"NO: {seen.mismatches} of {seen.samples} outputs differ", None: "not compared"}[seen.matches_reference]
    stack = "not measured" if seen.stack_bytes is None else format_bytes(seen.stack_bytes)
    print_table(("bench", seen.target), [
        ("ran on", f"{seen.where} ({seen.emulator or 'this machine'}; {seen.compiler})"),
        ("instructions", "not counted" if seen.instructions is None else str(seen.instructions)),
        *([] if seen.estimated_cycles is None else [
            ("cycles, estimated", f"{seen.estimated_cycles} (pipeline model; {seen.memory_words} memory words moved)"),
            ("flash waits, estimated", "not known: the target's file has no flash_timing" if seen.flash_wait_cycles is None else
             f"{seen.flash_wait_cycles} cycles more")]),
        ("latency", "not measured" if seen.latency_s is None else f"{format_duration(seen.latency_s)} ({seen.latency_basis})"),
        ("flash", "not measured" if seen.flash_bytes is None else
         format_bytes(seen.flash_bytes) + (" (constants; a program's code is not counted)" if seen.where in ("host", "ssh") else "")),
        ("RAM", "not measured" if seen.ram_bytes is None else
         f"{format_bytes(seen.ram_bytes)} (arena {format_bytes(seen.arena_bytes)}, stack {stack}; "
         + (f"inputs and outputs of {format_bytes(seen.caller_bytes)} are the caller's)" if seen.caller_bytes else "inputs and outputs included)")),
        ("equals the reference", f"{exact} ({seen.samples} inputs: {seen.vectors_source})"),
    ])
    if layers and seen.layers:
        print_table(("layer", "kernel", "instructions", "cycles (estimated)", "flash waits", "memory words"), [
            (row.node, row.kernel, row.instructions,
             *("-" if value is None else value for value in (row.estimated_cycles, row.flash_wait_cycles, row.memory_words)))
            for row in seen.layers])
