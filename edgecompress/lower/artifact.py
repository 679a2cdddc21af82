"""Artifact: the files of a lowered model, and its folder on disk."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgecompress.errors import ConfigError, EdgecompressError, ModelError
from edgecompress.hw.plan import LoweredPlan

FORMAT, FORMAT_VERSION = "edgecompress-artifact", 1
MANIFEST = "manifest.json"

# manifest key -> type; `read_manifest` holds a file to it
MANIFEST_KEYS: dict[str, type | tuple[type, ...]] = {
    "format": str, "version": int, "tool_version": str, "name": str, "target": str, "graph_hash": str, "inputs": list, "outputs": list,
    "arena_bytes": int, "constant_bytes": int, "lower_bound_bytes": int, "sources": list, "header": str, "files": list, "layers": list,
    "memory": list, "kernels": list, "vectors_source": str,
}


@dataclass(frozen=True)
class Artifact:
    """A lowered model: file name -> bytes, ready for a folder."""

    name: str
    target: str
    files: Mapping[str, bytes]
    plan: LoweredPlan
    graph_hash: str
    manifest: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", MappingProxyType(dict(self.files)))
        object.__setattr__(self, "manifest", MappingProxyType(dict(self.manifest)))

    def write(self, folder: Path, overwrite: bool = False) -> None:
        """Writes all files: first beside the folder, then in one rename, so that no half-written artifact is ever seen.

        A folder that holds an artifact is replaced only with `overwrite`; one that holds anything else never is.
        Raises ConfigError for such a folder and EdgecompressError when the disk or its permissions say no.
        """
        _check_replaceable(folder, overwrite)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        except OSError as error:
            raise EdgecompressError(f"cannot write into '{folder.parent}': {error.strerror or error}") from None
        try:
            self._fill(staging)
            _replace(folder, staging)
        except OSError as error:
            raise EdgecompressError(f"cannot write the artifact '{folder}': {error.strerror or error}; nothing was left behind") from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _fill(self, staging: Path) -> None:
        staging.chmod(0o755)  # mkdtemp makes it private
        for name, content in self.files.items():
            (staging / name).write_bytes(content)


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"'{folder}' is a file; the artifact needs a folder")
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise ConfigError(f"cannot look into '{folder}': {error.strerror or error}") from None
    if not names:
        return
    try:
        known = {*read_manifest(folder)["files"], MANIFEST}
    except EdgecompressError:
        raise ConfigError(f"'{folder}' is not empty and holds no edgecompress artifact; name a new or empty folder") from None
    if not overwrite:
        raise ConfigError(f"'{folder}' already holds an artifact; name another folder or ask to overwrite it")
    if names - known:
        foreign = ", ".join(sorted(names - known)[:3])
        raise ConfigError(f"'{folder}' holds files that edgecompress did not write ({foreign}); move them away or name another folder")


def _replace(folder: Path, staging: Path) -> None:
    """Moves `staging` to `folder`; an old artifact steps aside first and comes back if the move fails."""
    if not folder.exists():
        staging.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    try:
        folder.rename(aside / "artifact")
        try:
            staging.rename(folder)
        except OSError:
            (aside / "artifact").rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The checked `manifest.json` of an artifact folder. Raises ConfigError if there is none, ModelError if it is damaged."""
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"'{folder}' is not an artifact: it has no {MANIFEST}; make one with `edgecompress lower`") from None
    except OSError as error:
        raise ConfigError(f"cannot read '{path}': {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ModelError(f"'{path}' is not valid JSON; lower the model again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelError(f"'{path}' has no {FORMAT} header; lower the model again")
    if document.get("version") != FORMAT_VERSION:
        raise ModelError(f"'{path}' has format version {document.get('version')}, this program reads {FORMAT_VERSION}; lower the model again")
    for key, kind in MANIFEST_KEYS.items():
        if not isinstance(document.get(key), kind) or isinstance(document.get(key), bool):
            raise ModelError(f"'{path}' is damaged: '{key}' is missing or has the wrong type; lower the model again")
    _check_file_names(path, folder, document)
    return document


def _check_file_names(path: Path, folder: Path, document: dict[str, Any]) -> None:
    """File names must be plain names of files that are there: a manifest must not lead a tool out of its folder."""
    for name in (*document["files"], *document["sources"], document["header"]):
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise ModelError(f"'{path}' is damaged: {name!r} is not a file name; lower the model again")
        if not (folder / name).is_file():
            raise ModelError(f"'{folder}' is incomplete: '{name}' is missing; lower the model again")
