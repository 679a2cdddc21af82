"""Target: what a device is, read from `targets/<name>.toml`. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompress import resources
from edgecompress.errors import ConfigError, unknown_name
from edgecompress.units import parse_bytes, parse_duration, parse_frequency


@dataclass(frozen=True)
class Compiler:
    """Flags that make a compiler emit code for this core."""

    zig: tuple[str, ...]
    gcc: tuple[str, ...]
    common: tuple[str, ...]  # optimisation flags both understand


@dataclass(frozen=True)
class Emulator:
    """How to run this core without a board; empty names mean that the emulator cannot."""

    unicorn: str  # suffix of a UC_CPU_ARM_* constant, such as CORTEX_M7
    qemu_machine: str  # such as mps2-an500
    qemu_cpu: str


@dataclass(frozen=True)
class Defaults:
    """Budget of a search when the user names none."""

    latency_s: float
    ram_bytes: int
    flash_bytes: int


@dataclass(frozen=True)
class Target:
    """A device. Sizes in bytes, clock in hertz; `cycles_per_instruction` turns emulated instructions into seconds (see the TOML)."""

    name: str
    description: str
    family: str  # cortex-m, host
    lowering: str
    core: str
    clock_hz: float
    cycles_per_instruction: float
    flash_bytes: int
    ram_bytes: int
    flash_origin: int
    ram_origin: int
    profile: str  # default hardware profile
    channel_multiple: int  # widths the kernels like
    source: str  # where the figures come from
    compiler: Compiler
    emulator: Emulator
    defaults: Defaults

    def seconds(self, instructions: float) -> float:
        """Instructions to seconds at this clock."""
        return instructions * self.cycles_per_instruction / self.clock_hz


_KEYS = {
    "": {"description", "family", "lowering", "core", "clock", "cycles_per_instruction", "profile", "channel_multiple", "source"},
    "memory": {"flash", "ram", "flash_origin", "ram_origin"},
    "compiler": {"zig", "gcc", "common"},
    "emulator": {"unicorn", "qemu_machine", "qemu_cpu"},
    "defaults": {"latency", "ram", "flash"},
}


def load_target(name: str) -> Target:
    """Target by name or by the path of a TOML file. Raises ConfigError that names the file and the key."""
    path = resources.find("targets", name, ".toml", "target")
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"target file '{path}' cannot be read: {error}") from None
    return _parse(path, document)


def target_names() -> list[str]:
    """Names of all known targets."""
    return resources.names("targets", ".toml")


def _parse(path: Path, document: dict[str, Any]) -> Target:
    sections = {name: document.get(name, {}) for name in _KEYS if name}
    top = {key: value for key, value in document.items() if key not in sections}
    for section, values in {"": top, **sections}.items():
        where = f" in [{section}]" if section else ""
        if not isinstance(values, dict):
            raise ConfigError(f"target file '{path}': [{section}] must be a table")
        for key in values:
            if key not in _KEYS[section]:
                raise ConfigError(f"target file '{path}': {unknown_name('key', key, _KEYS[section]).message}{where}")
        for key in _KEYS[section] - values.keys():
            raise ConfigError(f"target file '{path}' lacks the key '{key}'{where}")
    memory, compiler, emulator, defaults = (sections[name] for name in ("memory", "compiler", "emulator", "defaults"))
    try:
        return Target(
            name=path.stem, description=top["description"], family=top["family"], lowering=top["lowering"], core=top["core"],
            clock_hz=parse_frequency(top["clock"]), cycles_per_instruction=float(top["cycles_per_instruction"]),
            flash_bytes=parse_bytes(memory["flash"]), ram_bytes=parse_bytes(memory["ram"]),
            flash_origin=int(memory["flash_origin"]), ram_origin=int(memory["ram_origin"]),
            profile=top["profile"], channel_multiple=int(top["channel_multiple"]), source=top["source"],
            compiler=Compiler(tuple(compiler["zig"]), tuple(compiler["gcc"]), tuple(compiler["common"])),
            emulator=Emulator(emulator["unicorn"], emulator["qemu_machine"], emulator["qemu_cpu"]),
            defaults=Defaults(parse_duration(defaults["latency"]), parse_bytes(defaults["ram"]), parse_bytes(defaults["flash"])),
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"target file '{path}' has a value of the wrong type: {error}") from None
