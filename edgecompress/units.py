"""Text with a unit to numbers and back: "320KiB" -> bytes, "216MHz" -> hertz, "20ms" -> seconds."""

from __future__ import annotations

import math
import re

from edgecompress.errors import ConfigError

_BYTES = {"": 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_JOULES = {"nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0}
_WATTS = {"uW": 1e-6, "µW": 1e-6, "mW": 1e-3, "W": 1.0}
_PATTERN = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ]*)\s*\Z")


def _parse(text: str, units: dict[str, float], what: str, example: str) -> float:
    match = _PATTERN.match(text)
    if match is None or match.group(2) not in units:
        allowed = ", ".join(unit for unit in units if unit)
        raise ConfigError(f"'{text}' is not a {what}; write a number with one of {allowed}, such as {example}")
    value = float(match.group(1)) * units[match.group(2)]
    if not math.isfinite(value):
        raise ConfigError(f"'{text}' is too large for a {what}; write a number such as {example}")
    return value


def parse_bytes(text: str | int) -> int:
    """Bytes from "64KiB", "1MB" or a plain number; raises ConfigError."""
    if isinstance(text, int):
        return text
    value = _parse(text, {name: float(factor) for name, factor in _BYTES.items()}, "size", "64KiB")
    if value != int(value):
        raise ConfigError(f"'{text}' is not a whole number of bytes")
    return int(value)


def parse_frequency(text: str) -> float:
    """Hertz from "216MHz"; raises ConfigError."""
    return _parse(text, _HERTZ, "frequency", "216MHz")


def parse_duration(text: str) -> float:
    """Seconds from "20ms"; raises ConfigError."""
    return _parse(text, _SECONDS, "duration", "20ms")


def parse_energy(text: str) -> float:
    """Joules from "2mJ"; raises ConfigError."""
    return _parse(text, _JOULES, "energy", "2mJ")


def parse_power(text: str) -> float:
    """Watts from "85mW"; raises ConfigError."""
    return _parse(text, _WATTS, "power", "85mW")


def format_bytes(count: int) -> str:
    """Bytes for people: 812 B, 64.0 KiB, 1.50 MiB."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.2f} MiB"


def format_duration(seconds: float) -> str:
    """Seconds for people: 870 us, 12.4 ms, 1.30 s."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1.0 else f"{seconds:.2f} s"


def format_energy(joules: float) -> str:
    """Joules for people: 870 uJ, 12.4 mJ, 1.30 J."""
    if joules < 1e-3:
        return f"{joules * 1e6:.0f} uJ"
    return f"{joules * 1e3:.2f} mJ" if joules < 1.0 else f"{joules:.2f} J"
