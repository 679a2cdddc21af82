"""The user's own model by name: factories and files that work, and one clear sentence for each that does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from onnx_cases import CONSTANTS, CONV, quantize_nodes
from onnx_cases import model as onnx_model

from edgecompress.errors import ConfigError, EdgecompressError, ModelError
from edgecompress.frontend.factory import load_module

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.onnx.*", "ignore:You are using the legacy TorchScript:DeprecationWarning")

SHAPE, CLASSES = (8, 6, 2), 4
COUNTER = iter(range(10**6))  # Python keeps modules by name, so each test has one of its own
PRELUDE = """
import sys, torch
from torch import nn
class Net(nn.Module):
    def __init__(self, classes=4, width=8):
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, width, 3, padding=1), nn.Linear(width * 48, classes)
    def forward(self, x):
        return self.head(torch.flatten(torch.relu(self.conv(x)), 1))
def layers(*more, inputs=2, classes=4):
    return nn.Sequential(nn.Conv2d(inputs, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes), *more)
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write_module(code: str) -> str:
        name = f"user_nets_{os.getpid()}_{next(COUNTER)}"
        Path(f"{name}.py").write_text(PRELUDE + code)
        return name

    return write_module


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize(("code", "name"), [
    ("make = Net", "make"),  # a class
    ("def make(): return layers()", "make"),
    ("def make(*, input_shape, classes, width=3): return layers(inputs=input_shape[2], classes=classes)", "make"),
    ("def make(*arguments, **options): assert not arguments and not options; return Net()", "make"),
    ("ready = layers().double().float().train().requires_grad_(False)", "ready"),  # a module
    ("class Zoo:\n    @staticmethod\n    def small(): return Net()", "Zoo.small"),
    ("def make(): return nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))", "make"),
    ("def make():\n    with torch.inference_mode():\n        return Net()", "make"),
])
def test_factories_that_work(write, code: str, name: str) -> None:
    module = load_module(f"{write(code)}:{name}", SHAPE, CLASSES)
    assert not module.training
    assert module(torch.zeros(5, 2, 8, 6)).shape == (5, 4)
    module(torch.ones(2, 2, 8, 6)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_random_weights_are_the_same_in_every_call_and_process(write) -> None:
    name = write("""
import random, numpy
other = Net()
def make():
    net = Net()
    net.head.bias.data += random.random() + numpy.random.rand()
    return net
""")
    torch.manual_seed(7)
    expected_draw = torch.rand(1)
    torch.manual_seed(7)
    first = load_module(f"{name}:make", SHAPE, CLASSES)
    assert torch.equal(torch.rand(1), expected_draw), "the caller's generator was touched"
    assert torch.equal(weights(first), weights(load_module(f"{name}:make", SHAPE, CLASSES)))
    code = (f"from edgecompress.frontend.factory import load_module; import json\nm = load_module('{name}:make', {SHAPE}, {CLASSES})\n"
            "print(json.dumps([float(p.sum()) for p in m.parameters()]))")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])})
    assert json.loads(answer.stdout) == [float(p.detach().sum()) for p in first.parameters()]


def test_user_code_changes_nothing_and_prints_elsewhere(write, capfd: pytest.CaptureFixture[str]) -> None:
    name = write("""
import os
print("importing")
def make():
    print("making")
    os.chdir("/"); torch.set_num_threads(2); torch.manual_seed(3); torch.set_grad_enabled(False); torch.set_default_dtype(torch.float16)
    return Net().float()
""")
    folder, threads, path = Path.cwd(), torch.get_num_threads(), list(sys.path)
    load_module(f"{name}:make", SHAPE, CLASSES)
    assert (Path.cwd(), torch.get_num_threads(), sys.path) == (folder, threads, path)
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    seen = capfd.readouterr()
    assert seen.out == "" and "importing" in seen.err and "making" in seen.err


FAILURES = [
    ("def make(): raise ValueError('no\\nluck')", ModelError, "failed with ValueError: no luck"),
    ("def make(): sys.exit(3)", ModelError, "failed with SystemExit: 3"),
    ("def make(size): pass", ConfigError, "needs the argument 'size'"),
    ("def make(): pass", ModelError, r"returns nothing \(None\); it must return a torch.nn.Module"),
    ("make = 3", ConfigError, "is an object of type int; it must be a function"),
    ("def mak(): pass", ConfigError, "Did you mean 'mak'"),
    ("import no_such_package_at_all\ndef make(): pass", ModelError, "does not import: No module named 'no_such_package_at_all'; install"),
    ("sys.exit('bye')", ModelError, "does not import: SystemExit: bye"),
    ("def make(: pass", ModelError, "does not import: SyntaxError"),
    ("def make(): return layers(classes=5)", ModelError, r"gives \[3, 5\] for 3 samples, but the labels have 4 classes"),
    ("def make(): return layers(inputs=3)", ModelError, "does not take the data.*RuntimeError.*expected input"),
    ("def make(): return Net().double()", ModelError, "is float64; float32 is needed"),
    ("def make(): return layers(nn.Softmax(1))", ModelError, "ends in a softmax"),
    ("def make(): return layers(nn.LayerNorm(4), nn.GLU())", ModelError, "gives"),
    ("def make(): return layers(nn.Softsign())", ModelError, "cannot be lowered: layer '6': module Softsign is not supported"),
    ("def make(): return nn.Sequential(nn.AvgPool2d((8, 3)), nn.Flatten())", ModelError, "no convolution or linear layer"),
    ("class N(Net):\n    def forward(self, x):\n        y = super().forward(x)\n        return y if y.sum() > 0 else -y\nmake = N", ModelError,
     "cannot be lowered: N cannot be traced"),
    ("class N(Net):\n    def forward(self, x): return super().forward(x + torch.rand(1))\nmake = N", ModelError, "computes something else"),
    ("class N(Net):\n    def forward(self, x): return super().forward(x - x.mean(0, keepdim=True))\nmake = N", ModelError, "cannot be lowered"),
    ("class N(Net):\n    def forward(self, x): return super().forward(x), x\nmake = N", ModelError, "returns an object of type tuple"),
    ("class N(Net):\n    def forward(self, x): return super().forward(x).view(1, -1)\nmake = N", ModelError, r"gives \[1, 12\]"),
    ("class N(Net):\n    def forward(self, x): return (super().forward(x), x) if self.training else super().forward(x)\nmake = N", ModelError,
     "but an object of type tuple in training mode"),
    ("class N(Net):\n    def forward(self, x): sys.exit()\nmake = N", ModelError, "failed with SystemExit"),
    ("def make():\n    net = Net(); net.conv.weight.data[:] = float('inf'); return net", ModelError, "not finite"),
    ("def make():\n    net = Net(); net.lock = (i for i in 'ab'); return net", ModelError, "cannot be copied.*generator"),
]


