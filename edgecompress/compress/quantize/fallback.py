"""Quantization that tries harder while it loses too much accuracy: plain, then better rounding, then training with the integers in the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgecompress.compress.quantize.config import QuantizeConfig, layer_bits
from edgecompress.compress.quantize.evaluate import accuracy_float, accuracy_int8
from edgecompress.compress.quantize.static import calibrate, quantize_calibrated, round_weights
from edgecompress.compress.training import TrainConfig
from edgecompress.data.parts import TrainingData
from edgecompress.errors import ConfigError, TrainingError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.passes import prepare
from edgecompress.ir.graph import QuantizedGraph

if TYPE_CHECKING:
    from torch import nn

QAT_LEARNING_RATE = 5e-3  # in units of a weight's own spread, see fake_quantized.py
QAT_SHARE = 0.25  # of the recipe's epochs
STEP_PTQ, STEP_ADAPTIVE, STEP_EQUALIZED, STEP_QAT = "ptq", "adaptive rounding", "equalized", "quantization-aware training"


@dataclass(frozen=True)
class QuantizationStep:
    """One attempt: its name and the integer graph's accuracy on the validation part, 0 to 1."""

    name: str
    accuracy: float


@dataclass(frozen=True, eq=False)
class QuantizationOutcome:
    """`graph` is the first attempt that lost at most `max_drop`, else the best of all. `floats` is the float graph that `graph` stands for:
    the model's own, or the trained one, whose weights lie on their integers. Accuracies are on the validation part."""

    graph: QuantizedGraph
    floats: FloatGraph
    accuracy_float: float  # of the model that was given
    accuracy_int8: float
    max_drop: float
    steps: tuple[QuantizationStep, ...]

    @property
    def drop(self) -> float:
        """Accuracy lost to integers; negative if they are better."""
        return self.accuracy_float - self.accuracy_int8

    @property
    def within(self) -> bool:
        """Whether no more than `max_drop` was lost."""
        return self.drop <= self.max_drop + 1e-12


def calibration_samples(data: TrainingData, count: int, seed: int) -> np.ndarray:
    """`count` samples of the training part, in its order."""
    chosen = np.random.default_rng(seed).permutation(len(data.train.y))[:count]
    return data.train.x[np.sort(chosen)]


def quantize_with_fallback(
    model: nn.Module | FloatGraph, data: TrainingData, settings: QuantizeConfig, max_drop: float, *, calibration: int = 512,
    training: TrainConfig | None = None, allow_training: bool = True, seed: int = 0, name: str = "model", stop: Callable[[], bool] | None = None,
) -> QuantizationOutcome:
    """Integer graph of a trained classifier that loses at most `max_drop` of its validation accuracy, as far as that can be had.

    Steps, each only if those before it lost too much: `settings` as they are; with weights below 8 bits adaptive rounding; equalised
    activations (with adaptive rounding); unless `allow_training` is False, training with the integers in the loop for QAT_SHARE of the epochs of
    `training` (None: the data's recipe), the model as teacher. `stop` ends that training early. The same arguments give the same bytes.
    Raises ConfigError for a negative `max_drop`, and as `quantize` and `train` do.
    """
    if not max_drop >= 0:
        raise ConfigError(f"the accuracy that quantization may cost is {max_drop}; it must be at least 0")
    floats = imported(model, data, name)
    search = _Search(floats, data, calibration_samples(data, calibration, seed), settings, max_drop)
    search.attempt(STEP_PTQ, settings)
    few_bits = min(layer_bits(prepare(floats), settings.weight_bits).values(), default=8) < 8
    rounding = "adaptive" if few_bits else settings.rounding
    if few_bits and settings.rounding != "adaptive":
        search.attempt(STEP_ADAPTIVE, replace(settings, rounding=rounding))
    if settings.equalize == "none":
        search.attempt(STEP_EQUALIZED, replace(settings, rounding=rounding, equalize="activations"))
    if allow_training:
        search.train(replace(settings, rounding=rounding), training, seed, stop)
    return search.outcome()


