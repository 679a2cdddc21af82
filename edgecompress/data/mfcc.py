"""The MLPerf Tiny keyword-spotting front end: 16 kHz audio to mel-frequency cepstral coefficients, in numpy.

Steps (mlcommons/tiny, benchmark/training/keyword_spotting): divide by the clip's largest sample, 30 ms frames every 20 ms,
periodic Hann window, 512-point spectrum magnitude, 40 HTK mel bands over 20-4000 Hz without the constant bin, log(x + 1e-6), DCT-II, first 10.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
FRAME = 480
STEP = 320
FFT = 512
BANDS = 40
COEFFICIENTS = 10
_LOW_HZ, _HIGH_HZ = 20.0, 4000.0
_CLIPS_AT_ONCE = 64  # bounds the float64 frames in memory to about 12 MB a second of clip

DESCRIPTION = (
    "16 kHz mono, divided by the clip's largest sample; 30 ms periodic Hann frames every 20 ms; |FFT-512|; 40 HTK mel bands 20-4000 Hz; "
    "log(x + 1e-6); DCT-II / sqrt(80); 10 coefficients (MLPerf Tiny keyword spotting)"
)


def _mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0))


@lru_cache(maxsize=1)
def mel_matrix() -> npt.NDArray[np.float64]:
    """Triangular band weights [256, 40], straight in mel, for spectrum bins 1 to 256."""
    edges = np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2)
    bins = _mel(np.arange(1, FFT // 2 + 1) * (SAMPLE_RATE / FFT))[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0.0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))


@lru_cache(maxsize=1)
def dct_matrix() -> npt.NDArray[np.float64]:
    """DCT-II over the bands, divided by sqrt(2 * 40): [40, 10]."""
    band = np.arange(BANDS)[:, None]
    coefficient = np.arange(COEFFICIENTS)[None, :]
    return np.asarray(2.0 * np.cos(np.pi * coefficient * (2 * band + 1) / (2 * BANDS)) / np.sqrt(2.0 * BANDS))


def frame_count(samples: int) -> int:
    """Frames of a clip of so many samples; 49 for one second."""
    return (samples - FRAME) // STEP + 1


def mfcc(audio: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Coefficients float32 [clips, frames, 10] of int16 clips [clips, samples], at least 480 samples each."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(FRAME) / FRAME)
    frames = frame_count(audio.shape[1])
    index = np.arange(frames)[:, None] * STEP + np.arange(FRAME)
    features = np.empty((len(audio), frames, COEFFICIENTS), dtype=np.float32)
    for start in range(0, len(audio), _CLIPS_AT_ONCE):
        clips = audio[start : start + _CLIPS_AT_ONCE].astype(np.float64)
        peak = clips.max(axis=1, keepdims=True)
        clips /= np.where(peak == 0.0, 1.0, peak)  # a silent clip stays silent
        magnitude = np.abs(np.fft.rfft(clips[:, index] * window, FFT))
        log_mel = np.log(magnitude[..., 1:] @ mel_matrix() + 1e-6)
        features[start : start + _CLIPS_AT_ONCE] = log_mel @ dct_matrix()
    return features