@pytest.mark.parametrize(("code", "kind", "message"), FAILURES, ids=[" ".join(message.split()[:4]) for _, _, message in FAILURES])
def test_one_sentence_for_each_failure(write, code: str, kind: type[EdgecompressError], message: str) -> None:
    name = write(code)
    with pytest.raises(kind, match=message) as caught:
        load_module(f"{name}:make", SHAPE, CLASSES)
    assert f"{name}:make" in caught.value.message or "unknown factory" in caught.value.message
    assert "\n" not in caught.value.message


def test_the_place_of_a_failure_is_named(write) -> None:
    name = write("def make():\n    broken = 1\n    return broken.layers\n")
    with pytest.raises(ModelError) as caught:
        load_module(f"{name}:make", SHAPE, CLASSES)
    line = PRELUDE.count("\n") + 3
    assert caught.value.details[-1].endswith(f"{name}.py, line {line}, in make")


@pytest.mark.parametrize(("spec", "message"), [
    ("", "is empty"),
    ("nets", "neither package.module:factory nor"),
    ("nets.py:make", "try: nets:make"),
    ("nets/tiny.py", "try: nets.tiny:factory"),
    ("no_such_module_here:make", "there is no module 'no_such_module_here'"),
    ("json.no_such_part:make", "there is no module 'json.no_such_part'"),
    ("a b:make", "neither"),
    ("os:getcwdd", "Did you mean 'getcwd'|unknown factory"),
    ("nets:", "neither"),
])
def test_names_that_lead_nowhere(spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_module(spec, SHAPE, CLASSES)


def test_interruption_is_not_a_model_error(write) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_module(f"{write('def make(): raise KeyboardInterrupt')}:make", SHAPE, CLASSES)


class TestFiles:
    """ONNX files instead of factories."""

    @staticmethod
    def network(*more: torch.nn.Module, inputs: int = 2) -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Conv2d(inputs, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
                                   torch.nn.Flatten(), torch.nn.Linear(96, 4), *more).eval()

    @classmethod
    def export(cls, path: Path, *more: torch.nn.Module, **axes: object) -> torch.nn.Module:
        module = cls.network(*more)
        torch.onnx.export(module, torch.zeros(1, 2, 8, 6), str(path), dynamo=False, input_names=["x"], output_names=["y"], **axes)
        return module

    @pytest.mark.parametrize("axes", [{}, {"dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}}])
    def test_a_file_gives_its_function_up_to_a_softmax(self, tmp_path: Path, axes: dict[str, object]) -> None:
        self.export(tmp_path / "net.onnx", torch.nn.Softmax(1), **axes)
        module = load_module(str(tmp_path / "net.onnx"), SHAPE, CLASSES)
        x = torch.randn(3, 2, 8, 6)
        torch.testing.assert_close(module(x), self.network()(x), atol=1e-5, rtol=0)
        module(x).sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())

    def test_files_that_do_not_fit(self, tmp_path: Path) -> None:
        path = tmp_path / "net.onnx"
        with pytest.raises(ModelError, match="there is no model file"):
            load_module(str(path), SHAPE, CLASSES)
        self.export(path)
        with pytest.raises(ModelError, match=r"takes samples of shape \(8, 6, 2\), the data has \(6, 8, 2\)"):
            load_module(str(path), (6, 8, 2), CLASSES)
        with pytest.raises(ModelError, match="but the labels have 7 classes"):
            load_module(str(path), SHAPE, 7)
        path.write_bytes(b"not a model")
        with pytest.raises(ModelError, match="net"):
            load_module(str(path), SHAPE, CLASSES)

    def test_a_quantized_file_is_refused(self, tmp_path: Path) -> None:
        nodes = [*quantize_nodes("xd", "x"), *CONV, *quantize_nodes("y", "c")]
        (tmp_path / "int8.onnx").write_bytes(onnx_model(nodes, [1, 3, 8, 6], CONSTANTS))
        with pytest.raises(ConfigError, match="is quantized already; search needs the float model"):
            load_module(str(tmp_path / "int8.onnx"), (8, 6, 3), CLASSES)
