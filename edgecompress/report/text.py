"""Numbers for people, and the one way to say that a number is not there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value", int, float)


@dataclass(frozen=True)
class Figure:
    """A value as text; `known` is False when `text` says why there is none."""

    text: str
    known: bool = True


def figure(value: Value | None, write: Callable[[Value], str], missing: str) -> Figure:
    """The value written, or `missing` (such as "not run: no emulator")."""
    return Figure(missing, False) if value is None else Figure(write(value))


def percent(share: float) -> str:
    """0.9722 as "97.22 %"."""
    return f"{100 * share:.2f} %"


def signed_percent(share: float) -> str:
    """0.034 as "+3.4 %"."""
    return f"{100 * share:+.1f} %".replace("-", "−")


def count(number: int) -> str:
    """1234567 as "1,234,567"."""
    return f"{number:,}"


def short_count(number: float) -> str:
    """1234567 as "1.23 M"."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g} {unit}" if abs(number) < 999.5 * limit else f"{number / limit:.0f} {unit}"
    return f"{number:g}"


NO_NOISE_DB = 120.0  # compress/quantize/sqnr.py writes this when there is no error at all


def decibels(value: float) -> str:
    """Signal to quantization noise in dB, without the unit."""
    return "exact" if value >= NO_NOISE_DB else f"{value:.1f}"


def shape(sizes: tuple[int, ...] | None) -> str:
    """(8, 8, 16) as "8×8×16"."""
    return "?" if sizes is None else "×".join(str(size) for size in sizes)


def plural(number: int, one: str, many: str = "") -> str:
    """"1 sample", "2 samples"."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def wilson(share: float, samples: int) -> tuple[float, float]:
    """95 % confidence interval of a share seen in `samples` independent samples (Wilson's score interval)."""
    z = 1.959963984540054
    middle = share + z * z / (2 * samples)
    half = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    scale = 1 + z * z / samples
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, the middle left out: names differ at their ends."""
    if len(text) <= limit:
        return text
    if limit < 3:
        return text[:limit]
    tail = limit // 2
    return text[: limit - 1 - tail] + "…" + text[len(text) - tail :]
