"""`edgecompress report`: writes a run's page and model card again from its `report.json`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ExitCode


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("report", help="write report.html and MODEL_CARD.md of a finished run again")
    parser.add_argument("folder", metavar="RUN", type=Path, help="run folder, as 'search --output' made it")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Renders and says where."""
    from edgecompress.report import CARD, REPORT, write_report

    write_report(arguments.folder)
    page, card = arguments.folder / REPORT, arguments.folder / CARD
    if arguments.format == "json":
        print_json({"report": str(page), "model_card": str(card)})
    else:
        print_table(("written", "file"), [("report", str(page)), ("model card", str(card))])
    return ExitCode.DONE
