"""What a user may choose about the code of a model beside its target."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgecompress.errors import ConfigError, unknown_name

IO_KINDS: dict[str, str] = {
    "caller": "run takes pointers to the caller's inputs and outputs, which stay as they are",
    "arena": "inputs and outputs lie in the arena and share its bytes; functions of the model tell where",
}
_SECTION = re.compile(r"[A-Za-z0-9_.$-]{1,64}\Z")


@dataclass(frozen=True)
class LowerOptions:
    """Raises ConfigError for a value that is not allowed.

    `ram_bytes` bounds arena and state: layers are split into bands of rows until they fit (None: no bound). Sections are names for the
    linker, empty for its defaults; only constant arrays of at least `weights_section_over` bytes go into theirs. `thorough` looks for the
    smallest arena and shares equal constants; without it a plan takes milliseconds and may be a little larger.
    """

    io: str = "caller"
    ram_bytes: int | None = None
    weights_section: str = ""
    weights_section_over: int = 0
    arena_section: str = ""
    thorough: bool = True

    def __post_init__(self) -> None:
        if self.io not in IO_KINDS:
            raise unknown_name("place of inputs and outputs", self.io, IO_KINDS)
        if self.ram_bytes is not None and self.ram_bytes < 1:
            raise ConfigError(f"the RAM limit must be at least 1 byte, got {self.ram_bytes}; leave it out for no limit")
        if self.weights_section_over < 0:
            raise ConfigError(f"the least size of an array in the weights' section cannot be negative, got {self.weights_section_over}")
        for name in (self.weights_section, self.arena_section):
            if name and not _SECTION.match(name):
                raise ConfigError(f"section name {name[:80]!r} must be 1 to 64 letters, digits or any of _ . $ -; write it as in the linker script, "
                                  "such as .ext_flash")
        if self.weights_section and self.weights_section == self.arena_section:
            raise ConfigError(f"constant weights and the arena cannot share the section '{self.arena_section}'; name two")


QUICK = LowerOptions(thorough=False)  # for the architecture search
