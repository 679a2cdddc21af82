"""Parts of quantization: weights, ranges, tensor parameters, configuration, evaluation helpers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecompress.compress.quantize.config import QuantizeConfig, layer_bits
from edgecompress.compress.quantize.evaluate import accuracy, accuracy_float, classes_of, confusion_matrix
from edgecompress.compress.quantize.parameters import affine_parameters
from edgecompress.compress.quantize.ranges import BINS, METHODS, Histogram, choose_range, squared_error
from edgecompress.compress.quantize.weights import quantize_weights
from edgecompress.errors import ConfigError, DataError
from edgecompress.frontend.float_graph import FloatGraph, FloatGraphBuilder
from edgecompress.ir.packing import WEIGHT_RANGE


def histogram_of(values: np.ndarray) -> Histogram:
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    occupied = values[values != 0]
    return Histogram(float(low), float(high), np.histogram(occupied, BINS, (low, high))[0].astype(float), int((values == 0).sum()))


def true_error(values: np.ndarray, low: float, high: float) -> float:
    scale, zero_point = affine_parameters(low, high)
    codes = np.clip(np.rint(values / scale) + zero_point, -128, 127)
    return float(((values - (codes - zero_point) * scale) ** 2).mean())


@pytest.mark.parametrize("bits", WEIGHT_RANGE)
@pytest.mark.parametrize("depthwise", [False, True])
def test_weights_stay_in_range_and_channels_are_independent(bits: int, depthwise: bool) -> None:
    rng = np.random.default_rng(bits)
    weights = rng.standard_normal((3, 3, 6) if depthwise else (6, 3, 3, 4)).astype(np.float32)
    channel = (Ellipsis, 2) if depthwise else (2,)
    weights[channel] *= 1000.0
    result = quantize_weights(weights, bits, depthwise)
    low, high = WEIGHT_RANGE[bits]
    assert result.values.dtype == np.int8 and result.values.min() >= low and result.values.max() <= high
    assert np.array_equal(result.scales, result.scales.astype(np.float32)), "a .tflite stores scales as float32"
    others = weights.copy()
    others[channel] = 0.0
    again = quantize_weights(others, bits, depthwise)
    keep = np.arange(6) != 2
    axis = -1 if depthwise else 0
    np.testing.assert_array_equal(np.compress(keep, again.values, axis), np.compress(keep, result.values, axis))


def test_int8_weights_are_half_a_step_near() -> None:
    weights = np.random.default_rng(0).standard_normal((8, 5, 5, 3)).astype(np.float32)
    result = quantize_weights(weights, 8, False)
    assert (np.abs(result.real(False) - weights).reshape(8, -1).max(axis=1) <= result.scales * 0.5001).all()


def test_four_bits_clip_for_less_error_than_the_full_range() -> None:
    weights = np.random.default_rng(0).standard_normal((16, 200)).astype(np.float32)
    full = np.abs(weights).max(axis=1, keepdims=True) / 7
    plain = np.clip(np.rint(weights / full), -7, 7) * full
    chosen = quantize_weights(weights, 4, False).real(False)
    assert (((chosen - weights) ** 2).sum(1) <= ((plain - weights) ** 2).sum(1) * 1.0001).all()
    assert ((chosen - weights) ** 2).sum() < 0.8 * ((plain - weights) ** 2).sum()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=9))
def test_ternary_is_the_best_of_all_ternaries(row: list[float]) -> None:
    weights = np.array([row], dtype=np.float32)
    found = float(((quantize_weights(weights, 2, False).real(False) - weights) ** 2).sum())
    best = float((weights.astype(np.float64) ** 2).sum())
    magnitudes = np.sort(np.abs(weights[0].astype(np.float64)))[::-1]
    for count in range(1, len(row) + 1):  # the best support of each size is the largest magnitudes, the best scale their mean
        best = min(best, float((magnitudes**2).sum() - magnitudes[:count].sum() ** 2 / count))
    assert found <= best + 1e-5


@pytest.mark.parametrize("bits", WEIGHT_RANGE)
def test_dead_channels_have_valid_scales(bits: int) -> None:
    weights = np.zeros((4, 9), np.float32)
    assert (quantize_weights(weights, bits, False).scales == 1.0).all()
    weights[1] = np.linspace(-1, 1, 9)
    result = quantize_weights(weights, bits, False)
    assert (result.scales == result.scales[1]).all() and not result.values[[0, 2, 3]].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gaussian", "relu", "positive", "negative", "spike", "tiny", "constant", "zero"])
def test_every_range_holds_zero_and_is_not_empty(method: str, name: str) -> None:
    rng = np.random.default_rng(0)
    values = {"gaussian": rng.standard_normal(20000), "relu": np.maximum(rng.standard_normal(20000), 0), "positive": rng.random(20000) + 5,
              "negative": -rng.random(20000) - 5, "spike": np.append(np.full(20000, 0.1), 100.0), "tiny": rng.standard_normal(500) * 1e-20,
              "constant": np.full(100, 3.5), "zero": np.zeros(100)}[name]
    low, high = choose_range(histogram_of(values), method, 99.99)
    assert low <= 0.0 <= high and low < high
    if name != "zero":
        assert min(values.min(), 0) * 1.0001 <= low and high <= max(values.max(), 0) * 1.0001
    scale, zero_point = affine_parameters(low, high)
    assert scale > 0 and -128 <= zero_point <= 127


@pytest.mark.parametrize("degrees", [2, 3, 5])
def test_searches_clip_heavy_tails(degrees: int) -> None:
    values = np.random.default_rng(degrees).standard_t(degrees, 200_000)
    histogram = histogram_of(values)
    ranges = {name: choose_range(histogram, name, 99.99) for name in METHODS}
    errors = {name: true_error(values, *found) for name, found in ranges.items()}
    assert errors["mse"] < errors["minmax"] and errors["mse"] <= min(errors.values()) * 1.02
    assert ranges["entropy"][1] < 0.9 * ranges["minmax"][1], "with bins as coarse as codes the divergence would never clip"
    assert ranges["percentile"][1] == pytest.approx(np.quantile(values, 0.9999), rel=0.02)


def test_a_few_values_are_no_distribution() -> None:
    values = np.random.default_rng(0).standard_normal(72)
    histogram = histogram_of(values)
    assert choose_range(histogram, "entropy", 99.99) == choose_range(histogram, "mse", 99.99)
    low, high = choose_range(histogram, "entropy", 99.99)
    assert high > 0.9 * values.max() and low < 0.9 * values.min()


def test_mse_search_is_near_the_best_pair_of_ends() -> None:
    values = np.random.default_rng(1).gamma(0.7, 1.0, 50_000) - 0.3
    histogram = histogram_of(values)
    low, high = choose_range(histogram, "mse", 99.99)
    found = squared_error(histogram.centers, histogram.counts, low, high)
    best = min(squared_error(histogram.centers, histogram.counts, histogram.low * a, histogram.high * b)
               for a in np.linspace(0.1, 1, 25) for b in np.linspace(0.1, 1, 25))
    assert found <= best * 1.05


def test_full_percentile_is_minmax() -> None:
    histogram = histogram_of(np.random.default_rng(2).standard_normal(1000))
    assert choose_range(histogram, "percentile", 100.0) == pytest.approx((histogram.low, histogram.high))


def test_configuration_errors_say_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"unknown range method 'msee'\. Did you mean 'mse'"):
        QuantizeConfig(range_method="msee")
    with pytest.raises(ConfigError, match="percentile 30"):
        QuantizeConfig(percentile=30)


def graph_with_layers() -> FloatGraph:
    builder = FloatGraphBuilder("g", (4,))
    tensor = "input"
    for _ in range(2):
        tensor = builder.add("dense", "fc", tensor, weights=np.eye(4, dtype=np.float32), bias=np.zeros(4, np.float32))
    return builder.build(builder.add("dense", "last", tensor, weights=np.eye(4, dtype=np.float32), bias=np.zeros(4, np.float32)))


def test_layer_bits_by_name_with_repeats() -> None:
    graph = graph_with_layers()
    assert layer_bits(graph, 4) == {"fc": 4, "fc:2": 4, "last": 4}
    assert layer_bits(graph, {"fc": 2}) == {"fc": 2, "fc:2": 2, "last": 8}
    assert layer_bits(graph, {"fc": 2, "fc:2": 4}) == {"fc": 2, "fc:2": 4, "last": 8}
    with pytest.raises(ConfigError, match=r"unknown layer 'lost'\. Did you mean 'last'"):
        layer_bits(graph, {"lost": 4})
    with pytest.raises(ConfigError, match="'last': 3 weight bits"):
        layer_bits(graph, {"last": 3})


def test_accuracy_and_confusion() -> None:
    labels, predicted = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])
    assert accuracy(predicted, labels) == 0.75
    assert confusion_matrix(predicted, labels, 3).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert classes_of(np.array([[[[3, 9, 9]]], [[[5, 1, 1]]]], dtype=np.int8)).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"0\.\.1, got 0\.\.2"):
        confusion_matrix(predicted, labels, 2)
    with pytest.raises(DataError, match="at least one"):
        accuracy(np.zeros(0), np.zeros(0))


def test_accuracy_float_takes_graph_or_module() -> None:
    torch = pytest.importorskip("torch")
    from edgecompress.frontend.torch_import import from_torch

    module = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Dropout(), torch.nn.Flatten())
    x = np.random.default_rng(0).standard_normal((10, 1, 1, 2)).astype(np.float32)
    samples = SimpleNamespace(x=x, y=x.reshape(10, 2).argmax(1))
    assert accuracy_float(module, samples) == 1.0 and module.training
    assert accuracy_float(from_torch(module, (1, 1, 2)), samples) == 1.0
