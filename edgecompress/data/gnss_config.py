"""What a simulated GNSS snapshot is made of: classes, ranges with their units, and their limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

from edgecompress.data.gnss_codes import SATELLITES
from edgecompress.errors import ConfigError

SIMULATOR_VERSION = 1  # part of every data hash: raise it with any change of what is simulated

KINDS = ("none", "tone", "multi_tone", "sawtooth_chirp", "triangle_chirp", "pulse", "noise_band")
NONE, TONE, MULTI_TONE, SAWTOOTH_CHIRP, TRIANGLE_CHIRP, PULSE, NOISE_BAND = range(len(KINDS))

BOLTZMANN_J_PER_K = 1.380649e-23  # exact since 2019
MAX_TONES = 8
MAX_SATELLITES = 12
MAX_ECHOES = 4

Interval = tuple[float, float]

_LIMITS = MappingProxyType({  # name: smallest, largest, unit
    "sample_rate_hz": (1e6, 1e9, "Hz"), "samples": (256, 1 << 20, ""), "temperature_k": (1.0, 10_000.0, "K"), "noise_figure_db": (0.0, 40.0, "dB"),
    "satellites": (0, MAX_SATELLITES, ""), "carrier_to_noise_dbhz": (0.0, 80.0, "dB-Hz"), "doppler_hz": (0.0, 100_000.0, "Hz"),
    "jnr_db": (-40.0, 60.0, "dB"), "bandwidth_hz": (1e4, 1e9, "Hz"), "offset_hz": (0.0, 5e8, "Hz"), "tones": (2, MAX_TONES, ""),
    "sweep_period_s": (1e-7, 1.0, "s"), "pulse_period_s": (1e-7, 1.0, "s"), "duty_cycle": (0.001, 0.95, ""), "echoes": (0, MAX_ECHOES, ""),
    "echo_delay_s": (0.0, 1e-4, "s"), "echo_level_db": (-60.0, 0.0, "dB"), "gain_imbalance_db": (0.0, 6.0, "dB"),
    "phase_imbalance_deg": (0.0, 30.0, "degrees"), "dc_offset_db": (-120.0, 0.0, "dB"), "adc_bits": (0, 16, ""),
    "agc_headroom_db": (0.0, 40.0, "dB"),
})
_WHOLE = frozenset({"samples", "satellites", "tones", "echoes", "adc_bits"})
_PAIRS = frozenset({
    "satellites", "carrier_to_noise_dbhz", "jnr_db", "bandwidth_hz", "tones", "sweep_period_s", "pulse_period_s", "duty_cycle",
    "echoes", "echo_level_db",
})


@dataclass(frozen=True)
class SnapshotConfig:
    """Ranges that every snapshot's parameters are drawn from. Pairs are (smallest, largest); raises ConfigError for values that make no sense.

    JNR is the interference's mean power over the snapshot, as received, over the noise power in the whole band, both before the front end's
    imperfections: a pulse of duty cycle d is 1/d above it while it is on.
    """

    sample_rate_hz: float = 20e6  # complex samples a second: the receiver's bandwidth
    samples: int = 2048
    temperature_k: float = 290.0
    noise_figure_db: float = 2.0
    satellites: tuple[int, int] = (4, 10)  # in view
    carrier_to_noise_dbhz: Interval = (43.0, 53.0)  # in 20 MHz: 30 to 20 dB below the noise
    doppler_hz: float = 5000.0  # largest, either way
    jnr_db: Interval = (-10.0, 4.0)
    bandwidth_hz: Interval = (1e6, 16e6)  # of all classes but none and tone; drawn evenly on a logarithmic axis
    offset_hz: float = 8e6  # largest distance of the interference's centre from the band's
    tones: tuple[int, int] = (2, 6)  # of a multi-tone
    sweep_period_s: Interval = (10e-6, 50e-6)  # of one sweep of a saw tooth, up and down of a triangle
    pulse_period_s: Interval = (10e-6, 40e-6)
    duty_cycle: Interval = (0.05, 0.3)
    echoes: tuple[int, int] = (0, 2)  # besides the direct path
    echo_delay_s: float = 0.4e-6  # largest
    echo_level_db: Interval = (-20.0, -6.0)  # below the direct path
    gain_imbalance_db: float = 0.3  # largest, either way, of Q against I
    phase_imbalance_deg: float = 2.0  # largest, either way
    dc_offset_db: float = -30.0  # largest power of the offset below the signal's
    adc_bits: int = 8  # 0: no gain control and no rounding, noise power 1
    agc_headroom_db: float = 12.0  # full scale above the level that the gain control holds for I and for Q

    def __post_init__(self) -> None:
        for name, (low, high, unit) in _LIMITS.items():
            self._check(name, low, high, unit)
        nyquist, duration = self.sample_rate_hz, self.duration_s
        if self.bandwidth_hz[1] > nyquist:
            raise ConfigError(f"bandwidth_hz reaches {self.bandwidth_hz[1]:g} Hz, which {nyquist:g} complex samples a second cannot hold")
        for name in ("sweep_period_s", "pulse_period_s"):
            if getattr(self, name)[1] > duration:
                raise ConfigError(f"{name} reaches {getattr(self, name)[1]:g} s, longer than the snapshot of {duration:g} s")
        shortest = self.duty_cycle[0] * self.pulse_period_s[0] * self.sample_rate_hz
        if shortest < 4:
            raise ConfigError(f"the shortest pulse lasts {shortest:.1f} samples; raise duty_cycle or pulse_period_s to 4 samples or more")
        sweep = self.sweep_period_s[0] * self.sample_rate_hz
        if sweep < 8:
            raise ConfigError(f"the shortest sweep lasts {sweep:.1f} samples; raise sweep_period_s to 8 samples or more")
        if self.echo_samples >= self.samples:
            raise ConfigError(f"echo_delay_s = {self.echo_delay_s:g} is longer than the snapshot of {duration:g} s")

    def _check(self, name: str, low: float, high: float, unit: str) -> None:
        value, shown = getattr(self, name), f" {unit}" if unit else ""
        is_pair = name in _PAIRS
        if is_pair and not (isinstance(value, tuple) and len(value) == 2):
            raise ConfigError(f"{name} must be a pair (smallest, largest), not {value!r}")
        numbers = value if is_pair else (value,)
        allowed = (int,) if name in _WHOLE else (int, float)
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, allowed) or not math.isfinite(number):
                raise ConfigError(f"{name} must hold {'whole ' if name in _WHOLE else ''}numbers, not {number!r}")
            if not low <= number <= high:
                raise ConfigError(f"{name} = {number:g} is out of range; allowed are {low:g} to {high:g}{shown}")
        if is_pair and value[0] > value[1]:
            raise ConfigError(f"{name} runs from {value[0]:g} down to {value[1]:g}; the smaller comes first")

    @property
    def duration_s(self) -> float:
        """Length of a snapshot."""
        return self.samples / self.sample_rate_hz

    @property
    def noise_power_w(self) -> float:
        """Thermal noise in the band, k T B F: what power 1 of an unscaled snapshot means."""
        return BOLTZMANN_J_PER_K * self.temperature_k * self.sample_rate_hz * math.pow(10.0, self.noise_figure_db / 10.0)

    @property
    def echo_samples(self) -> int:
        """Longest echo delay in samples."""
        return round(self.echo_delay_s * self.sample_rate_hz)


assert MAX_SATELLITES <= SATELLITES
