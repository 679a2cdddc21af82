"""docs/operators.md is what the code says."""

from __future__ import annotations

import sys
from pathlib import Path

from tools import require_tool

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
SHARED = ROOT.parent / "shared" / "data"


def test_operator_tables_are_those_of_the_importers() -> None:
    from operators import PAGE, operator_tables

    assert operator_tables() in PAGE.read_text(), "run python benchmarks/operators.py"


def test_file_table_is_what_the_importers_do() -> None:
    from operators import PAGE, page

    require_tool("shared-data", SHARED.is_dir())
    assert PAGE.read_text() == page(SHARED), "run python benchmarks/operators.py"
