"""The text of a target: one TOML file, or one that changes some keys of its base."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompress import resources
from edgecompress.errors import ConfigError, unknown_name

NOT_INHERITED = ("base", "description", "source", "verified")  # what is true of one device only


@dataclass(frozen=True)
class TargetFile:
    """A file's keys and those it takes from its bases, nearest base first in `bases`; `own` are the top-level keys in the file itself."""

    path: Path
    values: Mapping[str, Any]
    own: frozenset[str]
    bases: tuple[TargetFile, ...]

    def section(self, name: str) -> dict[str, Any]:
        """Keys of a section; "" are those outside all sections."""
        if name:
            return dict(self.values.get(name, {}))
        return {key: value for key, value in self.values.items() if not isinstance(value, dict)}


def read_target_file(path: Path, allowed: Mapping[str, Set[str]], seen: tuple[Path, ...] = ()) -> TargetFile:
    """Reads a file and its bases; `allowed` are the keys a section may have. `seen` are the files that name this one as their base.

    A file that says how large its memory is does not inherit the regions of its base, one with a clock or
    flash of its own not its flash timing. Raises ConfigError for a file that cannot be read,
    an unknown key or base, and bases that go in a circle.
    """
    document = _document(path)
    for section in allowed:
        _check_keys(path, section, _section(document, section, allowed), allowed[section])
    base = document.get("base")
    if base is None:
        return TargetFile(path, document, frozenset(document), ())
    parent = read_target_file(_base_path(path, base, (*seen, path)), allowed, (*seen, path))
    values = {key: value for key, value in parent.values.items() if key not in NOT_INHERITED}
    if {"flash", "ram"} & document.get("memory", {}).keys():
        values["memory"] = {key: value for key, value in values.get("memory", {}).items() if key != "regions"}
    if "clock" in document or "flash" in document.get("memory", {}):
        values["memory"] = {key: value for key, value in values.get("memory", {}).items() if key != "flash_timing"}
    for key, value in document.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return TargetFile(path, values, frozenset(document), (parent, *parent.bases))


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"target file '{path}' cannot be read: {error}") from None


def _section(document: dict[str, Any], name: str, allowed: Mapping[str, Set[str]]) -> Any:
    return document.get(name, {}) if name else {key: value for key, value in document.items() if key not in allowed}


def _check_keys(path: Path, section: str, values: Any, allowed: Set[str]) -> None:
    if not isinstance(values, dict):
        raise ConfigError(f"target file '{path}': [{section}] must be a table")
    for key in values:
        if key not in allowed:
            where = f" in [{section}]" if section else ""
            raise ConfigError(f"target file '{path}': {unknown_name('key', key, allowed).message}{where}")
        if not section and isinstance(values[key], dict):
            raise ConfigError(f"target file '{path}': '{key}' must be a value, not a table")


def _base_path(path: Path, base: Any, chain: tuple[Path, ...]) -> Path:
    """The base's file: a name is looked up like any target's, a path starts at the folder of the file that names it."""
    if not isinstance(base, str) or not base:
        raise ConfigError(f"target file '{path}': 'base' must be the name of a target, got {base!r}")
    near = path.parent / base
    try:
        found = near if Path(base).suffix == ".toml" and near.is_file() else resources.find("targets", base, ".toml", "base target")
    except ConfigError as error:
        raise ConfigError(f"target file '{path}': {error.message}") from None
    if found.resolve() in [one.resolve() for one in chain]:
        circle = " -> ".join(one.stem for one in (*chain, found))
        raise ConfigError(f"target file '{path}': its bases go in a circle ({circle}); one of them must be complete without a base")
    return found
