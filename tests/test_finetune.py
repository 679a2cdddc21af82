"""Training: it learns, repeats itself, keeps its hands off its input, and says clearly when it cannot go on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecompress.compress.batches import batch_size, epoch_order, training_batches
from edgecompress.compress.finetune import EpochMetrics, TrainConfig, evaluate, predict, train
from edgecompress.compress.prune.structured import prune
from edgecompress.compress.recipes import recipe
from edgecompress.data.augment import Augmentation
from edgecompress.data.parts import Samples
from edgecompress.errors import ConfigError, DataError, ModelError, TrainingError

QUICK = TrainConfig(epochs=6, learning_rate=1e-2, batch_size=32)


def stripes(count: int, seed: int, imbalance: bool = False) -> Samples:
    """Three classes of 8x8 pictures: horizontal, vertical and diagonal stripes in noise."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, count, p=[0.9, 0.05, 0.05]) if imbalance else rng.integers(0, 3, count)
    row, column = np.mgrid[0:8, 0:8]
    waves = np.stack([np.sin(row * 2.0), np.sin(column * 2.0), np.sin((row + column) * 1.4)])
    x = waves[y] + rng.normal(0, 0.8, (count, 8, 8))
    return Samples(x[..., None].astype(np.float32), y.astype(np.int64))


TRAIN, VALIDATION = stripes(320, 0), stripes(120, 1)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
    )


class _Rebinding(nn.Module):
    """Puts a new tensor in place of a buffer at every training step."""

    level: torch.Tensor
    steps: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = network()
        self.register_buffer("level", torch.zeros(2))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.level = self.level + 1
            self.steps = self.steps + 1
        result: torch.Tensor = self.body(x)
        return result


def test_the_moving_average_is_one_of_parameters_and_buffers() -> None:
    result = train(_Rebinding(), TRAIN, VALIDATION, replace(QUICK, epochs=1, average_decay=0.8), 0).module
    expected, steps = 0.0, len(TRAIN) // 32
    for step in range(1, steps + 1):
        expected += (1 - min(0.8, (1 + step) / (10 + step))) * (step - expected)
    assert isinstance(result, _Rebinding) and result.level.tolist() == pytest.approx([expected] * 2) and int(result.steps) == steps
    last = train(_Rebinding(), TRAIN, VALIDATION, replace(QUICK, epochs=1, average_decay=0.0), 0).module
    before = _Rebinding().state_dict()
    for name, weights in result.state_dict().items():
        if name.endswith("weight"):
            moved = [float((state - before[name]).abs().sum()) for state in (weights, last.state_dict()[name])]
            assert 0 < moved[0] < moved[1], "the average lags behind"


@pytest.mark.parametrize("change", [
    {}, {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4, "schedule": "one_cycle"}, {"schedule": "one_cycle"},
    {"average_decay": 0.0}, {"balanced": True}, {"augmentation": Augmentation(shift_height=1, mixup=0.2, noise=0.1)},
], ids=str)
def test_it_learns_reports_its_best_and_leaves_the_input_alone(change: dict[str, object]) -> None:
    module = network().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    seen: list[tuple[int, int, EpochMetrics]] = []
    result = train(module, TRAIN, VALIDATION, replace(QUICK, **change), seed=1, progress=lambda *line: seen.append(line))  # type: ignore[arg-type]
    assert result.accuracy > 0.9 > evaluate(module, VALIDATION)[0]
    assert [line[:2] for line in seen] == [(epoch, 6) for epoch in range(1, 7)]
    assert tuple(line[2] for line in seen) == result.history
    assert result.accuracy == max(metrics.validation_accuracy for metrics in result.history)
    assert evaluate(result.module, VALIDATION) == pytest.approx((result.accuracy, result.best.validation_loss))
    assert not result.module.training and module.training and not result.stopped
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_same_seed_same_weights_whatever_happened_before() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    config = replace(QUICK, epochs=2, augmentation=Augmentation(shift_width=1, mixup=0.2))
    results = []
    for disturb in (0, 5):
        torch.rand(disturb)
        np.random.default_rng(disturb).random(3)
        results.append(train(network(), TRAIN, VALIDATION, config, seed=3).module.state_dict())
    other = train(network(), TRAIN, VALIDATION, config, seed=4).module.state_dict()
    assert all(torch.equal(results[0][name], results[1][name]) for name in other)
    assert not all(torch.equal(results[0][name], other[name]) for name in other)
    assert torch.get_num_threads() == threads
    torch.set_rng_state(state)


