"""Knob: one choice of the search space."""

from __future__ import annotations

from dataclasses import dataclass

Choice = int | float | str


@dataclass(frozen=True)
class Knob:
    """A named list of choices, in rising order where they are numbers; `meaning` goes into the documentation."""

    name: str
    choices: tuple[Choice, ...]
    meaning: str
