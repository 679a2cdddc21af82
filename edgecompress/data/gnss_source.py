"""The data sets `gnss` and `gnss-characterization`: options of a spec, raw data, and what is known of every sample."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecompress.data.gnss import SPECTROGRAM_SIZE, simulate, spectrograms
from edgecompress.data.gnss_config import SIMULATOR_VERSION, Interval, SnapshotConfig
from edgecompress.data.gnss_parameters import MAX_SEED, PARTS, Parameters, Task, draw_parameters, make_task
from edgecompress.data.raw import Array, Options, RawData, RawPart, check_size
from edgecompress.errors import ConfigError, DataError, unknown_name

TASKS = MappingProxyType({"gnss": "kinds", "gnss-characterization": "characterization"})
FEATURES = ("spectrogram", "iq")
OPTIONS = ("train", "validation", "test", "jnr", "bandwidth", "features", "multipath", "adc", "seed")
_SIZES = MappingProxyType({
    "gnss": {"train": 5000, "validation": 1000, "test": 2000}, "gnss-characterization": {"train": 18_660, "validation": 3110, "test": 6220},
})
_DEFAULTS = MappingProxyType({"gnss": SnapshotConfig(), "gnss-characterization": SnapshotConfig(jnr_db=(-5.0, 25.0))})
_MOST_SAMPLES = 10_000_000
_AT_ONCE = 128


@dataclass(frozen=True)
class GnssSpec:
    """A data set of simulated snapshots, fully said: equal specs are equal data."""

    name: str
    config: SnapshotConfig
    sizes: tuple[tuple[str, int], ...]  # samples of train, validation, test
    features: str
    seed: int

    @property
    def task(self) -> Task:
        """What the labels mean."""
        return make_task(TASKS[self.name], self.config)

    @property
    def provenance(self) -> str:
        """Everything the samples depend on, the simulator's version included."""
        return json.dumps({"simulator": SIMULATOR_VERSION, **asdict(self)}, sort_keys=True)