def test_a_pruned_network_recovers_by_finetuning() -> None:
    parent = train(network(), TRAIN, VALIDATION, QUICK, seed=1).module
    pruned = prune(parent, (8, 8, 1), 0.5)
    result = train(pruned, TRAIN, VALIDATION, QUICK.for_finetuning(0.5), seed=1)
    assert result.accuracy > 0.9 >= evaluate(pruned, VALIDATION)[0]
    assert len(result.history) == 3


def test_a_teacher_is_followed_even_where_labels_are_wrong() -> None:
    teacher = train(network(), TRAIN, VALIDATION, QUICK, seed=1).module
    wrong = Samples(TRAIN.x, np.random.default_rng(99).integers(0, 3, len(TRAIN)))
    config = replace(QUICK, distillation=1.0, epochs=8)
    assert train(network(5), wrong, VALIDATION, config, seed=2, teacher=teacher).accuracy > 0.9
    assert train(network(5), wrong, VALIDATION, config, seed=2).accuracy < 0.8


class _Counting(nn.Module):
    """A teacher that counts how often it is asked; calls survive the copy that training makes."""

    calls: list[int] = []

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _Counting.calls.append(len(x))
        result: torch.Tensor = self.module(x)
        return result


@pytest.mark.parametrize(("kept_epochs", "asked_epochs"), [(0, 8), (2, 2), (100, 8)])
def test_a_teachers_answers_are_kept_and_seen_again(kept_epochs: int, asked_epochs: int) -> None:
    teacher = _Counting(train(network(), TRAIN, VALIDATION, QUICK, seed=1).module)
    wrong = Samples(TRAIN.x, np.random.default_rng(99).integers(0, 3, len(TRAIN)))
    one_epoch = TRAIN.x.nbytes + 8 * 3 * len(TRAIN)
    _Counting.calls.clear()
    result = train(network(5), wrong, VALIDATION, replace(QUICK, distillation=1.0, epochs=8, taught_bytes=kept_epochs * one_epoch), seed=2, teacher=teacher)
    assert sum(_Counting.calls) == asked_epochs * len(TRAIN)
    assert result.accuracy > 0.85, "epochs that are seen again teach as well"


def test_stop_ends_after_the_batch_with_a_usable_result() -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 13  # the third batch of the second epoch of ten batches

    result = train(network(), TRAIN, VALIDATION, QUICK, seed=1, stop=stop)
    assert result.stopped and asked == 13 and len(result.history) == 2
    assert evaluate(result.module, VALIDATION)[0] == result.accuracy


def test_divergence_is_an_error_that_names_the_learning_rate() -> None:
    with pytest.raises(TrainingError, match=r"diverged in epoch 1") as caught:
        train(network(), Samples(TRAIN.x * 1e30, TRAIN.y), VALIDATION, replace(QUICK, optimizer="sgd", learning_rate=1e30), seed=1)
    assert "learning rate" in str(caught.value)


