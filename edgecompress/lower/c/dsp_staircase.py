"""Rescaling with one multiplication and one shift for all channels of a layer, where that gives the very same outputs.

From sum to output is a staircase: output i begins at some sum T_i. A kernel that computes `(t * multiplier >> 32) >> shift` of
`t = bias + sum * 2^8`, with a shift that stands in its code, climbs a staircase too, and bias and multiplier are integers to choose. A channel
has at most 255 steps, so it can be seen whether a choice makes all of them begin at the reference's T_i: each step bounds the bias from both
sides. The choice next to the exact slope leaves room for the bias about as often as not, so some others near it are tried; nearly every
channel of trained models finds one. Zero point and roundings are in the bias. Only layers whose negative results are clamped anyway
(a fused ReLU) can be done so: the reference rounds negative ties the other way, which bends the staircase at zero.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecompress.lower.c.dsp_weights import INPUT_LIMIT, rescale_factors

SHORT_SHIFTS = (11, 15)  # for factors below 2^-4 and 2^-8: what int8 weights need
SUM_BITS = 8  # t holds sums times 2^8
NEAR_TRIES, FLAT_TRIES = 12, range(18, 31)  # multipliers on either side of the exact one; powers of two for channels of few steps
UNREACHED = 2**42  # an accumulator beyond all others


@dataclass(frozen=True)
class ShortRescaling:
    """`constants` int32 [channels, 2]: bias and multiplier. `mode` counts the shifts from 1."""

    mode: int
    constants: np.ndarray


_KNOWN: dict[int, tuple[weakref.ref[Any], ShortRescaling | None]] = {}  # id of an op -> the op and its answer


def short_rescaling(op: Any, weights: np.ndarray, shifts: tuple[int, int] = SHORT_SHIFTS) -> ShortRescaling | None:
    """None where the layer is not rectified or a channel finds no constants. `weights` [channels, positions]; sums are of inputs as they are.
    `shifts`, ascending, are those that the kernel holds.

    The answer for an op is kept as long as the op: an emitter asks for it several times.
    """
    known = _KNOWN.get(id(op))
    if known is not None and known[0]() is op:
        return known[1]
    result = _solve(op, weights, shifts)
    number = id(op)
    _KNOWN[number] = (weakref.ref(op, lambda _: _KNOWN.pop(number, None)), result)
    return result


def _solve(op: Any, weights: np.ndarray, shifts: tuple[int, int]) -> ShortRescaling | None:
    factors = rescale_factors(op.requant, weights, op.bias, op.output_zero_point)
    if op.activation_min != op.output_zero_point or op.output_zero_point == 127 or factors is None:
        return None
    # equal channels are solved once: all are, where a search plans a model that has no weights yet
    facts, inverse = np.unique(np.stack([*factors, *_sums(op, weights)]), axis=1, return_inverse=True)
    problem = _problem(facts, op.output_zero_point)
    real = np.ldexp(facts[0].astype(np.float64), -31 - facts[1])
    for mode, shift in ((2, shifts[1]), (1, shifts[0])):
        scaled = real * 2.0 ** (32 + shift - SUM_BITS)
        if scaled.max() < 2**31 - 2**16:
            constants = _constants(problem, real, np.rint(scaled).astype(np.int64), shift)
            if constants is not None:
                return ShortRescaling(mode, constants[inverse.reshape(-1)])
    return None


def _sums(op: Any, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What accumulators add to the sums of a channel (bias and the share of the input's zero point), least and greatest sum; int64 [channels]."""
    wide = weights.astype(np.int64)
    positive, negative = np.maximum(wide, 0).sum(axis=1), np.minimum(wide, 0).sum(axis=1)
    return (op.bias.astype(np.int64) - op.input_zero_point * wide.sum(axis=1), (INPUT_LIMIT - 1) * negative - INPUT_LIMIT * positive,
            (INPUT_LIMIT - 1) * positive - INPUT_LIMIT * negative)


@dataclass(frozen=True)
class _Problem:
    """`least`, `greatest`: sums over all inputs, int64 [channels, 1]. `steps`: least sum that gives each of `outputs`, int64 [channels, outputs]."""

    least: np.ndarray
    greatest: np.ndarray
    steps: np.ndarray
    outputs: np.ndarray

    def of(self, channels: np.ndarray) -> _Problem:
        """Some channels of it."""
        return _Problem(self.least[channels], self.greatest[channels], self.steps[channels], self.outputs)


def _problem(facts: np.ndarray, zero_point: int) -> _Problem:
    """From multipliers, right shifts and _sums, int64 [5, channels]. The reference's steps: ((x * m + 2^30) >> 31) + 2^(s - 1) >> s reaches i above
    the zero point where x * m + 2^30 >= (i * 2^s - 2^(s - 1)) * 2^31, x being the accumulator; it reaches nothing where the multiplier is 0.
    """
    multiplier, shift, added, least, greatest = facts
    outputs = np.arange(zero_point + 1, 128, dtype=np.int64)
    level = ((2 * (outputs - zero_point) - 1)[None, :] << (shift - 1)[:, None]) * 2**31
    reached = -((2**30 - level) // np.maximum(multiplier, 1)[:, None])
    reached[multiplier == 0] = UNREACHED
    return _Problem(least[:, None], greatest[:, None], reached - added[:, None], outputs)


def _tries(real: np.ndarray, multiplier: np.ndarray) -> list[np.ndarray]:
    """Multipliers to try. The distance of two is such that the last step moves by about 1/512 of a sum: less would change nothing."""
    distance = np.maximum(1, np.rint(multiplier * real * 2.0**-17).astype(np.int64))
    near = [multiplier + sign * count * distance for count in range(1, NEAR_TRIES + 1) for sign in (-1, 1)]
    return [np.maximum(one, 1) for one in (multiplier, *near)] + [np.full_like(multiplier, 2**exponent) for exponent in FLAT_TRIES]


def _constants(problem: _Problem, real: np.ndarray, multiplier: np.ndarray, shift: int) -> np.ndarray | None:
    """Bias and multiplier of each channel, int32 [channels, 2], or None. A try settles the channels that it can."""
    result = np.zeros((len(multiplier), 2), dtype=np.int64)
    waiting = np.arange(len(multiplier))
    for tried in _tries(real, multiplier):
        some, tried_here = problem.of(waiting), tried[waiting]
        low, high = _bias_range(some, tried_here, shift)
        bias = np.where(low > -UNREACHED, np.where(high < UNREACHED, low + (high - low) // 2, low), np.minimum(high, 0))
        room = np.maximum(abs(some.least[:, 0]), abs(some.greatest[:, 0])) << SUM_BITS
        settled = (low <= high) & (abs(bias) + room < 2**31)
        result[waiting[settled]] = np.stack([bias, tried_here], axis=1)[settled]
        waiting = waiting[~settled]
        if not len(waiting):
            return result.astype(np.int32)
    return None


def _bias_range(problem: _Problem, multiplier: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest bias with which every step within the channel's sums begins where it should, int64 [channels]."""
    needed = -((-problem.outputs[None, :] << 32 + shift) // multiplier[:, None])  # least t that gives each output
    low = np.where(problem.steps > problem.greatest, -UNREACHED, needed - (np.maximum(problem.steps, problem.least) << SUM_BITS))
    high = np.where(problem.steps <= problem.least, UNREACHED, needed - 1 - (np.minimum(problem.steps - 1, problem.greatest) << SUM_BITS))
    return low.max(axis=1), high.min(axis=1)
