"""The GNSS simulator against physics: powers, spectra, codes, and samples that depend on nothing but their number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecompress.data import gnss, gnss_codes, gnss_config
from edgecompress.data.gnss import KINDS, Components, SnapshotConfig, components, make_task, simulate, spectrograms
from edgecompress.errors import ConfigError

CONFIG = SnapshotConfig()
TASK = make_task("kinds", CONFIG)
RATE = CONFIG.sample_rate_hz
ALONE = replace(CONFIG, echoes=(0, 0))  # one path: the waveform as it was sent


def made(config: SnapshotConfig, count: int = 140, seed: int = 3) -> Components:
    return components(config, make_task("kinds", config), seed, "train", 0, count)


def rows_of(parts: Components, kind: str) -> npt.NDArray[np.int64]:
    return np.flatnonzero(parts.parameters.kind == KINDS.index(kind))


def power(x: npt.NDArray[np.complex64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.mean(np.abs(x.astype(np.complex128)) ** 2, axis=-1))


def frequency(x: npt.NDArray[np.complex64]) -> npt.NDArray[np.float64]:
    """Instantaneous frequency in Hz from the phase steps, [..., samples - 1]."""
    return np.asarray(np.angle(x[..., 1:] * np.conj(x[..., :-1])) * RATE / (2 * np.pi))


def test_noise_is_white_and_its_power_is_the_thermal_one() -> None:
    noise = made(CONFIG).noise
    assert abs(power(noise).mean() - 1.0) < 0.01  # 140 x 2048 samples: standard error 0.002
    assert abs(np.mean(noise.real.astype(float) ** 2) - 0.5) < 0.005 and abs(np.mean(noise**2)) < 0.01
    density = np.mean(np.abs(np.fft.fft(noise, axis=1)) ** 2, axis=0) / CONFIG.samples
    assert abs(density.reshape(64, -1).mean(axis=1) - 1.0).max() < 0.1
    # k T B at 290 K is -174 dBm/Hz: -101 dBm in 20 MHz, and the receiver adds its noise figure
    assert abs(10 * np.log10(CONFIG.noise_power_w / 1e-3) - (-173.975 + 73.010 + 2.0)) < 0.01


@pytest.mark.parametrize("echoes", [(0, 0), (2, 2)])
def test_jnr_is_what_the_parameters_say(echoes: tuple[int, int]) -> None:
    parts = made(replace(CONFIG, echoes=echoes))
    interfered = ~np.isnan(parts.parameters.jnr_db)
    measured = 10 * np.log10(power(parts.interference)[interfered])
    assert np.abs(measured - parts.parameters.jnr_db[interfered]).max() < 1e-3
    assert parts.parameters.jnr_db[interfered].min() >= -10 and parts.parameters.jnr_db[interfered].max() <= 4
    assert not parts.interference[~interfered].any() and (~interfered).sum() == 20


def test_a_tone_is_one_line() -> None:
    parts = made(ALONE)
    for row in rows_of(parts, "tone"):
        seen = frequency(parts.interference[row])
        assert np.abs(seen - parts.parameters.center_hz[row]).max() < 200.0
        assert np.abs(np.abs(parts.interference[row]) / np.abs(parts.interference[row]).mean() - 1).max() < 1e-3


def test_a_multi_tone_has_its_lines_between_the_ends_of_its_bandwidth() -> None:
    config = replace(ALONE, bandwidth_hz=(4e6, 16e6), samples=16384)
    parts = made(config, 35)
    for row in rows_of(parts, "multi_tone"):
        spectrum = np.abs(np.fft.fft(parts.interference[row] * np.hanning(config.samples))) ** 2
        axis = np.fft.fftfreq(config.samples, 1 / RATE)
        p = parts.parameters
        wanted = (p.center_hz[row] + p.tone_hz[row])[p.tone_amplitude[row] > 0]
        assert 2 <= len(wanted) <= 6 and abs(np.ptp(wanted) - p.bandwidth_hz[row]) < 1.0
        near = (np.abs(axis[:, None] - wanted) < 4 * RATE / config.samples).any(axis=1)
        assert spectrum[near].sum() > 0.999 * spectrum.sum()
        assert all(spectrum[np.abs(axis - one) < 4 * RATE / config.samples].sum() > 0.01 * spectrum.sum() for one in wanted)


@pytest.mark.parametrize("kind", ["sawtooth_chirp", "triangle_chirp"])
def test_chirps_sweep_the_stated_band_in_the_stated_time(kind: str) -> None:
    parts = made(ALONE)
    for row in rows_of(parts, kind):
        p = parts.parameters
        seen, bandwidth, period = frequency(parts.interference[row]), p.bandwidth_hz[row], p.period_s[row]
        rate = bandwidth / period * (1 if kind == "sawtooth_chirp" else 2)  # Hz a second
        tolerance = 2 * rate / RATE + 500.0  # one sample's sweep
        assert abs(seen.max() - (p.center_hz[row] + bandwidth / 2)) < tolerance and abs(seen.min() - (p.center_hz[row] - bandwidth / 2)) < tolerance
        steps = np.diff(seen)
        sweeping = np.abs(steps) < bandwidth / 4
        assert abs(np.median(np.abs(steps[sweeping])) * RATE / rate - 1) < 0.05
        rising = np.sign(steps[sweeping])
        if kind == "sawtooth_chirp":
            assert (rising == p.direction[row]).mean() > 0.99
            jumps = np.flatnonzero(~sweeping)
            jumps = jumps[np.diff(jumps, prepend=-10) > 1]  # two neighbouring phase steps may share one jump back
            assert abs(len(jumps) - CONFIG.duration_s / period) <= 1.0 and np.abs(np.diff(jumps) / RATE - period).max() <= 1.01 / RATE
        else:
            assert sweeping.all() and 0.25 < (rising > 0).mean() < 0.75
        assert np.abs(np.abs(parts.interference[row]) / np.abs(parts.interference[row]).mean() - 1).max() < 1e-3


def test_band_noise_fills_its_band_evenly_and_nothing_else() -> None:
    parts = made(ALONE, 280)
    axis = np.fft.fftfreq(CONFIG.samples, 1 / RATE)
    for row in rows_of(parts, "noise_band"):
        p = parts.parameters
        spectrum = np.abs(np.fft.fft(parts.interference[row])) ** 2
        inside = np.abs(axis - p.center_hz[row]) <= p.bandwidth_hz[row] / 2 + 100e3  # the snapshot is cut from a longer one: a little leaks
        assert spectrum[inside].sum() > 0.97 * spectrum.sum()
        place = (axis - p.center_hz[row]) / p.bandwidth_hz[row]
        thirds = [spectrum[np.abs(place - shift) <= 1 / 6].mean() for shift in (-1 / 3, 0, 1 / 3)]
        assert max(thirds) < 3 * min(thirds)
        assert abs(p.center_hz[row]) + p.bandwidth_hz[row] / 2 <= RATE / 2


def test_pulses_are_on_for_their_duty_cycle() -> None:
    parts = made(ALONE, 280)
    for row in rows_of(parts, "pulse"):
        p = parts.parameters
        on = np.abs(parts.interference[row]) > 0
        periods = CONFIG.duration_s / p.period_s[row]
        assert abs(on.mean() - p.duty_cycle[row]) <= p.duty_cycle[row] / periods + 0.01  # the cut at either end, at most one pulse
        starts = np.flatnonzero(np.diff(on.astype(int)) == 1)
        assert len(starts) >= 2 and np.abs(np.diff(starts) / RATE - p.period_s[row]).max() <= 1.01 / RATE


def test_codes_are_the_gps_gold_codes() -> None:
    table = gnss_codes.code_table().astype(int)
    first_chips = {1: 0o1440, 2: 0o1620, 3: 0o1710, 5: 0o1133, 10: 0o1504, 19: 0o1633, 31: 0o1625, 32: 0o1712}  # IS-GPS-200, table 3-Ia
    for satellite, octal in first_chips.items():
        assert int("".join("1" if chip < 0 else "0" for chip in table[satellite - 1, :10]), 2) == octal
    spectra = np.fft.fft(table, axis=1)
    for one, other in ((0, 0), (6, 6), (0, 1), (4, 30)):
        correlation = np.rint(np.fft.ifft(spectra[one] * spectra[other].conj()).real).astype(int)
        assert set(correlation) <= {-65, -1, 63, 1023} and (correlation[0] == 1023) == (one == other)
    assert (table.sum(axis=1) == -1).all()  # balanced: 512 ones, 511 zeros


def test_satellites_are_buried_but_despreading_finds_them() -> None:
    config = replace(CONFIG, samples=40_960, satellites=(4, 4), carrier_to_noise_dbhz=(45.0, 45.0), jnr_db=(-10.0, -10.0))
    parts = made(config, 1)
    p, received = parts.parameters, parts.noise + parts.satellites
    assert np.abs(10 * np.log10(power(parts.satellites)) - (45 - 73.01 + 6.02)).max() < 1.0  # four of them, nearly orthogonal
    time = np.arange(config.samples) / RATE
    table = gnss_codes.code_table()

    def despread(satellite: int, slot: int, shift: float) -> float:
        rate = gnss_codes.CHIP_RATE_HZ * (1 + p.doppler_hz[0, slot] / gnss_codes.CARRIER_HZ)
        chips = table[satellite - 1, np.floor(p.code_phase_chips[0, slot] + shift + rate * time).astype(int) % 1023]
        return float(np.abs(np.mean(received[0] * chips * np.exp(-2j * np.pi * p.doppler_hz[0, slot] * time))) ** 2)

    noise_level = 1.0 / config.samples  # the mean of N samples of white noise of power 1 has the power 1 / N
    for slot in range(4):
        satellite = int(p.satellite[0, slot])
        aligned = despread(satellite, slot, 0.0)
        assert 10 * np.log10(aligned / noise_level) > 13.0  # 45 dB-Hz for 2.05 ms: 18.1 dB
        absent = next(number for number in range(1, 33) if number not in p.satellite[0, :4])
        assert max(despread(satellite, slot, 300.0), despread(absent, slot, 0.0)) < aligned / 4
    assert len(set(p.satellite[0, :4])) == 4


def test_echoes_add_delayed_copies() -> None:
    config = replace(CONFIG, echoes=(1, 1), echo_level_db=(-6.0, -6.0))
    with_echo, alone = made(config, 70), made(replace(config, echo_level_db=(-60.0, -60.0)), 70)
    for row in rows_of(with_echo, "noise_band"):
        sent, received = alone.interference[row].astype(complex), with_echo.interference[row].astype(complex)
        delay = int(with_echo.parameters.echo_samples[row, 0])
        assert 1 <= delay <= 8
        weight = 10 ** (-6 / 20) * np.exp(2j * np.pi * with_echo.parameters.echo_phase[row, 0])
        model = sent[8:] + weight * sent[8 - delay : len(sent) - delay]
        scale = np.vdot(model, received[8:]) / np.vdot(model, model)
        assert np.abs(received[8:] - scale * model).max() < 0.02 * np.abs(received).max()


def test_the_front_end_holds_the_level_and_rounds() -> None:
    iq, parameters = simulate(CONFIG, TASK, 0, "test", 0, 70)
    values = iq.view(np.float32)
    assert (values == np.rint(values)).all() and values.min() >= -128 and values.max() <= 127
    quiet = np.isin(parameters.kind, [KINDS.index("none"), KINDS.index("tone")])
    assert np.abs(np.sqrt(power(iq[quiet]) / 2) / (128 * 10 ** (-12 / 20)) - 1).max() < 0.02
    ideal = replace(CONFIG, adc_bits=0)
    raw, _ = simulate(ideal, TASK, 0, "test", 0, 70)
    parts = components(ideal, TASK, 0, "test", 0, 70)
    assert np.array_equal(raw, parts.noise + parts.satellites + parts.interference)


def test_imbalance_makes_an_image() -> None:
    config = replace(ALONE, gain_imbalance_db=1.0, phase_imbalance_deg=0.0, dc_offset_db=-120.0, satellites=(0, 0), adc_bits=16)
    parameters = components(config, TASK, 0, "train", 0, 14).parameters
    row = 1  # a tone
    tone = np.exp(2j * np.pi * 0.125 * np.arange(config.samples))[None].astype(np.complex64)
    one = replace(parameters, **{name: getattr(parameters, name)[row : row + 1] for name in parameters.__dataclass_fields__})
    spectrum = np.abs(np.fft.fft(gnss.front_end(config, tone, one)[0])) ** 2
    gain = 10 ** (one.gain_imbalance_db[0] / 20)
    at = config.samples // 8
    assert abs(10 * np.log10(spectrum[-at] / spectrum[at]) - 20 * np.log10(abs(1 - gain) / (1 + gain))) < 1.0


@pytest.mark.parametrize("task_name", ["kinds", "characterization"])
def test_a_snapshot_depends_on_its_number_alone(task_name: str) -> None:
    task = make_task(task_name, CONFIG)
    together, _ = simulate(CONFIG, task, 5, "train", 40, 60)
    for start, count in ((40, 1), (63, 9), (99, 1)):
        apart, parameters = simulate(CONFIG, task, 5, "train", start, count)
        assert np.array_equal(apart, together[start - 40 : start - 40 + count])
        assert np.array_equal(parameters.label, np.arange(start, start + count) % len(task.classes))
        drawn = gnss.draw_parameters(CONFIG, task, 5, "train", start, count)
        assert all(np.array_equal(getattr(drawn, name), getattr(parameters, name), equal_nan=True) for name in drawn.__dataclass_fields__)
    for seed, part in ((6, "train"), (5, "test"), (5, "validation")):
        assert not np.array_equal(simulate(CONFIG, task, seed, part, 40, 1)[0], together[:1])


def test_characterization_has_311_classes_with_their_bins() -> None:
    task = make_task("characterization", CONFIG)
    assert len(task.classes) == len(set(task.classes)) == 1 + 10 + 5 * 6 * 10
    p = gnss.draw_parameters(CONFIG, task, 0, "train", 0, 622)
    assert (np.bincount(p.label) == 2).all() and np.array_equal(p.kind, task.kind[p.label])
    jnr_edges, band_edges = np.linspace(-10, 4, 11), np.geomspace(1e6, 16e6, 7)
    interfered, banded = p.kind > 0, p.kind > 1
    assert np.array_equal(np.digitize(p.jnr_db[interfered], jnr_edges) - 1, task.jnr_bin[p.label[interfered]])
    assert np.array_equal(np.digitize(p.bandwidth_hz[banded], band_edges) - 1, task.bandwidth_bin[p.label[banded]])


def test_spectrograms_resolve_time_and_frequency() -> None:
    time = np.arange(2048) / RATE
    tone = np.exp(2j * np.pi * 5e6 * time)
    burst = np.where((time >= 51.2e-6) & (time < 60.8e-6), tone, 0)
    images = spectrograms(np.stack([tone, burst]).astype(np.complex64))[..., 0].astype(float)
    assert images.shape == (2, 32, 32)
    assert (images[0].argmax(axis=1) == 16 + 8).all()  # 5 MHz of 625 kHz columns above the middle
    # a Hann window lifts a line by (sum w)^2 / sum w^2 = 64 / 1.5 over the mean, and its neighbouring bin, a quarter of it, is in the same column
    assert np.abs(images[0, 1:-1].max(axis=1) - (144 + 4 * 10 * np.log10(64 / 1.5 * 1.25 / 2))).max() <= 1
    energy = images[1].max(axis=1)
    assert set(np.flatnonzero(energy > energy.max() - 12)) <= {15, 16, 17, 18, 19} and {16, 17, 18} <= set(np.flatnonzero(energy > energy.max() - 12))
    noise, _ = simulate(replace(CONFIG, satellites=(0, 0), dc_offset_db=-120.0), TASK, 0, "train", 0, 1)
    assert abs(spectrograms(noise).mean() - 144) < 6


def test_interference_is_in_the_picture() -> None:
    config = replace(CONFIG, jnr_db=(4.0, 4.0))
    iq, parameters = simulate(config, TASK, 1, "train", 0, 140)
    images = spectrograms(iq)[..., 0].astype(float)
    columns, rows = images.mean(axis=1), images.mean(axis=2)
    tone, noise, pulse = (np.flatnonzero(parameters.kind == KINDS.index(name)) for name in ("tone", "none", "pulse"))
    expected = np.clip(np.floor(parameters.center_hz[tone] / 625e3) + 16, 0, 31)
    assert np.abs(columns[tone].argmax(axis=1) - expected).max() <= 1
    assert np.ptp(columns[noise], axis=1).max() < np.ptp(columns[tone], axis=1).min()
    assert np.median(np.ptp(rows[pulse], axis=1)) > 1.5 * np.median(np.ptp(rows[tone], axis=1))


interval = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda pair: (min(pair), max(pair)))


def scaled(pair: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    return low + pair[0] * (high - low), low + pair[1] * (high - low)


@settings(max_examples=25, deadline=None)
@given(jnr=interval, bandwidth=interval, period=interval, duty=interval, echoes=st.integers(0, 4), satellites=st.integers(0, 12),
       bits=st.integers(0, 16), seed=st.integers(0, 2**63 - 1), start=st.integers(0, 2**40))
def test_every_valid_config_gives_finite_snapshots_of_the_stated_power(
    jnr: tuple[float, float], bandwidth: tuple[float, float], period: tuple[float, float], duty: tuple[float, float], echoes: int, satellites: int,
    bits: int, seed: int, start: int,
) -> None:
    config = SnapshotConfig(
        samples=1024, jnr_db=scaled(jnr, -40, 60), bandwidth_hz=scaled(bandwidth, 1e4, 20e6), sweep_period_s=scaled(period, 1e-6, 51.2e-6),
        pulse_period_s=scaled(period, 4e-6, 51.2e-6), duty_cycle=scaled(duty, 0.05, 0.95), echoes=(0, echoes), satellites=(0, satellites),
        adc_bits=bits,
    )
    task = make_task("kinds", config)
    parts = components(config, task, seed, "validation", start, 7)
    iq, p = simulate(config, task, seed, "validation", start, 7)
    assert np.isfinite(iq).all() and iq.shape == (7, 1024)
    interfered = p.kind > 0
    assert np.abs(10 * np.log10(power(parts.interference)[interfered]) - p.jnr_db[interfered]).max() < 0.01
    for name, (low, high) in {"jnr_db": config.jnr_db, "bandwidth_hz": (0.0, config.bandwidth_hz[1]), "duty_cycle": config.duty_cycle}.items():
        values = getattr(p, name)[~np.isnan(getattr(p, name))]
        assert (values >= low - 1e-9 * abs(low)).all() and (values <= high + 1e-9 * abs(high)).all()
    assert (np.abs(p.center_hz[interfered]) + p.bandwidth_hz[interfered] / 2 <= config.sample_rate_hz / 2 * (1 + 1e-9)).all()
    images = spectrograms(iq)
    assert images.shape == (7, 32, 32, 1) and images.dtype == np.uint8


@pytest.mark.parametrize(("change", "message"), [
    ({"jnr_db": (4.0, -10.0)}, "jnr_db runs from 4 down to -10"),
    ({"jnr_db": (-50.0, 0.0)}, "jnr_db = -50 is out of range; allowed are -40 to 60 dB"),
    ({"jnr_db": (float("nan"), 0.0)}, "jnr_db must hold numbers, not nan"),
    ({"jnr_db": 3.0}, "jnr_db must be a pair"),
    ({"samples": 2048.0}, "samples must hold whole numbers, not 2048.0"),
    ({"samples": 0}, "samples = 0 is out of range"),
    ({"satellites": (4, 33)}, "satellites = 33 is out of range"),
    ({"tones": (2, True)}, "tones must hold whole numbers, not True"),
    ({"bandwidth_hz": (1e6, 30e6)}, "cannot hold"),
    ({"pulse_period_s": (1e-5, 1e-3)}, "longer than the snapshot"),
    ({"duty_cycle": (0.001, 0.1)}, "the shortest pulse lasts 0.2 samples"),
    ({"sweep_period_s": (2e-7, 5e-5)}, "the shortest sweep lasts 4.0 samples"),
    ({"sample_rate_hz": float("inf")}, "sample_rate_hz must hold numbers"),
    ({"samples": 256, "echo_delay_s": 1e-4, "sweep_period_s": (1e-5, 1.2e-5), "pulse_period_s": (1e-5, 1.2e-5)}, "echo_delay_s = 0.0001 is longer"),
])
def test_impossible_configs_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SnapshotConfig(**change)  # type: ignore[arg-type]
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_impossible_streams_and_tasks_are_refused() -> None:
    for arguments in ((-1, "train", 0, 1), (2**63, "train", 0, 1), (0, "training", 0, 1), (0, "train", -1, 1), (0, "train", 0, -1)):
        with pytest.raises(ConfigError):
            simulate(CONFIG, TASK, *arguments)
    with pytest.raises(ConfigError, match="Did you mean 'kinds'"):
        make_task("kind", CONFIG)
    with pytest.raises(ConfigError, match="characterization cuts it into bins"):
        make_task("characterization", replace(CONFIG, jnr_db=(0.0, 0.0)))
    assert simulate(CONFIG, TASK, 0, "train", 0, 0)[0].shape == (0, 2048) and gnss_config.SIMULATOR_VERSION >= 1
