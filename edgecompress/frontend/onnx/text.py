"""Names from a file are data: they may hold quotes, line ends, or a megabyte."""

from __future__ import annotations

from typing import Any

from edgecompress.errors import ModelError

MAX_SHOWN = 80


def shown(name: str) -> str:
    """The name in quotes on one line, for messages; long ones are cut."""
    return repr(name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}...")


def checked(name: Any) -> str:
    """The name itself. Raises ModelError if protobuf hands it out as bytes, because it is not UTF-8."""
    if not isinstance(name, str):
        raise ModelError(f"the file is damaged: the name {bytes(name)[:40]!r} in it is not valid UTF-8")
    return name
