"""Default training recipes by kind of data; docs/search-space.md tells how they were found."""

from __future__ import annotations

from dataclasses import replace

from edgecompress.compress.training import TrainConfig
from edgecompress.data.augment import default_augmentation
from edgecompress.errors import unknown_name

SMALL_IMAGE = 16  # sides up to this: a shift by one pixel of 8x8 digits costs more than it gives

RECIPES: dict[str, TrainConfig] = {
    "audio": TrainConfig(epochs=60, learning_rate=4e-3, average_decay=0.995),
    "image": TrainConfig(epochs=25, learning_rate=4e-3, average_decay=0.99),
    "series": TrainConfig(epochs=40, learning_rate=4e-3, average_decay=0.99),
}


def recipe(kind: str, name: str, shape: tuple[int, int, int], samples: int) -> TrainConfig:
    """The default recipe for a data set of this kind ("image", "audio", "series"), name, input shape (height, width, channels) and number of
    training samples. Raises ConfigError for an unknown kind.
    """
    if kind not in RECIPES:
        raise unknown_name("kind of data", kind, RECIPES)
    augmentation = default_augmentation(kind, name, shape)
    config = replace(RECIPES[kind], augmentation=augmentation)
    if kind == "audio":
        # no noise: one level for all coefficients drowns the small, high ones
        return replace(config, augmentation=replace(augmentation, noise=0.0))
    if kind == "image" and max(shape[:2]) <= SMALL_IMAGE:
        still = replace(augmentation, shift_height=0, shift_width=0, mixup=0.0)
        return replace(config, epochs=40, learning_rate=1e-2, average_decay=0.98, augmentation=still)
    return config
