"""The interference itself: complex baseband waveforms of mean power 1, and the paths they arrive by."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edgecompress.data.gnss_config import MULTI_TONE, NOISE_BAND, PULSE, SAWTOOTH_CHIRP, TONE, TRIANGLE_CHIRP, SnapshotConfig
from edgecompress.data.gnss_parameters import Floats, Parameters, Whole

Complex = npt.NDArray[np.complex64]

GAUSSIAN_KINDS = (PULSE, NOISE_BAND)  # those that need random numbers besides their parameters
_BLOCK = 64


def phasor(cycles: Floats) -> Complex:
    """exp(2 pi i cycles) in single precision; whole cycles are dropped in double precision first."""
    angle = (2.0 * np.pi * (cycles - np.floor(cycles))).astype(np.float32)
    result = np.empty(angle.shape, dtype=np.complex64)
    np.cos(angle, out=result.real)
    np.sin(angle, out=result.imag)
    return result


def oscillation(cycles_per_sample: Floats, phase: Floats, first: int, count: int) -> Complex:
    """exp(2 pi i (phase + f n)) for n = first ... first + count - 1, complex64 [rows, count].

    As exp(a + b) = exp(a) exp(b), one sine a block and one a sample inside a block are enough.
    """
    blocks = -(-count // _BLOCK)
    coarse = phasor(phase[:, None] + cycles_per_sample[:, None] * (first + _BLOCK * np.arange(blocks)))
    fine = phasor(cycles_per_sample[:, None] * np.arange(_BLOCK))
    return (coarse[:, :, None] * fine[:, None, :]).reshape(len(phase), blocks * _BLOCK)[:, :count]


def _rows(parameters: Parameters, name: str, rows: Whole) -> Floats:
    values: Floats = getattr(parameters, name)[rows]
    return values


def _tone(config: SnapshotConfig, parameters: Parameters, rows: Whole, gaussian: Complex, first: int) -> Complex:
    """One line: exp(2 pi i f t)."""
    return oscillation(_rows(parameters, "center_hz", rows) / config.sample_rate_hz, _rows(parameters, "phase", rows), first, gaussian.shape[1])


def _multi_tone(config: SnapshotConfig, parameters: Parameters, rows: Whole, gaussian: Complex, first: int) -> Complex:
    """Lines between the two ends of the bandwidth, of independent phase and up to 6 dB different power."""
    total = np.zeros(gaussian.shape, dtype=np.complex64)
    center, offset = _rows(parameters, "center_hz", rows), _rows(parameters, "tone_hz", rows)
    amplitude, phase = _rows(parameters, "tone_amplitude", rows).astype(np.float32), _rows(parameters, "tone_phase", rows)
    for tone in range(int((amplitude > 0).sum(axis=1).max(initial=0))):
        line = oscillation((center + offset[:, tone]) / config.sample_rate_hz, phase[:, tone], first, gaussian.shape[1])
        total += amplitude[:, tone, None] * line
    return total


def _sweep_time(config: SnapshotConfig, parameters: Parameters, rows: Whole, first: int, count: int) -> tuple[Floats, Floats, Floats]:
    """(seconds [count], period number, share of the period that has passed [rows, count])."""
    seconds = np.arange(first, first + count) / config.sample_rate_hz
    periods = seconds / _rows(parameters, "period_s", rows)[:, None] + _rows(parameters, "time_share", rows)[:, None]
    whole = np.floor(periods)
    return seconds, whole, periods - whole


def _swept(parameters: Parameters, rows: Whole, seconds: Floats, integral: Floats) -> Complex:
    """The phase is the integral of the frequency: of the centre, and of bandwidth x period x the integral of the sweep's shape over its period."""
    span = _rows(parameters, "bandwidth_hz", rows) * _rows(parameters, "period_s", rows) * _rows(parameters, "direction", rows)
    cycles = _rows(parameters, "center_hz", rows)[:, None] * seconds + span[:, None] * integral + _rows(parameters, "phase", rows)[:, None]
    return phasor(cycles)


def _sawtooth_chirp(config: SnapshotConfig, parameters: Parameters, rows: Whole, gaussian: Complex, first: int) -> Complex:
    """Frequency = centre +- bandwidth (u - 1/2) for u = 0 ... 1 in every period; the integral of u - 1/2 is (u^2 - u) / 2, 0 at both ends."""
    seconds, _, u = _sweep_time(config, parameters, rows, first, gaussian.shape[1])
    return _swept(parameters, rows, seconds, (u * u - u) / 2.0)


