"""Sigmoid and tanh of int16 values by one interpolated table, as TFLite's int16 LOGISTIC and TANH and the gates of its LSTM.

The table holds sigmoid(i / 24) in Q0.16, lifted by half of what a chord misses at most, so that the error of the interpolation
is spread to both sides. tanh(x) = 2 sigmoid(2x) - 1 reads it at twice the step; the negative side is mirrored.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

STEPS = 255  # from here on the result is saturated


@lru_cache(maxsize=1)
def sigmoid_table() -> np.ndarray:
    """Entries for i = 0..255, int64 [256], read-only. The last one is the limit."""
    value = 1 / (1 + np.exp(-np.arange(256) / 24.0))
    curvature = value * (1 - value) * (2 * value - 1) / 24**2  # a chord misses the curve by an eighth of it
    table: np.ndarray = np.floor(65536 * (value + curvature / 16) + 0.5).astype(np.int64)
    table[STEPS] = 65535
    table.setflags(write=False)
    return table


def _interpolate(distance: np.ndarray, bits: int, saturated: int) -> np.ndarray:
    """Table at distance / 2^bits, times 2^bits."""
    table = sigmoid_table()
    index = np.minimum(distance >> bits, STEPS - 1)
    rest = distance & ((1 << bits) - 1)
    value = (table[index] << bits) + rest * (table[index + 1] - table[index])
    return np.where(distance >> bits >= STEPS, saturated, value)


def sigmoid16(x: np.ndarray) -> np.ndarray:
    """Q3.12 in int16's range to Q0.15, int64."""
    scaled = np.asarray(x, dtype=np.int64) * 3
    value = _interpolate(np.abs(scaled), 9, 0x7FFF << 10)
    result: np.ndarray = np.where(scaled >= 0, value + 512, (1 << 25) - value + 511) >> 10
    return result


def tanh16(x: np.ndarray, shift: int = 0) -> np.ndarray:
    """x * 2^(shift - 12), x in int16's range and -15 <= shift <= 14, to Q0.15, int64."""
    scaled = np.asarray(x, dtype=np.int64) * 3
    scaled = scaled << shift if shift >= 0 else (scaled + (1 << (-shift - 1))) >> -shift
    value = _interpolate(np.abs(scaled), 8, 0xFFFF << 8) - (1 << 23)
    result: np.ndarray = np.where(scaled >= 0, value + 128, 127 - value) >> 8
    return result
