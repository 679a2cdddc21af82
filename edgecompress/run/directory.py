"""The run directory: `config.toml`, `study.log`, `candidates/<id>/`, `report.*`; one process at a time."""

from __future__ import annotations

import fcntl
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO

from edgecompress.errors import ConfigError
from edgecompress.run.config import SearchConfig, from_mapping, load_values
from edgecompress.run.files import read_json, write_json

# These decide how fast or where something runs, not what comes out: they may change between a run and its resumption.
FREE_KEYS = ("workers", "samples", "test_samples", "storage", "study", "ray")


def _check_ours(path: Path) -> None:
    """Raises ConfigError unless the folder is empty, holds a run, or what a run that was killed at once leaves."""
    if (path / "config.toml").exists():
        return
    for entry in path.iterdir():
        begun = entry.name in ("run.lock", "provenance.json") or entry.suffix == ".partial"
        if not begun and not (entry.name == "candidates" and entry.is_dir() and not any(entry.iterdir())):
            raise ConfigError(f"the folder '{path}' is not empty and holds no run (it has '{entry.name}' but no config.toml); "
                              "choose another --output")


class RunDirectory:
    """An open run folder; a context manager that holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @property
    def study_log(self) -> Path:
        """Optuna's journal."""
        return self.path / "study.log"

    def candidate(self, identity: str) -> Path:
        """Folder of one trained candidate."""
        return self.path / "candidates" / identity

    @classmethod
    def open(cls, path: Path, config: SearchConfig, provenance: dict[str, str], resume: bool) -> RunDirectory:
        """Makes or resumes a run. Raises ConfigError if the folder holds something else, or another run's settings."""
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _check_ours(path)  # before the lock: nothing is written into a folder of something else
            run._take_lock()
            if (path / "config.toml").exists():
                run._check_same(config, provenance, resume)
            else:
                (path / "candidates").mkdir(exist_ok=True)
                write_json(path / "provenance.json", provenance)
                config.save(path / "config.toml")  # last: it makes the folder a run
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(f"'{path}' is a file, not a folder; choose another --output") from None
        except PermissionError as error:
            raise ConfigError(f"the run folder '{path}' cannot be written ({error.strerror}); choose another --output") from None
        return run

    def _take_lock(self) -> None:
        self._lock = (self.path / "run.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another process is working in '{self.path}'; wait for it or choose another --output") from None

    def _check_same(self, config: SearchConfig, provenance: dict[str, str], resume: bool) -> None:
        if not resume:
            self.close()
            raise ConfigError(f"'{self.path}' holds a run already; add --resume to go on with it or choose another --output")
        before = asdict(from_mapping(load_values(self.path / "config.toml"), str(self.path / "config.toml")))
        now = asdict(config)
        changed = [f"{key}: {before[key]!r} then, {now[key]!r} now" for key in now if key not in FREE_KEYS and before[key] != now[key]]
        recorded = read_json(self.path / "provenance.json")
        changed += [f"{key}: {recorded.get(key)} then, {value} now" for key, value in provenance.items() if recorded.get(key) != value]
        if changed:
            self.close()
            raise ConfigError(f"'{self.path}' was started with other settings; use those, or choose another --output", *changed)

    def close(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
