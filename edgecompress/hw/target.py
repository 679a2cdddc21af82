"""Target: what a device is, read from `targets/<name>.toml`. Unknown keys are errors; `base` names the target that a file only changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgecompress import resources
from edgecompress.errors import ConfigError, unknown_name
from edgecompress.hw.target_file import TargetFile, read_target_file
from edgecompress.units import format_bytes, parse_bytes, parse_duration, parse_frequency


@dataclass(frozen=True)
class Compiler:
    """Flags that make a compiler emit code for this core."""

    zig: tuple[str, ...]
    gcc: tuple[str, ...]
    common: tuple[str, ...]  # optimisation flags both understand


@dataclass(frozen=True)
class Emulator:
    """How to run this core without a board; empty names mean that the emulator cannot."""

    unicorn: str  # suffix of a UC_CPU_ARM_* or UC_CPU_RISCV32_* constant, such as CORTEX_M7
    qemu_machine: str  # such as mps2-an500
    qemu_cpu: str


@dataclass(frozen=True)
class Defaults:
    """Budget of a search when the user names none."""

    latency_s: float
    ram_bytes: int
    flash_bytes: int


@dataclass(frozen=True)
class FlashTiming:
    """How long a core waits for its flash at the target's clock, as bench/flash_wait.py models it."""

    wait_cycles: int  # that a read takes beyond one cycle
    read_bytes: int  # that one read brings
    code_cache_bytes: int
    constant_cache_bytes: int
    source: str


@dataclass(frozen=True)
class Region:
    """A block of memory as the data sheet names it."""

    name: str
    kind: str  # one of REGION_KINDS
    size: int  # bytes
    note: str


@dataclass(frozen=True)
class Target:
    """A device. Sizes in bytes, clock in hertz; `cycles_per_instruction` turns emulated instructions into seconds (see the TOML).

    `ram_bytes` is the largest block of RAM that one arena can lie in, `flash_bytes` where a model's code and constants go; `regions` (may be
    empty) are all blocks. `bases` are the targets that this one's file builds on and whose core it has, nearest first.
    """

    name: str
    description: str
    family: str  # one of FAMILIES
    lowering: str
    core: str
    extensions: tuple[str, ...]  # of the instruction set, from EXTENSIONS
    clock_hz: float
    cycles_per_instruction: float
    flash_bytes: int
    ram_bytes: int
    flash_origin: int
    ram_origin: int
    profile: str  # hardware profile to use: the device's own where there is one, else its base's
    own_profile: str  # name of the profile that 'edgecompress profile' makes for it
    channel_multiple: int  # widths the kernels like
    source: str  # which document says the figures
    verified: str  # what the figures were compared with; "" when they were not
    bases: tuple[str, ...]
    regions: tuple[Region, ...]
    flash_timing: FlashTiming | None  # None: not documented here, and cycle estimates are without waits
    compiler: Compiler
    emulator: Emulator
    defaults: Defaults

    def seconds(self, instructions: float) -> float:
        """Instructions to seconds at this clock."""
        return instructions * self.cycles_per_instruction / self.clock_hz

    @property
    def width_multiple(self) -> int:
        """Channels of a layer are rounded to multiples of this when a network is made narrower: the TOML's `channel_multiple`."""
        return self.channel_multiple

    def seconds_of_cycles(self, cycles: float) -> float:
        """Cycles to seconds at this clock."""
        return cycles / self.clock_hz


FAMILIES = ("cortex-m", "riscv", "host", "linux")  # what the bench knows how to run; linux: on another machine, over ssh
EXTENSIONS = ("dsp", "mve", "fpu", "fpu64")  # 16-bit SIMD of ARMv7E-M and v8-M, Helium, single and double precision
REGION_KINDS = ("flash", "ram", "external")

_KEYS = {
    "": {"description", "family", "lowering", "core", "extensions", "clock", "cycles_per_instruction", "profile", "channel_multiple", "source"},
    "memory": {"flash", "ram", "flash_origin", "ram_origin"},
    "compiler": {"zig", "gcc", "common"},
    "emulator": {"unicorn", "qemu_machine", "qemu_cpu"},
    "defaults": {"latency", "ram", "flash"},
}
_FLASH_TIMING = ("wait_cycles", "read_bytes", "code_cache_bytes", "constant_cache_bytes", "source")
_OPTIONAL = {"": {"base", "verified"}, "memory": {"regions", "flash_timing"}, "compiler": set(), "emulator": set(), "defaults": set()}


def load_target(name: str) -> Target:
    """Target by name or by the path of a TOML file. Raises ConfigError that names the file and the key."""
    file = read_target_file(resources.find("targets", name, ".toml", "target"), {s: _KEYS[s] | _OPTIONAL[s] for s in _KEYS})
    for section, keys in _KEYS.items():
        for key in sorted(keys - file.section(section).keys()):
            where = f" in [{section}]" if section else ""
            raise ConfigError(f"target file '{file.path}' lacks the key '{key}'{where}")
    try:
        return _build(file)
    except ConfigError as error:
        raise ConfigError(f"target file '{file.path}': {error.message}", *error.details) from None


