"""The user's own model as a search space: knobs, candidates, and one from the factory to the device's bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tools import require_tool
from torch import nn

from edgecompress.bench import bench
from edgecompress.compress.finetune import evaluate, train
from edgecompress.compress.prune.structured import channel_groups
from edgecompress.compress.quantize.evaluate import accuracy_int8
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.statistics import Source, match_statistics
from edgecompress.compress.training import TrainConfig
from edgecompress.data.dataset import load_dataset
from edgecompress.errors import ConfigError, ModelError
from edgecompress.frontend.torch_import import from_torch
from edgecompress.hw.target import load_target
from edgecompress.lower import lower
from edgecompress.search import own_model as own_models
from edgecompress.search.inherited import inherited
from edgecompress.search.own_model import OwnModel, model_hash, own_model, own_model_space
from edgecompress.search.proxies.batch import Batch
from edgecompress.search.space import Candidate, SpaceSpec, random_candidate, suggest, trial_parameters, weight_bits

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.onnx.*", "ignore:You are using the legacy TorchScript:DeprecationWarning")

SHAPE, CLASSES = (8, 8, 1), 10
NAME = "own_digits_for_tests"
CODE = """
import torch
from pathlib import Path
from torch import nn
class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.second, self.second_norm = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()
    def forward(self, x):
        y = self.second_norm(self.second(torch.relu(self.first_norm(self.first(x)))))
        return torch.relu(y + self.short(x))
class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(1, 16, 3, padding=1), Block(16, 16, 1), Block(16, 32, 2)
        self.depthwise, self.hidden, self.out = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Linear(32, 48), nn.Linear(48, 10)
        self.auxiliary = nn.Linear(48, 2)
    def forward(self, x):
        x = torch.relu(self.depthwise(self.two(self.one(torch.relu(self.stem(x))))))
        return self.out(torch.relu(self.hidden(x.mean((2, 3)))))
def make():
    net = Digits()
    trained = Path(__file__).with_name("trained.pt")
    if trained.exists():
        net.load_state_dict(torch.load(trained))
    return net
def other():
    net = make()
    net.out.bias.data[3] += 1e-3
    return net
def activation():
    net = make()
    net.two.register_module("short", nn.Sequential(net.two.short, nn.Identity()))
    return net
def deep():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), *[nn.Conv2d(8 + 8 * (i > 9), 8 + 8 * (i > 8), 3, padding=1) for i in range(30)],
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.query, self.key, self.value = nn.Conv2d(1, 16, 2, 2), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.wide, self.narrow, self.out = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 10)
    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + torch.softmax(self.query(x) @ self.key(x).transpose(1, 2) * 0.25, -1) @ self.value(x)
        x = x + self.narrow(torch.relu(self.wide(x)))
        return self.out(x.transpose(1, 2).mean(2))
def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's module and its weights, trained for a few seconds."""
    path = tmp_path_factory.mktemp("user")
    (path / f"{NAME}.py").write_text(CODE)
    sys.path.insert(0, str(path))
    try:
        module = __import__(NAME)
    finally:
        sys.path.remove(str(path))
    torch.manual_seed(0)
    data = load_dataset("digits")
    result = train(module.make(), data.train, data.validation, TrainConfig(epochs=5), 0)
    assert result.accuracy > 0.9
    torch.save(result.module.state_dict(), path / "trained.pt")
    torch.onnx.export(result.module, torch.zeros(1, 1, 8, 8), str(path / "digits.onnx"), dynamo=False, input_names=["x"], output_names=["y"])
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def own(name: str = "make", multiple: int = 4) -> OwnModel:
    return own_model(f"{NAME}:{name}", SHAPE, CLASSES, multiple)


def build(model: OwnModel, **choices: Any) -> nn.Module:
    """The model with its first choices but these; "." is written "__"."""
    given = {name.replace("__", "."): value for name, value in choices.items()}
    assert given.keys() <= {knob.name for knob in model.knobs}
    return model.build({knob.name: given.get(knob.name, knob.choices[0]) for knob in model.knobs}, SHAPE, CLASSES, lambda width: width)


