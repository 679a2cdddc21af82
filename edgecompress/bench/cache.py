"""A content-addressed store of compiled objects: same source, headers, flags and compiler version, same file."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

MAX_ENTRIES = 4096
_QUOTED_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)


def cache_directory() -> Path:
    """`$EDGECOMPRESS_CACHE`, else `~/.cache/edgecompress`; a folder of this process alone where that cannot be written."""
    chosen = os.environ.get("EDGECOMPRESS_CACHE")
    try:
        wanted = Path(chosen) if chosen else Path.home() / ".cache" / "edgecompress"
    except RuntimeError:  # no home folder
        return _private_directory()
    return wanted if _writable(wanted) else _private_directory()


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def _private_directory() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="edgecompress-cache-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def source_closure(source: Path, include_folders: Sequence[Path]) -> list[Path]:
    """The source and every header it includes by a quoted name, directly or not, in the order they are met."""
    found: list[Path] = []
    waiting = [source]
    while waiting:
        path = waiting.pop(0)
        if path in found:
            continue
        found.append(path)
        for name in _QUOTED_INCLUDE.findall(path.read_bytes()):
            candidates = (folder / os.fsdecode(name) for folder in (path.parent, *include_folders))
            waiting += [candidate for candidate in candidates if candidate.is_file()][:1]
    return found


def object_key(source: Path, include_folders: Sequence[Path], settings: Iterable[str]) -> str:
    """Name of the object that compiling `source` with `settings` (compiler version and flags) gives."""
    digest = hashlib.sha256("\0".join(settings).encode())
    for path in source_closure(source, include_folders):
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def fetch(key: str) -> bytes | None:
    """The stored object, or None when there is none or it is damaged."""
    try:
        stored = (cache_directory() / "objects" / key).read_bytes()
    except OSError:
        return None
    digest, content = stored[:32], stored[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def store(key: str, content: bytes) -> None:
    """Keeps an object. A full disk or a parallel process only costs the entry: the caller has the bytes already."""
    folder = cache_directory() / "objects"
    temporary: str | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        Path(temporary).replace(folder / key)
        _drop_oldest(folder)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _drop_oldest(folder: Path) -> None:
    entries = [entry for entry in os.scandir(folder) if entry.is_file()]
    if len(entries) <= MAX_ENTRIES:
        return
    for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime)[: MAX_ENTRIES // 4]:
        Path(entry.path).unlink(missing_ok=True)
