"""A search among variants of the user's own model, for two devices at once; and what can be wrong with such a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecompress.cli.main import main
from edgecompress.errors import ExitCode

NETS = '''
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=10, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                                  nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
                                  nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=(2, 3)))

def make():
    return Net()

def other():
    return Net(seed=1)

def seven():
    return Net(7)

def branches():
    class Branches(Net):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else super().forward(-x)
    return Branches()

def broken():
    raise RuntimeError("no weights here")
'''
WORDS = ["search", "--data", "digits", "--also", "cortex-m4?latency=9ms&ram=16KiB&flash=48KiB", "--latency", "4ms", "--ram", "16KiB", "--flash", "48KiB",
         "--trials", "20", "--population", "10", "--screen", "3", "--top-k", "1", "--epochs", "4", "--workers", "1", "--samples", "10", "--test-samples", "10",
         "--output", "run", "--format", "json"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_nets_for_test.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_variants_of_an_own_model_for_two_devices(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--model", "own_nets_for_test:make"]) == ExitCode.DONE
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert "own model was trained first" in captured.err  # it came with random weights
    assert summary["within_budget"] is True and summary["matches_reference"] is True and summary["on_core_mismatches"] == 0
    assert summary["accuracy_int8"] > 0.6
    also = summary["also"]["cortex-m4"]
    assert also["matches_reference"] is True and also["latency_s"] <= 9e-3 and also["ram_bytes"] <= 16 * 1024 and also["flash_bytes"] <= 48 * 1024
    chosen = Path(summary["artifact"]).parent
    assert (chosen / "artifact-cortex-m4" / "manifest.json").is_file()
    report = json.loads((here / "run" / "report.json").read_text())
    assert {trial["choices"]["family"] for trial in report["trials"]} == {"own"}
    assert list(report["trials"][0]["proxies"]) == ["inherited"]
    assert {name.partition(".")[0] for trial in report["trials"] for name in trial["choices"]} == {"family", "prune", "bits", "factor"}
    assert "Also on cortex-m4" in (here / "run" / "report.html").read_text()
    assert main([*WORDS, "--model", "own_nets_for_test:make", "--resume"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == summary
    text = (here / "own_nets_for_test.py").read_text()
    (here / "own_nets_for_test.py").write_text(text.replace("return Net()", "return Net(seed=5)"))
    import subprocess
    import sys

    again = subprocess.run([sys.executable, "-m", "edgecompress", *WORDS, "--model", "own_nets_for_test:make", "--resume"], capture_output=True, text=True)
    assert again.returncode == ExitCode.USAGE and "model_hash" in again.stderr and "Traceback" not in again.stderr


@pytest.mark.parametrize(("model", "words"), [
    ("own_nets_for_test:gone", ["gone"]), ("nowhere_at_all:make", ["nowhere_at_all"]), ("own_nets_for_test:broken", ["no weights here"]),
    ("own_nets_for_test:seven", ["7", "10"]), ("own_nets_for_test:branches", ["own_nets_for_test:branches"]), ("missing.onnx", ["missing.onnx"]),
])
def test_models_that_cannot_be_searched(here: Path, capsys: pytest.CaptureFixture[str], model: str, words: list[str]) -> None:
    assert main([*WORDS, "--model", model]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("error: ") == 1 and "Traceback" not in captured.err
    for word in words:
        assert word in captured.err
    assert not (here / "run" / "study.log").exists()


def test_an_own_model_needs_no_calibration_of_proxies(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--model", "own_nets_for_test:make", "--calibrate-proxies"]) == ExitCode.USAGE
    assert "--calibrate-proxies" in capsys.readouterr().err
