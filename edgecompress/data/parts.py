"""The data set types that the rest of the program sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Samples:
    """One part. x: float32 [n, height, width, channels], normalised; y: int64 [n], class numbers 0 to classes - 1."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Normalization:
    """model input = (raw - mean) * scale, one pair for every value, from the training part before a validation part is split off it.

    With a quantized input of scale s and zero point z, a device computes q = round((raw - mean) * scale / s) + z: one affine step from the raw value.
    For integer raw values `mean` is a whole number.
    """

    mean: float
    scale: float
    raw_dtype: str  # as stored: uint8, float32, ...
    raw_min: float  # smallest and largest value of the training part
    raw_max: float
    front_end: str  # in words: what turns a sensor's output into raw values

    def apply(self, raw: np.ndarray[Any, Any]) -> npt.NDArray[np.float32]:
        """Model inputs, float32 of raw's shape."""
        return np.asarray((raw.astype(np.float64) - self.mean) * self.scale, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A data set without its test part: what a search may see."""

    name: str
    kind: str  # image, audio or series
    train: Samples
    validation: Samples
    classes: tuple[str, ...]
    normalization: Normalization
    source: str
    hash: str  # of the whole data set, test part included

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one sample."""
        height, width, channels = self.train.x.shape[1:]
        return height, width, channels


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train, validation and test parts that share no sample number, and where they came from."""

    name: str
    kind: str  # image, audio or series
    train: Samples
    validation: Samples
    test: Samples
    classes: tuple[str, ...]
    normalization: Normalization
    source: str
    hash: str  # sha256 of all arrays, labels, class names, the normalisation and a simulator's settings; not of name or path
    notes: tuple[str, ...] = ()  # what a user should know: renumbered labels, ignored files, small classes

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one sample."""
        height, width, channels = self.train.x.shape[1:]
        return height, width, channels

    @property
    def parts(self) -> dict[str, Samples]:
        """The three parts by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def without_test(self) -> TrainingData:
        """The same data without any way to reach a test sample."""
        return TrainingData(self.name, self.kind, self.train, self.validation, self.classes, self.normalization, self.source, self.hash)
