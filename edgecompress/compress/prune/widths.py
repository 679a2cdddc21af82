"""How many channels a layer keeps: the one rule that the pruner and the search space share."""

from __future__ import annotations

import math

from edgecompress.errors import ConfigError


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
