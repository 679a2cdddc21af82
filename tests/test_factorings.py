"""Depthwise-separable replacement and low-rank splits: exact where they can be, better than what they replace where they are meant to be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgecompress.compress.low_rank import (
    can_be_split,
    factors,
    input_moments,
    rank_for_share,
    saves,
    split_layer,
    split_low_rank,
)
from edgecompress.compress.replace import replaced
from edgecompress.compress.separable import can_be_separable, make_separable, rank_one, rank_one_share
from edgecompress.errors import ConfigError

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": (5, 3), "padding": "same", "dilation": 2},
    {"kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect", "bias": False}, {"kernel_size": (1, 4), "padding": "valid"},
]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 5)).eval()


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_separable_keeps_a_function_of_rank_one(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    layer = nn.Conv2d(6, 8, **options)
    height, width = layer.kernel_size
    layer.weight.data = torch.einsum("ihw,io->oihw", torch.randn(6, height, width), torch.randn(6, 8))
    module = nn.Sequential(layer)
    x = torch.randn(2, 6, 13, 11)
    result = make_separable(module, ["0"])
    torch.testing.assert_close(result(x), module(x), atol=5e-5, rtol=1e-5)
    assert rank_one_share(layer.weight) == pytest.approx(1.0)
    assert [type(part).__name__ for part in result[0]] == ["Conv2d", "Conv2d"] and result[0].depthwise.groups == 6
    assert (result[0].pointwise.bias is None) == (layer.bias is None)


def test_separable_is_the_best_rank_one_of_each_input_channel() -> None:
    torch.manual_seed(2)
    weight = torch.randn(8, 4, 3, 3)
    filters, columns = rank_one(weight)
    approximation = torch.einsum("ihw,io->oihw", filters, columns)
    for channel in range(4):
        values = torch.linalg.svdvals(weight[:, channel].double().flatten(1))
        error = (weight[:, channel] - approximation[:, channel]).square().sum()
        assert float(error) == pytest.approx(float(values[1:].square().sum()))
    assert rank_one_share(weight) == pytest.approx(1 - float((weight - approximation).square().sum() / weight.square().sum()))
    assert bool((filters.flatten(1).gather(1, filters.flatten(1).abs().argmax(1, keepdim=True)) > 0).all())


def test_replacement_leaves_the_module_and_its_other_layers_alone() -> None:
    module = network()
    before = [parameter.clone() for parameter in module.parameters()]
    result = make_separable(module.train(), ["2"], norm=True)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True)) and type(module[2]) is nn.Conv2d
    assert torch.equal(result[0].weight, module[0].weight) and result[0].weight is not module[0].weight
    assert list(dict(result[2].named_children())) == ["depthwise", "norm", "pointwise"] and result[2].norm.training
    assert result(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_layers_with_several_names_are_replaced_in_all() -> None:
    shared = nn.Conv2d(8, 8, 3, padding=1)
    module = nn.Sequential(nn.Sequential(shared, nn.ReLU()), shared)
    result = make_separable(module, ["0.0"])
    assert result[1] is result[0][0] and isinstance(result[1], nn.Sequential)


def test_what_cannot_be_separable() -> None:
    for layer in (nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(1, 8, 3), nn.Conv2d(8, 1, 3), nn.Linear(8, 8), nn.ConvTranspose2d(8, 8, 3)):
        assert not can_be_separable(layer)
    with pytest.raises(ConfigError, match=r"layer '6' .*cannot be made depthwise-separable"):
        make_separable(network(), ["2", "6"])
    with pytest.raises(ConfigError, match="unknown layer '7x'"):
        make_separable(network(), ["7x"])


@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize("aware", [False, True])
def test_full_rank_is_exact_for_convolutions(options: dict[str, Any], aware: bool) -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(6, 8, **options))
    x = torch.randn(3, 6, 13, 11)
    moment = input_moments(module, ["0"], x)["0"] if aware else None
    torch.testing.assert_close(split_layer(module[0], 8, moment)(x), module(x), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 7), (7, 12), (9, 9)])
def test_full_rank_is_exact_for_linear_layers(inputs: int, outputs: int) -> None:
    torch.manual_seed(4)
    layer, x = nn.Linear(inputs, outputs, bias=inputs != 9), torch.randn(5, 4, inputs)
    torch.testing.assert_close(split_layer(layer, min(inputs, outputs))(x), layer(x), atol=2e-6, rtol=1e-5)


def test_plain_split_has_the_error_of_the_singular_values_left_out() -> None:
    torch.manual_seed(5)
    weight = torch.randn(10, 14, dtype=torch.float64)
    values = torch.linalg.svdvals(weight).square()
    for rank in (1, 4, 10):
        first, second = factors(weight, rank)
        assert first.shape == (rank, 14) and second.shape == (10, rank)
        assert float((weight - second @ first).square().sum()) == pytest.approx(float(values[rank:].sum()), abs=1e-9)


def test_calibration_makes_better_outputs_than_weights_alone() -> None:
    """Inputs that lie in few directions: the split must keep what acts on these (methods: HCInfer)."""
    torch.manual_seed(6)
    layer = nn.Linear(32, 20)
    mixing = torch.diag(torch.linspace(0, 2, 32)) @ torch.randn(32, 32)
    calibration, fresh = torch.randn(400, 32) @ mixing, torch.randn(400, 32) @ mixing
    moment = input_moments(nn.Sequential(layer), ["0"], calibration)["0"]
    torch.testing.assert_close(moment, calibration.double().T @ calibration.double() / 400)
    errors = [float((split_layer(layer, 6, m)(fresh) - layer(fresh)).detach().square().mean()) for m in (None, moment)]
    assert errors[1] < 0.75 * errors[0]


def test_splits_only_where_they_save_work() -> None:
    module = network()
    result = split_low_rank(module, {"2": 4, "6": 40, "8": 2})
    assert [type(result[index]).__name__ for index in (2, 6, 8)] == ["Sequential", "Linear", "Sequential"]
    assert result[2].reduce.weight.shape == (4, 16, 3, 3) and result[2].reduce.stride == (2, 2) and result[2].expand.weight.shape == (24, 4, 1, 1)
    assert result(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert saves(module[6], 13) and not saves(module[6], 14)  # 14 * 56 > 24 * 32 > 13 * 56


def test_ranks() -> None:
    layer = nn.Linear(24, 32)
    assert rank_for_share(layer, 0.5, 1) == 6 and rank_for_share(layer, 0.5) == 4 and rank_for_share(layer, 0.25) == 0  # 24 * 32 / 56 = 13.7


def test_bad_requests() -> None:
    module = network()
    for ranks, message in (({"1": 4}, "layer '1' .*cannot be split"), ({"2": 0}, "at rank 0"), ({"9": 1}, "unknown layer '9'")):
        with pytest.raises(ConfigError, match=message):
            split_low_rank(module, ranks)
    assert not can_be_split(nn.Conv2d(8, 8, 3, groups=8)) and not can_be_split(nn.Bilinear(2, 2, 2))
    with pytest.raises(ConfigError, match=r"share of 1\.5"):
        rank_for_share(module[6], 1.5)
    with pytest.raises(ConfigError, match="second moment of shape"):
        split_layer(module[6], 2, torch.eye(3))
    with pytest.raises(ConfigError, match="has no inputs to weigh"):
        input_moments(module, ["1"], torch.zeros(2, 3, 8, 8))
    unused = nn.Sequential(module)
    unused.spare = nn.Linear(2, 2)
    unused.forward = module.forward  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="'spare' is never called"):
        input_moments(unused, ["spare"], torch.zeros(2, 3, 8, 8))


def test_moments_leave_the_module_as_it_was() -> None:
    module = network().train()
    module[3].eval()
    input_moments(module, ["2", "6"], torch.randn(5, 3, 8, 8), batch_size=2)
    assert module.training and not module[3].training and not module[2]._forward_pre_hooks


def test_frozen_layers_stay_frozen() -> None:
    module = network()
    module[2].requires_grad_(False)
    result = replaced(module, {"2": lambda layer: split_layer(layer, 4), "6": lambda layer: split_layer(layer, 4)})
    assert not any(parameter.requires_grad for parameter in result[2].parameters())
    assert all(parameter.requires_grad for parameter in result[6].parameters())
