"""Training with the integers in the loop, and quantization that falls back to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecompress.compress.quantize.assign import BitLimits, least_flash
from edgecompress.compress.quantize.bias_correction import reconstruct
from edgecompress.compress.quantize.evaluate import accuracy_int8, predict_float
from edgecompress.compress.quantize.exact import run_exact
from edgecompress.compress.quantize.fake_quantized import FakeQuantized
from edgecompress.compress.quantize.fallback import (
    STEP_ADAPTIVE,
    STEP_PTQ,
    STEP_QAT,
    calibration_samples,
    quantization_aware_finetune,
    quantize_with_fallback,
)
from edgecompress.compress.quantize.mixed import quantize_mixed
from edgecompress.compress.quantize.static import QuantizeConfig, calibrate, quantize, quantize_calibrated, round_weights
from edgecompress.compress.training import TrainConfig
from edgecompress.data.dataset import load_dataset
from edgecompress.data.parts import Samples, TrainingData
from edgecompress.errors import BudgetError, ConfigError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.torch_import import from_torch
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.search.bit_costs import bit_costs

RECIPE = TrainConfig(epochs=12, batch_size=32, learning_rate=1e-2, weight_decay=0.0, label_smoothing=0.0, average_decay=0.9)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(),
                         nn.Conv2d(8, 24, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, TrainingData]:
    """A small network trained on digits, and the data."""
    from edgecompress.compress.finetune import train

    data = load_dataset("digits", seed=0).without_test()
    torch.manual_seed(0)
    return train(network(), data.train, data.validation, RECIPE, 0).module, data


@pytest.fixture(scope="module")
def ternary(trained: tuple[nn.Module, TrainingData]) -> tuple[FloatGraph, FloatGraph, TrainingData, np.ndarray]:
    """(float graph, the same after quantization-aware training to 2 bits, data, calibration samples)"""
    module, data = trained
    graph, calibration = from_torch(module, data.input_shape), calibration_samples(data, 256, 0)
    settings = QuantizeConfig(weight_bits=2, rounding="adaptive")
    return graph, quantization_aware_finetune(graph, data, settings, calibration, training=RECIPE), data, calibration


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_trainable_module_computes_what_the_integers_do(trained: tuple[nn.Module, TrainingData], bits: int) -> None:
    module, data = trained
    settings = QuantizeConfig(weight_bits=bits, rounding="adaptive")
    calibrated = calibrate(from_torch(module, data.input_shape), calibration_samples(data, 128, 0), settings)
    weights, biases = round_weights(calibrated, settings, [])
    fake = FakeQuantized(calibrated.graph, calibrated.tensors, weights, biases).eval()
    graph = quantize_calibrated(calibrated, settings)
    source, output = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    x = data.validation.x
    with torch.no_grad():
        soft = fake(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    steps = np.abs(soft - output.dequantize(run_exact(graph, source.quantize(x)))) / output.scale
    # single codes at ties, which ternary weights on images of 17 grey levels meet often
    assert (steps > 2.01).mean() < 0.02 and np.median(steps) < (1.01 if bits == 2 else 0.01)


def test_training_lifts_ternary_networks(ternary: tuple[FloatGraph, FloatGraph, TrainingData, np.ndarray]) -> None:
    graph, tuned, data, calibration = ternary
    part = data.validation
    plain = accuracy_int8(quantize(graph, calibration, QuantizeConfig(weight_bits=2)), part.x, part.y)
    after = accuracy_int8(quantize(tuned, calibration, QuantizeConfig(weight_bits=2)), part.x, part.y)
    assert after >= plain + 0.1
    assert abs(after - float((predict_float(tuned, part.x) == part.y).mean())) < 0.03


def test_trained_weights_lie_on_their_integers(ternary: tuple[FloatGraph, FloatGraph, TrainingData, np.ndarray]) -> None:
    _, tuned, _, calibration = ternary
    settings = QuantizeConfig(weight_bits=2, bias_correction=False)
    calibrated = calibrate(tuned, calibration, settings)
    weights, biases = round_weights(calibrated, settings, [])
    for node in tuned.weighted:
        real = weights[node.name].real(node.kind == "depthwise_conv2d")
        np.testing.assert_allclose(real, node.attributes["weights"], rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(biases[node.name], node.attributes["bias"])


def test_same_arguments_same_weights(trained: tuple[nn.Module, TrainingData]) -> None:
    module, data = trained
    small = replace(data, train=Samples(data.train.x[:96], data.train.y[:96]))
    graph, calibration = from_torch(module, data.input_shape), calibration_samples(data, 64, 0)
    first, second = (quantization_aware_finetune(graph, small, QuantizeConfig(weight_bits=4), calibration, training=replace(RECIPE, epochs=4), seed=3)
                     for _ in range(2))
    for a, b in zip(first.weighted, second.weighted, strict=True):
        np.testing.assert_array_equal(a.attributes["weights"], b.attributes["weights"])


def test_nothing_is_tried_when_plain_is_good_enough(trained: tuple[nn.Module, TrainingData]) -> None:
    module, data = trained
    outcome = quantize_with_fallback(module, data, QuantizeConfig(), 0.02, calibration=128, training=RECIPE)
    assert [step.name for step in outcome.steps] == [STEP_PTQ] and outcome.within
    assert outcome.accuracy_int8 == outcome.steps[0].accuracy == accuracy_int8(outcome.graph, data.validation.x, data.validation.y)


def test_steps_go_on_until_enough_is_kept(trained: tuple[nn.Module, TrainingData]) -> None:
    module, data = trained
    settings = QuantizeConfig(weight_bits=2, metadata={"classes": list(data.classes)})
    outcome = quantize_with_fallback(module, data, settings, 0.0, calibration=256, training=RECIPE, name="digits")
    names = [step.name for step in outcome.steps]
    assert names[:2] == [STEP_PTQ, STEP_ADAPTIVE] and names[-1] == STEP_QAT
    assert outcome.accuracy_int8 == max(step.accuracy for step in outcome.steps) > outcome.steps[0].accuracy
    assert outcome.within == (outcome.accuracy_float - outcome.accuracy_int8 <= 0.0)
    assert outcome.graph.name == "digits" and outcome.graph.metadata["classes"] == list(data.classes)
    assert {node.op.weight_bits for node in outcome.graph.nodes if hasattr(node.op, "weight_bits")} == {2}


def test_training_can_be_forbidden_and_drops_are_checked(trained: tuple[nn.Module, TrainingData]) -> None:
    module, data = trained
    outcome = quantize_with_fallback(module, data, QuantizeConfig(weight_bits=2), 0.0, calibration=128, allow_training=False)
    assert STEP_QAT not in [step.name for step in outcome.steps] and not outcome.within and outcome.drop > 0
    with pytest.raises(ConfigError, match=r"may cost is -0\.1"):
        quantize_with_fallback(module, data, QuantizeConfig(), -0.1)


def test_mixed_precision_keeps_its_limit(trained: tuple[nn.Module, TrainingData]) -> None:
    module, data = trained
    graph, target = from_torch(module, data.input_shape), load_target("cortex-m4")
    costs = replace(bit_costs(graph, target, load_profile(target.profile)), kernel_bytes={}, functions={})  # this small, unpacking code decides
    eight, least = costs.flash_bytes(dict.fromkeys(costs.layers, 8)), least_flash(costs)
    assert least < eight
    limits = BitLimits(flash_bytes=(eight + least) / 2)
    mixed = quantize_mixed(graph, data, QuantizeConfig(), costs, limits, 0.02, calibration=128, allow_training=False)
    assert mixed.flash_bytes <= limits.flash_bytes + 1e-6 and set(mixed.bits.values()) != {8}
    assert {node.name: node.op.weight_bits for node in mixed.outcome.graph.nodes if hasattr(node.op, "weight_bits")} == dict(mixed.bits)
    assert mixed.tried and max(reached for _, reached in mixed.tried) == pytest.approx(mixed.outcome.steps[0].accuracy)
    roomy = quantize_mixed(graph, data, QuantizeConfig(), costs, BitLimits(flash_bytes=eight), 0.02, calibration=128, allow_training=False)
    assert set(roomy.bits.values()) == {8} and roomy.sensitivity is None and roomy.outcome.within
    with pytest.raises(BudgetError, match="no assignment of weight bits keeps"):
        quantize_mixed(graph, data, QuantizeConfig(), costs, BitLimits(flash_bytes=least - 1), 0.02, calibration=128)


def test_assignments_that_disappoint_are_replaced(trained: tuple[nn.Module, TrainingData]) -> None:
    module, data = trained
    graph, target = from_torch(module, data.input_shape), load_target("cortex-m4")
    costs = bit_costs(graph, target, load_profile(target.profile), (4, 2))
    mixed = quantize_mixed(graph, data, QuantizeConfig(), costs, BitLimits(), 0.0, calibration=128, allow_training=False)
    if len(mixed.tried) > 1:
        assert len({tuple(bits.items()) for bits, _ in mixed.tried}) == len(mixed.tried)
    reached = dict(zip(range(len(mixed.tried)), (accuracy for _, accuracy in mixed.tried), strict=True))
    assert mixed.bits == mixed.tried[max(reached, key=lambda index: reached[index])][0]


def test_reconstruction_without_correction_keeps_biases(trained: tuple[nn.Module, TrainingData]) -> None:
    module, data = trained
    settings = QuantizeConfig(weight_bits=4, bias_correction=False, rounding="adaptive")
    calibrated = calibrate(from_torch(module, data.input_shape), calibration_samples(data, 64, 0), settings)
    weights, _ = round_weights(calibrated, settings, [])
    _, biases = reconstruct(calibrated.graph, calibrated.x, calibrated.tensors, weights, None, False)
    for node in calibrated.graph.weighted:
        np.testing.assert_array_equal(biases[node.name], node.attributes["bias"])
