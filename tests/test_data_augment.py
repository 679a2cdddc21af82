"""Training augmentation: what it may change, what it must keep, and how long it may take."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgecompress.data.augment import Augmentation, augment, default_augmentation
from edgecompress.errors import ConfigError


def batch(count: int = 200, height: int = 9, width: int = 7, channels: int = 2) -> tuple[Any, Any]:
    generator = np.random.default_rng(4)
    return generator.normal(size=(count, height, width, channels)).astype(np.float32), generator.integers(0, 5, count)


def run(x: Any, y: Any, seed: int = 0, **strengths: Any) -> tuple[Any, Any]:
    before = x.copy()
    out, soft = augment(x, y, 5, Augmentation(**strengths), np.random.default_rng(seed))
    np.testing.assert_array_equal(x, before)
    assert out.dtype == soft.dtype == np.float32 and out.shape == x.shape and soft.shape == (len(y), 5)
    assert not np.shares_memory(out, x)
    np.testing.assert_allclose(soft.sum(axis=1), 1.0, rtol=1e-6)
    return out, soft


def test_everything_off_changes_nothing() -> None:
    x, y = batch()
    out, soft = run(x, y)
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(soft.argmax(axis=1), y)
    assert set(np.unique(soft)) == {0.0, 1.0}


def test_same_generator_same_bytes() -> None:
    x, y = batch()
    strengths = default_augmentation("audio", "speech", (9, 7, 2)).to_json()
    first, again, other = run(x, y, 3, **strengths), run(x, y, 3, **strengths), run(x, y, 4, **strengths)
    assert first[0].tobytes() == again[0].tobytes() and first[1].tobytes() == again[1].tobytes() and first[0].tobytes() != other[0].tobytes()


@pytest.mark.parametrize("fill", ["edge", "zero"])
def test_every_sample_is_one_of_its_shifts_and_all_shifts_occur(fill: str) -> None:
    x, y = batch()
    out, _ = run(x, y, shift_height=2, shift_width=1, fill=fill)
    padded = np.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)), mode="edge" if fill == "edge" else "constant")
    seen = set()
    for index, sample in enumerate(out):
        matches = [
            (row, column) for row in range(5) for column in range(3)
            if np.array_equal(padded[index, row : row + 9, column : column + 7], sample)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 15


def test_flip_mirrors_about_the_asked_share() -> None:
    x, y = batch(1000)
    out, _ = run(x, y, flip=0.3)
    mirrored = (out == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (out == x).all(axis=(1, 2, 3))).all() and 0.25 < mirrored.mean() < 0.35
    np.testing.assert_array_equal(run(x, y, flip=1.0)[0], x[:, :, ::-1])


def test_mixup_mixes_samples_and_labels_alike() -> None:
    x, y = np.zeros((400, 3, 3, 5), np.float32), np.arange(400) % 5
    x[np.arange(400), :, :, y] = 1.0
    out, soft = run(x, y, mixup=0.4)
    np.testing.assert_allclose(out, np.broadcast_to(soft[:, None, None, :], out.shape), atol=1e-6)
    assert (soft.argmax(axis=1) == y).mean() > 0.99 and 0.05 < ((soft > 0.01) & (soft < 0.99)).any(axis=1).mean() < 0.9


def test_noise_has_the_asked_strength() -> None:
    x, y = batch(2000)
    difference = run(x, y, noise=0.1)[0] - x
    assert abs(difference.std() - 0.1) < 0.002 and abs(difference.mean()) < 0.001


def test_time_masks_hide_rows_behind_the_mean_over_time() -> None:
    x, y = batch(500)
    out, _ = run(x, y, time_masks=1, time_mask=3)
    changed = (out != x).all(axis=(2, 3))
    assert ((out != x).any(axis=(2, 3)) == changed).all()
    assert set(changed.sum(axis=1).tolist()) == {0, 1, 2, 3}
    assert all(np.ptp(np.flatnonzero(row)) == row.sum() - 1 for row in changed if row.any())
    means = np.broadcast_to(x.mean(axis=1, keepdims=True), x.shape)
    np.testing.assert_allclose(out[changed], means[changed], rtol=1e-6)
    assert changed.any(axis=0).all()  # every row is reached, first and last too


def test_frequency_masks_hide_columns() -> None:
    x, y = batch(500)
    out, _ = run(x, y, frequency_masks=2, frequency_mask=2)
    columns = (out != x).all(axis=(1, 3))
    assert ((out != x).any(axis=(1, 3)) == columns).all()
    assert set(columns.sum(axis=1).tolist()) == {0, 1, 2, 3, 4} and columns.any(axis=0).all()


def test_strengths_beyond_the_shape_are_harmless() -> None:
    x, y = batch(20, 1, 1, 1)
    out, _ = run(x, y, shift_height=50, shift_width=50, time_masks=2, time_mask=50, frequency_masks=1, frequency_mask=50, flip=0.5)
    np.testing.assert_allclose(out, x, rtol=1e-6)
    empty, soft = run(x[:0], y[:0], shift_height=1, mixup=0.2, noise=0.1, time_masks=1, time_mask=1)
    assert len(empty) == len(soft) == 0


def test_defaults_suit_the_data() -> None:
    digits, fashion = default_augmentation("image", "digits", (8, 8, 1)), default_augmentation("image", "fashion_mnist_12k_3k", (28, 28, 1))
    photos, speech = default_augmentation("image", "photos", (32, 32, 3)), default_augmentation("audio", "speech", (49, 10, 1))
    assert digits.flip == 0.0 and digits.shift_height == 1 and fashion.flip == photos.flip == 0.5
    assert speech.flip == 0.0 and speech.shift_width == 0 and speech.shift_height > 0 and speech.time_mask > 0 and speech.frequency_mask > 0
    tiny = default_augmentation("series", "x", (4, 1, 1))
    assert tiny.shift_height == 0 and tiny.flip == 0.0


def test_json_round_trip() -> None:
    augmentation = default_augmentation("audio", "speech", (49, 10, 1))
    assert Augmentation.from_json(json.loads(json.dumps(augmentation.to_json()))) == augmentation
    assert Augmentation.from_json({}) == Augmentation()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"flipp": 0.5}, "Did you mean 'flip'"), ({"flip": 1.5}, "probability"),
        ({"noise": -0.1}, "at least 0"), ({"noise": float("nan")}, "at least 0"),
        ({"shift_height": 1.5}, "whole number"), ({"fill": "mirror"}, "unknown augmentation fill"), ({"mixup": "much"}, "must be a number"),
    ],
)
def test_bad_strengths(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation.from_json(document)
