"""A physical simulator of GNSS interference snapshots: complex baseband of a receiver around GPS L1, as numpy arrays.

received = thermal noise + satellites' code signals, buried in it + interference over a few paths; then the front end: imbalance of I and Q, offset,
gain control, converter. Powers are relative to the thermal noise in the band, k T B F, which has power 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecompress.data.gnss_codes import CARRIER_HZ, CHIP_RATE_HZ, CODE_CHIPS, code_table
from edgecompress.data.gnss_config import KINDS, SIMULATOR_VERSION, SnapshotConfig
from edgecompress.data.gnss_parameters import DRAWS, Parameters, Task, check_stream, draw_parameters, make_task, parameters_of, sample_generator
from edgecompress.data.gnss_waveforms import GAUSSIAN_KINDS, Complex, interference, oscillation, phasor

__all__ = ["KINDS", "SIMULATOR_VERSION", "Components", "Parameters", "SnapshotConfig", "Task", "components", "draw_parameters", "front_end",
           "make_task", "simulate", "spectrograms"]

SPECTROGRAM_SIZE = 32
DECIBEL_STEPS = 4  # codes a dB
ZERO_DECIBEL_CODE = 144  # -36 dB is code 0, +27.75 dB is code 255


@dataclass(frozen=True, eq=False)
class Components:
    """What adds up in front of the receiver, complex64 [n, samples] each, in units of the square root of the noise power."""

    parameters: Parameters
    noise: Complex
    satellites: Complex
    interference: Complex


def components(config: SnapshotConfig, task: Task, seed: int, part: str, start: int, count: int) -> Components:
    """Snapshots `start` to `start + count - 1` of a part ("train", "validation", "test"), before they are added. Raises ConfigError."""
    check_stream(seed, part, start, count)
    label = np.arange(start, start + count) % len(task.classes)
    wanted = np.isin(task.kind[label], GAUSSIAN_KINDS)
    uniform = np.empty((count, DRAWS))
    noise, gaussian = _empty(count, config.samples), np.zeros((count, config.echo_samples + config.samples), dtype=np.complex64)
    for row in range(count):
        generator = sample_generator(seed, part, start + row)
        uniform[row] = generator.random(DRAWS)
        noise[row] = _white(generator, config.samples)
        if wanted[row]:
            gaussian[row] = _white(generator, gaussian.shape[1])
    parameters = parameters_of(config, task, uniform, label)
    return Components(parameters, noise, _satellites(config, parameters), interference(config, parameters, gaussian))


def _empty(count: int, samples: int) -> Complex:
    return np.empty((count, samples), dtype=np.complex64)


def _white(generator: np.random.Generator, samples: int) -> Complex:
    """Circular complex Gaussian noise of power 1: half of it in I, half in Q."""
    return np.float32(np.sqrt(0.5)) * generator.standard_normal(2 * samples, dtype=np.float32).view(np.complex64)


def _satellites(config: SnapshotConfig, parameters: Parameters) -> Complex:
    """BPSK code signals: chips at 1.023 MHz, stretched by the Doppler shift as the carrier is, each on its own carrier. Data bits, 20 ms long, stay
    constant for a snapshot.
    """
    total = np.zeros((len(parameters), config.samples), dtype=np.complex64)
    span = int(config.samples / config.sample_rate_hz * CHIP_RATE_HZ * 1.001) + 2
    chips = np.tile(code_table(), (1, 1 + -(-span // CODE_CHIPS))).astype(np.float32)  # long enough to read on past the end of a code
    time = np.arange(config.samples) / config.sample_rate_hz
    present = parameters.satellite_amplitude > 0
    for slot in range(int(present.sum(axis=1).max(initial=0))):
        rows = np.flatnonzero(present[:, slot])
        doppler = parameters.doppler_hz[rows, slot]
        rate = CHIP_RATE_HZ * (1.0 + doppler / CARRIER_HZ)
        first = (parameters.satellite[rows, slot] - 1) * chips.shape[1] + parameters.code_phase_chips[rows, slot]
        place = (rate[:, None] * time + first[:, None]).astype(np.int64)
        carrier = oscillation(doppler / config.sample_rate_hz, parameters.satellite_phase[rows, slot], 0, config.samples)
        carrier *= parameters.satellite_amplitude[rows, slot].astype(np.float32)[:, None]
        carrier *= chips.ravel()[place]
        total[rows] += carrier
    return total


def front_end(config: SnapshotConfig, received: Complex, parameters: Parameters) -> Complex:
    """What the converter gives for the sum of all components, complex64 [n, samples]; with adc_bits > 0 whole numbers of that many bits.

    Imbalance of gain g and phase p: y = (1 + g e^-ip)/2 x + (1 - g e^ip)/2 x*, the image of x at negative frequencies. The gain control holds the
    root mean square of I and Q at `agc_headroom_db` below full scale.
    """
    if config.adc_bits == 0:
        return received
    gain = 10.0 ** (parameters.gain_imbalance_db / 20.0)
    turn = np.exp(1j * np.deg2rad(parameters.phase_imbalance_deg))
    direct, image = (1.0 + gain * turn.conj()) / 2.0, (1.0 - gain * turn) / 2.0
    mixed = direct.astype(np.complex64)[:, None] * received + image.astype(np.complex64)[:, None] * received.conj()
    level = np.sqrt(np.mean(mixed.real**2 + mixed.imag**2, axis=1))
    mixed += (parameters.direct_amplitude.astype(np.float32) * level * phasor(parameters.direct_phase))[:, None]
    full_scale = 2 ** (config.adc_bits - 1)
    wanted = full_scale * 10.0 ** (-config.agc_headroom_db / 20.0) * np.sqrt(2.0)
    mixed *= (wanted / level).astype(np.float32)[:, None]
    codes = mixed.view(np.float32)
    np.clip(np.rint(codes, out=codes), -full_scale, full_scale - 1, out=codes)
    return mixed


def simulate(config: SnapshotConfig, task: Task, seed: int, part: str, start: int, count: int) -> tuple[Complex, Parameters]:
    """(complex64 [count, samples] after the front end, their parameters). Raises ConfigError.

    Snapshot i of a part depends on the config, the task, the seed and i: not on how many are made at once.
    """
    parts = components(config, task, seed, part, start, count)
    received = parts.noise + parts.satellites
    received += parts.interference
    return front_end(config, received, parts.parameters), parts.parameters


def spectrograms(iq: Complex, size: int = SPECTROGRAM_SIZE) -> npt.NDArray[np.uint8]:
    """Power over time (rows) and frequency (columns, lowest first), uint8 [n, size, size, 1]; 4 codes a dB, 144 is the snapshot's mean power.

    Hann windows of 2 `size` samples, so that one column is two bins wide, half overlapped (Welch's method): as many windows go into a row as the
    snapshot gives, and both bins of a column are averaged with them. 32 x 32 of 2048 samples at 20 MHz: 3.2 us by 625 kHz a pixel.
    """
    count, samples = iq.shape
    window_length, per_row = 2 * size, max(1, samples // (size * size))
    hop = samples // (size * per_row)
    window = np.hanning(window_length + 1)[:-1].astype(np.float32)
    padded = np.zeros((count, samples + window_length), dtype=np.complex64)
    lead = max(0, window_length - hop) // 2
    padded[:, lead : lead + samples] = iq
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_length, axis=1)[:, : size * per_row * hop : hop]
    spectrum = np.fft.fft(frames * window, axis=2)
    power = spectrum.real**2 + spectrum.imag**2
    cells = np.fft.fftshift(power, axes=2).reshape(count, size, per_row, size, 2).mean(axis=(2, 4), dtype=np.float64)
    mean = np.mean(iq.real**2 + iq.imag**2, axis=1, dtype=np.float64) * float(np.sum(window.astype(np.float64) ** 2))
    decibel = 10.0 * np.log10(np.maximum(cells, 1e-30) / np.maximum(mean, 1e-30)[:, None, None])
    return np.asarray(np.clip(np.rint(DECIBEL_STEPS * decibel) + ZERO_DECIBEL_CODE, 0, 255), dtype=np.uint8)[..., None]
