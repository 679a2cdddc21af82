"""Weights and rescaling constants as the convolution and dense kernels of the DSP extension read them (ec_conv_tile_dsp.h)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecompress.ir.requant import Requant

GENERAL_WORDS = 3  # EC_RESCALE_GENERAL of ec_rescale_dsp.h: doubled bias, multiplier, shift less 1
LARGEST_SHIFT = 23
CLAMP_FILES = ("ec_clamp_dsp.c", "ec_clamp_dsp.h")
ACTIVATION_RANGE = {"activation_min": "int8_t", "activation_max": "int8_t"}  # narrow fields of params structs
INPUT_LIMIT = 128  # inputs enter the sums as they are, without their zero point


def rescale_factors(requant: Requant, weights: np.ndarray, bias: np.ndarray, zero_point: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(multipliers, right shifts), int64 [channels], for `((2 * sum * multiplier + 2^31) >> 32) + offset) >> shift`; None where it does not hold.

    `weights` is [channels, positions]. The kernels need shifts from 1 to 23 and sums that leave room for the offset in 32 bits. A larger shift
    makes 0 of every sum below half its power of two, and so does the multiplier 0, which the form takes with any shift.
    """
    sums = np.abs(bias.astype(np.int64)) + 255 * np.abs(weights.astype(np.int64)).sum(axis=1)
    repeat = len(sums) if len(requant.multiplier) == 1 else 1
    multiplier, shift = np.array(requant.multiplier * repeat, dtype=np.int64), -np.array(requant.shift * repeat, dtype=np.int64)
    nothing = (multiplier == 0) | ((shift > LARGEST_SHIFT) & (sums < np.int64(1) << np.maximum(shift - 1, 0)))
    multiplier, shift = np.where(nothing, 0, multiplier), np.where(nothing, 1, shift)
    if shift.min() < 1 or shift.max() > LARGEST_SHIFT:
        return None
    room = 2**31 - 1 - (abs(1 + 2 * zero_point) << (shift - 1))
    return None if (sums >= np.minimum(room, 2**30)).any() else (multiplier, shift)


def general_constants(op: Any, weights: np.ndarray) -> np.ndarray:
    """int32 [channels, GENERAL_WORDS] of a layer whose rescale_factors hold; the bias takes up the input's zero point."""
    factors = rescale_factors(op.requant, weights, op.bias, op.output_zero_point)
    assert factors is not None  # supports() saw to it
    folded = op.bias.astype(np.int64) - op.input_zero_point * weights.astype(np.int64).sum(axis=1)
    return np.stack([2 * folded, factors[0], factors[1] - 1], axis=1).astype(np.uint32).view(np.int32)  # sums are modulo 2^32


def sums_fit(weights: np.ndarray, bits: int) -> bool:
    """Whether the sums of paired weights [channels, positions] can be taken apart again, and the pairs fit their bits."""
    totals = np.abs(weights.astype(np.int64)).sum(axis=1) * INPUT_LIMIT
    if bits == 8:
        even = len(weights) // 2 * 2
        pairs_fit = not ((weights[1:even:2] == -128) & (weights[0:even:2] < 0)).any()  # 256 * w1 + w0 below -2^15
        return pairs_fit and bool((totals[1::2] < 2**23).all())
    if bits == 4:
        return bool((totals[0::2] < 2**19).all() and (totals[1::2] < 2**27).all())
    return bool((totals[1::2] < 2**17).all())


def paired(weights: np.ndarray) -> np.ndarray:
    """int32 [pairs, 2, positions] of weights [channels, positions]; an odd last channel is paired with zeros."""
    even = np.zeros((len(weights) + len(weights) % 2, weights.shape[1]), dtype=np.int32)
    even[: len(weights)] = weights
    return even.reshape(-1, 2, weights.shape[1])


