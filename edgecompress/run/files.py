"""Small file habits that every stage shares: atomic writes, JSON read back with a clear error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgecompress.errors import ConfigError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes beside, then renames: a killed process leaves the old file or the new one, never half of one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    data = content.encode() if isinstance(content, str) else content
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Sorted, indented JSON, written atomically."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON; raises ConfigError naming the file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"there is no file '{path}'; is this a finished run?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{path}' is damaged ({error}); delete it and run again with --resume") from None
