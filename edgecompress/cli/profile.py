"""`edgecompress profile`: measure a sweep of layers on a target and write its hardware profile."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecompress.cli.board_input import add_board
from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ConfigError, ExitCode
from edgecompress.units import parse_power


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("profile", help="measure layers on a device and write the latency profile the search reads")
    parser.add_argument("--target", default="cortex-m7", help="device name or the path of its TOML file (default: cortex-m7)")
    parser.add_argument("--output", type=Path, help="file to write (default: hw_profiles/<the target's profile>.json in this folder)")
    parser.add_argument("--overwrite", action="store_true", help="replace a profile that is there")
    parser.add_argument("--layers", type=int, default=5000,
                        help="random layers to choose from, so that each kernel is seen often enough; one in six of a kernel's is held back to judge "
                             "the fit (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="which layers (default: 0)")
    parser.add_argument("--on", metavar="WHERE",
                        help="emulator, host (this machine), ssh://user@host[:port] or serial:/dev/ttyACM0[?baud=115200] (default: the target's "
                             "emulator; this machine for host targets)")
    parser.add_argument("--power", help="mean power of the board while it computes, as you measured it, such as 85mW; the search can then limit energy")
    add_board(parser)
    parser.add_argument("--cc", help="compiler: zig, gcc or a path")
    parser.add_argument("--emulator", choices=("unicorn", "qemu"), help="emulator (default: unicorn, where it has the core)")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Sweeps, fits, writes."""
    from edgecompress.bench.profiling import make_profile
    from edgecompress.cli.progress import progress_display
    from edgecompress.hw.target import load_target

    if arguments.layers < 50:
        raise ConfigError(f"--layers {arguments.layers} is too few to fit and judge a profile; use at least 50")
    target = load_target(arguments.target)
    path = arguments.output or Path("hw_profiles") / f"{target.own_profile}.json"
    if arguments.seed < 0:
        raise ConfigError(f"--seed {arguments.seed} must be 0 or more")
    if path.suffix != ".json" or path.is_dir():
        raise ConfigError(f"'{path}' cannot be a profile; --output needs the name of a .json file")
    if path.exists() and not arguments.overwrite:
        raise ConfigError(f"'{path}' exists; add --overwrite to replace it or choose another --output")
    power = None if arguments.power is None else parse_power(arguments.power)
    if power is not None and power <= 0:
        raise ConfigError(f"--power {arguments.power} must be more than nothing")
    path.parent.mkdir(parents=True, exist_ok=True)  # first: minutes of work would be lost to a folder that cannot be made
    on = None if arguments.on == "emulator" else arguments.on
    with progress_display() as progress:
        profile = make_profile(target, path.stem, arguments.layers, arguments.seed, arguments.cc, arguments.emulator, progress, on,
                               arguments.flash_command, arguments.board)
    profile = replace(profile, power_w=power)
    profile.save(path)
    error = profile.fit_error
    summary = {"profile": str(path), "target": target.name, "source": profile.source, "unit": profile.unit, "rows": len(profile.layer_rows),
               "held_back_rows": error.rows, "mean_absolute_percent": error.mean_absolute_percent, "worst_percent": error.worst_percent,
               "kernels": dict(error.kernels)}
    if arguments.format == "json":
        print_json(summary)
    else:
        print(f"{path}: {len(profile.layer_rows)} layers, {error.rows} of them held back; on those the mean error is "
              f"{error.mean_absolute_percent:.2f} %, the worst {error.worst_percent:.1f} %")
        print_table(("kernel", "mean error on rows held back, %"), [(k, f"{v:.2f}") for k, v in error.kernels.items()])
    return ExitCode.DONE