def digits_batch(count: int = 256) -> Batch:
    data = load_dataset("digits").train
    return Batch(torch.from_numpy(data.x[:count]).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(data.y[:count]))


def test_knobs_have_names_meanings_and_choices_that_differ() -> None:
    knobs = {knob.name: knob.choices for knob in own().knobs}
    assert knobs["prune.one.first"] == (0.0, 0.25, 0.5, 0.75) and knobs["bits.hidden"] == (8, 4, 2)
    assert knobs["factor.two.second"] == ("full", "separable", "rank0.5", "rank0.25")
    assert "separable" not in knobs["factor.hidden"] and "factor.stem" not in knobs  # the stem reads the samples
    assert not any("auxiliary" in name for name in knobs), "a layer that nothing calls"
    assert not {"bits.stem", "bits.depthwise", "prune.out"} & knobs.keys()
    assert all(knob.meaning for knob in own().knobs)
    assert {knob.name: knob.choices for knob in own(multiple=8).knobs}["prune.stem"] == (0.0, 0.5)  # of 16 channels: 16 or 8


def test_the_first_choices_are_the_users_model() -> None:
    model, x = own(), torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(build(model)(x), model.module(x), atol=0, rtol=0)
    assert build(model) is not model.module and Candidate(model.starts()[0])["prune.stem"] == 0.0


def test_each_knob_changes_its_layer() -> None:
    model = own()
    module = build(model, prune__one__first=0.5, factor__two__second="separable", factor__hidden="rank0.5", prune__hidden=0.75)
    shapes = {name: tuple(layer.weight.shape) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    assert shapes["one.first"] == (8, 16, 3, 3) and shapes["one.second"] == (16, 8, 3, 3)
    assert shapes["two.second.depthwise"] == (32, 1, 3, 3) and shapes["two.second.pointwise"] == (32, 32, 1, 1)
    assert shapes["hidden.reduce"] == (8, 32) and shapes["hidden.expand"] == (12, 8) and shapes["out"] == (10, 12)
    assert shapes["stem"] == (16, 1, 3, 3)


def test_pruning_of_factored_layers_goes_by_the_users_groups() -> None:
    model = own()
    module = build(model, prune__two__second=0.5, factor__two__second="rank0.5", factor__two__first="separable", prune__two__first=0.5, prune__stem=0.25)
    assert module.two.second.expand.weight.shape[0] == module.two.short.weight.shape[0] == module.depthwise.weight.shape[0] == 16
    assert module.two.second.reduce.out_channels == build(model, factor__two__second="rank0.5").two.second.reduce.out_channels  # the rank stays
    assert module.two.first.pointwise.out_channels == 16 and module.two.first.depthwise.out_channels == 12 == module.stem.out_channels


def test_bits_by_layer() -> None:
    space = own_model_space(f"{NAME}:make", SHAPE, CLASSES)
    choices = {"family": "own", **{knob.name: knob.choices[0] for knob in own().knobs}, "bits.hidden": 2, "bits.two.second": 4, "factor.hidden": "rank0.5",
               "factor.two.second": "separable"}
    candidate = Candidate(choices)
    module = space.families["own"].build(choices, SHAPE, CLASSES, lambda width: width)
    bits = weight_bits(candidate, module, space)
    assert (bits["hidden.reduce"], bits["hidden.expand"], bits["two.second.pointwise"], bits["two.second.depthwise"]) == (2, 2, 4, 8)
    assert (bits["stem"], bits["depthwise"], bits["out"]) == (8, 8, 8) and "auxiliary" not in bits


def test_a_deep_model_has_few_knobs() -> None:
    model = own("deep")
    names = [knob.name for knob in model.knobs]
    assert len(names) <= 39 and {"prune.*", "bits.*", "factor.*"} <= set(names)
    assert [knob.choices for knob in model.knobs if knob.name == "bits.*"] == [(8, 4)]
    assert {name for name, knob in model.bits_knobs.items() if knob == "bits.*"} >= {"1", "2"}  # the narrow ones
    module = build(model, **{"prune__*": 0.5, "factor__*": "separable"})
    assert module[3].pointwise.weight.shape == (4, 4, 1, 1)
    own_model.cache_clear()
    assert [knob.name for knob in own("deep").knobs] == names


def test_random_candidates_build_and_lower() -> None:
    space, rng, seen = own_model_space(f"{NAME}:make", SHAPE, CLASSES), np.random.default_rng(0), set()
    for _ in range(12):
        candidate = random_candidate(rng, space)
        space.check(candidate)
        module = space.families["own"].build(candidate.choices, SHAPE, CLASSES, lambda width: width)
        again = space.families["own"].build(candidate.choices, SHAPE, CLASSES, lambda width: width)
        assert [p.shape for p in module.parameters()] == [p.shape for p in again.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))
        graph = from_torch(module, SHAPE)
        assert weight_bits(candidate, module, space).keys() <= {node.name for node in graph.weighted}
        seen.add(sum(p.numel() for p in module.parameters()))
    assert len(seen) > 10


