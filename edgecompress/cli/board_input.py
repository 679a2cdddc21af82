"""Arguments that name a board at a serial port, for the verbs that run firmware on one."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_board(parser: argparse.ArgumentParser) -> None:
    """Adds --flash-command and --board."""
    parser.add_argument("--flash-command", metavar="COMMAND",
                        help="with --on serial: what programs and resets the board, run for each firmware; {elf} stands for its file, {bin} for the "
                             "same as a plain image")
    parser.add_argument("--board", type=Path, metavar="FILE.c", help="with --on serial: C file that starts the board and sends a byte "
                                                                     "(firmware_export/harness/board_mps2.c is an example)")
