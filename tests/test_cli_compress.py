"""The verb: a model in, a smaller one and its artifact out, both in numbers; one sentence for what cannot be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from edgecompress.cli.main import main
from edgecompress.data.dataset import load_dataset
from edgecompress.frontend.model_file import load_model
from edgecompress.ir.reference import run
from edgecompress.run.compress_files import class_numbers, restrict

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(input_shape[2], 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.body, self.head = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16 * 4, classes)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = (x + self.body(x)).relu()
        return self.head(torch.nn.functional.max_pool2d(x, 2).flatten(1))

def branches():
    class Branches(Net):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)
    return Branches((8, 8, 1), 10)

def wrong():
    return Net((8, 8, 1), 7)

def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of factories and the weights of a trained network."""
    from edgecompress.compress.finetune import TrainConfig, train

    folder = tmp_path_factory.mktemp("compress")
    (folder / "compress_test_nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        from compress_test_nets import Net  # type: ignore[import-not-found]

        torch.manual_seed(0)
        data = load_dataset("digits")
        module = train(Net((8, 8, 1), 10), data.train, data.validation, TrainConfig(epochs=3, learning_rate=1e-2), 0).module
    torch.save(module.state_dict(), folder / "weights.pt")
    return folder


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def compress(*words: str, model: str = "compress_test_nets:Net", data: str = "digits") -> int:
    return main(["compress", "--model", model, "--data", data, *words])


def document(folder: Path) -> Any:
    return json.loads((folder / "compress.json").read_text())


def test_a_trained_model_becomes_smaller_and_can_be_used_again(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tmp_path / "first"
    assert compress("--weights", "weights.pt", "--ratio", "0.5", "--recover", "closed-form", "--format", "json", "-o", str(first)) == 0
    printed = json.loads(capsys.readouterr().out)
    found = document(first)
    before, after = found["before"], found["after"]
    assert printed["after"] == after and found["widths"] == {"stem": 8}
    assert before["channels"] == 16 and after["channels"] == 8
    assert after["parameters"] == 8 * 9 + 16 + 8 * 8 * 9 + 8 + 8 * 4 * 10 + 10 < before["parameters"] / 2
    assert after["macs"] < before["macs"] / 2 and 0 < after["latency_s"] < before["latency_s"]
    assert after["ram_bytes"] < before["ram_bytes"] and after["flash_bytes"] < before["flash_bytes"]
    assert before["test_int8"] > 0.85 and after["test_int8"] > before["test_int8"] - 0.1
    assert found["recovered"] and found["epochs"] == 0

    data = load_dataset("digits")
    session = onnxruntime.InferenceSession(str(first / "model.onnx"))
    logits = np.concatenate([session.run(None, {"input": sample[None].transpose(0, 3, 1, 2)})[0] for sample in data.test.x])
    assert (logits.argmax(axis=1) == data.test.y).mean() == pytest.approx(after["test_float"])
    graph = load_model(first)
    codes = run(graph, graph.tensors[graph.inputs[0]].quantize(data.test.x))
    assert (codes.reshape(len(codes), -1).argmax(axis=1) == data.test.y).mean() == pytest.approx(after["test_int8"])

    second = tmp_path / "second"
    assert compress("--ratio", "0.5", "--classes", "3,5,7", "-o", str(second), model=str(first)) == 0
    table = capsys.readouterr().out
    assert "parameters" in table and "3, 5, 7" in table and "read once" in table
    assert document(second)["classes"] == ["3", "5", "7"] and document(second)["before"]["channels"] == 8
    assert list(load_model(second).metadata["classes"]) == ["3", "5", "7"]
    assert document(second)["after"]["test_float"] > 0.85

    third = tmp_path / "third"
    assert compress("--ratio", "0.2", "--recover", "none", "--importance", "l2", "-o", str(third), model=str(second)) == 0
    assert document(third)["classes"] == ["3", "5", "7"]


def test_the_same_command_gives_the_same_bytes(inside: Path, tmp_path: Path) -> None:
    words = ("--weights", "weights.pt", "--ratio", "stem=0.5", "--epochs", "1")
    for name in ("one", "other"):
        assert compress(*words, "-o", str(tmp_path / name)) == 0
    one, other = tmp_path / "one", tmp_path / "other"
    for path in sorted(one.rglob("*")):
        if path.is_file() and path.name not in ("compress.json",):
            assert path.read_bytes() == (other / path.relative_to(one)).read_bytes(), path
    assert {**document(one), "seconds": 0} == {**document(other), "seconds": 0}


def test_automatic_ratios_gradual_pruning_and_masks(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ("--weights", "weights.pt")
    assert compress(*start, "--auto", "--max-drop", "3", "--recover", "closed-form", "-o", str(tmp_path / "auto")) == 0
    found = document(tmp_path / "auto")
    assert f"{found['evaluations']} evaluations" in capsys.readouterr().out
    assert found["policy_held_out"][0] - found["policy_held_out"][1] <= 0.03 + 1e-9 and sum(found["policy_samples"]) == found["validation_samples"]

    assert compress(*start, "--ratio", "0.5", "--prune", "global", "--schedule", "agp", "--epochs", "2", "--importance", "lamp",
                    "-o", str(tmp_path / "agp")) == 0
    assert document(tmp_path / "agp")["epochs"] == 2 and document(tmp_path / "agp")["after"]["channels"] == 8

    state = torch.load("weights.pt", weights_only=True)
    mask = torch.ones_like(state["stem.weight"])
    mask[:4] = 0
    torch.save({"stem": {"weight": mask}, "body": {"weight": torch.cat([torch.zeros(2, 16, 3, 3), torch.ones(14, 16, 3, 3)])}}, tmp_path / "masks.pt")
    assert compress(*start, "--masks", str(tmp_path / "masks.pt"), "--recover", "none", "-o", str(tmp_path / "masked")) == 0
    assert "4 of 6 masked channels are gone, 2 had to stay" in capsys.readouterr().out
    assert document(tmp_path / "masked")["widths"] == {"stem": 14}


def test_an_untrained_model_is_noticed(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress("--ratio", "0.5", "--recover", "none", "--importance", "l1", "-o", str(tmp_path / "out")) == 0
    assert "as good as guessing" in capsys.readouterr().err


def test_folders_are_not_overwritten_silently(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--weights", "weights.pt", "--ratio", "0.5", "--recover", "none", "--importance", "l1")
    target = tmp_path / "out"
    assert compress(*words, "-o", str(target)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert compress(*words, "-o", str(target)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert compress(*words, "--overwrite", "-o", str(target)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    assert compress(*words, "--overwrite", "-o", str(foreign)) == 2
    assert "nothing that 'compress' wrote" in capsys.readouterr().err
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("words", "expected"), [
    ((), "exactly one of --ratio"),
    (("--ratio", "0.5", "--auto"), "exactly one of --ratio"),
    (("--ratio", "1.5"), "pruning ratio of 1.5"),
    (("--ratio", "nan"), "pruning ratio of nan"),
    (("--ratio", "stem=0.5,body=-1"), "pruning ratio of -1"),
    (("--ratio", "half"), "must be a number such as 0.5"),
    (("--ratio", "stem=0.5,stem=0.2"), "names a group twice"),
    (("--ratio", "sten=0.5"), "Did you mean 'stem'"),
    (("--ratio", "0.5", "--max-drop", "2"), "--max-drop does nothing without --auto"),
    (("--auto", "--max-drop", "100"), "out of range"),
    (("--auto", "--prune", "global"), "--prune does nothing without --ratio"),
    (("--ratio", "0.5", "--prune", "gobal"), "Did you mean 'global'"),
    (("--ratio", "0.5", "--importance", "tailor"), "Did you mean 'taylor'"),
    (("--ratio", "0.5", "--prune", "global", "--importance", "elimination"), "one group only"),
    (("--ratio", "0.5", "--schedule", "agp", "--recover", "closed-form"), "prunes during fine-tuning"),
    (("--auto", "--schedule", "agp"), "give --ratio"),
    (("--ratio", "0.5", "--recover", "prayer"), "unknown recovery 'prayer'"),
    (("--ratio", "0.5", "--epochs", "-1"), "out of range"),
    (("--ratio", "0.5", "--classes", "3,ten"), "--classes names 'ten', which does not exist; the classes are 0, 1, 2"),
    (("--ratio", "0.5", "--classes", "3,10"), "--classes names '10', which does not exist"),
    (("--ratio", "0.5", "--classes", "3,3"), "fewer than two different classes"),
    (("--ratio", "0.5", "--weights", "nowhere.pt"), "no weights file 'nowhere.pt'"),
    (("--ratio", "0.5", "--weights", "compress_test_nets.py"), "do not fit the model, or are none"),
    (("--ratio", "0.5", "--target", "cortex-7"), "unknown target 'cortex-7'"),
    (("--masks", "weights.pt"), "holds no masks"),
], ids=" ".join)
def test_wrong_words_are_one_sentence(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str) -> None:
    assert compress(*words, "-o", str(tmp_path / "out")) == 2
    message = capsys.readouterr().err
    assert "error: " in message and expected in message and "Traceback" not in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("model", "expected"), [
    ("compress_test_nets:Nett", "Net"),
    ("no_such_module_anywhere:Net", "no_such_module_anywhere"),
    ("compress_test_nets:wrong", "10 classes"),
    ("compress_test_nets:flat", "no channels that can go"),
    ("compress_test_nets:branches", "cannot be traced"),
    (".", "holds no model"),
    ("missing.onnx", "missing.onnx"),
])
def test_models_that_cannot_be_used(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, expected: str) -> None:
    assert compress("--ratio", "0.5", "-o", str(tmp_path / "out"), model=model) == 2
    message = capsys.readouterr().err
    assert "error: " in message and expected in message and "Traceback" not in message
    assert not list(tmp_path.iterdir())


def test_classes_by_name_and_their_data() -> None:
    assert class_numbers("dog, 0", ("cat", "dog", "fox")) == (0, 1)
    assert class_numbers("2,1", ("1", "2", "3")) == (0, 1)  # names win over numbers
    data = load_dataset("digits")
    part = restrict(data, [7, 2])
    assert part.classes == ("2", "7") and part.hash != data.hash
    assert set(part.train.y) == set(part.test.y) == {0, 1}
    assert np.array_equal(part.test.x[part.test.y == 1], data.test.x[data.test.y == 7])
