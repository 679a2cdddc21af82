"""`load_dataset`: one spec to checked, split, normalised arrays."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import numpy.typing as npt

from edgecompress.data.checks import checked, chunks
from edgecompress.data.parts import Dataset, Normalization, Samples, TrainingData
from edgecompress.data.raw import Array, RawPart
from edgecompress.data.sources import KNOWN, read_source
from edgecompress.data.split import with_test, with_validation
from edgecompress.errors import ConfigError, DataError

__all__ = ["KNOWN", "Dataset", "Normalization", "Samples", "TrainingData", "duplicates", "load_dataset"]

DEFAULT_VALIDATION_FRACTION = 0.15


def _normalization(x: Array, front_end: str, source: str) -> Normalization:
    count = total = 0.0
    low, high = math.inf, -math.inf
    for chunk in chunks(x):
        count += chunk.size
        total += float(chunk.sum(dtype=np.float64))
        low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    if low == high:
        raise DataError(f"all values of the train part of '{source}' are {low:g}: there is nothing to learn from")
    mean = total / count
    if x.dtype.kind != "f":
        mean = float(round(mean))  # then quantization steps and raw steps coincide: a uint8 pixel becomes int8 as raw - 128
    variance = sum(float(np.square(chunk.astype(np.float64) - mean).sum()) for chunk in chunks(x)) / count
    return Normalization(mean, 1.0 / math.sqrt(variance), str(x.dtype), low, high, front_end)


def _samples(part: RawPart, normalization: Normalization) -> Samples:
    x = np.empty(part.x.shape, dtype=np.float32)
    start = 0
    for chunk in chunks(part.x):
        x[start : start + len(chunk)] = normalization.apply(chunk)
        start += len(chunk)
    return Samples(x, part.y)


def _digest(parts: dict[str, Samples], classes: tuple[str, ...], kind: str, normalization: Normalization, provenance: str) -> str:
    digest = hashlib.sha256(provenance.encode())
    shapes = {name: samples.x.shape for name, samples in parts.items()}
    digest.update(json.dumps([shapes, classes, kind, normalization.mean, normalization.scale], sort_keys=True).encode())
    for samples in parts.values():
        digest.update(samples.x.astype("<f4", copy=False).data)
        digest.update(samples.y.astype("<i8", copy=False).data)
    return digest.hexdigest()


def load_dataset(spec: str, seed: int = 0, validation_fraction: float = DEFAULT_VALIDATION_FRACTION) -> Dataset:
    """The data set of a spec such as "digits", "set.npz?x=mfcc&y=labels" or "photos?size=32x32"; see docs/data.md.

    `seed` chooses the validation samples when the source has none of its own; the test part and the normalisation never depend on it.
    Raises ConfigError for a wrong spec or argument, DataError for data that cannot be used, ToolMissingError for a missing package.
    """
    if seed < 0:
        raise ConfigError(f"the seed must be 0 or more, not {seed}")
    if not 0.0 < validation_fraction <= 0.5:
        raise ConfigError(f"the validation fraction must be above 0 and at most 0.5, not {validation_fraction:g}")
    raw = with_test(checked(read_source(spec)))
    assert raw.classes is not None
    # before validation samples leave the training part: a model must fit the same normalisation under every seed
    normalization = _normalization(raw.parts["train"].x, raw.front_end, raw.source)
    raw_parts = with_validation(raw, seed, validation_fraction).parts
    parts = {name: _samples(raw_parts[name], normalization) for name in ("train", "validation", "test")}
    return Dataset(
        name=raw.name, kind=raw.kind, **parts, classes=raw.classes, normalization=normalization, source=raw.source,
        hash=_digest(parts, raw.classes, raw.kind, normalization, raw.provenance), notes=raw.notes,
    )


def _fingerprints(x: npt.NDArray[np.float32]) -> list[bytes]:
    return [hashlib.blake2b(sample.tobytes(), digest_size=16).digest() for sample in x]


def duplicates(dataset: Dataset) -> dict[str, int]:
    """How many samples of the later part occur, value for value, in the earlier: keys "train-validation", "train-test", "validation-test"."""
    prints = {name: _fingerprints(samples.x) for name, samples in dataset.parts.items()}
    known = {name: frozenset(marks) for name, marks in prints.items()}
    pairs = (("train", "validation"), ("train", "test"), ("validation", "test"))
    return {f"{earlier}-{later}": sum(mark in known[earlier] for mark in prints[later]) for earlier, later in pairs}
