"""Weights and rescaling constants as the Helium kernels read them (ec_matmul_mve.h, ec_unpack_mve.h)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecompress.ir.requant import Requant

VECTOR = 16  # bytes
PARAMETER_WORDS = 9  # of a block of four channels: biases, multipliers, shifts as bytes


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
    bias: np.ndarray = own - op.input_zero_point * rows.astype(np.int64).sum(axis=1)
    return bias


def wrapped(values: np.ndarray) -> np.ndarray:
    """int64 to int32, modulo 2^32."""
    return values.astype(np.uint64).astype(np.uint32).view(np.int32)


def parameter_blocks(op: Any, rows: np.ndarray, lanes: int = 4) -> np.ndarray:
    """int32 [blocks * 9 * lanes / 4]: for each block of channels its biases, multipliers, and shifts as bytes; missing channels are zeros."""
    channels = len(rows)
    blocks = -(-channels // lanes)
    multiplier, shift = factors(op.requant, channels)
    padded = np.zeros((3, blocks * lanes), dtype=np.int64)
    padded[:, :channels] = folded_bias(op, rows), multiplier, shift
    padded[2, channels:] = -1
    words = wrapped(padded[:2]).reshape(2, blocks, lanes)
    shifts = padded[2].astype(np.int8).view(np.int32).reshape(blocks, lanes // 4)
    return np.concatenate([words[0], words[1], shifts], axis=1).ravel()


def weight_blocks(rows: np.ndarray, lanes: int, bits: int) -> np.ndarray:
    """int32: weights [channels, taps] as [blocks][chunks][lanes][16 bytes], taps and channels filled up with zeros; packed by `bits`."""
    channels, taps = rows.shape
    blocks, chunks = -(-channels // lanes), -(-taps // VECTOR)
    padded = np.zeros((blocks * lanes, chunks * VECTOR), dtype=np.int8)
    padded[:channels, :taps] = rows
    vectors = padded.reshape(blocks, lanes, chunks, VECTOR).transpose(0, 2, 1, 3).reshape(-1, VECTOR)
    if bits == 8:
        return np.ascontiguousarray(vectors).view(np.int32).ravel()
    shared = 8 // bits  # vectors whose weights share bytes, the first in the low bits
    fields = (vectors.astype(np.int64) & ((1 << bits) - 1)).reshape(-1, shared, VECTOR) << (bits * np.arange(shared))[:, None]
    return np.ascontiguousarray(fields.sum(axis=1).astype(np.uint8)).view(np.int32).ravel()


def block_weight_bytes(channels: int, taps: int, lanes: int, bits: int) -> int:
    """Bytes of weight_blocks."""
    return -(-channels // lanes) * lanes * -(-taps // VECTOR) * VECTOR * bits // 8
