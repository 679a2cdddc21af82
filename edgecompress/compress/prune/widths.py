"""How many channels a layer keeps: the rules that the pruner and the search space share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgecompress.errors import ConfigError

# attribute of a layer: "in" or "out", whose channels must stay, because they are tied to an axis that torch-pruning does not follow
FIXED_CHANNELS = "fixed_channels"

if TYPE_CHECKING:
    import numpy as np


def kept_width(width: int, ratio: float, round_to: int = 4) -> int:
    """Channels left of `width` when `ratio` of them go: the nearest multiple of `round_to` (halves go up), never 0, never more than `width`.

    Raises ConfigError unless 0 <= ratio < 1 and round_to >= 1.
    """
    if not 0 <= ratio < 1:
        raise ConfigError(f"a pruning ratio of {ratio} was asked for; it must be at least 0 and below 1")
    if round_to < 1:
        raise ConfigError(f"widths cannot be rounded to multiples of {round_to}; it must be at least 1")
    if ratio == 0:
        return width
    nearest = math.floor(width * (1 - ratio) / round_to + 0.5) * round_to
    return min(width, max(round_to, nearest))


def global_widths(scores: Mapping[str, np.ndarray], ratio: float, round_to: int, min_width: int) -> dict[str, int]:
    """Channels that each group keeps when the lowest scores of all groups go, about `ratio` of all channels.

    A group's width is a multiple of `round_to` (or what it had), at least `min_width`. Of all thresholds, the one whose rounded widths come nearest
    to the wanted total is taken, of equals the one that keeps more. Raises ConfigError unless round_to, min_width >= 1.
    """
    import numpy as np

    if round_to < 1 or min_width < 1:
        raise ConfigError(f"widths cannot be rounded to multiples of {round_to} or kept above {min_width}; both must be at least 1")
    wanted = sum(len(values) for values in scores.values()) * (1 - ratio)

    def widths(threshold: float) -> dict[str, int]:
        return {name: _rounded(int((values >= threshold).sum()), len(values), round_to, min_width) for name, values in scores.items()}

    thresholds = np.unique(np.concatenate([*scores.values(), [-np.inf]]))
    low, high = 0, len(thresholds) - 1  # totals fall along the thresholds
    while low < high:
        middle = (low + high) // 2
        if sum(widths(thresholds[middle]).values()) > wanted:
            low = middle + 1
        else:
            high = middle
    candidates = [widths(thresholds[index]) for index in (max(0, low - 1), low)]
    return min(candidates, key=lambda found: abs(sum(found.values()) - wanted))


def _rounded(count: int, width: int, round_to: int, min_width: int) -> int:
    nearest = math.floor(count / round_to + 0.5) * round_to
    return min(width, max(round_to, -(-min_width // round_to) * round_to, nearest))
