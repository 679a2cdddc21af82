"""The input's range, chosen from the data before training, so that the network is trained on the numbers the device will see."""

from __future__ import annotations

import itertools

import numpy as np

from edgecompress.compress.quantize.parameters import affine_parameters

Range = tuple[float, float]

CLIPPED_PERCENT = (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0)  # of the samples' values, tried at either end
SAMPLES = 512


def on_grid(x: np.ndarray, input_range: Range) -> np.ndarray:
    """x as the device sees it: rounded to the 256 codes of the range and back. float32 of x's shape."""
    scale, zero_point = affine_parameters(*input_range)
    codes = np.clip(np.rint(x / np.float32(scale)) + zero_point, -128, 127)
    return np.asarray((codes - zero_point) * np.float32(scale), dtype=np.float32)


def choose_input_range(x: np.ndarray, raw_dtype: str, kind: str) -> Range:
    """Range for inputs x float32 [n, height, width, channels]; it always holds 0.

    Integer raw values keep their whole range: a uint8 pixel is then one code. Float features are often of very different
    sizes in one tensor (the first MFCC coefficient has 25 times the spread of the last), and one scale must serve all: the range with
    the least quantization error *relative to each feature's own variance* clips the large ones a little and keeps the small ones.
    """
    whole = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    if not raw_dtype.startswith("float"):
        return whole
    sample = x[:: max(1, len(x) // SAMPLES)]
    features = sample.reshape(-1, sample.shape[3]) if kind == "image" else sample.reshape(-1, sample.shape[2] * sample.shape[3])
    variance = features.astype(np.float64).var(axis=0)
    features, variance = features[:, variance > 0], variance[variance > 0]
    if not variance.size:
        return whole
    lows = np.percentile(features, CLIPPED_PERCENT)
    highs = np.percentile(features, [100.0 - percent for percent in CLIPPED_PERCENT])
    candidates = {(min(float(low), 0.0), max(float(high), 0.0)) for low, high in itertools.product(lows, highs) if low < high}

    def relative_error(candidate: Range) -> float:
        error = (features - on_grid(features, candidate)).astype(np.float64)
        return float((np.square(error).mean(axis=0) / variance).mean())

    usable = sorted(candidate for candidate in candidates if candidate[0] < candidate[1])
    return min([whole, *usable], key=relative_error)
