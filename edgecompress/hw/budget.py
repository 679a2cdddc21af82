"""Budget: the hard limits of a search, and by how much a cost misses them."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.errors import ConfigError
from edgecompress.hw.estimate import Cost
from edgecompress.units import format_bytes, format_duration, format_energy


@dataclass(frozen=True)
class Budget:
    """Limits in seconds, bytes and joules; `macs` and `energy_j` are optional (None: no limit)."""

    latency_s: float
    ram_bytes: int
    flash_bytes: int
    macs: int | None = None
    energy_j: float | None = None

    def violations(self, cost: Cost) -> dict[str, float]:
        """Relative excess a limit: 0 or less means inside. Keys: latency, ram, flash and, if limited, macs and energy.

        Raises ConfigError where energy is limited and the cost does not know it.
        """
        result = {
            "latency": cost.latency_s / self.latency_s - 1.0,
            "ram": cost.ram_bytes / self.ram_bytes - 1.0,
            "flash": cost.flash_bytes / self.flash_bytes - 1.0,
        }
        if self.macs is not None:
            result["macs"] = cost.macs / self.macs - 1.0
        if self.energy_j is not None:
            if cost.energy_j is None:
                raise ConfigError("energy is limited, but the device's profile knows no power; make the profile with --power, as measured on the board")
            result["energy"] = cost.energy_j / self.energy_j - 1.0
        return result

    def allows(self, cost: Cost) -> bool:
        """Whether every limit is kept."""
        return all(excess <= 0.0 for excess in self.violations(cost).values())

    def describe(self) -> str:
        """For people."""
        text = f"latency {format_duration(self.latency_s)}, RAM {format_bytes(self.ram_bytes)}, flash {format_bytes(self.flash_bytes)}"
        text += "" if self.macs is None else f", {self.macs} MACs"
        return text if self.energy_j is None else f"{text}, energy {format_energy(self.energy_j)}"
