"""Rescaling with one multiplication and one shift for all channels of a layer, where that gives the very same outputs.

From sum to output is a staircase: output i begins at some sum T_i. A kernel that computes `(t * multiplier >> 32) >> shift` of
`t = bias + sum * 2^8`, with a shift that its code holds, climbs a staircase too, and bias and multiplier are integers to choose. A channel has
at most 255 steps, so whether a choice makes all of them begin at the reference's T_i can be looked at; it nearly always can be found. Zero point
and roundings are in the bias. Only layers whose negative results are clamped anyway (a fused ReLU) can be done so: the reference
rounds negative ties the other way, which bends the staircase at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecompress.lower.c.dsp_weights import INPUT_LIMIT, rescale_factors

SHORT_SHIFTS = (11, 15, 18)  # EC_RESCALE_SHORT_* in ec_rescale_dsp.h
SUM_BITS = 8  # t holds sums times 2^8
MULTIPLIER_TRIES = (0, -1, 1, -2, 2, -3, 3)


@dataclass(frozen=True)
class ShortRescaling:
    """`constants` int32 [channels, 2]: bias and multiplier; `mode` counts the SHORT_SHIFTS from 1."""

    mode: int
    constants: np.ndarray

    @property
    def shift(self) -> int:
        """The right shift of the mode."""
        return SHORT_SHIFTS[self.mode - 1]


def short_rescaling(op: Any, weights: np.ndarray) -> ShortRescaling | None:
    """None where the layer is not rectified or a channel finds no constants. `weights` [channels, positions]; sums are of inputs as they are."""
    factors = rescale_factors(op.requant, weights, op.bias, op.output_zero_point)
    if op.activation_min != op.output_zero_point or factors is None:
        return None
    sums = _sum_range(weights)
    outputs = np.arange(op.output_zero_point + 1, 128, dtype=np.int64)
    if not len(outputs):
        return None
    folded = op.bias.astype(np.int64) - op.input_zero_point * weights.astype(np.int64).sum(axis=1)
    steps = _steps(*factors, outputs - op.output_zero_point) - folded[:, None]
    real = np.ldexp(factors[0].astype(np.float64), -31 - factors[1])
    for mode in range(len(SHORT_SHIFTS), 0, -1):
        scaled = real * 2.0 ** (32 + SHORT_SHIFTS[mode - 1] - SUM_BITS)
        if scaled.max() < 2**31 - 4:
            constants = _constants(np.rint(scaled).astype(np.int64), steps, outputs, sums, SHORT_SHIFTS[mode - 1])
            if constants is not None:
                return ShortRescaling(mode, constants)
    return None


def _sum_range(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest sum of each channel over all inputs, int64 [channels]."""
    positive, negative = (np.where(sign * weights > 0, weights, 0).astype(np.int64).sum(axis=1) for sign in (1, -1))
    return (INPUT_LIMIT - 1) * negative - INPUT_LIMIT * positive, (INPUT_LIMIT - 1) * positive - INPUT_LIMIT * negative


def _steps(multiplier: np.ndarray, shift: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Least accumulator (bias included) that the reference rescales to each of `levels` (at least 1) or more, int64 [channels, levels].

    ((x * m + 2^30) >> 31) + 2^(s - 1) >> s >= i for positive results; no accumulator reaches anything where the multiplier is 0.
    """
    level = levels[None, :] * (np.int64(1) << shift)[:, None] - (np.int64(1) << shift - 1)[:, None]
    reached: np.ndarray = -((2**30 - level * 2**31) // np.maximum(multiplier, 1)[:, None])
    reached[multiplier == 0] = 2**40
    return reached


def _constants(multiplier: np.ndarray, steps: np.ndarray, outputs: np.ndarray, sums: tuple[np.ndarray, np.ndarray], shift: int) -> np.ndarray | None:
    """Bias and multiplier of each channel, int32 [channels, 2], or None. A try settles the channels it can."""
    result = np.zeros((len(multiplier), 2), dtype=np.int64)
    open_channels = np.arange(len(multiplier))
    for change in MULTIPLIER_TRIES:
        tried = np.maximum(multiplier[open_channels] + change, 1)
        low, high = _bias_range(tried, steps[open_channels], outputs, (sums[0][open_channels], sums[1][open_channels]), shift)
        bias = np.clip(0, low, high)
        bias = np.where((low > -(2**40)) & (high < 2**40), low + (high - low) // 2, bias)
        ends = [bias + sums[end][open_channels] * 2**SUM_BITS for end in (0, 1)]
        settled = (low <= high) & (ends[0] >= -(2**31)) & (ends[1] < 2**31) & (abs(bias) < 2**31)
        result[open_channels[settled]] = np.stack([bias, tried], axis=1)[settled]
        open_channels = open_channels[~settled]
        if not len(open_channels):
            return result.astype(np.int32)
    return None


def _bias_range(multiplier: np.ndarray, steps: np.ndarray, outputs: np.ndarray, sums: tuple[np.ndarray, np.ndarray],
                shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest bias with which every step within the channel's sums begins where it should, int64 [channels]."""
    needed = -(-(outputs[None, :] << 32 + shift) // multiplier[:, None])  # least t that gives each output
    least, greatest = sums[0][:, None], sums[1][:, None]
    low = np.where(steps > greatest, -(2**45), needed - (np.maximum(steps, least) << SUM_BITS))
    high = np.where(steps <= least, 2**45, needed - 1 - (np.minimum(steps - 1, greatest) << SUM_BITS))
    return low.max(axis=1), high.min(axis=1)
