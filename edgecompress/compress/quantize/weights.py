"""Weights to integers: symmetric, one scale an output channel; 8 bits by range, 4 bits by least squared error, 2 bits ternary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.ir.packing import WEIGHT_RANGE

Array = np.ndarray

CLIP_RATIOS = (*np.linspace(1.0, 0.4, 31), *(7.0 / np.arange(1, 7)))  # those above 1 find weights that are k-th multiples already


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """`values` int8 in the float weights' layout, `scales` float64 [channels] (each a float32 number), `bits` 8, 4 or 2."""

    values: Array
    scales: Array
    bits: int

    def real(self, depthwise: bool) -> Array:
        """float32 weights that the integers stand for."""
        shape = (-1,) if depthwise else (-1,) + (1,) * (self.values.ndim - 1)
        return np.asarray(self.values * self.scales.reshape(shape), dtype=np.float32)


def to_rows(weights: Array, depthwise: bool) -> Array:
    """[channels, taps] of weights [out, ...] or, depthwise, [h, w, out]."""
    return weights.reshape(-1, weights.shape[-1]).T if depthwise else weights.reshape(len(weights), -1)


def from_rows(rows: Array, shape: tuple[int, ...], depthwise: bool) -> Array:
    """Inverse of to_rows."""
    return rows.T.reshape(shape) if depthwise else rows.reshape(shape)


def quantize_weights(weights: Array, bits: int, depthwise: bool) -> QuantizedWeights:
    """Per-channel symmetric integers of float32 weights [out, ...] or, depthwise, [h, w, out]."""
    rows = to_rows(weights, depthwise).astype(np.float64)
    scales = _valid_scales({8: _range_scales, 4: _least_error_scales, 2: _ternary_scales}[bits](rows))
    return rounded(weights, scales, bits, depthwise)


def rounded(weights: Array, scales: Array, bits: int, depthwise: bool) -> QuantizedWeights:
    """Integers for given scales [channels], rounded to nearest even and saturated."""
    low, high = WEIGHT_RANGE[bits]
    rows = to_rows(weights, depthwise).astype(np.float64)
    values = np.clip(np.rint(rows / scales[:, None]), low, high).astype(np.int8)
    return QuantizedWeights(from_rows(values, weights.shape, depthwise), scales, bits)


def _valid_scales(scales: Array) -> Array:
    """float32 numbers above 0. A channel of zeros takes the layer's largest scale, so that its bias stays a small integer."""
    scales = scales.astype(np.float32).astype(np.float64)
    tiny = float(np.finfo(np.float32).tiny)
    largest = scales.max()
    return np.asarray(np.where(scales > tiny, scales, largest if largest > tiny else 1.0))


def _range_scales(rows: Array) -> Array:
    return np.asarray(np.abs(rows).max(axis=1) / WEIGHT_RANGE[8][1])


def _least_error_scales(rows: Array) -> Array:
    """For each channel the clip ratio with the least squared error."""
    high = WEIGHT_RANGE[4][1]
    full = np.abs(rows).max(axis=1) / high
    best, best_error = full, np.full(len(rows), np.inf)
    for ratio in CLIP_RATIOS:
        scales = np.where(full > 0, full * ratio, 1.0)[:, None]
        error = ((rows - np.clip(np.rint(rows / scales), -high, high) * scales) ** 2).sum(axis=1)
        better = error < best_error
        best, best_error = np.where(better, full * ratio, best), np.where(better, error, best_error)
    return np.asarray(best)


def _ternary_scales(rows: Array) -> Array:
    """Least squared error over {-s, 0, s}: the k largest magnitudes stand for their mean, k maximises (sum of them)^2 / k.

    Rounding to nearest puts the threshold at s / 2, which is where the optimum has it.
    """
    magnitudes = -np.sort(-np.abs(rows), axis=1)
    sums = np.cumsum(magnitudes, axis=1)
    counts = np.arange(1, rows.shape[1] + 1)
    best = np.argmax(sums**2 / counts, axis=1)
    return np.asarray(sums[np.arange(len(rows)), best] / counts[best])
