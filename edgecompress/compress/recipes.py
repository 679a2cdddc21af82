"""Default training recipes by kind of data; docs/search-space.md tells how they were found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgecompress.compress.training import TrainConfig
from edgecompress.data.augment import Augmentation, default_augmentation
from edgecompress.errors import unknown_name
