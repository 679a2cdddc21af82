"""A finished task on disk: its values beside its weights, each telling whether the other is whole."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecompress.errors import ConfigError
from edgecompress.run.files import read_json, write_atomic, write_json

SHARES = ("accuracy",)
NUMBERS = ("seconds",)


def keep(place: Path, values: Mapping[str, Any], weights: bytes | None) -> None:
    """Writes `place`.pt, if there are weights, then `place`.json, which makes them count."""
    if weights is not None:
        write_atomic(place.with_name(place.name + ".pt"), weights)
    write_json(place.with_name(place.name + ".json"), {**values, "weights_sha256": "" if weights is None else hashlib.sha256(weights).hexdigest()})


def kept(place: Path) -> tuple[dict[str, Any], bytes | None] | None:
    """(values, weights) that `keep` wrote; None when they are not there. Raises ConfigError, naming the file, for damaged ones."""
    path, weights = place.with_name(place.name + ".json"), place.with_name(place.name + ".pt")
    if not path.exists():
        return None
    values = read_json(path)
    if not isinstance(values, dict) or not all(_is_number(values.get(name)) for name in (*SHARES, *NUMBERS)) \
            or not all(0 <= values[name] <= 1 for name in SHARES) or not isinstance(values.get("weights_sha256"), str):
        raise ConfigError(f"'{path}' is damaged; delete it and run again with --resume")
    if not values["weights_sha256"]:
        return values, None
    if not weights.exists():
        return None
    content = weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != values["weights_sha256"]:
        raise ConfigError(f"'{weights}' is damaged, it is not the file that was written; delete it and run again with --resume")
    return values, content


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
