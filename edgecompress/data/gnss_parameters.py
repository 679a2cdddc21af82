"""The physical parameters of every snapshot. Snapshot i depends on (seed, part, i) alone, whatever is drawn together with it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecompress.data.gnss_codes import CODE_CHIPS, SATELLITES
from edgecompress.data.gnss_config import KINDS, MAX_ECHOES, MAX_SATELLITES, MAX_TONES, NONE, TONE, Interval, SnapshotConfig
from edgecompress.errors import ConfigError, unknown_name

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

PARTS = MappingProxyType({"train": 0, "validation": 1, "test": 2})
BANDWIDTH_BINS = 6
JNR_BINS = 10
MAX_SEED = 2**63 - 1

# How many uniform numbers each parameter takes. Always all, so that one parameter's draw never moves another's.
_DRAWS = MappingProxyType({
    "jnr": 1, "bandwidth": 1, "offset": 1, "period": 1, "time": 1, "direction": 1, "duty": 1, "phase": 1, "tone_count": 1,
    "tone_place": MAX_TONES, "tone_level": MAX_TONES, "tone_phase": MAX_TONES,
    "satellite_count": 1, "satellite_order": SATELLITES, "carrier_to_noise": MAX_SATELLITES, "doppler": MAX_SATELLITES,
    "code_phase": MAX_SATELLITES, "satellite_phase": MAX_SATELLITES,
    "echo_count": 1, "echo_delay": MAX_ECHOES, "echo_level": MAX_ECHOES, "echo_phase": MAX_ECHOES,
    "gain": 1, "skew": 1, "direct_level": 1, "direct_phase": 1,
})
DRAWS = sum(_DRAWS.values())


@dataclass(frozen=True)
class Task:
    """What a label means. `bins` is (bandwidth bins, JNR bins); (1, 1) makes the kind alone the class."""

    classes: tuple[str, ...]
    kind: Whole  # [classes]: number in KINDS
    bandwidth_bin: Whole
    jnr_bin: Whole
    bins: tuple[int, int]


def _edges(low: float, high: float, bins: int, logarithmic: bool) -> Floats:
    return np.geomspace(low, high, bins + 1) if logarithmic else np.linspace(low, high, bins + 1)


def make_task(name: str, config: SnapshotConfig) -> Task:
    """"kinds": the 7 kinds. "characterization": 1 + 10 + 5 x 6 x 10 = 311 classes, as the kind "none" has neither bins nor power, a tone has
    10 JNR bins, and the five others have 6 bandwidth bins (equal ratios) x 10 JNR bins (equal steps in dB) over the config's ranges.

    Raises ConfigError for another name, or for ranges that cannot be cut into bins.
    """
    if name == "kinds":
        zeros = np.zeros(len(KINDS), dtype=np.int64)
        return Task(KINDS, np.arange(len(KINDS)), zeros, zeros, (1, 1))
    if name != "characterization":
        raise unknown_name("GNSS task", name, ("kinds", "characterization"))
    for range_name in ("bandwidth_hz", "jnr_db"):
        low, high = getattr(config, range_name)
        if low == high:
            raise ConfigError(f"{range_name} is the single value {low:g}; characterization cuts it into bins and needs a range")
    jnr, bandwidth = _edges(*config.jnr_db, JNR_BINS, False), _edges(*config.bandwidth_hz, BANDWIDTH_BINS, True) / 1e6
    rows = [(NONE, 0, 0, KINDS[NONE])]
    for kind in range(TONE, len(KINDS)):
        for band in range(1 if kind == TONE else BANDWIDTH_BINS):
            width = "" if kind == TONE else f" {bandwidth[band]:.2f}..{bandwidth[band + 1]:.2f} MHz"
            rows += [(kind, band, level, f"{KINDS[kind]}{width} {jnr[level]:g}..{jnr[level + 1]:g} dB") for level in range(JNR_BINS)]
    kinds, bands, levels, names = zip(*rows, strict=True)
    return Task(tuple(names), np.array(kinds), np.array(bands), np.array(levels), (BANDWIDTH_BINS, JNR_BINS))


@dataclass(frozen=True, eq=False)
class Parameters:
    """What snapshots were made of; arrays of n rows. Units are in the names, phases in cycles; NaN where a kind has no such parameter."""

    label: Whole
    kind: Whole  # number in KINDS
    jnr_db: Floats
    bandwidth_hz: Floats
    center_hz: Floats
    period_s: Floats
    time_share: Floats  # of a period that has passed when the snapshot begins
    direction: Floats  # +1 or -1: a saw tooth that rises or falls
    duty_cycle: Floats
    phase: Floats
    tone_hz: Floats  # [n, 8] from the centre
    tone_amplitude: Floats  # [n, 8]; 0 for tones that are not there
    tone_phase: Floats
    satellite: Whole  # [n, 12]: 1 to 32
    satellite_amplitude: Floats  # [n, 12] beside noise of power 1; 0 for satellites that are not there
    doppler_hz: Floats
    code_phase_chips: Floats
    satellite_phase: Floats
    echo_samples: Whole  # [n, 4]
    echo_amplitude: Floats  # 0 for echoes that are not there
    echo_phase: Floats
    gain_imbalance_db: Floats
    phase_imbalance_deg: Floats
    direct_amplitude: Floats  # of the offset, beside the signal's root mean square
    direct_phase: Floats

    def __len__(self) -> int:
        return len(self.label)


def sample_generator(seed: int, part: str, index: int) -> np.random.Generator:
    """The random stream of one snapshot: Philox is a function of (key, counter), and the snapshot's number is the counter's third word."""
    key = np.random.SeedSequence([seed, PARTS[part]]).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, index, 0], dtype=np.uint64)))


def check_stream(seed: int, part: str, start: int, count: int) -> None:
    """Raises ConfigError for a part, seed or sample numbers that there are not."""
    if part not in PARTS:
        raise unknown_name("part", part, PARTS)
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"the simulator's seed must lie between 0 and {MAX_SEED}, not {seed}")
    if start < 0 or count < 0:
        raise ConfigError(f"snapshots are numbered from 0; {count} from number {start} on cannot be made")


def _within(share: Floats, interval: Interval | tuple[Floats, Floats]) -> Floats:
    return interval[0] + share * (interval[1] - interval[0])


def _whole_within(share: Floats, interval: tuple[int, int]) -> Whole:
    return interval[0] + np.floor(share * (interval[1] - interval[0] + 1)).astype(np.int64)


def _either_way(share: Floats, largest: float | Floats) -> Floats:
    return (2.0 * share - 1.0) * largest


def draw_parameters(config: SnapshotConfig, task: Task, seed: int, part: str, start: int, count: int) -> Parameters:
    """Parameters of snapshots `start` to `start + count - 1`; labels go round the classes. No waveform is made. Raises ConfigError."""
    check_stream(seed, part, start, count)
    uniform = np.empty((count, DRAWS))
    for row in range(count):
        uniform[row] = sample_generator(seed, part, start + row).random(DRAWS)
    return parameters_of(config, task, uniform, np.arange(start, start + count) % len(task.classes))


def parameters_of(config: SnapshotConfig, task: Task, uniform: Floats, label: Whole) -> Parameters:
    """Physical parameters of uniform numbers [n, DRAWS] and labels [n]."""
    ends = np.cumsum(list(_DRAWS.values()))
    draw = {name: uniform[:, end - size : end] for (name, size), end in zip(_DRAWS.items(), ends, strict=True)}
    one = {name: values[:, 0] for name, values in draw.items() if _DRAWS[name] == 1}
    kind = task.kind[label]
    return Parameters(
        label=label, kind=kind, **_interference(config, task, one, draw, label), **_satellites(config, one, draw), **_echoes(config, one, draw),
        gain_imbalance_db=_either_way(one["gain"], config.gain_imbalance_db),
        phase_imbalance_deg=_either_way(one["skew"], config.phase_imbalance_deg),
        direct_amplitude=one["direct_level"] * 10.0 ** (config.dc_offset_db / 20.0), direct_phase=one["direct_phase"],
    )


def _interference(config: SnapshotConfig, task: Task, one: dict[str, Floats], draw: dict[str, Floats], label: Whole) -> dict[str, Any]:
    kind, (bands, levels) = task.kind[label], task.bins
    jnr = _within((task.jnr_bin[label] + one["jnr"]) / levels, config.jnr_db)
    low, high = config.bandwidth_hz
    bandwidth = low * (high / low) ** ((task.bandwidth_bin[label] + one["bandwidth"]) / bands)
    bandwidth = np.where(kind <= TONE, 0.0, bandwidth)
    # the whole interference lies inside the band
    center = _either_way(one["offset"], np.minimum(config.offset_hz, (config.sample_rate_hz - bandwidth) / 2.0))
    is_pulse = kind == KINDS.index("pulse")
    period = np.where(is_pulse, _within(one["period"], config.pulse_period_s), _within(one["period"], config.sweep_period_s))
    count = _whole_within(one["tone_count"], config.tones)[:, None]
    place = draw["tone_place"] - 0.5
    place[:, 0], place[:, 1] = -0.5, 0.5  # so that the tones span the bandwidth
    amplitude = np.where(np.arange(MAX_TONES) < count, 10.0 ** (-6.0 * draw["tone_level"] / 20.0), 0.0)
    periodic = np.isin(kind, [KINDS.index("sawtooth_chirp"), KINDS.index("triangle_chirp"), KINDS.index("pulse")])
    nothing, nan = kind == NONE, np.nan
    return {
        "jnr_db": np.where(nothing, nan, jnr), "bandwidth_hz": np.where(nothing, nan, bandwidth), "center_hz": np.where(nothing, nan, center),
        "period_s": np.where(periodic, period, nan), "time_share": one["time"], "direction": np.where(one["direction"] < 0.5, -1.0, 1.0),
        "duty_cycle": np.where(is_pulse, _within(one["duty"], config.duty_cycle), nan), "phase": one["phase"],
        "tone_hz": place * bandwidth[:, None], "tone_amplitude": amplitude, "tone_phase": draw["tone_phase"],
    }


def _satellites(config: SnapshotConfig, one: dict[str, Floats], draw: dict[str, Floats]) -> dict[str, Any]:
    count = _whole_within(one["satellite_count"], config.satellites)[:, None]
    density = _within(draw["carrier_to_noise"], config.carrier_to_noise_dbhz)
    # C/N0 is carrier power over noise power in 1 Hz: in the whole band the ratio is smaller by the bandwidth
    amplitude = 10.0 ** ((density - 10.0 * np.log10(config.sample_rate_hz)) / 20.0)
    return {
        "satellite": np.argsort(draw["satellite_order"], axis=1, kind="stable")[:, :MAX_SATELLITES] + 1,
        "satellite_amplitude": np.where(np.arange(MAX_SATELLITES) < count, amplitude, 0.0),
        "doppler_hz": _either_way(draw["doppler"], config.doppler_hz), "code_phase_chips": draw["code_phase"] * CODE_CHIPS,
        "satellite_phase": draw["satellite_phase"],
    }


def _echoes(config: SnapshotConfig, one: dict[str, Floats], draw: dict[str, Floats]) -> dict[str, Any]:
    count = _whole_within(one["echo_count"], config.echoes)[:, None]
    amplitude = 10.0 ** (_within(draw["echo_level"], config.echo_level_db) / 20.0)
    present = (np.arange(MAX_ECHOES) < count) & (config.echo_samples > 0)
    return {
        "echo_samples": _whole_within(draw["echo_delay"], (min(1, config.echo_samples), config.echo_samples)),
        "echo_amplitude": np.where(present, amplitude, 0.0), "echo_phase": draw["echo_phase"],
    }
