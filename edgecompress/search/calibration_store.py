"""Files of calibrations in the user's cache: one for each training, one for the verdict, each with a checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Say = Callable[[str], None]


def fingerprint(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def source_version(*packages: str) -> str:
    """Fingerprint of the Python files of these packages: another version's scores are other scores."""
    import importlib.util

    digest = hashlib.sha256()
    for package in packages:
        found = importlib.util.find_spec(package)
        assert found is not None and found.origin is not None
        for path in sorted(Path(found.origin).parent.glob("*.py")):
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


class Store:
    """A folder of sealed JSON files. What cannot be written is only said, what is damaged counts as missing and is said."""

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder, self._say = folder, say
        self._writable = True

    def path(self, name: str) -> Path:
        """Where the file of this name lies."""
        return self._folder / f"{name}.json"

    def names(self, pattern: str) -> list[str]:
        """Names that match the pattern, the latest written first."""
        found = [(path.stat().st_mtime_ns, path.relative_to(self._folder).with_suffix("").as_posix()) for path in self._folder.glob(f"{pattern}.json")]
        return [name for _, name in sorted(found, reverse=True)]

    def read(self, name: str) -> Mapping[str, Any] | None:
        """The stored object, or None."""
        path = self.path(name)
        try:
            document = json.loads(path.read_bytes())
            content = document["content"]
            if document["sha256"] == _checksum(content) and isinstance(content, dict):
                return content
            problem = "its checksum is wrong"
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            problem = f"{type(error).__name__}: {error}"
        self.damaged(name, problem)
        return None

    def damaged(self, name: str, problem: str) -> None:
        """Says that a file is of no use."""
        self._say(f"note: the stored calibration '{self.path(name)}' is damaged ({problem}); it counts as missing")

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Stores an object; a killed process leaves the old file or the new one."""
        path = self.path(name)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"content": content, "sha256": _checksum(content)}, sort_keys=True) + "\n")
            temporary.replace(path)
        except OSError as error:
            if self._writable:
                self._say(f"note: the calibration cannot be kept in '{path.parent}' ({error.strerror}); it will be made again next time")
            self._writable = False


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
