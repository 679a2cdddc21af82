"""Raw arrays to arrays that can be trusted: shapes, finite values, labels that are class numbers. Every refusal is a DataError."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgecompress.data.raw import POOL, Array, RawData, RawPart, check_size
from edgecompress.errors import DataError

MAX_LABEL = 65_535  # a larger number is an identifier or a hash, not a class
MAX_CLASSES = 1000
_LARGEST_VALUE = 1e18  # squares still fit float32
_FEW = 20
_VALUES_AT_ONCE = 1 << 22

Labels = npt.NDArray[np.int64]


def chunks(x: Array) -> Iterator[Array]:
    """Runs of samples of about 4 million values, so that float64 copies stay small."""
    rows = max(1, _VALUES_AT_ONCE // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), rows):
        yield x[start : start + rows]


def check_values(part: RawPart, source: str) -> None:
    """Raises DataError unless every value is a finite, moderate real number."""
    x, where = part.x, f"{part.x_name} of '{source}'"
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where} has the dtype {x.dtype}; samples must be integers or floats")
    bad, start, first = 0, 0, None
    for chunk in chunks(x):
        finite = np.isfinite(chunk)
        if not finite.all():
            bad += int(finite.size - np.count_nonzero(finite))
            row, *rest = (int(axis[0]) for axis in np.nonzero(~finite))
            first = first or (start + row, *rest)
        elif chunk.size and float(max(chunk.max(), -float(chunk.min()))) > _LARGEST_VALUE:
            raise DataError(f"{where} holds values beyond ±{_LARGEST_VALUE:g}; scale them down first")
        start += len(chunk)
    if bad:
        raise DataError(f"{where} holds {bad} value{'s' * (bad > 1)} that {'are' if bad > 1 else 'is'} NaN or infinite, the first at index {first}")


def four_dimensional(x: Array, where: str) -> Array:
    """[n, h, w, c]; a missing channel axis is added, and [n, d] becomes [n, d, 1, 1]: d steps of one channel. Raises DataError."""
    if x.ndim not in (2, 3, 4):
        expected = "[n, height, width, channels], [n, height, width], [n, time, features] or [n, values]"
        raise DataError(f"{where} has shape {x.shape}; samples are {expected}")
    if 0 in x.shape[1:]:
        raise DataError(f"{where} has shape {x.shape}: its samples hold no values")
    return x.reshape(*x.shape, *(1,) * (4 - x.ndim))


def check_labels(part: RawPart, source: str) -> Labels:
    """int64 [n]; raises DataError for anything but integers from 0 to 65535, one a sample."""
    y, where = part.y, f"{part.y_name} of '{source}'"
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        hint = ("try: numpy.argmax(labels, axis=1), if they are one-hot",) if y.ndim == 2 else ()
        raise DataError(f"{where} has shape {y.shape}; labels are one integer a sample", *hint)
    if y.dtype.kind not in "biu":
        advice = "try: numpy.unique(labels, return_inverse=True) gives class numbers"
        raise DataError(f"{where} has the dtype {y.dtype}; labels must be integers", advice)
    if len(y) != len(part.x):
        raise DataError(f"{part.x_name} of '{source}' has {len(part.x)} samples but {part.y_name} has {len(y)} labels")
    if len(y) == 0:
        raise DataError(f"{part.x_name} of '{source}' is empty")
    wrong = (y < 0) | (y > MAX_LABEL)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(f"{where} holds the label {y[at]} at index {at}; labels lie between 0 and {MAX_LABEL}")
    return y.astype(np.int64)


def _check_same(parts: dict[str, RawPart], source: str) -> None:
    (first_name, first), *others = parts.items()
    for name, part in others:
        if part.x.shape[1:] != first.x.shape[1:]:
            raise DataError(f"samples of '{source}' differ in shape: {first.x.shape[1:]} in {first_name}, {part.x.shape[1:]} in {name}")
        if (part.x.dtype.kind == "f") != (first.x.dtype.kind == "f"):
            raise DataError(f"samples of '{source}' differ in kind: {first.x.dtype} in {first_name}, {part.x.dtype} in {name}; store them alike")


def _renumber(raw: RawData, labels: dict[str, Labels]) -> tuple[dict[str, Labels], tuple[str, ...], tuple[str, ...]]:
    """(labels 0 to k-1 by part, names of the k classes, notes)."""
    main = POOL if POOL in labels else "train"
    present = np.unique(labels[main])
    for part, y in labels.items():
        if raw.classes is not None and y.max() >= len(raw.classes):
            raise DataError(f"labels of '{raw.source}' reach {y.max()}, but only {len(raw.classes)} class names are given")
        absent = np.setdiff1d(y, present)
        if len(absent):
            name = raw.classes[absent[0]] if raw.classes else str(absent[0])
            count = int((y == absent[0]).sum())
            raise DataError(f"class '{name}' has {count} sample{'s' * (count != 1)} in the {part} part of '{raw.source}' but none in the train part")
    if not 2 <= len(present) <= MAX_CLASSES:
        raise DataError(f"'{raw.source}' has {len(present)} class{'es' * (len(present) != 1)} in its train part; 2 to {MAX_CLASSES} can be learnt")
    names = raw.classes or tuple(str(value) for value in range(int(present[-1]) + 1))
    notes: list[str] = []
    if len(present) < len(names):
        gone = [name for index, name in enumerate(names) if index not in present]
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        notes.append(f"class numbers were made contiguous: no samples of {', '.join(gone[:5])}{more}")
    renumbered = {part: np.searchsorted(present, y).astype(np.int64) for part, y in labels.items()}
    return renumbered, tuple(names[index] for index in present), tuple(notes)


def _suspicions(parts: dict[str, RawPart], labels: dict[str, Labels], classes: tuple[str, ...]) -> list[str]:
    main = POOL if POOL in labels else "train"
    shape = parts[main].x.shape
    notes = []
    if shape[1] in (1, 3) and shape[2] == shape[3] > 4:
        notes.append(f"samples of shape {shape[1:]} look as if channels came first; add the option layout=nchw if so")
    counts = np.bincount(labels[main], minlength=len(classes))
    if counts.min() < _FEW:
        notes.append(f"class '{classes[int(counts.argmin())]}' has only {counts.min()} samples to learn and validate from")
    if "test" in labels:
        unseen = [name for name, count in zip(classes, np.bincount(labels["test"], minlength=len(classes)), strict=True) if not count]
        notes += [f"no test samples of class {', '.join(unseen)}"] if unseen else []
    return notes


def checked(raw: RawData) -> RawData:
    """The same data with x [n, h, w, c], y int64 class numbers 0 to k-1 and `classes` of length k; raises DataError."""
    parts = {name: replace(part, x=four_dimensional(part.x, f"{part.x_name} of '{raw.source}'")) for name, part in raw.parts.items()}
    check_size(sum(int(part.x.size) for part in parts.values()), f"'{raw.source}'")
    labels = {name: check_labels(part, raw.source) for name, part in parts.items()}
    for part in parts.values():
        check_values(part, raw.source)
    _check_same(parts, raw.source)
    labels, classes, notes = _renumber(raw, labels)
    good = {name: replace(part, y=labels[name]) for name, part in parts.items()}
    return replace(raw, parts=good, classes=classes, notes=(*raw.notes, *notes, *_suspicions(parts, labels, classes)))
