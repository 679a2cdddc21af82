"""Typed access to a parsed JSON document: every wrong or missing value becomes one clear ConfigError that names its path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecompress.errors import ConfigError


def damaged(file: Path, where: str, expected: str, value: Any) -> ConfigError:
    """The error for a value that is not what the document's format says."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ConfigError(f"'{file}' is not a report that edgecompress wrote: '{where}' must be {expected}, got {shown}",
                       "run the search again with --resume: it writes the report anew and repeats nothing that is done")


class Reader:
    """One JSON object. `*_or_none` methods take a missing key and null for "not known"; the others demand a value."""

    def __init__(self, value: Any, where: str, file: Path) -> None:
        """Raises ConfigError unless `value` is an object."""
        self.where, self.file = where, file
        if not isinstance(value, dict):
            raise damaged(file, where or "the document", "an object", value)
        self.values: Mapping[str, Any] = value

    def path(self, key: str) -> str:
        """Dotted path of a key, for messages."""
        return f"{self.where}.{key}" if self.where else key

    def fail(self, key: str, expected: str) -> ConfigError:
        """The error for `key`."""
        if key not in self.values:
            return ConfigError(f"'{self.file}' is not a report that edgecompress wrote: it lacks '{self.path(key)}' ({expected})",
                               "run the search again with --resume: it writes the report anew and repeats nothing that is done")
        return damaged(self.file, self.path(key), expected, self.values[key])

    def child(self, key: str) -> Reader:
        """The object at `key`."""
        if not isinstance(self.values.get(key), dict):
            raise self.fail(key, "an object")
        return Reader(self.values[key], self.path(key), self.file)

    def child_or_none(self, key: str) -> Reader | None:
        """The object at `key`, if there is one."""
        return None if self.values.get(key) is None else self.child(key)

    def items(self, key: str) -> list[Any]:
        """The list at `key`."""
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self.fail(key, "a list")
        return value

    def children(self, key: str) -> list[Reader]:
        """The objects in the list at `key`; a missing key or null is an empty list."""
        if self.values.get(key) is None:
            return []
        return [Reader(value, f"{self.path(key)}[{index}]", self.file) for index, value in enumerate(self.items(key))]

    def text(self, key: str) -> str:
        """The text at `key`."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.fail(key, "text")
        return value

    def text_or_none(self, key: str) -> str | None:
        """The text at `key`; an empty one counts as not known."""
        return (self.text(key) or None) if self.values.get(key) is not None else None

    def number(self, key: str) -> float:
        """The number at `key`, which may be infinite or NaN."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, "a number")
        return float(value)

    def number_or_none(self, key: str) -> float | None:
        """The finite number at `key`; NaN and infinities count as not known."""
        if self.values.get(key) is None:
            return None
        value = self.number(key)
        return value if math.isfinite(value) else None

    def whole(self, key: str) -> int:
        """The whole number, 0 or more, at `key`."""
        value = self.number(key)
        if not math.isfinite(value) or value != int(value) or value < 0:
            raise self.fail(key, "a whole number of at least 0")
        return int(value)

    def whole_or_none(self, key: str) -> int | None:
        """The whole number, 0 or more, at `key`, if there is one."""
        return None if self.values.get(key) is None else self.whole(key)

    def flag_or_none(self, key: str) -> bool | None:
        """true, false or not known."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.fail(key, "true, false or null")
        return value

    def share_or_none(self, key: str) -> float | None:
        """A number between 0 and 1, such as an accuracy, if there is one."""
        value = self.number_or_none(key)
        if value is not None and not 0 <= value <= 1:
            raise self.fail(key, "a number from 0 to 1")
        return value

    def shape_or_none(self, key: str) -> tuple[int, ...] | None:
        """A list of whole numbers, if there is one."""
        if self.values.get(key) is None:
            return None
        sizes = self.items(key)
        if not all(type(size) is int for size in sizes):
            raise self.fail(key, "a list of whole numbers")
        return tuple(sizes)