def target_names() -> list[str]:
    """Names of all known targets."""
    return resources.names("targets", ".toml")


def _build(file: TargetFile) -> Target:
    top, memory, compiler, emulator, defaults = (file.section(name) for name in _KEYS)
    family = _text(top, "family")
    if family not in FAMILIES:
        raise unknown_name("family", family, FAMILIES)
    flash_bytes, ram_bytes = _size(memory, "flash"), _size(memory, "ram")
    own_profile, profile = _profiles(file)
    return Target(
        name=file.path.stem, description=_text(top, "description"), family=family, lowering=_text(top, "lowering"), core=_text(top, "core"),
        extensions=_extensions(top), clock_hz=_positive("clock", parse_frequency(_text(top, "clock"))),
        cycles_per_instruction=_positive("cycles_per_instruction", _number(top, "cycles_per_instruction")),
        flash_bytes=flash_bytes, ram_bytes=ram_bytes, flash_origin=_address(memory, "flash_origin"), ram_origin=_address(memory, "ram_origin"),
        profile=profile, own_profile=own_profile, channel_multiple=int(_positive("channel_multiple", _number(top, "channel_multiple", int))),
        source=_text(top, "source"), verified=_text({"verified": "", **top}, "verified"),
        bases=tuple(base.path.stem for base in file.bases if base.section("").get("core") == top["core"]),
        regions=_regions(memory.get("regions", []), flash_bytes, ram_bytes), flash_timing=_flash_timing(memory.get("flash_timing")),
        compiler=Compiler(_texts(compiler, "zig"), _texts(compiler, "gcc"), _texts(compiler, "common")),
        emulator=Emulator(_text(emulator, "unicorn"), _text(emulator, "qemu_machine"), _text(emulator, "qemu_cpu")),
        # a small chip inherits its base's limits: it cannot be asked for more than it has
        defaults=Defaults(_positive("latency", parse_duration(_text(defaults, "latency"))), min(_size(defaults, "ram"), ram_bytes),
                          min(_size(defaults, "flash"), flash_bytes)),
    )


def _profiles(file: TargetFile) -> tuple[str, str]:
    """(name of the profile made for this device, name of the one to use): a base's holds until the device has been profiled itself."""
    inherited = _text(file.section(""), "profile")
    if "profile" in file.own or not file.bases:
        return inherited, inherited
    own = file.path.stem
    return own, own if resources.exists("hw_profiles", own, ".json") else inherited


def _regions(values: Any, flash_bytes: int, ram_bytes: int) -> tuple[Region, ...]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ConfigError("'regions' must be tables [[memory.regions]] with name, kind, size and note")
    regions = tuple(_region(value) for value in values)
    if len({region.name for region in regions}) != len(regions):
        raise ConfigError("two [[memory.regions]] have the same name")
    for key, figure in (("flash", flash_bytes), ("ram", ram_bytes)):
        room = sum(region.size for region in regions if region.kind in (key, "external"))
        if regions and figure > room:
            raise ConfigError(f"'{key}' in [memory] is {format_bytes(figure)}, its regions have {format_bytes(room)} together")
    return regions


def _flash_timing(values: Any) -> FlashTiming | None:
    if values is None:
        return None
    if not isinstance(values, dict) or set(values) != set(_FLASH_TIMING):
        raise ConfigError(f"'flash_timing' in [memory] must be a table with the keys {', '.join(_FLASH_TIMING)}")
    wait, read, code, constant = (int(_number(values, key, int)) for key in _FLASH_TIMING[:4])
    if not (0 <= wait <= 100 and read in (4, 8, 16, 32, 64) and min(code, constant) >= 0 and max(code, constant) <= 1 << 20):
        raise ConfigError("'flash_timing' in [memory] must have 0 to 100 wait_cycles, 4, 8, 16, 32 or 64 read_bytes, and caches of 0 to 1 MiB")
    return FlashTiming(wait, read, code, constant, _text(values, "source"))


def _region(values: dict[str, Any]) -> Region:
    for key in values:
        if key not in ("name", "kind", "size", "note"):
            raise ConfigError(f"{unknown_name('key', key, ('name', 'kind', 'size', 'note')).message} in [[memory.regions]]")
    for key in ("name", "kind", "size"):
        if key not in values:
            raise ConfigError(f"a table [[memory.regions]] lacks the key '{key}'")
    kind = _text(values, "kind")
    if kind not in REGION_KINDS:
        raise unknown_name("kind of memory region", kind, REGION_KINDS)
    return Region(_text(values, "name"), kind, _size(values, "size"), _text({"note": "", **values}, "note"))


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