def _triangle_chirp(config: SnapshotConfig, parameters: Parameters, rows: Whole, gaussian: Complex, first: int) -> Complex:
    """Frequency = centre +- bandwidth x (2u - 1/2 up to u = 1/2, then 3/2 - 2u); the integral is u^2 - u/2, then 3u/2 - u^2 - 1/2."""
    seconds, _, u = _sweep_time(config, parameters, rows, first, gaussian.shape[1])
    return _swept(parameters, rows, seconds, np.where(u < 0.5, u * u - u / 2.0, 1.5 * u - u * u - 0.5))


def _noise_band(config: SnapshotConfig, parameters: Parameters, rows: Whole, gaussian: Complex, first: int) -> Complex:
    """White Gaussian noise behind an ideal band-pass filter of the stated centre and bandwidth."""
    frequency = np.fft.fftfreq(gaussian.shape[1], 1.0 / config.sample_rate_hz)
    center, bandwidth = _rows(parameters, "center_hz", rows)[:, None], _rows(parameters, "bandwidth_hz", rows)[:, None]
    inside = np.abs(frequency - center) <= bandwidth / 2.0
    inside[np.arange(len(rows)), np.abs(frequency - center).argmin(axis=1)] = True  # a band narrower than one line of the spectrum keeps that line
    return np.asarray(np.fft.ifft(np.where(inside, np.fft.fft(gaussian, axis=1), 0.0), axis=1), dtype=np.complex64)


def _pulse(config: SnapshotConfig, parameters: Parameters, rows: Whole, gaussian: Complex, first: int) -> Complex:
    """Band-limited noise that is on for the duty cycle of every period."""
    _, _, u = _sweep_time(config, parameters, rows, first, gaussian.shape[1])
    on = u < _rows(parameters, "duty_cycle", rows)[:, None]
    return np.where(on, _noise_band(config, parameters, rows, gaussian, first), np.complex64(0))


Waveform = Callable[[SnapshotConfig, Parameters, Whole, Complex, int], Complex]
WAVEFORMS: MappingProxyType[int, Waveform] = MappingProxyType({
    TONE: _tone, MULTI_TONE: _multi_tone, SAWTOOTH_CHIRP: _sawtooth_chirp, TRIANGLE_CHIRP: _triangle_chirp, PULSE: _pulse, NOISE_BAND: _noise_band,
})


def interference(config: SnapshotConfig, parameters: Parameters, gaussian: Complex) -> Complex:
    """Received interference complex64 [n, samples] beside noise of power 1: of mean power 10^(JNR / 10) over the snapshot, 0 for the kind none.

    `gaussian` is complex white noise [n, echo_samples + samples], read for GAUSSIAN_KINDS only: the waveform begins before the snapshot, so
    that its echoes are there from the first sample on.
    """
    lead = config.echo_samples
    total = np.zeros((len(parameters), config.samples), dtype=np.complex64)
    for kind, waveform in WAVEFORMS.items():
        rows = np.flatnonzero(parameters.kind == kind)
        if not len(rows):
            continue
        received = _with_echoes(waveform(config, parameters, rows, gaussian[rows], -lead), parameters, rows, lead)
        power = np.mean(received.real**2 + received.imag**2, axis=1, dtype=np.float64)
        wanted = 10.0 ** (parameters.jnr_db[rows] / 10.0)
        total[rows] = received * np.sqrt(wanted / power).astype(np.float32)[:, None]
    return total


def _with_echoes(sent: Complex, parameters: Parameters, rows: Whole, lead: int) -> Complex:
    """Direct path plus delayed, weaker copies of any phase (a tapped delay line); the first `lead` samples are dropped."""
    total = sent[:, lead:].copy()
    amplitude, delay, phase = parameters.echo_amplitude[rows], parameters.echo_samples[rows], parameters.echo_phase[rows]
    for echo in range(amplitude.shape[1]):
        present = np.flatnonzero(amplitude[:, echo] > 0)
        if len(present):
            place = lead + np.arange(total.shape[1]) - delay[present, echo, None]
            weight = amplitude[present, echo].astype(np.float32) * phasor(phase[present, echo])
            total[present] += weight[:, None] * sent[present[:, None], place]
    return total
