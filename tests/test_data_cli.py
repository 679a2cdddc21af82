"""`edgecompress data list` and `edgecompress data inspect`, through their own parsers."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecompress.cli import data
from edgecompress.data import idx
from edgecompress.data.dataset import load_dataset
from edgecompress.errors import ConfigError, ExitCode


def run(*arguments: str) -> ExitCode:
    parser = argparse.ArgumentParser(prog="edgecompress")
    data.register(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["data", *arguments])
    code: ExitCode = parsed.run(parsed)
    return code


def small(tmp_path: Path) -> str:
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    classes = np.array(["[red]", "b"])
    np.savez(tmp_path / "small set.npz", x_train=x, y_train=np.arange(40) % 2, x_test=x[:8], y_test=np.arange(8) % 2, classes=classes)
    return f"{tmp_path}/small set.npz"


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--format", "json") is ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in document["sets"]] == ["digits", "fashion-mnist", "gnss", "gnss-characterization"]
    assert document["sets"][0]["available"] is True and all(entry["how_to_get"] for entry in document["sets"])


def test_list_says_how_to_get_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "find_fashion_mnist", lambda: None)
    assert run("list") is ExitCode.DONE
    text = capsys.readouterr().out
    assert "to get fashion-mnist: " in text and "apt install dataset-fashion-mnist" in text and "x_train y_train" in text


def inspect_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run("inspect", *arguments, "--format", "json") is ExitCode.DONE
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_inspect_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = small(tmp_path)
    document = inspect_json(capsys, spec, "--seed", "3", "--validation-fraction", "0.25")
    dataset = load_dataset(spec, 3, 0.25)
    assert document["hash"] == dataset.hash and document["input_shape"] == [4, 4, 1] and document["classes"] == ["[red]", "b"]
    assert document["parts"]["train"] == {"samples": 30, "shape": [30, 4, 4, 1], "per_class": [15, 15]}
    assert document["duplicates"]["train-test"] + document["duplicates"]["validation-test"] == 8
    assert document["normalization"]["mean"] == dataset.normalization.mean and document["raw"]["dtype"] == "uint8"
    assert document["range"] == [float(dataset.train.x.min()), float(dataset.train.x.max())]


def test_inspect_as_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = small(tmp_path)
    assert run("inspect", spec) is ExitCode.DONE
    text = capsys.readouterr().out
    assert load_dataset(spec).hash in text and "[red]" in text and "\x1b" not in text
    assert "test samples also occur in the train part" in text and f"--data '{spec}'" in text


def test_inspect_in_a_terminal_shows_names_as_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small(tmp_path)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    assert run("inspect", spec) is ExitCode.DONE
    text = capsys.readouterr().out
    assert "[red]" in text and load_dataset(spec).hash in text


def test_mistakes_are_config_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'digits'"):
        run("inspect", "digts")
    with pytest.raises(ConfigError, match="seed"):
        run("inspect", "digits", "--seed", "-1")
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 2


def test_commands_and_code_of_the_documentation_work(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "data.md").read_text()
    monkeypatch.chdir(tmp_path)
    commands = 0
    for language, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(block, {})
            continue
        for line in block.splitlines():
            program, verb, *arguments = shlex.split(line)
            assert (program, verb) == ("edgecompress", "data") and run(*arguments) is ExitCode.DONE
            commands += 1
    assert commands == 6 and "my_set" in capsys.readouterr().out
