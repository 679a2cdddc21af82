"""Training augmentation on normalised batches: frozen strengths, and one vectorised numpy function that applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecompress.errors import ConfigError, unknown_name

Batch = npt.NDArray[np.float32]

FILLS = ("edge", "zero")


@dataclass(frozen=True)
class Augmentation:
    """Strengths; the default of every one is "off". JSON-able with `to_json` and `from_json`."""

    shift_height: int = 0  # rows (time steps, for audio and series) a sample is moved by, at most, either way
    shift_width: int = 0
    fill: str = "edge"  # what a shift uncovers: "edge" repeats the border, "zero" is the training mean
    flip: float = 0.0  # probability of a horizontal mirror image
    mixup: float = 0.0  # Beta(mixup, mixup) weights; 0.1 to 0.4 are usual
    noise: float = 0.0  # standard deviation of added Gaussian noise, in standard deviations of the data
    time_masks: int = 0  # bands of rows replaced by the sample's mean over time ...
    time_mask: int = 0  # ... each at most so many rows
    frequency_masks: int = 0  # bands of columns, likewise
    frequency_mask: int = 0

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise unknown_name("augmentation fill", self.fill, FILLS)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "fill" and not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise ConfigError(f"augmentation '{field.name}' must be a number of at least 0, not {value!r}")
            if field.type == "int" and (not isinstance(value, int) or isinstance(value, bool)):
                raise ConfigError(f"augmentation '{field.name}' must be a whole number, not {value!r}")
        if self.flip > 1.0:
            raise ConfigError(f"augmentation 'flip' is a probability, at most 1, not {self.flip:g}")

    def to_json(self) -> dict[str, Any]:
        """Plain mapping of all strengths."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Augmentation:
        """From a mapping of some or all strengths; raises ConfigError for an unknown one or a bad value."""
        known = [field.name for field in fields(cls)]
        for key in document:
            if key not in known:
                raise unknown_name("augmentation", key, known)
        return cls(**document)


def default_augmentation(kind: str, name: str, shape: tuple[int, int, int]) -> Augmentation:
    """Strengths for a data set of this kind ("image", "audio", "series"), name and input shape (height, width, channels).

    Images are mirrored only where a mirror image keeps its class: colour photographs and clothes, never digits or unknown grey pictures.
    """
    height, width, channels = shape
    if kind == "audio":
        return Augmentation(
            shift_height=height // 12, noise=0.05, mixup=0.2, time_masks=1, time_mask=height // 8, frequency_masks=1, frequency_mask=width // 8
        )
    if kind == "series":
        return Augmentation(shift_height=height // 20, noise=0.05, mixup=0.1)
    mirrored = channels == 3 or "fashion" in name.lower()
    return Augmentation(shift_height=min(4, height // 8), shift_width=min(4, width // 8), flip=0.5 if mirrored else 0.0, mixup=0.1)


def _moved(x: Batch, augmentation: Augmentation, generator: np.random.Generator) -> Batch:
    """A moved and mirrored copy: one gather along each axis."""
    count, height, width, _ = x.shape
    limit_y, limit_x = min(augmentation.shift_height, height - 1), min(augmentation.shift_width, width - 1)
    rows = np.arange(height) - generator.integers(-limit_y, limit_y + 1, size=(count, 1))
    columns = np.arange(width) - generator.integers(-limit_x, limit_x + 1, size=(count, 1))
    outside = (rows < 0) | (rows >= height), (columns < 0) | (columns >= width)
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    mirrored = generator.random((count, 1)) < augmentation.flip
    columns = np.where(mirrored, width - 1 - columns, columns)
    moved: Batch = x[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if augmentation.fill == "zero":
        moved[outside[0][:, :, None] | outside[1][:, None, :]] = 0.0
    return moved


def _bands(count: int, length: int, widest: int, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Mask [count, length] with one random run of 0 to `widest` in every row."""
    widest = min(widest, length)
    size = generator.integers(0, widest + 1, size=(count, 1))
    start = (generator.random((count, 1)) * (length - size + 1)).astype(np.int64)
    position = np.arange(length)
    return np.asarray((position >= start) & (position < start + size))


def _masked(x: Batch, augmentation: Augmentation, generator: np.random.Generator) -> Batch:
    """Time and frequency masks in place; what is masked takes the sample's mean over time, so its level stays and its course goes."""
    count, height, width, _ = x.shape
    hidden = np.zeros((count, height, width), dtype=np.bool_)
    for _ in range(augmentation.time_masks):
        hidden |= _bands(count, height, augmentation.time_mask, generator)[:, :, None]
    for _ in range(augmentation.frequency_masks):
        hidden |= _bands(count, width, augmentation.frequency_mask, generator)[:, None, :]
    np.copyto(x, x.mean(axis=1, keepdims=True), where=hidden[..., None])
    return x


def one_hot(labels: npt.NDArray[np.int64], class_count: int) -> Batch:
    """float32 [n, class_count]."""
    hot = np.zeros((len(labels), class_count), dtype=np.float32)
    hot[np.arange(len(labels)), labels] = 1.0
    return hot


def augment(
    x: Batch, labels: npt.NDArray[np.int64], class_count: int, augmentation: Augmentation, generator: np.random.Generator
) -> tuple[Batch, Batch]:
    """(new samples float32 [n, h, w, c], soft labels float32 [n, class_count]) of a normalised batch; the input is left as it is."""
    soft = one_hot(labels, class_count)
    out = _moved(x, augmentation, generator) if augmentation.shift_height or augmentation.shift_width or augmentation.flip else x.copy()
    if augmentation.time_masks or augmentation.frequency_masks:
        out = _masked(out, augmentation, generator)
    if augmentation.noise:
        out += np.float32(augmentation.noise) * generator.standard_normal(out.shape, dtype=np.float32)
    if augmentation.mixup:
        weight = generator.beta(augmentation.mixup, augmentation.mixup, size=len(out)).astype(np.float32)
        weight = np.maximum(weight, 1.0 - weight)  # so that the first of the two dominates and mixing with itself is no special case
        partner = generator.permutation(len(out))
        other = out[partner]
        other -= out
        other *= (1.0 - weight)[:, None, None, None]
        out += other
        soft = soft * weight[:, None] + soft[partner] * (1.0 - weight)[:, None]
    return out, soft
