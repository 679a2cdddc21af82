"""What must be equal on all machines that share a search: the code, the versions below it, the data, the devices, the settings."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import edgecompress
from edgecompress.errors import ConfigError

SAID = ("setting ", "limits of ")  # entries that come from the command
# These show results or read the command line; they decide no answer.
_APART = ("cli", "report")
# The loop that asks runs on every machine, so what it computes with must be the same everywhere.
_PACKAGES = ("optuna", "numpy", "torch", "scikit-learn", "torch-pruning")


@functools.cache
def code_hash() -> str:
    """Hash of the package's Python sources, names included, without those that only show results."""
    root = Path(edgecompress.__file__).parent
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        name = path.relative_to(root)
        if name.parts[0] not in _APART:
            content = path.read_bytes()
            hasher.update(f"{name.as_posix()}\0{len(content)}\0".encode() + content)
    return hasher.hexdigest()[:16]


def code_identity() -> dict[str, str]:
    """Version and hash of the code, and versions of what it computes with; builds for other hardware ("2.13.0+cu130") count as equal."""
    versions = {name: version(name).partition("+")[0] for name in _PACKAGES}
    return {"edgecompress": edgecompress.__version__, "code": code_hash(), **versions}


def default_name(identity: Mapping[str, str]) -> str:
    """A study's name when the user gives none: the same command meets there on all machines, whatever their code and data; `check_same` then tells.

    Of the entries only what the command says counts: settings and limits. An identity without such entries counts as a whole.
    """
    said = [key for key in sorted(identity) if key.startswith(SAID)] or sorted(identity)
    text = "".join(f"{key}={identity[key]}\0" for key in said)
    return f"edgecompress-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def differences(theirs: Mapping[str, str], ours: Mapping[str, str], there: str = "there", here: str = "here") -> str:
    """Both sides of each entry that differs, as part of a sentence; "" where all are equal."""
    return "; ".join(f"{key} is {theirs.get(key, 'not stated')} {there} and {ours.get(key, 'not stated')} {here}"
                     for key in sorted(set(theirs) | set(ours)) if theirs.get(key) != ours.get(key))


def check_same(study: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raises ConfigError that names both sides of every difference."""
    found = differences(theirs, ours)
    if found:
        raise ConfigError(f"this machine cannot join the study '{study}': {found}; use the same version, data and settings everywhere, or give another --study")


def check_name(name: str) -> str:
    """The study's name. Raises ConfigError for one that a database or a terminal would not take."""
    if len(name) > 200 or not name.isprintable() or name.strip() != name:
        raise ConfigError(f"the study name {name!r} cannot be used; give at most 200 printable characters without blanks around them")
    return name