def test_an_attention_network_is_a_space_too() -> None:
    model, x = own("Attention"), digits_batch(64).x
    names = {knob.name for knob in model.knobs}
    assert {"prune.wide", "factor.query", "bits.value"} <= names
    torch.testing.assert_close(model.build_settled({knob.name: knob.choices[0] for knob in model.knobs}, x)(x), model.module(x), atol=1e-4, rtol=1e-4)
    for seed in range(3):
        candidate = random_candidate(np.random.default_rng(seed), model.space())
        module = model.build_settled(candidate.choices, x)
        assert from_torch(module, SHAPE).weighted and inherited(module, digits_batch(64), 0, model.bits(candidate.choices, module)) < 0


def test_starts_lie_in_the_space_and_differ() -> None:
    space, candidates = own().space(), [Candidate(choices) for choices in own().starts()]
    for candidate in candidates:
        space.check(candidate)
    assert len({candidate.id for candidate in candidates}) == len(candidates) == 16
    sizes = [sum(p.numel() for p in own().build(c.choices, SHAPE, CLASSES, lambda width: width).parameters()) for c in candidates[:4]]
    assert sizes == sorted(sizes, reverse=True) and sizes[3] < 0.2 * sizes[0]


def test_optuna_suggests_and_finds_again() -> None:
    import optuna

    space = SpaceSpec(model=f"{NAME}:make").make(SHAPE, CLASSES)
    candidate = random_candidate(np.random.default_rng(1), space)
    assert suggest(optuna.trial.FixedTrial(trial_parameters(candidate, space)), space) == candidate


def test_groups_that_cannot_be_pruned_have_no_knob(folder: Path) -> None:
    """torch-pruning loses count of features behind a concatenation and a flatten; the rest of the model is still prunable."""
    name = f"joined_{os.getpid()}"
    (folder / f"{name}.py").write_text("""
import torch
from torch import nn
class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(16 * 64, 16), nn.Linear(16, 10)
    def forward(self, x):
        x = self.a(x)
        return self.d(torch.relu(self.c(torch.cat([x, self.b(x)], 1).flatten(1))))
""")
    model = own_model(f"{name}:Joined", SHAPE, CLASSES)
    assert "prune.c" in {knob.name for knob in model.knobs}
    for group in model.groups:
        build(model, **{f"prune__{group.name}": 0.5})


def test_hash_follows_the_model() -> None:
    hashes = {name: own(name).hash for name in ("make", "other", "activation", "deep")}
    assert len(set(hashes.values())) == 4 and own(multiple=8).hash == hashes["make"]
    code = f"from edgecompress.search.own_model import own_model; print(own_model('{NAME}:make', {SHAPE}, {CLASSES}).hash)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "PYTHONHASHSEED": "7"})
    assert answer.stdout.strip() == hashes["make"]
    slower = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.1), nn.Flatten(), nn.Linear(144, 2)).eval()
    one = model_hash(slower, SHAPE)
    slower[1].p = 0.2
    assert model_hash(slower, SHAPE) != one


