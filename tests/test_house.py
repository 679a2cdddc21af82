"""The house itself: import direction, a light command line, a wheel that works away from the checkout."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edgecompress"
# A package may import itself and what stands before it. `lower` comes before `search`, which judges lowered plans.
FLOORS = ("errors", "units", "resources", "processes", "ir", "hw", "data", "kernels", "frontend", "compress", "lower", "search", "package", "bench",
          "run", "report", "cli", "__main__")


def _floor(module: str) -> int | None:
    parts = module.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 else None


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    module = "edgecompress." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    if path == PACKAGE / "__init__.py":
        return
    own = _floor(module)
    assert own is not None
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import"
            base = node.module or ""
            names = [f"{base}.{alias.name}" if base == "edgecompress" else base for alias in node.names]
        for name in names:
            if name.startswith("edgecompress.") and name.split(".")[1] in FLOORS:
                floor = _floor(name)
                assert floor is not None and floor <= own, f"{module} imports {name}, which stands above it"


def test_ir_and_hw_need_no_torch() -> None:
    modules = "edgecompress.ir.serialize, edgecompress.ir.reference, edgecompress.hw.estimate, edgecompress.hw.memory"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


@pytest.mark.parametrize("verb", [[], ["search"], ["compress"], ["lower"], ["bench"], ["inspect"], ["profile"], ["report"], ["targets"], ["data"],
                                  ["data", "list"]])
def test_help_is_light(verb: list[str]) -> None:
    code = f"""
import sys
from edgecompress.cli.main import main
try:
    main({[*verb, "--help"]!r})
except SystemExit as stop:
    assert stop.code == 0
heavy = [name for name in ("torch", "optuna", "sklearn", "plotly", "unicorn") if name in sys.modules]
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout


def test_wheel_works_away_from_the_checkout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    away = tmp_path / "elsewhere"
    away.mkdir()

    def run(*words: str) -> str:
        result = subprocess.run([sys.executable, "-m", "edgecompress", *words], cwd=away, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    names = [row["name"] for row in json.loads(run("targets", "--format", "json"))]
    assert "cortex-m7" in names
    code = ("import edgecompress, pathlib; from edgecompress.hw.profile import load_profile; from edgecompress.resources import data_dir;"
            "print(edgecompress.__file__, load_profile('cortex-m7-emulated').unit, (data_dir('firmware_export') / 'c' / 'kernels').is_dir())")
    place, unit, kernels = subprocess.run([sys.executable, "-c", code], cwd=away, env=environment, capture_output=True, text=True,
                                          check=True).stdout.split()
    assert place.startswith(str(tmp_path)) and unit == "cycles" and kernels == "True"
