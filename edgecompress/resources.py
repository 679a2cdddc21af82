"""Where the data folders are: in the wheel under `_data`, in a checkout beside the package."""

from __future__ import annotations

from pathlib import Path

from edgecompress.errors import ConfigError, unknown_name

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """Folder `targets`, `hw_profiles` or `firmware_export`, wherever this installation keeps it."""
    for parent in (_PACKAGE / "_data", _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise ConfigError(f"this installation has no folder '{name}'; reinstall edgecompress")


def names(folder: str, suffix: str) -> list[str]:
    """Names of the user's own and the packaged files of one kind, without suffix."""
    places = (Path.cwd() / folder, data_dir(folder))
    return sorted({path.stem for place in places if place.is_dir() for path in place.glob(f"*{suffix}")})


def find(folder: str, name: str, suffix: str, what: str) -> Path:
    """File for `name`: an explicit path, else the user's own `./<folder>/`, else the packaged one."""
    explicit = Path(name)
    if explicit.suffix == suffix or explicit.parent != Path():
        if not explicit.is_file():
            raise ConfigError(f"there is no {what} file '{name}'")
        return explicit
    for place in (Path.cwd() / folder, data_dir(folder)):
        if (place / f"{name}{suffix}").is_file():
            return place / f"{name}{suffix}"
    raise unknown_name(what, name, names(folder, suffix))


def exists(folder: str, name: str, suffix: str) -> bool:
    """Whether the user's own or the packaged files have one of that name."""
    return any((place / f"{name}{suffix}").is_file() for place in (Path.cwd() / folder, data_dir(folder)))
