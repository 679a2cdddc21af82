"""Axes of the charts: where a value lies, and which values get a tick."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A labelled position in the chart's pixels."""

    position: float
    label: str


@dataclass(frozen=True)
class Axis:
    """Maps values from `low` to `high` onto pixels from `start` to `end`; logarithmic if `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def place(self, value: float) -> float:
        """Pixels of a value, rounded so that pages stay small and equal on every machine."""
        share = math.log(value / self.low) / math.log(self.high / self.low) if self.log else (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, write: Callable[[float], str], most: int = 7) -> tuple[Tick, ...]:
        """At most about `most` round values."""
        values = _log_values(self.low, self.high, most) if self.log else _linear_values(self.low, self.high, most)
        return tuple(Tick(self.place(value), write(value)) for value in values)


def axis_over(values: Sequence[float], start: float, end: float, log: bool = False, margin: float = 0.06) -> Axis:
    """An axis that shows all `values` (at least one; positive if `log`) with some room at both ends."""
    low, high = min(values), max(values)
    if log:
        room = max(math.log(high / low) * margin, 0.05)
        return Axis(low / math.exp(room), high * math.exp(room), start, end, True)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return Axis(low - room, high + room, start, end, False)


def _linear_values(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if magnitude * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_values(low: float, high: float, most: int) -> list[float]:
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1,)):
        values = [factor * 10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for factor in factors]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= most:
            break
    return inside if len(inside) > 1 else _linear_values(low, high, most)


def byte_values(high: int, most: int = 6) -> list[int]:
    """Round byte counts from 0 to `high`: powers of two times 1 or 3, so that labels are whole KiB where possible."""
    step = 1
    while high / step > most:
        step *= 2
    return list(range(0, high + 1, step))
