"""When and how much: gradual pruning inside one training, and the largest-first policy with an accuracy oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgecompress.compress.finetune import TrainConfig, evaluate, train
from edgecompress.compress.prune.policy import largest_first
from edgecompress.compress.prune.recover import recover
from edgecompress.compress.prune.schedules import agp_ratio, gradient_batch, train_while_pruning
from edgecompress.compress.prune.structured import prune
from edgecompress.data.parts import Samples
from edgecompress.errors import ConfigError

SHAPE = (8, 8, 1)


def stripes(count: int, seed: int) -> Samples:
    """Three classes of 8x8 pictures: horizontal, vertical and diagonal stripes in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    row, column = np.mgrid[0:8, 0:8]
    waves = np.stack([np.sin(row * 2.0), np.sin(column * 2.0), np.sin((row + column) * 1.4)])
    x = waves[y] + rng.normal(0, 0.6, (count, 8, 8))
    return Samples(x[..., None].astype(np.float32), y.astype(np.int64))


TRAIN, VALIDATION, OTHER = stripes(256, 0), stripes(120, 1), stripes(120, 2)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3),
    )


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return train(network(), TRAIN, VALIDATION, TrainConfig(epochs=5, learning_rate=1e-2), 0).module


def widths(module: nn.Module) -> tuple[int, int]:
    return module[0].out_channels, module[3].out_channels  # type: ignore[index,union-attr,return-value]


def test_the_cubic_schedule() -> None:
    ratios = [agp_ratio(0.8, step, 4) for step in range(5)]
    assert ratios == pytest.approx([0.0, 0.8 * (1 - 27 / 64), 0.8 * (1 - 8 / 64), 0.8 * (1 - 1 / 64), 0.8])


@pytest.mark.parametrize("ranking", ["local", "global"])
def test_gradual_pruning_is_one_training_with_one_learning_rate_schedule(trained: nn.Module, ranking: str) -> None:
    config = TrainConfig(epochs=6, learning_rate=5e-3)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    result = train_while_pruning(trained, SHAPE, 0.5, TRAIN, VALIDATION, config, 1, steps=3, ranking=ranking, importance="taylor")
    if ranking == "local":
        assert widths(result.module) == (8, 12)
        assert {name: value.shape for name, value in result.module.state_dict().items()} \
            == {name: value.shape for name, value in prune(trained, SHAPE, 0.5).state_dict().items()}
    else:
        assert abs(sum(widths(result.module)) - 20) <= 2
    plain = train(trained, TRAIN, VALIDATION, config, 1)
    assert [epoch.learning_rate for epoch in result.history] == [epoch.learning_rate for epoch in plain.history]
    assert result.best.epoch >= 3  # only epochs at the final width count
    assert result.accuracy == evaluate(result.module, VALIDATION)[0] > 0.8
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_gradual_pruning_reaches_its_ratio_even_when_stopped(trained: nn.Module) -> None:
    result = train_while_pruning(trained, SHAPE, {"0": 0.5}, TRAIN, VALIDATION, TrainConfig(epochs=8), 1, steps=4, stop=lambda: True)
    assert widths(result.module) == (8, 24) and len(result.history) == 1
    assert result.accuracy == evaluate(result.module, VALIDATION)[0]


def test_gradual_pruning_names_wrong_arguments(trained: nn.Module) -> None:
    with pytest.raises(ConfigError, match="at least 1 step"):
        train_while_pruning(trained, SHAPE, 0.5, TRAIN, VALIDATION, TrainConfig(epochs=1), 0, steps=0)
    with pytest.raises(ConfigError, match="Did you mean 'taylor'"):
        train_while_pruning(trained, SHAPE, 0.5, TRAIN, VALIDATION, TrainConfig(epochs=1), 0, importance="tailor")


def test_gradient_batches_repeat_themselves() -> None:
    (x, y), (again, _) = gradient_batch(TRAIN, 3, 16), gradient_batch(TRAIN, 3, 16)
    assert x.shape == (16, 1, 8, 8) and torch.equal(x, again) and len(y) == 16


class Oracle:
    """Accuracy as a function of the two widths; counts its calls."""

    def __init__(self, drop: dict[str, float]) -> None:
        self.drop, self.calls = drop, 0

    def __call__(self, module: nn.Module) -> float:
        self.calls += 1
        first, second = widths(module)
        return 0.9 - self.drop["0"] * (16 - first) / 16 - self.drop["3"] * (24 - second) / 24


def test_the_largest_group_is_pruned_first_within_the_tolerance() -> None:
    choose, held_out = Oracle({"0": 0.02, "3": 0.02}), Oracle({"0": 0.02, "3": 0.02})
    found = largest_first(network(), SHAPE, choose, held_out, max_drop=0.02)
    assert [verdict.group for verdict in found.verdicts] == ["0", "3"]  # "0" carries the weights of both convolutions
    assert widths(found.module)[0] == 4  # as narrow as it goes
    assert found.accuracy[0] - found.accuracy[1] <= 0.02 + 1e-9
    assert found.held_out[0] - found.held_out[1] <= 0.02 + 1e-9 and found.lowered == ()
    assert found.evaluations == choose.calls + held_out.calls
    assert widths(found.module) == tuple(found.pruned.widths.values())


def test_a_sensitive_group_is_left_alone() -> None:
    oracle = Oracle({"0": 0.9, "3": 0.001})
    found = largest_first(network(), SHAPE, oracle, oracle, max_drop=0.01)
    assert found.verdicts[0].alone == found.verdicts[0].rate == 0
    assert widths(found.module) == (16, 4)


def test_what_fails_on_held_out_samples_is_taken_back() -> None:
    found = largest_first(network(), SHAPE, Oracle({"0": 0.0, "3": 0.0}), Oracle({"0": 0.0, "3": 0.1}), max_drop=0.03)
    assert found.lowered == ("3",)
    assert found.held_out[0] - found.held_out[1] <= 0.03
    assert widths(found.module)[0] == 4 and widths(found.module)[1] > 12
    nothing = largest_first(network(), SHAPE, Oracle({"0": 0.0, "3": 0.0}), Oracle({"0": 1.0, "3": 1.0}), max_drop=0.0)
    assert widths(nothing.module) == (16, 24) and nothing.ratios == {} and set(nothing.lowered) == {"0", "3"}


def test_a_repair_before_each_evaluation_allows_more(trained: nn.Module) -> None:
    def accuracy(samples: Samples) -> object:
        return lambda module: evaluate(module, samples)[0]

    options = {"max_drop": 0.02, "rates": (0.25, 0.5, 0.75)}
    plain = largest_first(trained, SHAPE, accuracy(VALIDATION), accuracy(OTHER), **options)  # type: ignore[arg-type]
    repaired = largest_first(trained, SHAPE, accuracy(VALIDATION), accuracy(OTHER), **options,  # type: ignore[arg-type]
                             repair=lambda before, pruned: recover(before, pruned, TRAIN.x[:96], rows=2048).module)
    assert sum(widths(repaired.module)) <= sum(widths(plain.module))
    assert repaired.accuracy[1] == evaluate(repaired.module, VALIDATION)[0] >= repaired.accuracy[0] - 0.02


def test_policies_name_wrong_arguments() -> None:
    oracle = Oracle({"0": 0.0, "3": 0.0})
    with pytest.raises(ConfigError, match="tolerated drop is 1"):
        largest_first(network(), SHAPE, oracle, oracle, max_drop=1.0)
    with pytest.raises(ConfigError, match="must rise"):
        largest_first(network(), SHAPE, oracle, oracle, max_drop=0.1, rates=(0.5, 0.2))