def pair_words(pairs: np.ndarray, bits: int) -> np.ndarray:
    """int32 [pairs, words] of [pairs, 2, positions], positions in fours, for 2 bits in eights.

    8 bits: four positions are two words (positions 0 and 2, 1 and 3) of halves 256 * w1 + w0. 4 bits: one word of bytes 16 * w1 + w0.
    2 bits: eight positions are one word, see _ternary_words.
    """
    count, positions = len(pairs), pairs.shape[2]
    if bits == 8:
        halves = ((256 * pairs[:, 1] + pairs[:, 0]) & 0xFFFF).reshape(count, positions // 4, 2, 2)  # position 2 * i + j at [:, :, i, j]
        words = halves[:, :, 0] | halves[:, :, 1] << 16
    elif bits == 4:
        digits = ((16 * pairs[:, 1] + pairs[:, 0]) & 0xFF).reshape(count, positions // 4, 4)
        words = (digits << np.arange(0, 32, 8)).sum(axis=2)
    else:
        words = _ternary_words(pairs)
    packed: np.ndarray = words.astype(np.uint32).view(np.int32).reshape(count, positions * bits // 16)
    return packed


def _ternary_words(pairs: np.ndarray) -> np.ndarray:
    """int64 [pairs, words]: turned right by 4 * step, a word has w0 + 1 of the step's two positions in bits 0 and 16, w1 in bits 14 and 30.

    Steps 0 to 3 are the positions (0, 2), (1, 3), (4, 6), (5, 7).
    """
    fields = np.stack([(pairs[:, 0] + 1) & 3, pairs[:, 1] & 3], axis=1).astype(np.int64)  # [pair, w0 or w1, position]
    steps = fields.reshape(len(pairs), 2, pairs.shape[2] // 8, 2, 2, 2)  # position 4 * i + 2 * j + k at [:, :, :, i, j, k], its step 2 * i + k
    i, j, k = np.indices((2, 2, 2))
    step, half = 2 * i + k, j
    low, high = ((bit + 16 * half + 4 * step) % 32 for bit in (0, 14))
    words: np.ndarray = ((steps[:, 0] << low) | (steps[:, 1] << high)).sum(axis=(2, 3, 4))
    return words


def pair_streams(weights: np.ndarray, bits: int, constants: np.ndarray) -> np.ndarray:
    """The words of all channel pairs, int32, each pair's weights before its constants. `weights` [channels, positions in fours]."""
    pairs = paired(weights)
    both = np.zeros((2 * len(pairs), constants.shape[1]), dtype=np.int32)
    both[: len(constants)] = constants
    return np.concatenate([pair_words(pairs, bits), both.reshape(len(pairs), -1)], axis=1).ravel()


def quad_streams(weights: np.ndarray, bits: int, constants: np.ndarray, pair_constants: np.ndarray) -> np.ndarray:
    """The words of a dense layer (ec_dense_tile_dsp.h): quads of channels, then a pair where one or two remain; int32.

    `weights` [channels, positions in eights]; three remaining channels make a quad with zeros. `pair_constants` [channels, words] are those
    that the pair takes.
    """
    rest = len(weights) % 4
    whole = len(weights) - rest + (4 if rest == 3 else 0)
    padded = np.zeros((max(whole, len(weights)), weights.shape[1]), dtype=np.int8)
    padded[: len(weights)] = weights
    filled = np.zeros((len(padded), constants.shape[1]), dtype=np.int32)
    filled[: len(constants)] = constants
    count = weights.shape[1] * bits // 16
    words = pair_words(paired(padded[:whole]), bits).reshape(whole // 4, 2, count)
    step = words.transpose(0, 2, 1).reshape(whole // 4, 2 * count)  # words of both pairs in turn
    quads = np.concatenate([step, filled[:whole].reshape(whole // 4, 4 * constants.shape[1])], axis=1).ravel()
    return quads if whole >= len(weights) else np.concatenate([quads, pair_streams(weights[whole:], bits, pair_constants[whole:])])
