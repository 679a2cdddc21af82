"""Structured pruning: smaller networks of the promised shapes, inputs untouched, outputs whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgecompress.compress.prune.importance import IMPORTANCES
from edgecompress.compress.prune.structured import channel_groups, channel_scores, prune, prune_channels, prune_to_widths
from edgecompress.compress.prune.widths import global_widths, kept_width
from edgecompress.errors import ConfigError, ModelError
from edgecompress.hw.target import load_target
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


def plain() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
    ).eval()


def test_groups_are_listed_with_what_they_carry() -> None:
    first, second = channel_groups(plain(), SHAPE)
    assert (first.name, first.channels, first.layers, first.producers, first.consumers) == ("0", 16, ("0", "1", "3"), ("0",), ("3",))
    assert first.parameters == 16 * 9 + 2 * 16 + (24 * 16 * 9 + 24)
    assert first.macs == 64 * 16 * 9 + 64 * 24 * 16 * 9
    assert (second.name, second.channels, second.layers, second.producers, second.consumers) == ("3", 24, ("3", "7"), ("3",), ("7",))
    assert second.macs == 64 * 24 * 16 * 9 + 24 * 5


def test_tied_layers_are_one_group_and_outputs_none() -> None:
    (group,) = channel_groups(Shared(), SHAPE)
    assert group.producers == ("first", "second") and set(group.consumers) == {"second", "last"}


def test_each_group_can_have_its_own_ratio() -> None:
    module = plain()
    pruned = prune_channels(module, SHAPE, {"0": 0.5})
    assert pruned.widths == {"0": 8, "3": 24}
    assert pruned.layers["0"].outputs == pruned.layers["3"].inputs and len(pruned.layers["0"].outputs) == 8
    kept = list(pruned.layers["0"].outputs)
    assert torch.equal(pruned.module[0].weight, module[0].weight[kept])  # type: ignore[index,union-attr]
    assert torch.equal(pruned.module[3].weight, module[3].weight[:, kept])  # type: ignore[index,union-attr]
    assert prune_to_widths(module, SHAPE, {"3": 9}).widths == {"0": 16, "3": 9}
    with pytest.raises(ConfigError, match="unknown channel group '4'"):
        prune(module, SHAPE, {"4": 0.5})
    with pytest.raises(ConfigError, match=r"ratio of 1\.5"):
        prune(module, SHAPE, {"0": 1.5})


def test_layers_after_a_flatten_and_a_concatenation_are_followed() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.join, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(1, 4, 1), nn.Conv2d(12, 4, 1), nn.Linear(4 * 64, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.flatten(self.join(torch.cat([self.left(x).relu(), self.right(x)], dim=1)), 1))

    module = Branches()
    pruned = prune_channels(module, SHAPE, 0.5, round_to=2)
    assert pruned.widths == {"left": 4, "right": 2, "join": 2}
    left = pruned.layers
    assert left["join"].inputs == (*left["left"].outputs, *(8 + channel for channel in left["right"].outputs))
    assert left["head"].inputs == tuple(channel * 64 + place for channel in left["join"].outputs for place in range(64))
    assert torch.equal(pruned.module.head.weight, module.head.weight[:, list(left["head"].inputs)])  # type: ignore[union-attr]


def test_channels_that_are_flattened_right_after_a_concatenation_stay() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.head = nn.Conv2d(1, 8, 1), nn.Conv2d(1, 4, 1), nn.Linear(12 * 64, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.flatten(torch.cat([self.left(x), self.right(x)], dim=1), 1))

    assert channel_groups(Joined(), SHAPE) == ()  # torch-pruning cannot tell which inputs of the head are whose


def test_global_ranking_takes_channels_where_they_matter_least() -> None:
    module = plain()
    with torch.no_grad():
        module[3].weight[:, 4:] *= 0.01  # most channels of group "0" do next to nothing
        module[0].weight[4:] *= 0.01
    local, everywhere = (prune_channels(module, SHAPE, 0.5, ranking=ranking) for ranking in ("local", "global"))
    assert local.widths == {"0": 8, "3": 12}
    assert everywhere.widths == {"0": 4, "3": 16}
    assert set(everywhere.layers["0"].outputs) == {0, 1, 2, 3}
    assert prune_channels(module, SHAPE, 0.5, ranking="global", min_width=10).widths["0"] == 12
    with pytest.raises(ConfigError, match="Did you mean 'global'"):
        prune(module, SHAPE, 0.5, ranking="globl")
    with pytest.raises(ConfigError, match="global ranking"):
        prune(module, SHAPE, {"0": 0.5}, ranking="global")


@settings(max_examples=60, deadline=None)
@given(widths=st.lists(st.integers(1, 40), min_size=1, max_size=5), ratio=st.floats(0, 0.99), round_to=st.integers(1, 8), seed=st.integers(0, 99))
def test_global_widths_keep_their_promises(widths: list[int], ratio: float, round_to: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = {str(index): rng.random(width) for index, width in enumerate(widths)}
    found = global_widths(scores, ratio, round_to, 2)
    for name, width in found.items():
        whole = len(scores[name])
        assert min(whole, 2) <= width <= whole
        assert width == whole or width % round_to == 0
    smaller = global_widths(scores, min(0.99, ratio + 0.1), round_to, 2)
    assert sum(smaller.values()) <= sum(found.values())


def test_an_importance_that_says_nothing_is_told() -> None:
    with pytest.raises(ConfigError, match="'bn_scale' says nothing about the channels of '3'"):
        prune(plain(), SHAPE, 0.5, importance="bn_scale")


def test_scores_of_named_channels() -> None:
    module = plain()
    scores = channel_scores(module, SHAPE, "l1")
    expected = module[0].weight.abs().flatten(1).sum(1) + module[1].weight.abs() + module[3].weight.abs().sum(dim=(0, 2, 3))  # type: ignore[union-attr,operator]
    assert np.allclose(scores["0"], (expected / expected.mean()).detach().numpy(), rtol=1e-5)


def test_targets_say_which_widths_their_kernels_like() -> None:
    assert load_target("cortex-m7").width_multiple == 4
    assert load_target("cortex-m55").width_multiple == load_target("alif-e7").width_multiple == 8  # inherited
    assert prune_channels(plain(), SHAPE, 0.3, round_to=load_target("cortex-m55").width_multiple).widths == {"0": 8, "3": 16}