def parse_options(name: str, options: Options) -> GnssSpec:
    """The spec of `gnss` or `gnss-characterization` with the options of docs/data.md.

    Raises ConfigError for one that is unknown or out of range, DataError for more samples than memory holds.
    """
    options.only(*OPTIONS)
    task, config = make_task(TASKS[name], _DEFAULTS[name]), _DEFAULTS[name]
    config = replace(
        config, jnr_db=_interval(options, "jnr", "dB", (-40.0, 60.0), config.jnr_db),
        bandwidth_hz=_megahertz(_interval(options, "bandwidth", "MHz", (0.1, config.sample_rate_hz / 1e6), _per_megahertz(config.bandwidth_hz))),
        adc_bits=_whole(options, "adc", 2, 16, config.adc_bits), echoes=config.echoes if options.flag("multipath") is not False else (0, 0),
    )
    if "jnr" in options.values or "bandwidth" in options.values:
        make_task(TASKS[name], config)  # refuses what cannot be cut into bins
    least, defaults = len(task.classes), _SIZES[name]
    train = _whole(options, "train", least, _MOST_SAMPLES, defaults["train"])
    usual = max(least, train // 5) if "train" in options.values else defaults["validation"]
    validation = _whole(options, "validation", least, _MOST_SAMPLES, usual)
    test = _whole(options, "test", least, _MOST_SAMPLES, defaults["test"])
    features = options.text("features", FEATURES[0])
    if features not in FEATURES:
        raise unknown_name("GNSS feature", features, FEATURES)
    sizes = (("train", train), ("validation", validation), ("test", test))
    values = SPECTROGRAM_SIZE**2 if features == "spectrogram" else 2 * config.samples
    check_size((train + validation + test) * values, f"'{name}' with these sizes")
    return GnssSpec(name, config, sizes, features, _whole(options, "seed", 0, MAX_SEED, 0))


def _per_megahertz(hertz: Interval) -> Interval:
    return hertz[0] / 1e6, hertz[1] / 1e6


def _megahertz(interval: Interval) -> Interval:
    return interval[0] * 1e6, interval[1] * 1e6


def _interval(options: Options, key: str, unit: str, allowed: Interval, default: Interval) -> Interval:
    if key not in options.values:
        return default
    text = options.values[key]
    low, dots, high = text.partition("..")
    try:
        interval = float(low), float(high)
    except ValueError:
        interval = math.nan, math.nan
    if not dots or not allowed[0] <= interval[0] <= interval[1] <= allowed[1]:
        raise ConfigError(f"option '{key}' is LOW..HIGH in {unit}, from {allowed[0]:g} to {allowed[1]:g}, not '{text}'")
    return interval


def _whole(options: Options, key: str, low: int, high: int, default: int) -> int:
    if key not in options.values:
        return default
    text = options.values[key]
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else -1
    if not low <= number <= high:
        raise ConfigError(f"option '{key}' must be a whole number from {low} to {high}, not '{text}'")
    return number


def read_gnss(name: str) -> Callable[[Options], RawData]:
    """The reader of one of the two data sets; it raises as `parse_options` does."""

    def read(options: Options) -> RawData:
        return _read(parse_options(name, options))

    return read


def where_simulated() -> str:
    """For `data list`: these sets need no files."""
    return "made by edgecompress.data.gnss"


def _read(spec: GnssSpec) -> RawData:
    config = spec.config
    task = spec.task
    parts = {part: RawPart(*_samples(spec, task, part, count), f"the {part} part", f"the {part} labels") for part, count in spec.sizes}
    duration = f"{config.samples} complex samples at {config.sample_rate_hz / 1e6:g} MHz, {config.adc_bits} bit"
    if spec.features == "iq":
        front_end = f"{duration}, as the converter gives them: I and Q of every sample"
    else:
        front_end = (f"{duration}; power of 64-sample Hann windows every 32, averaged to {SPECTROGRAM_SIZE} times x {SPECTROGRAM_SIZE} frequencies "
                     "(lowest first), 4 codes a dB, 144 is the mean power")
    return RawData(
        spec.name, "image" if spec.features == "spectrogram" else "series", f"simulated (version {SIMULATOR_VERSION}, seed {spec.seed})", front_end,
        parts, task.classes, provenance=spec.provenance,
    )


def _samples(spec: GnssSpec, task: Task, part: str, count: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """(uint8 [n, 32, 32, 1] or int8/int16 [n, samples, 1, 2], labels)."""
    config = spec.config
    iq_type = np.int8 if config.adc_bits <= 8 else np.int16
    is_image = spec.features == "spectrogram"
    shape = (SPECTROGRAM_SIZE, SPECTROGRAM_SIZE, 1) if is_image else (config.samples, 1, 2)
    x: Array = np.empty((count, *shape), np.uint8 if is_image else iq_type)
    y = np.empty(count, dtype=np.int64)
    for start in range(0, count, _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, count))
        iq, parameters = simulate(config, task, spec.seed, part, start, rows.stop - start)
        x[rows] = spectrograms(iq) if is_image else iq.view(np.float32).reshape(len(iq), config.samples, 1, 2)
        y[rows] = parameters.label
    return x, y


def snapshot_parameters(spec: str, part: str = "test") -> Parameters:
    """What the samples of a part of a spec such as "gnss?test=3000" were made of, row for row as `load_dataset` gives them: JNR, bandwidth, ...

    Takes about 30 microseconds a sample, as no waveform is made. Raises ConfigError for another data set or part, and as
    `parse_options` does.
    """
    from edgecompress.data.sources import parse_spec

    name, options = parse_spec(spec)
    if name not in TASKS:
        raise unknown_name("simulated data set", name, TASKS)
    parsed = parse_options(name, options)
    if part not in PARTS:
        raise unknown_name("part", part, PARTS)
    return draw_parameters(parsed.config, parsed.task, parsed.seed, part, 0, dict(parsed.sizes)[part])


@dataclass(frozen=True)
class JnrAccuracy:
    """Accuracy of the samples whose JNR lies in one bin; None where there are none."""

    low_db: float
    high_db: float
    samples: int
    accuracy: float | None
    standard_error: float | None


def accuracy_by_jnr(
    predicted: npt.ArrayLike, labels: npt.ArrayLike, jnr_db: npt.ArrayLike, edges: Sequence[float]
) -> tuple[JnrAccuracy, ...]:
    """One row a bin low <= JNR < high of the rising edges (the last bin holds its upper edge too); samples without interference have no JNR (NaN).

    predicted and labels [n] class numbers, jnr_db [n]. The standard error is sqrt(p (1 - p) / n) of a binomial share. Raises DataError for
    arrays that differ in length, ConfigError for edges that do not rise.
    """
    guesses, truths, jnr = np.asarray(predicted), np.asarray(labels), np.asarray(jnr_db, dtype=np.float64)
    if guesses.ndim != 1 or not guesses.shape == truths.shape == jnr.shape:
        raise DataError(f"accuracy by JNR needs one prediction, label and JNR a sample, got shapes {guesses.shape}, {truths.shape} and {jnr.shape}")
    if len(edges) < 2 or not all(low < high for low, high in pairwise(edges)):
        raise ConfigError(f"JNR edges must rise and be at least two, not {list(edges)}")
    return tuple(_bin(guesses == truths, jnr, low, high, high == edges[-1]) for low, high in pairwise(edges))


def _bin(right: npt.NDArray[Any], jnr: npt.NDArray[np.float64], low: float, high: float, last: bool) -> JnrAccuracy:
    chosen = right[(jnr >= low) & ((jnr <= high) if last else (jnr < high))]
    if not len(chosen):
        return JnrAccuracy(low, high, 0, None, None)
    share = float(chosen.mean())
    return JnrAccuracy(low, high, len(chosen), share, math.sqrt(share * (1.0 - share) / len(chosen)))
