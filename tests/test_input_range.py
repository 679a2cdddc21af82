"""The input's range: exact for integer pixels, fair to small features, and what training and the device share."""

from __future__ import annotations

import numpy as np
import pytest

from edgecompress.compress.batches import training_batches
from edgecompress.compress.quantize.config import QuantizeConfig
from edgecompress.compress.quantize.input_range import choose_input_range, on_grid
from edgecompress.compress.training import TrainConfig
from edgecompress.data.dataset import load_dataset
from edgecompress.data.parts import Samples
from edgecompress.errors import ConfigError


def test_pixels_keep_every_level() -> None:
    data = load_dataset("digits")
    chosen = choose_input_range(data.train.x, data.normalization.raw_dtype, data.kind)
    assert chosen == (float(data.train.x.min()), float(data.train.x.max()))
    levels = np.unique(data.train.x)
    assert len(np.unique(on_grid(levels, chosen))) == len(levels)


def test_small_features_are_not_drowned_by_a_large_one() -> None:
    random = np.random.default_rng(0)
    x = random.normal(0, 0.1, (300, 20, 6, 1)).astype(np.float32)
    x[:, :, 0] = random.normal(0, 1.0, (300, 20, 1))
    x[::50, 0, 0] = -60.0  # rare outliers of the large feature
    whole = float(x.min()), float(x.max())
    chosen = choose_input_range(x, "float32", "audio")
    assert chosen[0] > whole[0] / 2 and chosen[0] <= 0 <= chosen[1]

    def small_error(used: tuple[float, float]) -> float:
        return float(np.square(x[:, :, 1:] - on_grid(x[:, :, 1:], used)).mean())

    assert small_error(chosen) < small_error(whole) / 4


@pytest.mark.parametrize("kind", ["image", "audio", "series"])
def test_constant_and_one_sided_inputs_work(kind: str) -> None:
    for x in (np.full((4, 3, 3, 1), 2.5, np.float32), np.full((4, 3, 3, 1), -2.5, np.float32), np.zeros((4, 3, 3, 1), np.float32)):
        low, high = choose_input_range(x, "float32", kind)
        assert low <= 0 <= high
        assert np.isfinite(on_grid(x, (low, high) if low < high else (low, low + 1))).all()


def test_training_sees_only_codes_of_the_device() -> None:
    random = np.random.default_rng(1)
    samples = Samples(random.normal(size=(64, 5, 4, 1)).astype(np.float32), random.integers(0, 3, 64))
    used = (-2.0, 1.5)
    seen = np.concatenate([x.numpy().ravel() for x, _ in training_batches(samples, TrainConfig(input_range=used), 3, random)])
    assert np.array_equal(seen, on_grid(seen, used))
    assert seen.max() <= 1.5 + 0.01 and len(np.unique(seen)) <= 256


def test_a_range_without_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="must hold 0"):
        QuantizeConfig(input_range=(0.5, 1.0))
