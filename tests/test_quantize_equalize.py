"""Cross-layer equalisation: the function stays, channels get even, only pairs that allow it change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgecompress.compress.quantize.equalize import equalizable_pairs, equalize
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.quantize.weights import to_rows
from edgecompress.errors import ConfigError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.float_run import run_float, run_tensors
from edgecompress.frontend.passes import prepare
from edgecompress.frontend.torch_import import from_torch


def uneven(activation: type[nn.Module] = nn.ReLU, spread: float = 3.0) -> tuple[FloatGraph, np.ndarray]:
    """Conv, depthwise, 1x1 and dense layers whose channels differ by factors of e^spread, and samples."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), activation(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), activation(),
                        nn.MaxPool2d(2), nn.Conv2d(8, 12, 1), activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)).eval()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.copy_(torch.exp(spread * (torch.rand(8) - 0.5)))
                layer.running_var.uniform_(0.5, 2.0)
    x = np.random.default_rng(0).standard_normal((24, 12, 12, 3)).astype(np.float32)
    return prepare(from_torch(net, (12, 12, 3))), x


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Identity])
def test_outputs_do_not_change(method: str, activation: type[nn.Module]) -> None:
    graph, x = uneven(activation)
    other = equalize(graph, x, method)
    assert len(equalizable_pairs(graph)) == 3
    before, after = run_float(graph, x), run_float(other, x)
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()
    changed = [not np.array_equal(a.attributes["weights"], b.attributes["weights"]) for a, b in zip(graph.weighted, other.weighted, strict=True)]
    assert any(changed)


def test_ranges_of_channels_meet() -> None:
    graph, x = uneven()
    other = equalize(graph, x, "weights")
    first, second = other.weighted[0], other.weighted[1]
    before = np.abs(to_rows(first.attributes["weights"], False)).max(axis=1)
    after = np.abs(to_rows(second.attributes["weights"], True)).max(axis=1)
    np.testing.assert_allclose(before, after, rtol=2e-3)


def test_activations_of_a_tensor_get_even() -> None:
    graph, x = uneven(spread=6.0)
    other = equalize(graph, x, "activations")

    def unevenness(one: FloatGraph) -> float:
        peaks = run_tensors(one, x, [graph.weighted[0].output])[graph.weighted[0].output].max(axis=(0, 1, 2))
        return float(peaks.max() / np.median(peaks))

    assert unevenness(other) < 0.5 * unevenness(graph)


def test_saturated_relu6_channels_stay() -> None:
    graph, x = uneven(nn.ReLU6, spread=6.0)
    other = equalize(graph, x, "weights")
    name = graph.weighted[0].output
    saturated = run_tensors(graph, x, [name])[name].max(axis=(0, 1, 2)) >= 6.0
    assert saturated.any() and not saturated.all()
    before, after = (to_rows(one.weighted[0].attributes["weights"], False) for one in (graph, other))
    np.testing.assert_array_equal(before[saturated], after[saturated])
    assert not np.allclose(before[~saturated], after[~saturated])
    assert run_tensors(other, x, [name])[name].max() <= 6.0


class Branches(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.c, self.activation = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, groups=3), activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation(self.a(x))
        return self.c(self.activation(self.b(y))) + y


def test_only_pairs_that_nobody_else_reads() -> None:
    pairs = equalizable_pairs(prepare(from_torch(Branches(nn.ReLU()), (4, 4, 3))))
    assert [(pair.first, pair.second) for pair in pairs] == [("b", "c")]
    assert not equalizable_pairs(prepare(from_torch(Branches(nn.Hardswish()), (4, 4, 3))))
    assert not equalizable_pairs(prepare(from_torch(Branches(nn.Hardtanh(-1, 1)), (4, 4, 3))))


def test_quantize_uses_it_and_says_so() -> None:
    graph, x = uneven()
    quantized = quantize(graph, x, QuantizeConfig(equalize="activations"))
    assert quantized.metadata["quantization"]["equalize"] == "activations"
    assert quantized.hash != quantize(graph, x).hash
    with pytest.raises(ConfigError, match="unknown equalisation 'weight'"):
        QuantizeConfig(equalize="weight")
