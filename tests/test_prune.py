"""Structured pruning: smaller networks of the promised shapes, inputs untouched, outputs whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgecompress.compress.prune.importance import IMPORTANCES
from edgecompress.compress.prune.structured import prune
from edgecompress.compress.prune.widths import kept_width
from edgecompress.errors import ConfigError, ModelError
from edgecompress.search.space import FAMILIES, SPACE, Candidate, build, random_candidate

SHAPE = (8, 8, 1)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def small(family: str, **change: object) -> Candidate:
    choices = {knob.name: knob.choices[len(knob.choices) // 2] for knob in SPACE.knobs(family)}
    return Candidate({"family": family, **choices, **change})  # type: ignore[dict-item]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5])
def test_building_at_pruned_widths_equals_pruning(family: str, ratio: float) -> None:
    rng = np.random.default_rng(11)
    for shape in ((49, 10, 1), (8, 8, 3), (1, 1, 1), (28, 28, 1)):
        candidate = Candidate({**random_candidate(rng, SPACE.restricted((family,))).choices, "prune": ratio})
        assert shapes(prune(build(candidate, shape, 7, dense=True), shape, ratio)) == shapes(build(candidate, shape, 7)), candidate


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_every_importance_gives_a_working_copy_and_repeats_itself(importance: str) -> None:
    torch.manual_seed(0)
    module = build(small("resnet"), SHAPE, 10, dense=True).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    batch = torch.randn(8, 1, 8, 8), torch.arange(8)
    pruned = [prune(module, SHAPE, 0.5, importance=importance, batch=batch) for _ in range(2)]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in (*module.parameters(), *pruned[0].parameters()))
    assert module.training and pruned[0].training
    assert shapes(pruned[0]) != shapes(module)
    assert all(torch.equal(value, pruned[1].state_dict()[name]) for name, value in pruned[0].state_dict().items())
    assert pruned[0](batch[0]).shape == (8, 10)


def test_unimportant_channels_go_and_the_function_stays() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 64, 5),
    ).eval()
    dead = [1, 2, 5, 7, 8, 10, 12, 15]
    with torch.no_grad():
        for layer in (module[0], module[1], module[3], module[4]):
            layer.weight[dead] = 0
            layer.bias[dead] = 0
        module[7].weight.view(5, 16, 64)[:, dead] = 0
    pruned = prune(module, SHAPE, 0.5)
    assert pruned[0].out_channels == pruned[3].groups == 8  # type: ignore[index,union-attr]
    x = torch.randn(3, 1, 8, 8)
    assert torch.allclose(pruned(x), module(x), atol=1e-5)


class Shared(nn.Module):
    """A skip connection that ties two convolutions, and a fully convolutional classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        return self.last(x + self.second(x)).mean(dim=(2, 3))


def test_channels_that_are_the_output_stay() -> None:
    pruned = prune(Shared(), SHAPE, 0.5)
    assert pruned.first.out_channels == pruned.second.in_channels == pruned.second.out_channels == 8  # type: ignore[union-attr]
    assert pruned.last.out_channels == 10  # type: ignore[union-attr]


def test_grouped_convolutions_stay_whole() -> None:
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)
    module = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3, groups=4), nn.Conv2d(16, 16, 1), *head)
    pruned = prune(module, SHAPE, 0.5)
    assert pruned[1].weight.shape == module[1].weight.shape  # type: ignore[index,union-attr]
    assert pruned[0].out_channels == 16  # type: ignore[index,union-attr]
    assert pruned[2].out_channels == 8  # type: ignore[index,union-attr]


def test_round_to_is_respected_and_layers_never_vanish() -> None:
    module = nn.Sequential(nn.Conv2d(1, 20, 3), nn.ReLU(), nn.Conv2d(20, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 4))
    pruned = prune(module, SHAPE, 0.9, round_to=8)
    assert (pruned[0].out_channels, pruned[2].out_channels) == (8, 3)  # type: ignore[index,union-attr]
    pruned = prune(module, SHAPE, 0.9, round_to=1)
    assert (pruned[0].out_channels, pruned[2].out_channels) == (2, 1)  # type: ignore[index,union-attr]


@pytest.mark.parametrize(("width", "ratio", "round_to", "kept"), [
    (64, 0.5, 4, 32), (24, 0.25, 4, 20), (12, 0.5, 4, 8), (8, 0.25, 4, 8), (4, 0.5, 4, 4), (3, 0.5, 4, 3), (16, 0.0, 4, 16),
    (10, 0.5, 1, 5), (7, 0.1, 4, 7),
])
def test_kept_width(width: int, ratio: float, round_to: int, kept: int) -> None:
    assert kept_width(width, ratio, round_to) == kept


def test_bad_arguments_are_named() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(ConfigError, match="ratio of 1"):
        prune(module, SHAPE, 1.0)
    with pytest.raises(ConfigError, match="multiples of 0"):
        prune(module, SHAPE, 0.5, round_to=0)
    with pytest.raises(ConfigError, match="Did you mean 'taylor'"):
        prune(module, SHAPE, 0.5, importance="tailor")
    with pytest.raises(ConfigError, match="batch"):
        prune(module, SHAPE, 0.5, importance="taylor")
    with pytest.raises(ModelError, match="cannot be traced"):
        prune(module, (9, 9, 1), 0.5)
