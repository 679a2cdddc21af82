"""Weights as a device stores them: int8 as it is, int4 two a byte, ternary four a byte; rows start on a byte.

The first value sits in the low bits. Values are two's complement in their field.
"""

from __future__ import annotations

import numpy as np

from edgecompress.errors import ModelError

WEIGHT_RANGE = {8: (-127, 127), 4: (-7, 7), 2: (-1, 1)}  # bits -> symmetric range; 2 bits hold ternary weights


def check_weight_range(weights: np.ndarray, bits: int) -> None:
    """Raises ModelError unless every weight fits `bits` (int8 files from elsewhere may use -128)."""
    if bits not in WEIGHT_RANGE:
        raise ModelError(f"weights of {bits} bits are not supported; allowed: 8, 4, 2 (ternary)")
    low, high = (-128, 127) if bits == 8 else WEIGHT_RANGE[bits]
    if weights.size and (weights.min() < low or weights.max() > high):
        raise ModelError(f"{bits}-bit weights must lie in [{low}, {high}], got [{weights.min()}, {weights.max()}]")


def packed_row_bytes(length: int, bits: int) -> int:
    """Bytes of one row of `length` weights."""
    return -(-length * bits // 8)


def pack_rows(rows: np.ndarray, bits: int) -> np.ndarray:
    """int8 [rows, length] to uint8 [rows, packed_row_bytes]."""
    if bits == 8:
        return rows.astype(np.int8).view(np.uint8)
    per_byte = 8 // bits
    padded = np.pad(rows.astype(np.int16), ((0, 0), (0, -rows.shape[1] % per_byte))) & ((1 << bits) - 1)
    grouped = padded.reshape(rows.shape[0], -1, per_byte) << (np.arange(per_byte) * bits)
    packed: np.ndarray = grouped.sum(axis=2).astype(np.uint8)
    return packed


def unpack_rows(packed: np.ndarray, length: int, bits: int) -> np.ndarray:
    """Inverse of pack_rows: uint8 [rows, bytes] to int8 [rows, length]."""
    if bits == 8:
        return packed.view(np.int8)[:, :length]
    per_byte = 8 // bits
    fields = (packed[:, :, None].astype(np.int16) >> (np.arange(per_byte) * bits)) & ((1 << bits) - 1)
    signed = np.where(fields >= 1 << (bits - 1), fields - (1 << bits), fields)
    return signed.reshape(packed.shape[0], -1)[:, :length].astype(np.int8)