def imported(model: nn.Module | FloatGraph, data: TrainingData, name: str) -> FloatGraph:
    """The model as a float graph that takes the data's samples. Raises ModelError for a module that cannot be imported."""
    if isinstance(model, FloatGraph):
        return model
    from edgecompress.frontend.torch_import import from_torch

    return from_torch(model, data.input_shape, name=name)


class _Search:
    """Attempts so far and the best of them."""

    def __init__(self, floats: FloatGraph, data: TrainingData, calibration: np.ndarray, settings: QuantizeConfig, max_drop: float) -> None:
        self.floats, self.data, self.calibration, self.settings, self.max_drop = floats, data, calibration, settings, max_drop
        self.accuracy = accuracy_float(floats, data.validation)
        self.steps: list[QuantizationStep] = []
        self.best: tuple[QuantizedGraph, FloatGraph, float] | None = None

    @property
    def done(self) -> bool:
        return self.best is not None and self.accuracy - self.best[2] <= self.max_drop + 1e-12

    def attempt(self, step: str, settings: QuantizeConfig, floats: FloatGraph | None = None) -> None:
        if self.done:
            return
        source = floats or self.floats
        graph = quantize_calibrated(calibrate(source, self.calibration, settings), settings)
        reached = accuracy_int8(graph, self.data.validation.x, self.data.validation.y)
        self.steps.append(QuantizationStep(step, reached))
        if self.best is None or reached > self.best[2]:
            self.best = graph, source, reached

    def train(self, settings: QuantizeConfig, training: TrainConfig | None, seed: int, stop: Callable[[], bool] | None) -> None:
        if self.done:
            return
        trained = quantization_aware_finetune(self.floats, self.data, settings, self.calibration, training=training, seed=seed, stop=stop)
        self.attempt(STEP_QAT, replace(settings, rounding="nearest", equalize="none", bias_correction=False), trained)

    def outcome(self) -> QuantizationOutcome:
        assert self.best is not None
        graph, floats, reached = self.best
        return QuantizationOutcome(graph, floats, self.accuracy, reached, self.max_drop, tuple(self.steps))


def quantization_aware_finetune(
    floats: FloatGraph, data: TrainingData, settings: QuantizeConfig, calibration: np.ndarray, *, training: TrainConfig | None = None, seed: int = 0,
    stop: Callable[[], bool] | None = None,
) -> FloatGraph:
    """The float graph after a short training in which weights and activations go through their integers; its weights lie on them, so plain
    `quantize` with the same bits rounds no weight of 4 or 2 bits.

    Batch norms are folded and the ranges of activations fixed before. `training` is the recipe of a whole training (None: the data's); QAT_SHARE of its
    epochs are done. The float graph teaches. Raises TrainingError if the loss stops being finite, and as `quantize` and `train` do.
    """
    from edgecompress.compress.finetune import train
    from edgecompress.compress.quantize.fake_quantized import FakeQuantized, FloatModule
    from edgecompress.compress.recipes import recipe

    base = training or recipe(data.kind, data.name, data.input_shape, len(data.train))
    calibrated = calibrate(floats, calibration, settings)
    weights, biases = round_weights(calibrated, settings, [])
    module = FakeQuantized(calibrated.graph, calibrated.tensors, weights, biases)
    teacher = FloatModule(prepare(floats))
    config = replace(base, epochs=max(1, round(base.epochs * QAT_SHARE)), learning_rate=QAT_LEARNING_RATE, weight_decay=0.0, optimizer="adamw", warmup=0.1,
                     average_decay=min(base.average_decay, 0.98), input_range=settings.input_range)
    result = train(module, data.train, data.validation, config, seed, stop=stop, teacher=teacher).module
    if not isinstance(result, FakeQuantized):
        raise TrainingError("quantization-aware training returned another module than it was given")
    return result.trained_graph()