def test_what_there_is_no_space_for() -> None:
    with pytest.raises(ModelError, match="offers nothing to choose"):
        own("plain")
    with pytest.raises(ConfigError, match="was loaded for inputs of shape"):
        own().build({}, (9, 8, 1), CLASSES, lambda width: width)


def test_inherited_ranks_what_is_left_of_a_network() -> None:
    """More pruning and fewer bits leave worse features; the module itself stays as it is."""
    model, batch = own(), digits_batch()
    pruned = [inherited(build(model, **{knob.name.replace(".", "__"): ratio for knob in model.knobs if knob.name.startswith("prune")}), batch, 0)
              for ratio in (0.0, 0.5, 0.75)]
    assert 0 > pruned[0] > pruned[1] > pruned[2] > -1.2
    whole = build(model)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    ternary = inherited(whole, batch, 0, dict.fromkeys(("one.first", "one.second", "two.first", "two.second"), 2))
    assert ternary < pruned[0]
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items()) and not whole.stem._forward_pre_hooks
    torch.manual_seed(0)
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))
    assert inherited(untrained, batch, 0) < pruned[0]


@pytest.mark.parametrize("spec", [f"{NAME}:make", "digits.onnx"])
def test_settled_channels_behave_as_in_the_users_module(spec: str) -> None:
    """Half of all channels go: outputs that mean nothing get the mean and spread back that later layers expect, with batch norms and without."""
    model, data = own_model(spec, SHAPE, CLASSES), load_dataset("digits")
    choices = {knob.name: 0.5 if knob.name.startswith("prune.") else knob.choices[0] for knob in model.knobs}
    x = digits_batch().x
    plain, settled = model.build(choices, SHAPE, CLASSES, lambda width: width), model.build_settled(choices, x)
    assert [(n, p.shape) for n, p in plain.named_parameters()] == [(n, p.shape) for n, p in settled.named_parameters()] and not settled.training
    accuracies = [evaluate(module, data.validation)[0] for module in (plain, settled, model.module)]
    assert accuracies[1] > accuracies[0] + 0.1 and accuracies[2] > 0.9
    whole = {knob.name: knob.choices[0] for knob in model.knobs}
    if spec.endswith("onnx"):  # nothing was taken and there are no statistics to take anew
        torch.testing.assert_close(model.build_settled(whole, x)(x), model.module(x), atol=1e-4, rtol=1e-4)


def test_statistics_are_those_of_the_layers_named() -> None:
    torch.manual_seed(2)
    original = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=False), nn.Flatten(), nn.Linear(80, 4)).eval()
    smaller = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 5, 3, bias=False), nn.Flatten(), nn.Linear(80, 4)).train()
    x = torch.randn(64, 1, 8, 8)
    settled = match_statistics(smaller, original, {"0": Source("0", (1, 3, 4)), "2": Source("2"), "4": Source("4")}, x)
    assert settled.training and not any(layer._forward_hooks for layer in settled.modules())
    with torch.no_grad():
        for stop, kept in ((1, [1, 3, 4]), (3, list(range(5))), (5, list(range(4)))):
            wanted, found = original[:stop](x).transpose(0, 1).flatten(1)[kept], settled[:stop](x).transpose(0, 1).flatten(1)
            torch.testing.assert_close(found.std(1), wanted.std(1), atol=1e-4, rtol=1e-4)
            if stop != 3:  # a layer without a bias cannot move its mean
                torch.testing.assert_close(found.mean(1), wanted.mean(1), atol=1e-4, rtol=1e-4)


