"""What a person sees who types something wrong: one sentence, the right exit code, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecompress.cli.main import main
from edgecompress.errors import ExitCode


def _fails(capsys: pytest.CaptureFixture[str], words: list[str], code: ExitCode, *parts: str) -> str:
    assert main(words) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    for part in parts:
        assert part in captured.err, captured.err
    return captured.err


def test_unknown_target_is_named_with_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    _fails(capsys, ["search", "--target", "cortex-7"], ExitCode.USAGE, "unknown target 'cortex-7'", "Did you mean 'cortex-m7'?")


def test_unknown_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _fails(capsys, ["search", "--data", "digit", "--output", str(tmp_path / "run")], ExitCode.USAGE, "digit", "digits")


def test_unknown_key_in_a_configuration_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('traget = "cortex-m7"\n')
    _fails(capsys, ["search", "--config", str(tmp_path / "c.toml")], ExitCode.USAGE, "traget", "Did you mean 'target'?")


@pytest.mark.parametrize(("text", "parts"), [
    ("trials = 'many'", ("trials", "int")), ("trials = 0", ("trials", "out of range")), ("=", ("cannot be read",))])
def test_bad_configuration_values(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    (tmp_path / "c.toml").write_text(text + "\n")
    _fails(capsys, ["search", "--config", str(tmp_path / "c.toml")], ExitCode.USAGE, *parts)


@pytest.mark.parametrize(("flag", "value", "part"), [("--ram", "64 bananas", "bananas"), ("--latency", "fast", "fast"), ("--flash", "9GiB", "flash"),
                                                    ("--ram", "0", "positive"), ("--families", "ds_cnnn", "ds_cnn")])
def test_bad_budget_words(capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str, value: str, part: str) -> None:
    _fails(capsys, ["search", flag, value, "--output", str(tmp_path / "run")], ExitCode.USAGE, part)


def test_unknown_flag_ends_with_code_2() -> None:
    result = subprocess.run([sys.executable, "-m", "edgecompress", "search", "--tarjet", "x"], capture_output=True, text=True)
    assert result.returncode == 2 and "error: " in result.stderr and "--help" in result.stderr


def test_no_verb_is_an_error() -> None:
    assert subprocess.run([sys.executable, "-m", "edgecompress"], capture_output=True).returncode == 2


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--target", "nope", "--debug"]) == ExitCode.USAGE
    assert "Traceback" in capsys.readouterr().err


def test_lower_of_a_missing_or_damaged_graph(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _fails(capsys, ["lower", str(tmp_path / "none.json"), "-o", str(tmp_path / "out")], ExitCode.USAGE, "none.json")
    (tmp_path / "graph.json").write_text("{")
    _fails(capsys, ["lower", str(tmp_path), "-o", str(tmp_path / "out")], ExitCode.USAGE, "graph.json")
    assert not (tmp_path / "out").exists()


def test_bench_of_something_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _fails(capsys, ["bench", str(tmp_path)], ExitCode.USAGE, "manifest.json")


def test_output_that_is_a_file_or_foreign_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    _fails(capsys, ["search", "--output", str(tmp_path / "file")], ExitCode.USAGE, "not a folder")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    _fails(capsys, ["search", "--output", str(tmp_path / "mine")], ExitCode.USAGE, "holds no run")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"