def test_data_that_does_not_fit_is_named() -> None:
    nan = TRAIN.x.copy()
    nan[3] = np.nan
    for bad, error, words in [
        (Samples(nan, TRAIN.y), DataError, "not finite"),
        (Samples(TRAIN.x, TRAIN.y + 2), DataError, "network has 3 classes"),
        (Samples(TRAIN.x[:0], TRAIN.y[:0]), DataError, "n > 0"),
        (Samples(TRAIN.x[:1], TRAIN.y[:1]), DataError, "at least 2"),
        (Samples(np.repeat(TRAIN.x, 2, axis=3), TRAIN.y), ModelError, "does not take samples"),
    ]:
        with pytest.raises(error, match=words):
            train(network(), bad, VALIDATION, QUICK, seed=1)
    with pytest.raises(DataError, match="validation part"):
        train(network(), TRAIN, Samples(nan, TRAIN.y), QUICK, seed=1)
    with pytest.raises(ModelError, match="classifier"):
        train(nn.Conv2d(1, 3, 3), TRAIN, VALIDATION, QUICK, seed=1)


@pytest.mark.parametrize("change", [
    {"epochs": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"optimizer": "adam"}, {"schedule": "step"}, {"batch_size": 1},
    {"label_smoothing": 1.0}, {"distillation": 1.5}, {"average_decay": 1.0}, {"threads": 0}, {"warmup": -0.1},
], ids=str)
def test_bad_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(QUICK, **change)  # type: ignore[arg-type]


def test_predictions_do_not_depend_on_batching_and_keep_the_mode() -> None:
    module = network().train()
    many = stripes(300, 2)
    logits = predict(module, many.x)
    assert logits.shape == (300, 3) and module.training
    assert np.allclose(np.concatenate([predict(module, many.x[i : i + 7]) for i in range(0, 300, 7)]), logits, atol=1e-5)


def test_balanced_epochs_draw_rare_classes_as_often() -> None:
    samples = stripes(3000, 4, imbalance=True)
    order = epoch_order(samples.y, True, np.random.default_rng(0))
    assert len(order) == 3000
    assert np.bincount(samples.y[order]) / 3000 == pytest.approx([1 / 3] * 3, abs=0.04)
    assert sorted(epoch_order(samples.y, False, np.random.default_rng(0))) == list(range(3000))


def test_batches_cover_an_epoch_and_sizes_follow_the_data() -> None:
    batches = list(training_batches(TRAIN, QUICK, 3, np.random.default_rng(0)))
    assert [tuple(x.shape) for x, _ in batches] == [(32, 1, 8, 8)] * 10
    assert all(torch.allclose(targets.sum(dim=1), torch.ones(32)) for _, targets in batches)
    automatic = TrainConfig()
    assert [batch_size(automatic, n) for n in (10, 1150, 3321, 50_000)] == [10, 32, 64, 128]
    assert batch_size(QUICK, 5) == 5


@pytest.mark.parametrize("kind", ["image", "audio", "series"])
def test_recipes_exist_for_every_kind_of_data(kind: str) -> None:
    for shape in ((8, 8, 1), (28, 28, 1), (96, 96, 3), (49, 10, 1), (128, 9, 1)):
        config = recipe(kind, "some-data", shape, 5000)
        assert config.epochs >= 5 and config.augmentation is not None


def test_large_sets_get_fewer_epochs_but_never_fewer_than_ten() -> None:
    epochs = [recipe("image", "x", (32, 32, 3), samples).epochs for samples in (1_000, 20_000, 40_000, 10_000_000)]
    assert epochs == [25, 25, 12, 10]


def test_pictures_of_digits_are_not_moved_and_clothes_are_mirrored() -> None:
    digits, clothes = recipe("image", "digits", (8, 8, 1), 1000), recipe("image", "fashion-mnist", (28, 28, 1), 1000)
    assert digits.augmentation is not None and clothes.augmentation is not None
    assert (digits.augmentation.shift_height, digits.augmentation.flip, digits.augmentation.mixup) == (0, 0.0, 0.0)
    assert clothes.augmentation.shift_height == 1 and clothes.augmentation.flip == 0.5


def test_an_unknown_kind_of_data_is_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'image'"):
        recipe("images", "x", (8, 8, 1), 100)