def test_statistics_of_layers_called_twice_and_before_batch_norms_stay() -> None:
    torch.manual_seed(3)
    conv, twice = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
    original = nn.Sequential(conv, nn.BatchNorm2d(4), twice, nn.ReLU(), twice, nn.Flatten(), nn.Linear(256, 3)).eval()
    other = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), (shared := nn.Conv2d(4, 4, 1)), nn.ReLU(), shared, nn.Flatten(), nn.Linear(256, 3))
    x = 2 + torch.randn(40, 1, 8, 8)
    settled = match_statistics(other.eval(), original, {name: Source(name) for name in ("0", "2", "6")}, x)
    assert torch.equal(settled[0].weight, other[0].weight) and torch.equal(settled[2].weight, shared.weight)
    torch.testing.assert_close(settled[1].running_mean, other[0](x).mean((0, 2, 3)).detach())
    assert settled[1].momentum == 0.1 and not torch.equal(settled[6].weight, other[6].weight)


def test_leave_one_out_error_is_that_of_really_leaving_out() -> None:
    from edgecompress.search.inherited import _PENALTIES, _left_out_error

    torch.manual_seed(1)
    features, targets = torch.randn(12, 5, dtype=torch.float64), torch.randn(12, 3, dtype=torch.float64)
    targets -= targets.mean(dim=0)
    found = _left_out_error(features, targets)
    centred = features - features.mean(dim=0)
    mean = float((centred @ centred.T).diagonal().sum() / 12)
    for penalty, error in zip(_PENALTIES, found, strict=True):
        extended = torch.cat([centred, torch.ones(12, 1, dtype=torch.float64)], dim=1)
        ridge = torch.diag(torch.tensor([penalty * mean] * 5 + [0.0], dtype=torch.float64))
        total = 0.0
        for left in range(12):
            kept = [index for index in range(12) if index != left]
            a, y = extended[kept], targets[kept]
            total += float((targets[left] - extended[left] @ torch.linalg.solve(a.T @ a + ridge, a.T @ y)).square().sum())
        assert error == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("spec", [f"{NAME}:make", "digits.onnx"])
def test_from_a_name_to_the_bytes_of_a_device(spec: str, tmp_path: Path) -> None:
    """A random candidate: built with the user's weights, fine-tuned, quantized by layer, lowered, equal to the reference on the emulated core."""
    require_tool("arm-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    data, model = load_dataset("digits"), own_model(spec, SHAPE, CLASSES)
    space, rng = model.space(), np.random.default_rng(3)
    drawn = dict(random_candidate(rng, space).choices)
    widths = dict(zip((name for name in drawn if name.startswith("bits.")), (2, 4, 8, 4, 8, 4, 8), strict=False))
    candidate = Candidate({**drawn, **widths})
    x = digits_batch().x
    tuned = train(model.build_settled(candidate.choices, x), data.train, data.validation, TrainConfig(epochs=2), 0, teacher=model.module)
    bits = weight_bits(candidate, tuned.module, space)
    assert set(bits.values()) == {2, 4, 8}
    graph = quantize(from_torch(tuned.module, SHAPE), data.train.x[:128], QuantizeConfig(weight_bits=bits))
    stored = {node.name.split(":")[0]: node.op.weight_bits for node in graph.nodes if hasattr(node.op, "weight_bits")}
    assert {name: stored[name] for name in bits if name in stored} == {name: width for name, width in bits.items() if name in stored}
    assert accuracy_int8(graph, data.validation.x, data.validation.y) > 0.5
    lower(graph, load_target("cortex-m7")).write(tmp_path / "artifact")
    assert bench(tmp_path / "artifact").matches_reference is True


def test_all_group_names_of_built_modules_are_the_pruners() -> None:
    """The names that a build gives the pruner are those it knows, whatever is factored."""
    model, rng = own(), np.random.default_rng(5)
    for _ in range(6):
        choices = dict(random_candidate(rng, model.space()).choices)
        module = model.build({**choices, **{name: 0.0 for name in choices if name.startswith("prune.")}}, SHAPE, CLASSES, lambda width: width)
        known = {group.name for group in channel_groups(module, SHAPE)}
        factored = {name: str(choices[knob]) for name, knob in model.factor_knobs.items() if model._applies(name, str(choices[knob]))}
        assert model._ratios(module, factored, {**choices, "prune.hidden": 0.5}).keys() <= known
    assert own_models.OWN_KNOBS == 12
