"""What a person sees who types something wrong: one sentence, the right exit code, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgecompress import resources
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


def test_ctrl_c_is_told_as_such_wherever_it_comes(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = os.unlink

    def interrupted(path: Any, **more: Any) -> None:
        remove(path, **more)
        if ".lock" in str(path):
            raise KeyboardInterrupt  # Optuna then removes the file of its lock once more

    monkeypatch.setattr(os, "unlink", interrupted)
    assert main(["search", "--data", "digits", "--trials", "4", "--output", str(tmp_path / "run")]) == ExitCode.INTERRUPTED
    captured = capsys.readouterr()
    assert captured.err.endswith("interrupted; what was finished is kept, go on with --resume\n") and "Traceback" not in captured.err


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
                                                    ("--ram", "0", "positive"), ("--families", "ds_cnnn", "ds_cnn"),
                                                    ("--ram", "1e400KiB", "too large"), ("--latency", "1e400s", "too large")])
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


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
@pytest.mark.parametrize("words", [["inspect", "{model}", "--target", "cortex-m7"], ["lower", "{model}", "--target", "cortex-m7", "-o", "{output}"],
                                   ["search", "--target", "cortex-m7", "--data", "digits", "--model", "{model}", "-o", "{output}"]])
def test_a_damaged_model_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], suffix: str) -> None:
    model, output = tmp_path / f"noisy.{suffix}", tmp_path / "output"
    model.write_bytes(bytes(range(255, 0, -1)) * 20)
    _fails(capsys, [word.format(model=model, output=output) for word in words], ExitCode.USAGE, "noisy")
    assert not output.exists()


def test_bench_of_something_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _fails(capsys, ["bench", str(tmp_path)], ExitCode.USAGE, "manifest.json")


def test_output_that_is_a_file_or_foreign_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    _fails(capsys, ["search", "--output", str(tmp_path / "file")], ExitCode.USAGE, "not a folder")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    _fails(capsys, ["search", "--output", str(tmp_path / "mine")], ExitCode.USAGE, "holds no run")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]  # no lock file, nothing


@pytest.mark.parametrize(("words", "code", "part"), [
    (["--emulator", "qmeu"], ExitCode.USAGE, "Did you mean 'qemu'?"),
    (["--cc", "/nonexistent/gcc"], ExitCode.TOOL_MISSING, "'/nonexistent/gcc' was not found"),
    (["--range-method", "mes"], ExitCode.USAGE, "Did you mean 'mse'?"),
    (["--target", "host"], ExitCode.USAGE, "no usable latency profile"),
    (["--target", "cortex-m0plus", "--profile", "cortex-m7-emulated"], ExitCode.USAGE, "edgecompress profile --target cortex-m0plus"),
    (["--data", "\udcff.npz"], ExitCode.USAGE, "UTF-8"),
])
def test_what_would_fail_after_the_training_fails_at_once(words: list[str], code: ExitCode, part: str, capsys: pytest.CaptureFixture[str],
                                                          tmp_path: Path) -> None:
    _fails(capsys, ["search", *words, "--output", str(tmp_path / "run")], code, part)
    assert not (tmp_path / "run").exists()


def test_a_target_without_a_profile_says_how_to_make_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = (resources.data_dir("targets") / "cortex-m7.toml").read_text()
    (tmp_path / "board.toml").write_text(text.replace("cortex-m7-emulated", "my-board"))
    board = str(tmp_path / "board.toml")
    _fails(capsys, ["search", "--target", board], ExitCode.USAGE, "no usable latency profile", f"edgecompress profile --target {board}")


def test_a_missing_compiler_or_package_ends_with_code_3(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecompress.bench import toolchain
    from edgecompress.cli import targets

    monkeypatch.setattr(toolchain, "_find_zig", lambda: None)
    _fails(capsys, ["search"], ExitCode.TOOL_MISSING, "zig is not installed", "pip install ziglang", "--cc gcc")

    def without(arguments: object) -> ExitCode:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(targets, "run", without)
    _fails(capsys, ["targets"], ExitCode.TOOL_MISSING, "'torch' is not installed")


@pytest.mark.parametrize(("words", "part"), [
    (["--seed", "-1"], "--seed"), (["--layers", "3"], "--layers"),
    (["--target", "host", "--emulator", "qemu"], "cannot be emulated"), (["--target", "raspberry-pi-4"], "is another machine"),
    (["--target", "rv32imc", "--emulator", "qemu"], "cannot be emulated with qemu"),
    (["--output", "profile.txt"], ".json")])
def test_bad_profile_words(words: list[str], part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["profile", *words]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert part in captured.err and "Traceback" not in captured.err and captured.out == ""


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "> /dev/full", "| head -1"])
def test_closed_and_full_streams(redirection: str) -> None:
    result = subprocess.run(f"{sys.executable} -m edgecompress targets {redirection}", shell=True, capture_output=True, text=True)
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr
    assert result.returncode == (ExitCode.USAGE if "full" in redirection else ExitCode.DONE), result.stderr
