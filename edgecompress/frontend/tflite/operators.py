"""OPERATORS: what this importer does with each TFLite operator. docs/operators.md is generated from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

IntegerHandler = Callable[[Any, Any], None]
FloatHandler = Callable[[Any, Any], None]


@dataclass(frozen=True)
class Support:
    """How one operator is imported: a handler(context, operator) for int8 models and one for float models, None where it is not supported.

    `note` says what is restricted, in words for docs/operators.md.
    """

    int8: IntegerHandler | None = None
    float32: FloatHandler | None = None
    note: str = ""


OPERATORS: dict[str, Support] = {}
