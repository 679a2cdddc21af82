"""Stratified, seeded splits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgecompress.data.raw import POOL, RawData, RawPart
from edgecompress.errors import DataError

TEST_FRACTION = 0.25
# Not the user's seed: a model trained under one seed and measured under another must meet the same test samples, or it may meet its training samples.
_TEST_SEED = 20_240_229


def stratified(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Mask [n] that picks `fraction` of every class, at least one sample and never all. labels: 0 to k-1, at least two samples each."""
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        chosen[generator.permutation(rows)[:count]] = True
    return chosen


def _pick(part: RawPart, rows: npt.NDArray[np.bool_]) -> RawPart:
    return RawPart(part.x[rows], part.y[rows], part.x_name, part.y_name)


def _require(raw: RawData, part: str, needed: int, which: str) -> None:
    counts = np.bincount(raw.parts[part].y)
    if counts.min() < needed:
        assert raw.classes is not None
        name, have = raw.classes[int(counts.argmin())], int(counts.min())
        raise DataError(f"class '{name}' of '{raw.source}' has {have} sample{'s' * (have != 1)}; at least {needed} are needed to have it in {which}")


def with_test(raw: RawData) -> RawData:
    """Checked data with its pool, if that is what it has, cut into train (three quarters) and test: always the same quarter. Raises DataError."""
    if POOL not in raw.parts:
        return raw
    _require(raw, POOL, 3, "train, validation and test")
    pool = raw.parts[POOL]
    rows = stratified(pool.y, TEST_FRACTION, _TEST_SEED)
    return replace(raw, parts={"train": _pick(pool, ~rows), "test": _pick(pool, rows)}, was_pool=True)


def with_validation(raw: RawData, seed: int, validation_fraction: float) -> RawData:
    """Data of `with_test` with a validation part, split off train under `seed` unless there is one.

    `validation_fraction` counts from what came in one piece: the whole pool, or the given training part. Raises DataError for too small a class.
    """
    if "validation" in raw.parts:
        return raw
    _require(raw, "train", 2, "train and validation")
    train = raw.parts["train"]
    fraction = validation_fraction / (1.0 - TEST_FRACTION) if raw.was_pool else validation_fraction
    rows = stratified(train.y, fraction, seed)
    return replace(raw, parts={**raw.parts, "train": _pick(train, ~rows), "validation": _pick(train, rows)})
