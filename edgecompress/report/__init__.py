"""`report.json` to a page and a model card that stand alone."""

from __future__ import annotations

from pathlib import Path

REPORT, CARD = "report.html", "MODEL_CARD.md"


def write_report(run_folder: Path) -> None:
    """Writes `report.html` and `MODEL_CARD.md` beside `report.json`, each atomically.

    Raises ConfigError if `report.json` is missing, damaged or holds a wrong value; then nothing is written.
    """
    from edgecompress.report.document import load_report
    from edgecompress.report.render import render_card, render_html
    from edgecompress.run.files import write_atomic

    report = load_report(run_folder / "report.json")
    page, card = render_html(report), render_card(report)
    write_atomic(run_folder / REPORT, page)
    write_atomic(run_folder / CARD, card)
