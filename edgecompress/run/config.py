"""SearchConfig: every setting of a search, from a TOML file and from flags. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgecompress.errors import ConfigError, unknown_name
from edgecompress.hw.budget import Budget
from edgecompress.hw.target import Target
from edgecompress.run.files import write_atomic
from edgecompress.units import parse_bytes, parse_duration, parse_energy

DEFAULT_PROXIES = ("zico_mean",)
CHOICES = {"sampler": ("nsga2", "nsga3", "tpe", "random"), "pick": ("hypervolume", "macs", "random")}


@dataclass(frozen=True)
class SearchConfig:
    """Settings of `edgecompress search`. An empty text or 0 means: the target's or the data's default."""

    target: str = "cortex-m7"
    data: str = "digits"
    latency: str = ""  # such as "20ms"
    ram: str = ""  # such as "64KiB"
    flash: str = ""
    macs: int = 0  # 0: no limit
    energy: str = ""  # such as "2mJ", where the profile knows the board's power; "": no limit
    profile: str = ""  # hardware profile; "" takes the target's
    also: str = ""  # further targets that the same model must fit, with limits of their own: "cortex-m4?latency=40ms&ram=64KiB; cortex-m33"
    model: str = ""  # own model instead of families: "pkg.module:factory" or a .onnx file
    families: str = ""  # comma-separated; "" takes all
    sampler: str = "nsga2"
    proxies: str = ""  # comma-separated; "" takes what --calibrate-proxies kept for this data, else DEFAULT_PROXIES
    trials: int = 480
    population: int = 56
    pick: str = "hypervolume"  # how candidates are picked for training
    screen: int = 12  # candidates that are trained briefly before top_k of them are trained to the end; no more than top_k: none
    top_k: int = 3
    epochs: int = 0  # 0: by the data's recipe
    minutes: float = 0.0  # of CPU time that all trainings together may take; 0: by epochs
    max_drop: float = 1.0  # percentage points that quantization may lose on validation before it is trained against
    seed: int = 0
    workers: int = 0  # 0: one a core
    storage: str = ""  # database that several machines share: an RDB URL or grpc://host:port; "": the run's folder
    study: str = ""  # name of the shared study; "": from what decides its results
    ray: str = ""  # address of a Ray cluster
    range_method: str = "mse"
    bias_correction: bool = True
    calibration: int = 512  # training samples that set the activation ranges
    samples: int = 16  # real inputs compared on the emulated core for each trained candidate
    test_samples: int = 1000  # at most so many test samples run on the emulated core for the chosen one
    on: str = ""  # where trained candidates run: "" (the target's emulator, or this machine), host or ssh://user@host; further devices are emulated
    cc: str = ""  # zig, gcc or a compiler's path
    emulator: str = ""  # unicorn or qemu

    def __post_init__(self) -> None:
        limits = {"trials": (1, 1_000_000), "population": (2, 10_000), "top_k": (1, 100), "epochs": (0, 100_000), "workers": (0, 1024),
                  "calibration": (1, 1_000_000), "samples": (10, 100_000), "test_samples": (10, 10_000_000), "macs": (0, 10**12),
                  "seed": (0, 2**31 - 1), "screen": (0, 1000), "minutes": (0, 100_000), "max_drop": (0, 100)}
        for name, value in asdict(self).items():
            if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
                raise ConfigError(f"{name} = {value!r} is not valid UTF-8 text; rename the file or folder")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(name.replace("_", "-"), getattr(self, name), allowed)
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} = {value} is out of range; allowed are {low} to {high}")

    def budget(self, target: Target) -> Budget:
        """The hard limits: what the user said, else the target's defaults, never above what the device has."""
        ram = parse_bytes(self.ram) if self.ram else target.defaults.ram_bytes
        flash = parse_bytes(self.flash) if self.flash else target.defaults.flash_bytes
        for what, asked, there in (("RAM", ram, target.ram_bytes), ("flash", flash, target.flash_bytes)):
            if asked > there:
                raise ConfigError(f"the {what} budget of {asked} bytes is more than the {there} bytes of {target.name}; lower --{what.lower()}")
            if asked <= 0:
                raise ConfigError(f"the {what} budget must be positive")
        latency = parse_duration(self.latency) if self.latency else target.defaults.latency_s
        if latency <= 0:
            raise ConfigError("the latency budget must be positive")
        energy = parse_energy(self.energy) if self.energy else None
        if energy is not None and energy <= 0:
            raise ConfigError("the energy budget must be positive")
        return Budget(latency, ram, flash, self.macs or None, energy)

    def save(self, path: Path) -> None:
        """Writes TOML, every key."""
        lines = [f"{key} = {_toml(value)}" for key, value in asdict(self).items()]
        write_atomic(path, "# resolved configuration of this run\n" + "\n".join(lines) + "\n")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 or c in '"\\' else c for c in str(value))
    return f'"{escaped}"'


def from_mapping(values: Mapping[str, Any], where: str) -> SearchConfig:
    """SearchConfig from plain values; raises ConfigError for an unknown key or a wrong type, naming `where`."""
    types = {f.name: type(f.default) for f in fields(SearchConfig)}
    checked = dict(values)
    for key, value in values.items():
        if key not in types:
            raise ConfigError(f"{where}: {unknown_name('key', key, types).message}")
        if types[key] is float and type(value) is int:
            checked[key] = float(value)
        elif type(value) is not types[key]:
            raise ConfigError(f"{where}: {key} must be of type {types[key].__name__}, got {value!r}")
    return SearchConfig(**checked)


def load_values(path: Path) -> dict[str, Any]:
    """Keys of a TOML file; raises ConfigError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file '{path}'") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"configuration file '{path}' cannot be read: {error}") from None
