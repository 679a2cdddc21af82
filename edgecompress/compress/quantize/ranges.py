"""Ranges of activations: histograms over calibration data, and the searches that choose where to clip. Every range holds 0."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraph

BINS = 8192
LEVELS = 255  # steps between the 256 codes
LEAST_VALUES = 4 * LEVELS  # of a tensor for its entropy: of 72 values the divergence clipped the upper third

Range = tuple[float, float]
RangeMethod = Callable[["Histogram", float], Range]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values of one tensor on calibration data. `low` <= 0 <= `high` are exact extremes (or 0), `counts` float64 [BINS] lies evenly between them.

    Exact zeros are kept apart in `zeros`: every range represents them without error.
    """

    low: float
    high: float
    counts: np.ndarray
    zeros: int

    @property
    def centers(self) -> np.ndarray:
        """Middle of each bin."""
        width = (self.high - self.low) / BINS
        return self.low + (np.arange(BINS) + 0.5) * width


def minmax(histogram: Histogram, percentile: float) -> Range:
    """Everything that was seen."""
    return histogram.low, histogram.high


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """Leaves out the fraction above `percentile` (in percent), and as much below where values go below 0."""
    counts = histogram.counts.copy()
    width = (histogram.high - histogram.low) / BINS
    counts[min(int(-histogram.low / width), BINS - 1)] += histogram.zeros
    cumulative = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    edges = histogram.low + np.arange(BINS + 1) * width
    tail = 1.0 - percentile / 100.0
    # the last edge below the tail and the first above it, so that 100 percent is min and max
    low = edges[max(int(np.searchsorted(cumulative, tail, side="right")) - 1, 0)]
    high = edges[min(int(np.searchsorted(cumulative, 1.0 - tail, side="left")), BINS)]
    return float(min(low, 0.0)), float(max(high, 0.0))


def squared_error(centers: np.ndarray, counts: np.ndarray, low: float, high: float) -> float:
    """Summed squared error of rounding and clipping values `centers` to 256 codes between low and high."""
    scale = (high - low) / LEVELS
    zero_point = np.rint(-low / scale)
    codes = np.clip(np.rint(centers / scale) + zero_point, 0, LEVELS)
    return float(counts @ (centers - (codes - zero_point) * scale) ** 2)


def divergence(centers: np.ndarray, counts: np.ndarray, low: float, high: float) -> float:
    """Kullback-Leibler divergence of the seen distribution (clipped values moved to the edges) from its quantized version.

    The quantized version spreads what really lies in each code evenly over the code's occupied bins. Bins are finer than codes by a factor of
    32 at full range: with bins as wide as codes, as in onnxruntime's 128-bin entropy calibration, the two would be equal by construction.
    """
    scale = (high - low) / LEVELS
    inside = (centers >= low) & (centers <= high)
    if not inside.any():
        return np.inf
    seen, kept = counts[inside].copy(), counts[inside]
    seen[0] += counts[centers < low].sum()
    seen[-1] += counts[centers > high].sum()
    codes = np.rint((centers[inside] - low) / scale).astype(np.int64)
    occupied = np.bincount(codes, minlength=LEVELS + 1)
    spread = np.bincount(codes, weights=kept, minlength=LEVELS + 1)[codes] / occupied[codes]
    p, q = seen / seen.sum(), spread / spread.sum()
    return float(p @ np.log(p / np.maximum(q, 1e-12)))


def _search(histogram: Histogram, loss: Callable[[np.ndarray, np.ndarray, float, float], float]) -> Range:
    """Shrinks both ends together, then each alone, coarse and fine; a tie keeps the wider range."""
    used = histogram.counts > 0
    centers, counts = histogram.centers[used], histogram.counts[used]
    if not used.any():
        return histogram.low, histogram.high
    low, high = histogram.low, histogram.high
    for move_low, move_high in ((True, True), (False, True), (True, False)):
        if (move_low and not low) != (move_high and not high) and not (move_low and move_high):
            continue  # this end is 0 and cannot shrink
        base_low, base_high = low, high

        def cost(ratio: float, a: float = base_low, b: float = base_high, ml: bool = move_low, mh: bool = move_high) -> float:
            return loss(centers, counts, a * ratio if ml else a, b * ratio if mh else b)

        ratio = min(np.linspace(1.0, 0.04, 25), key=cost)
        ratio = min(np.linspace(min(ratio + 0.03, 1.0), ratio - 0.03, 13), key=cost)
        low, high = (base_low * ratio if move_low else base_low), (base_high * ratio if move_high else base_high)
    return float(low), float(high)


def mse(histogram: Histogram, percentile: float) -> Range:
    """Least squared error of quantization on the histogram."""
    return _search(histogram, squared_error)


def entropy(histogram: Histogram, percentile: float) -> Range:
    """Least information lost: Kullback-Leibler divergence on the fine histogram. A few values are no distribution; for these it is `mse`."""
    return _search(histogram, divergence if histogram.counts.sum() >= LEAST_VALUES else squared_error)


METHODS: dict[str, RangeMethod] = {"minmax": minmax, "percentile": percentile_range, "mse": mse, "entropy": entropy}


def observe(graph: FloatGraph, x: np.ndarray, tensors: Collection[str], batch_size: int, counts: bool = True) -> dict[str, Histogram]:
    """Histograms of the named tensors over x float32 [n, *input shape]; without `counts` only the extremes, in one pass instead of two.

    Raises ModelError naming a tensor that becomes NaN or infinite.
    """
    import torch

    from edgecompress.frontend.float_run import iterate_float

    extremes: dict[str, Range] = dict.fromkeys(tensors, (0.0, 0.0))
    for batch in iterate_float(graph, x, batch_size):
        for name, values in batch:
            if name in extremes:
                low, high = (float(v) for v in torch.aminmax(values))
                if not (np.isfinite(low) and np.isfinite(high)):
                    raise ModelError(f"tensor {name!r} becomes NaN or infinite on the calibration data; the model or its normalisation is broken")
                extremes[name] = min(extremes[name][0], low), max(extremes[name][1], high)
    histograms = {name: np.zeros(BINS) for name in tensors}
    zeros = dict.fromkeys(tensors, 0)
    for batch in iterate_float(graph, x, batch_size) if counts else ():
        for name, values in batch:
            low, high = extremes.get(name, (0.0, 0.0))
            if low < high:
                counted, nothing = torch.histc(values, BINS, low, high).numpy(), int((values == 0).sum())
                zeros[name] += nothing
                counted[int(torch.histc(torch.zeros(1), BINS, low, high).argmax())] -= nothing
                histograms[name] += counted
    return {name: Histogram(*extremes[name], histograms[name], zeros[name]) for name in tensors}


def choose_range(histogram: Histogram, method: str, percentile: float) -> Range:
    """(low, high) with low <= 0 <= high and low < high; a tensor that was always 0 gets (0, 1)."""
    if histogram.low == histogram.high:
        return 0.0, 1.0
    low, high = METHODS[method](histogram, percentile)
    return (low, high) if low < high else (histogram.low, histogram.high)
