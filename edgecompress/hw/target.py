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
    extensions: tuple[str, ...]  # of the instruction set, from EXTENSIONS
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


FAMILIES = ("cortex-m", "host")  # what the bench knows how to run
EXTENSIONS = ("dsp", "mve", "fpu", "fpu64")  # 16-bit SIMD of ARMv7E-M and v8-M, Helium, single and double precision

_KEYS = {
    "": {"description", "family", "lowering", "core", "extensions", "clock", "cycles_per_instruction", "profile", "channel_multiple", "source"},
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
        _check_keys(path, section, values)
    try:
        return _build(path.stem, top, *(sections[name] for name in ("memory", "compiler", "emulator", "defaults")))
    except ConfigError as error:
        raise ConfigError(f"target file '{path}': {error.message}", *error.details) from None


def _check_keys(path: Path, section: str, values: Any) -> None:
    where = f" in [{section}]" if section else ""
    if not isinstance(values, dict):
        raise ConfigError(f"target file '{path}': [{section}] must be a table")
    for key in values:
        if key not in _KEYS[section]:
            raise ConfigError(f"target file '{path}': {unknown_name('key', key, _KEYS[section]).message}{where}")
    for key in sorted(_KEYS[section] - values.keys()):
        raise ConfigError(f"target file '{path}' lacks the key '{key}'{where}")


def _build(name: str, top: dict[str, Any], memory: dict[str, Any], compiler: dict[str, Any], emulator: dict[str, Any],
           defaults: dict[str, Any]) -> Target:
    family = _text(top, "family")
    if family not in FAMILIES:
        raise unknown_name("family", family, FAMILIES)
    return Target(
        name=name, description=_text(top, "description"), family=family, lowering=_text(top, "lowering"), core=_text(top, "core"), extensions=_extensions(top),
        clock_hz=_positive("clock", parse_frequency(_text(top, "clock"))),
        cycles_per_instruction=_positive("cycles_per_instruction", _number(top, "cycles_per_instruction")),
        flash_bytes=_size(memory, "flash"), ram_bytes=_size(memory, "ram"),
        flash_origin=_address(memory, "flash_origin"), ram_origin=_address(memory, "ram_origin"), profile=_text(top, "profile"),
        channel_multiple=int(_positive("channel_multiple", _number(top, "channel_multiple", int))), source=_text(top, "source"),
        compiler=Compiler(_texts(compiler, "zig"), _texts(compiler, "gcc"), _texts(compiler, "common")),
        emulator=Emulator(_text(emulator, "unicorn"), _text(emulator, "qemu_machine"), _text(emulator, "qemu_cpu")),
        defaults=Defaults(_positive("latency", parse_duration(_text(defaults, "latency"))), _size(defaults, "ram"), _size(defaults, "flash")),
    )


def _wrong(key: str, expected: str, value: object) -> ConfigError:
    return ConfigError(f"'{key}' must be {expected}, got {value!r}")


def _text(values: dict[str, Any], key: str) -> str:
    if not isinstance(values[key], str):
        raise _wrong(key, "a text", values[key])
    return str(values[key])


def _texts(values: dict[str, Any], key: str) -> tuple[str, ...]:
    if not isinstance(values[key], list) or not all(isinstance(value, str) for value in values[key]):
        raise _wrong(key, "a list of texts", values[key])
    return tuple(values[key])


def _extensions(values: dict[str, Any]) -> tuple[str, ...]:
    extensions = _texts(values, "extensions")
    for extension in extensions:
        if extension not in EXTENSIONS:
            raise unknown_name("extension", extension, EXTENSIONS)
    return extensions


def _number(values: dict[str, Any], key: str, kind: type | tuple[type, ...] = (int, float)) -> float:
    if not isinstance(values[key], kind) or isinstance(values[key], bool):
        raise _wrong(key, "a whole number" if kind is int else "a number", values[key])
    return values[key]  # type: ignore[no-any-return]  # just checked


def _positive(key: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise _wrong(key, "above zero", value)
    return value


def _size(values: dict[str, Any], key: str) -> int:
    value = values[key]
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise _wrong(key, "a size such as \"64KiB\"", value)
    return int(_positive(key, parse_bytes(value)))


def _address(values: dict[str, Any], key: str) -> int:
    value = int(_number(values, key, int))
    if not 0 <= value < 2**32:
        raise _wrong(key, "an address of 32 bits", value)
    return value
