"""Closed-form recovery: exact where channels are redundant, the surgeon's formula, never worse on held-out samples, no label needed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from edgecompress.compress.finetune import predict
from edgecompress.compress.prune.class_specific import cut_head, derive, only_classes
from edgecompress.compress.prune.groups import LayerChannels, Pruned, TracedModule
from edgecompress.compress.prune.least_squares import STRENGTHS, _centre, _Path, solve
from edgecompress.compress.prune.recover import recover
from edgecompress.compress.prune.selection import select
from edgecompress.compress.prune.sequential import prune_and_recover
from edgecompress.compress.prune.structured import prune_channels
from edgecompress.data.parts import Samples
from edgecompress.errors import ConfigError, DataError, ModelError

SHAPE = (8, 8, 1)
X = np.random.default_rng(0).normal(size=(192, 8, 8, 1)).astype(np.float32)
NEW = np.random.default_rng(1).normal(size=(64, 8, 8, 1)).astype(np.float32)


def doubled_mlp() -> nn.Sequential:
    """Units 8 to 15 are units 0 to 7 times 2: half of them can go without a loss."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        module[1].weight[8:] = 2 * module[1].weight[:8]
        module[1].bias[8:] = 2 * module[1].bias[:8]
    return module


def doubled_cnn() -> nn.Sequential:
    """The same for channels of convolutions with batch normalisation."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()
    with torch.no_grad():
        for norm in (module[1], module[4]):
            norm.running_mean.normal_(0, 0.1)
            norm.bias.normal_(0, 0.5)
        for conv, norm in ((module[0], module[1]), (module[3], module[4])):
            conv.weight[4:] = conv.weight[:4]
            norm.running_mean[4:] = norm.running_mean[:4]
            norm.weight[4:], norm.bias[4:] = 2 * norm.weight[:4], 2 * norm.bias[:4]
    return module


@pytest.mark.parametrize("prior", ["ridge", "compensate"])
@pytest.mark.parametrize("make", [doubled_mlp, doubled_cnn])
def test_redundant_channels_are_made_up_for_exactly(make: object, prior: str) -> None:
    module = make()  # type: ignore[operator]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    traced = TracedModule(module, SHAPE)
    pruned = traced.cut({name: range(traced.width(name) // 2) for name in traced.groups})
    alone = {name: value.clone() for name, value in pruned.module.state_dict().items()}
    recovered = recover(module, pruned, X, prior=prior)
    wanted = predict(module, NEW)
    assert np.abs(predict(pruned.module, NEW) - wanted).max() > 0.05
    assert np.abs(predict(recovered.module, NEW) - wanted).max() < 2e-3
    assert all(layer.error_after < 1e-4 < layer.error_before for layer in recovered.layers)
    assert [layer.name for layer in recovered.layers] == (["3"] if len(module) == 4 else ["3", "8"])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(torch.equal(value, alone[name]) for name, value in pruned.module.state_dict().items())


def test_compensation_is_the_optimal_brain_surgeon() -> None:
    rng = np.random.default_rng(2)
    x, weights, gamma = rng.normal(size=(60, 12)) @ rng.normal(size=(12, 12)), rng.normal(size=(12, 3)), 0.7
    gone, left = [1, 4, 7, 11], [0, 2, 3, 5, 6, 8, 9, 10]
    inverse = np.linalg.inv(2 * x.T @ x + gamma * np.eye(12))
    delta = -inverse[:, gone] @ np.linalg.inv(inverse[np.ix_(gone, gone)]) @ weights[gone]
    path = _Path(_centre(x[:, None, left], (x @ weights)[:, None], intercept=False), weights[left])
    found = path.weights(gamma / 2 / len(x) / path.unit)
    assert np.allclose(found, (weights + delta)[left])


@pytest.mark.parametrize("rows", [6, 40])
def test_both_decompositions_solve_the_normal_equations(rows: int) -> None:
    rng = np.random.default_rng(3)
    x, y, prior = rng.normal(size=(rows, 1, 10)), rng.normal(size=(rows, 1, 2)), rng.normal(size=(10, 2))
    centred = _centre(x, y, intercept=True)
    path = _Path(centred, prior)
    moments = centred.x.T @ centred.x / rows
    for strength in STRENGTHS[2:]:
        expected = prior + np.linalg.solve(moments + strength * path.unit * np.eye(10), centred.x.T @ (centred.y - centred.x @ prior) / rows)
        assert np.allclose(path.weights(strength), expected, atol=1e-6)


def test_weights_that_cannot_be_improved_stay() -> None:
    rng = np.random.default_rng(4)
    x, weights, held_out = rng.normal(size=(24, 1, 20)), rng.normal(size=(20, 2)), np.arange(24) < 6
    assert solve(x, x @ weights, weights, None, held_out, to_old=True, intercept=False) is None
    noise = x @ weights + rng.normal(size=(24, 1, 2)) * 0.5
    fit = solve(x, noise, weights, None, held_out, to_old=True, intercept=False)
    assert fit is not None and fit.error_after <= fit.error_before


def test_padding_stride_and_dilation_of_a_convolution_are_seen() -> None:
    for options in ({"padding": (2, 0), "dilation": (2, 1)}, {"padding": "same"}, {"stride": (2, 1)}, {"padding": 1, "padding_mode": "reflect"}):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, **options), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        with torch.no_grad():
            module[0].weight[2:], module[0].bias[2:] = module[0].weight[:2], module[0].bias[:2]
        recovered = recover(module, TracedModule(module, SHAPE).cut({"0": [0, 1]}), X)
        assert np.allclose(predict(recovered.module, NEW), predict(module, NEW), atol=1e-3), options


def test_recovery_names_what_it_needs() -> None:
    module = doubled_mlp()
    pruned = prune_channels(module, SHAPE, 0.5)
    with pytest.raises(ConfigError, match="Did you mean 'ridge'"):
        recover(module, pruned, X, prior="rigde")
    with pytest.raises(DataError, match="has 7 calibration samples"):
        recover(module, pruned, X[:7])
    whole = recover(module, Pruned(module, {}, {"3": LayerChannels((), ())}), X)
    assert whole.layers == ()


@pytest.mark.parametrize("make", [doubled_mlp, doubled_cnn])
def test_elimination_keeps_one_of_each_pair(make: object) -> None:
    module = make()  # type: ignore[operator]
    traced = TracedModule(module, SHAPE)
    kept = select(traced, X, {name: traced.width(name) // 2 for name in traced.groups})
    for name, channels in kept.items():
        half = traced.width(name) // 2
        assert {channel % half for channel in channels} == set(range(half))


def test_elimination_takes_what_costs_least() -> None:
    torch.manual_seed(5)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    (kept,) = select(TracedModule(module, SHAPE), X, {"1": 5}).values()
    hidden = torch.relu(module[1](torch.from_numpy(X).flatten(1))).detach().numpy().astype(np.float64)  # type: ignore[operator]
    answers = hidden @ module[3].weight.detach().numpy().T  # type: ignore[union-attr,operator]

    def loss(channels: list[int]) -> float:
        columns = np.concatenate([hidden[:, channels], np.ones((len(hidden), 1))], axis=1)
        return float(np.square(answers - columns @ np.linalg.lstsq(columns, answers, rcond=None)[0]).sum())

    assert kept == min((list(subset) for subset in itertools.combinations(range(6), 5)), key=loss)


def test_sequential_pruning_has_the_promised_widths_and_composes_its_cuts() -> None:
    module = doubled_cnn()
    pruned, recovered = prune_and_recover(module, SHAPE, 0.5, X, round_to=2)
    assert pruned.widths == {"0": 4, "3": 4} and pruned.module is recovered.module
    assert pruned.layers["3"].inputs == pruned.layers["0"].outputs and pruned.layers["8"].inputs == pruned.layers["3"].outputs
    assert np.abs(predict(recovered.module, NEW) - predict(module, NEW)).max() < 5e-3
    with pytest.raises(ConfigError, match="unknown channel group"):
        prune_and_recover(module, SHAPE, {"7": 0.5}, X)


def labelled(count: int) -> Samples:
    """Four classes: in which quarter the picture is bright."""
    rng = np.random.default_rng(count)
    y = rng.integers(0, 4, count)
    x = rng.normal(0, 0.3, (count, 2, 4, 2, 4))
    x[np.arange(count), y // 2, :, y % 2] += 1.0
    return Samples(x.reshape(count, 8, 8, 1).astype(np.float32), y.astype(np.int64))


def quarters() -> nn.Sequential:
    """Solves `labelled` by construction, with many more units than it takes."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 4)).eval()
    with torch.no_grad():
        for quarter in range(4):
            mask = torch.zeros(2, 4, 2, 4)
            mask[quarter // 2, :, quarter % 2] = 1 / 16
            module[1].weight[quarter] = mask.flatten()
            module[1].bias[quarter] = 0
        module[3].weight *= 0.05
        module[3].weight[:, :4] = 10 * torch.eye(4)
    return module


def test_a_model_for_some_classes() -> None:
    module, training, test = quarters(), labelled(300), labelled(400)
    found = derive(module, training, [3, 1], 0.9, round_to=2)
    assert found.classes == (1, 3) and found.pruned.widths == {"1": 4}
    assert found.calibration_samples == int(np.isin(training.y, [1, 3]).sum())
    part = only_classes(test, [3, 1])
    assert set(part.y) == {0, 1} and len(part) == int(np.isin(test.y, [1, 3]).sum())
    logits = predict(found.module, part.x)
    assert logits.shape[1] == 2 and (logits.argmax(axis=1) == part.y).mean() > 0.99
    again = derive(module, training, [1, 3], 0.9, round_to=2)
    assert all(torch.equal(one, other) for one, other in zip(found.module.parameters(), again.module.parameters(), strict=True))


def test_cutting_the_head_keeps_the_logits_of_its_classes() -> None:
    module = quarters()
    headed, classes = cut_head(module, SHAPE, [2, 0])
    assert classes == (0, 2)
    assert np.array_equal(predict(headed, NEW), predict(module, NEW)[:, [0, 2]])


def test_impossible_classes_are_named() -> None:
    module, data = quarters(), labelled(60)
    with pytest.raises(ConfigError, match="at least 2 different classes, got 1"):
        derive(module, data, [1, 1], 0.5)
    with pytest.raises(DataError, match="no sample of class 4"):
        derive(module, data, [1, 4], 0.5)
    with pytest.raises(ConfigError, match="class 7 does not exist; the model has classes 0 to 3"):
        cut_head(module, SHAPE, [1, 7])

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(64, 4), nn.Linear(64, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(torch.flatten(x, 1)) + self.other(torch.flatten(x, 1))

    with pytest.raises(ModelError, match="come from one linear layer or convolution, not from 2"):
        cut_head(Two(), SHAPE, [0, 1])
