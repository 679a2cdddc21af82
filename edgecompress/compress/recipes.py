"""Default training recipes by kind of data; docs/search-space.md tells what they reached."""

from __future__ import annotations

from dataclasses import replace

from edgecompress.compress.training import TrainConfig
from edgecompress.data.augment import Augmentation, default_augmentation
from edgecompress.errors import unknown_name

SMALL_IMAGE = 16  # sides up to this: a shift by one pixel of 8x8 digits costs more than it gives

RECIPES: dict[str, TrainConfig] = {
    "audio": TrainConfig(epochs=50, learning_rate=1e-2, weight_decay=0.1, average_decay=0.995),
    "image": TrainConfig(epochs=25, learning_rate=1e-2, average_decay=0.99),
    "series": TrainConfig(epochs=40, learning_rate=1e-2, weight_decay=0.1, average_decay=0.99),
}


def recipe(kind: str, name: str, shape: tuple[int, int, int], samples: int) -> TrainConfig:
    """The default recipe for a data set of this kind ("image", "audio", "series"), name, input shape (height, width, channels) and number of
    training samples. Raises ConfigError for an unknown kind.
    """
    if kind not in RECIPES:
        raise unknown_name("kind of data", kind, RECIPES)
    config = replace(RECIPES[kind], augmentation=_augmentation(kind, name, shape))
    small = kind == "image" and max(shape[:2]) <= SMALL_IMAGE
    config = replace(config, epochs=40, average_decay=0.98) if small else config
    return replace(config, epochs=_bounded_epochs(config.epochs, samples))


def _augmentation(kind: str, name: str, shape: tuple[int, int, int]) -> Augmentation:
    default = default_augmentation(kind, name, shape)
    height, width, _ = shape
    if kind == "audio":
        # no noise: one level for all coefficients drowns the small, high ones
        return replace(default, noise=0.0, time_mask=height // 8, frequency_masks=1, frequency_mask=max(1, width // 10))
    if kind != "image":
        return default
    if max(height, width) <= SMALL_IMAGE:
        return replace(default, shift_height=0, shift_width=0, mixup=0.0)
    return replace(default, shift_height=min(4, height // 16), shift_width=min(4, width // 16))


def _bounded_epochs(epochs: int, samples: int) -> int:
    """Fewer epochs for large sets: as many steps as 20,000 samples would get, but at least 10 epochs."""
    return max(min(10, epochs), min(epochs, epochs * 20_000 // max(1, samples)))
