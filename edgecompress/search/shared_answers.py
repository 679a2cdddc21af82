"""Answers as plain JSON and checksummed bytes: what goes into a shared table, and what waits on this machine while its database is away.

Nothing that is read here is ever unpickled or run. What does not match its checksum is no answer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecompress.errors import ConfigError
from edgecompress.search.evaluator import Answer, Task

MAXIMUM_FILE_BYTES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def canonical(value: Any) -> str:
    """One text for one JSON value: ASCII, sorted keys. Raises TypeError for what is not JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def question(task: Task) -> str:
    """Hash of what the task asks: its work, payload and files. Machines that ask differently under one key have diverged."""
    asked = {"work": f"{task.work.__module__}.{task.work.__qualname__}", "payload": task.payload,
             "files": {name: digest(content) for name, content in task.files.items()}}
    return digest(canonical(asked).encode())


def described(answer: Answer) -> dict[str, Any]:
    """The answer without the bytes of its files: JSON with a checksum over all of it."""
    for name in answer.files:
        if not _NAME.fullmatch(name):
            raise ValueError(f"an answer's file is named '{name}'; only letters, digits and ._- are allowed")
    body = {"values": dict(answer.values), "error": answer.error,
            "files": {name: {"bytes": len(content), "sha256": digest(content)} for name, content in answer.files.items()}}
    return {**body, "sha256": digest(canonical(body).encode())}


def checked(description: Any) -> dict[str, Any] | None:
    """The description if it is whole and of the right shape, else None."""
    if not isinstance(description, dict) or set(description) != {"values", "error", "files", "sha256"}:
        return None
    body = {name: description[name] for name in ("values", "error", "files")}
    if digest(canonical(body).encode()) != description["sha256"]:
        return None
    shapes = isinstance(body["values"], dict) and isinstance(body["error"], str) and isinstance(body["files"], dict)
    return description if shapes and all(_is_file(name, facts) for name, facts in body["files"].items()) else None


def _is_file(name: str, facts: Any) -> bool:
    return (bool(_NAME.fullmatch(name)) and isinstance(facts, dict) and set(facts) == {"bytes", "sha256"} and type(facts["bytes"]) is int
            and 0 <= facts["bytes"] <= MAXIMUM_FILE_BYTES and isinstance(facts["sha256"], str) and bool(_DIGEST.fullmatch(facts["sha256"])))


def assembled(description: Mapping[str, Any], files: Mapping[str, bytes]) -> Answer | None:
    """The answer of a checked description and its files, or None where bytes are missing or differ."""
    for name, facts in description["files"].items():
        content = files.get(name)
        if content is None or len(content) != facts["bytes"] or digest(content) != facts["sha256"]:
            return None
    return Answer(description["values"], {name: files[name] for name in description["files"]}, description["error"])


def as_stored(answer: Answer) -> Answer:
    """The answer as everybody else will read it: through JSON, so that tuples are lists here too."""
    return Answer(json.loads(canonical(dict(answer.values))), dict(answer.files), answer.error)


def chunks(content: bytes, size: int) -> Iterator[str]:
    """Base64 text of at most `size` bytes each."""
    for first in range(0, len(content), size):
        yield base64.b64encode(content[first:first + size]).decode()


def joined(texts: Sequence[Any]) -> bytes | None:
    """The bytes of `chunks`, or None where something else stands."""
    try:
        return b"".join(base64.b64decode(text, validate=True) for text in texts)
    except (binascii.Error, TypeError, ValueError):
        return None


class Unsent:
    """Answers that this machine found and could not write yet, one file each in `folder`."""

    def __init__(self, folder: Path, study: str) -> None:
        self._folder, self._study = folder, study

    def _path(self, key: str) -> Path:
        return self._folder / f"{digest(f'{self._study}/{key}'.encode())[:32]}.json"

    def keep(self, key: str, asked: str, answer: Answer) -> None:
        """Writes the answer beside and renames: a kill leaves all of it or nothing. Raises ConfigError if the folder cannot be written."""
        document = {"key": key, "question": asked, "answer": described(answer),
                    "files": {name: base64.b64encode(content).decode() for name, content in answer.files.items()}}
        path = self._path(key)
        partial = path.with_suffix(".partial")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_text(canonical(document))
            partial.replace(path)
        except OSError as error:
            raise ConfigError(f"an answer cannot be kept in '{self._folder}' ({error.strerror}) while the shared storage is away") from None

    def find(self, key: str, asked: str) -> Answer | None:
        """The kept answer to exactly this question, or None; a damaged file is no answer."""
        try:
            document = json.loads(self._path(key).read_bytes())
            if document["key"] != key or document["question"] != asked:
                return None
            description = checked(document["answer"])
            files = {name: joined([text]) for name, text in document["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return assembled(description, {name: content for name, content in files.items() if content is not None}) if description else None

    def drop(self, key: str) -> None:
        """Forgets the key's answer."""
        self._path(key).unlink(missing_ok=True)

    def count(self) -> int:
        """How many answers wait."""
        return sum(1 for _ in self._folder.glob("*.json")) if self._folder.is_dir() else 0
