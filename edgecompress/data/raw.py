"""What every reader hands over before checking, splitting and normalising: raw samples by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecompress.errors import ConfigError, DataError, unknown_name
from edgecompress.units import format_bytes

Array = np.ndarray[Any, Any]

KINDS = ("image", "audio", "series")
POOL = "pool"  # a part that nobody has split yet
MAX_FLOAT_BYTES = 4 * 1024**3  # of one data set as float32; everything is held in memory


@dataclass(frozen=True)
class RawPart:
    """Samples as they were stored. x: any real dtype [n, ...]; y: labels [n]; the names serve error messages."""

    x: Array
    y: Array
    x_name: str
    y_name: str


@dataclass(frozen=True)
class RawData:
    """A data set as read. `parts` holds "train" and "test" and perhaps "validation", or "pool" alone."""

    name: str
    kind: str
    source: str
    front_end: str
    parts: Mapping[str, RawPart]
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    was_pool: bool = False  # the test part was split off here
    provenance: str = ""  # of simulated data: what its samples follow from; part of the data set's hash


@dataclass(frozen=True)
class Options:
    """The `?key=value&...` tail of a data set's spec."""

    values: Mapping[str, str]

    def only(self, *known: str) -> None:
        """Raises ConfigError for a key that is not in `known`."""
        for key in self.values:
            if not known:
                raise ConfigError(f"this data set takes no options, got '{key}'")
            if key not in known:
                raise unknown_name("data set option", key, known)

    def text(self, key: str, default: str) -> str:
        """The value as it stands."""
        return self.values.get(key, default)

    def number(self, key: str, default: float, convert: Callable[[str], float] = float) -> float:
        """The value as a positive number; raises ConfigError."""
        if key not in self.values:
            return default
        try:
            value = convert(self.values[key])
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            what = "whole number" if convert is int else "number"
            raise ConfigError(f"option '{key}' must be a {what} above 0, not '{self.values[key]}'")
        return value

    def flag(self, key: str) -> bool | None:
        """True for 1/true/yes, False for 0/false/no, None when it was not given; raises ConfigError."""
        if key not in self.values:
            return None
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if self.values[key].lower() not in words:
            raise ConfigError(f"option '{key}' must be 1 or 0, not '{self.values[key]}'")
        return words[self.values[key].lower()]

    def kind(self, default: str) -> str:
        """The data's kind, `default` unless the option says otherwise; raises ConfigError."""
        kind = self.text("kind", default)
        if kind not in KINDS:
            raise unknown_name("kind of data", kind, KINDS)
        return kind


def check_size(elements: int, what: str) -> None:
    """Raises DataError when so many values would not fit as float32."""
    if elements * 4 > MAX_FLOAT_BYTES:
        raise DataError(
            f"{what} holds {elements} values, {format_bytes(elements * 4)} as float32; the limit is {format_bytes(MAX_FLOAT_BYTES)}",
            "try: a smaller part of the data, or smaller samples",
        )
