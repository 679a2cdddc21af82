"""Weights and rescaling constants as the Helium kernels read them (ec_matmul_mve.h, ec_unpack_mve.h)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecompress.ir.requant import Requant

VECTOR = 16  # bytes
HALF = 8  # taps of a half chunk
CHANNEL_WORDS = 2  # constants of a channel: bias and shift, multiplier
BIAS_LIMIT = 2**26  # a bias shares its word with a shift
OUTPUT_RANGE = dict.fromkeys(("output_zero_point", "activation_min", "activation_max"), "int8_t")  # narrow fields of params structs


def biases_fit(op: Any, rows: np.ndarray) -> bool:
    """Whether biases with the input zero point's share have at most 27 bits. Trained layers need 24 for channels
    that hardly change, 20 for others."""
    bias = folded_bias(op, rows)
    return bool(((bias >= -BIAS_LIMIT) & (bias < BIAS_LIMIT)).all())


def shifts_fit(requant: Requant) -> bool:
    """Whether the kernels can rescale: multipliers of the usual range and right shifts of 1 to 31 (0 of a zero multiplier is replaced)."""
    return all(multiplier == 0 or (multiplier >= 2**30 and shift < 0) for multiplier, shift in zip(requant.multiplier, requant.shift, strict=True))


def ties(op: Any) -> str:
    """Which rescaling a layer takes: `relu` where the activation's lower end lies at or above the output's zero point."""
    return "relu" if op.activation_min >= op.output_zero_point else "any"


def factors(requant: Requant, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """(multipliers, negative right shifts), int64 [channels]; a factor of 0 becomes 2^-32, which makes 0 of every sum as well."""
    repeat = channels if len(requant.multiplier) == 1 else 1
    multiplier, shift = np.array(requant.multiplier * repeat, dtype=np.int64), np.array(requant.shift * repeat, dtype=np.int64)
    return np.where(multiplier == 0, 2**30, multiplier), np.where(multiplier == 0, -31, shift)


def folded_bias(op: Any, rows: np.ndarray) -> np.ndarray:
    """int64 [channels]: the bias with the input zero point's share of `rows` [channels, taps]; sums are modulo 2^32.

    Channels with a factor of 0 lose their own bias: without it no sum reaches the 2^31 - 1 that 2^-32 would round to 1."""
    own = np.where(np.asarray(op.requant.multiplier) == 0, 0, op.bias).astype(np.int64)
    bias: np.ndarray = own - op.input_zero_point * rows.sum(axis=1, dtype=np.int64)
    return bias


def wrapped(values: np.ndarray) -> np.ndarray:
    """int64 to int32, modulo 2^32."""
    return values.astype(np.uint64).astype(np.uint32).view(np.int32)


def channel_constants(op: Any, rows: np.ndarray) -> np.ndarray:
    """int32 [2, channels]: 32 * (bias + 1) - right shift (ec_requant_mve.h), and the multiplier."""
    multiplier, shift = factors(op.requant, len(rows))
    return wrapped(np.stack([32 * (folded_bias(op, rows) + 1) + shift, multiplier]))


def parameter_blocks(op: Any, rows: np.ndarray, lanes: int = 4) -> np.ndarray:
    """int32 [blocks * 2 * lanes]: channel_constants of each block of channels; those of missing channels are a shift of 1 and zeros."""
    blocks = -(-len(rows) // lanes)
    padded = np.zeros((CHANNEL_WORDS, blocks * lanes), dtype=np.int32)
    padded[0, len(rows):] = 31
    padded[:, :len(rows)] = channel_constants(op, rows)
    return padded.reshape(CHANNEL_WORDS, blocks, lanes).transpose(1, 0, 2).ravel()


def weight_blocks(rows: np.ndarray, lanes: int, bits: int, half: bool = False) -> np.ndarray:
    """int32: weights [channels, taps] as [blocks][chunks][lanes][16 bytes], taps and channels filled up with zeros; packed by `bits`.

    `half`, for 8 bits: each block begins with a half chunk [lanes][8 bytes]."""
    channels, taps = rows.shape
    first = HALF * half
    blocks, chunks = -(-channels // lanes), -(-(taps - first) // VECTOR)
    padded = np.zeros((blocks * lanes, first + chunks * VECTOR), dtype=np.int8)
    padded[:channels, :taps] = rows
    vectors = padded[:, first:].reshape(blocks, lanes, chunks, VECTOR).transpose(0, 2, 1, 3).reshape(-1, VECTOR)
    if bits == 8:
        return np.concatenate([padded[:, :first].reshape(blocks, -1), vectors.reshape(blocks, -1)], axis=1).view(np.int32).ravel()
    shared = 8 // bits  # vectors whose weights share bytes, the first in the low bits
    fields = (vectors.astype(np.int64) & ((1 << bits) - 1)).reshape(-1, shared, VECTOR) << (bits * np.arange(shared))[:, None]
    return np.ascontiguousarray(fields.sum(axis=1).astype(np.uint8)).view(np.int32).ravel()


def block_weight_bytes(channels: int, taps: int, lanes: int, bits: int, half: bool = False) -> int:
    """Bytes of weight_blocks."""
    first = HALF * half
    return -(-channels // lanes) * lanes * (first + -(-(taps - first) // VECTOR) * VECTOR) * bits // 8
