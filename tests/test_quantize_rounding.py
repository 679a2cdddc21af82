"""Adaptive rounding: less error in the output than nearest, the right sums, any kind of layer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgecompress.compress.quantize.rounding import LayerData, layer_data, round_layer
from edgecompress.compress.quantize.sqnr import output_sqnr
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.quantize.weights import quantize_weights, to_rows
from edgecompress.errors import ConfigError
from edgecompress.frontend.float_graph import FloatNode
from edgecompress.frontend.float_run import execute_node, to_torch
from edgecompress.frontend.passes import prepare
from edgecompress.frontend.torch_import import from_torch
from edgecompress.ir.packing import WEIGHT_RANGE

LAYERS = {
    "conv": (lambda: nn.Conv2d(4, 6, 3, 2, 1), (9, 8, 4)),
    "dilated": (lambda: nn.Conv2d(4, 6, (3, 2), 1, (2, 0), dilation=(2, 1)), (9, 8, 4)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (9, 8, 4)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, 2, 1, groups=4), (9, 8, 4)),
    "dense": (lambda: nn.Linear(20, 7), (20,)),
}


def layer(kind: str, seed: int = 0) -> tuple[FloatNode, torch.Tensor, torch.Tensor]:
    """(node, correlated inputs, its result) in torch's layout; the weights are the seed's, whatever ran before."""
    make, shape = LAYERS[kind]
    torch.manual_seed(seed)
    rng = np.random.default_rng(1)
    x = np.maximum(rng.standard_normal((64, *shape)) + 2 * rng.standard_normal((64, *shape[:-1], 1)), 0).astype(np.float32)
    (node,) = prepare(from_torch(nn.Sequential(make()), shape)).nodes
    with torch.no_grad():
        return node, to_torch(x), execute_node(node, to_torch(x))


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_times_weights_are_the_layer(kind: str) -> None:
    node, x, expected = layer(kind)
    data = layer_data(node, x, expected)
    depthwise = node.kind == "depthwise_conv2d"
    rows = to_rows(node.attributes["weights"], depthwise).reshape(len(data.inputs), -1, data.inputs.shape[2])
    bias = node.attributes["bias"].reshape(len(data.inputs), 1, -1)
    np.testing.assert_allclose(data.inputs @ rows.transpose(0, 2, 1) + bias, data.targets, atol=1e-4)


def centred_error(node: FloatNode, x: torch.Tensor, expected: torch.Tensor, weights: np.ndarray) -> float:
    with torch.no_grad():
        error = execute_node(node.changed(weights=weights), x) - expected
    return float((error - error.mean(dim=[axis for axis in range(error.ndim) if axis != 1], keepdim=True)).square().mean())


@pytest.mark.parametrize("bits", [4, 2])
@pytest.mark.parametrize("kind", LAYERS)
def test_less_error_than_nearest(kind: str, bits: int) -> None:
    node, x, expected = layer(kind)
    depthwise = node.kind == "depthwise_conv2d"
    nearest = quantize_weights(node.attributes["weights"], bits, depthwise)
    chosen = round_layer(node, bits, layer_data(node, x, expected), np.zeros(len(node.attributes["bias"])), True)
    low, high = WEIGHT_RANGE[bits]
    assert chosen.values.min() >= low and chosen.values.max() <= high and chosen.bits == bits
    assert np.array_equal(chosen.scales, chosen.scales.astype(np.float32)) and (chosen.scales > 0).all()
    errors = [centred_error(node, x, expected, one.real(depthwise)) for one in (nearest, chosen)]
    assert errors[1] < (1.0 if depthwise else 0.8) * errors[0]  # the taps of one channel hardly correlate here, so there is little to win


def test_nearly_the_best_of_all_integers() -> None:
    ratios, gains = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        weights = rng.standard_normal((1, 5)).astype(np.float32)
        x = (rng.standard_normal((200, 5)) @ rng.standard_normal((5, 5))).astype(np.float32)
        node = FloatNode("fc", "dense", ("x",), "y", {"weights": weights, "bias": np.zeros(1, np.float32)})
        chosen, nearest = round_layer(node, 2, LayerData(x[None], (x @ weights.T)[None]), np.zeros(1), False), quantize_weights(weights, 2, False)
        # the best scale of given integers is a projection, so all 3^5 choices can be tried exactly
        choices = np.array(list(itertools.product((-1, 0, 1), repeat=5)), np.float64)
        products, target = choices @ x.T.astype(np.float64), (x @ weights[0]).astype(np.float64)
        norms = np.maximum((products**2).sum(axis=1), 1e-12)
        best = ((target**2).sum() - np.maximum(products @ target, 0) ** 2 / norms).min()
        found, plain = (float((((x @ one.real(False).T)[:, 0] - target) ** 2).sum()) for one in (chosen, nearest))
        ratios.append(found / best)
        gains.append(found / plain)
    assert min(ratios) > 0.999 and np.median(ratios) < 1.5 and np.median(gains) < 0.7


def test_scales_obey_the_bound_that_a_large_bias_sets() -> None:
    node, x, expected = layer("conv")
    least = np.full(6, 0.5)
    assert (round_layer(node, 4, layer_data(node, x, expected), least, True).scales >= 0.5).all()


def test_dead_inputs_and_dead_weights() -> None:
    node, x, expected = layer("conv")
    for dead_x, weights in ((torch.zeros_like(x), node.attributes["weights"]), (x, np.zeros_like(node.attributes["weights"]))):
        result = round_layer(node.changed(weights=weights), 4, layer_data(node, dead_x, torch.zeros_like(expected)), np.zeros(6), True)
        assert np.isfinite(result.scales).all() and (result.scales > 0).all()


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise, self.point, self.head = nn.Conv2d(2, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 16, 1), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu6(self.point(F.relu(self.depthwise(x)) + x))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("bits", [4, 2])
def test_whole_networks_lose_less(bits: int) -> None:
    torch.manual_seed(0)
    graph = from_torch(Small().eval(), (10, 10, 2))
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((96, 10, 10, 2)) + rng.standard_normal((96, 1, 1, 2))).astype(np.float32)
    plain = quantize(graph, x[:64], QuantizeConfig(weight_bits=bits))
    settings = QuantizeConfig(weight_bits=bits, rounding="adaptive")
    better = quantize(graph, x[:64], settings)
    assert output_sqnr(graph, better, x[64:]) > output_sqnr(graph, plain, x[64:]) + 1.5
    assert better.hash == quantize(graph, x[:64], settings).hash
    assert better.metadata["quantization"]["rounding"] == "adaptive"


def test_eight_bits_are_rounded_to_nearest() -> None:
    graph = from_torch(Small().eval(), (10, 10, 2))
    x = np.random.default_rng(0).standard_normal((16, 10, 10, 2)).astype(np.float32)
    mixed = quantize(graph, x, QuantizeConfig(weight_bits={"point": 4}, rounding="adaptive"))
    nearest = quantize(graph, x)
    assert np.array_equal(mixed.nodes[0].op.weights, nearest.nodes[0].op.weights)
    with pytest.raises(ConfigError, match="unknown rounding 'adaround'"):
        QuantizeConfig(rounding="adaround")


@pytest.mark.parametrize("bits", [4, 2])
def test_weights_on_their_integers_are_found_again(bits: int) -> None:
    rng = np.random.default_rng(bits)
    high = WEIGHT_RANGE[bits][1]
    for largest in range(1, high + 1):
        integers = rng.integers(-largest, largest + 1, (12, 30))
        integers[:, 0] = largest
        scales = np.exp(rng.standard_normal(12)).astype(np.float32)
        found = quantize_weights((integers * scales[:, None]).astype(np.float32), bits, False)
        np.testing.assert_allclose(found.real(False), integers * scales[:, None], rtol=1e-5, atol=1e-6)
