"""Emitter of depthwise convolution on cores with Helium (ec_depthwise_mve.c, ec_depthwise_tiles_mve.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from edgecompress.ir.packing import pack_rows, packed_row_bytes
from edgecompress.lower.c.emitter import Call, ConstArray, Emitter, Reference
from edgecompress.lower.c.mve_weights import CHANNEL_WORDS, OUTPUT_RANGE, VECTOR, biases_fit, channel_constants, shifts_fit, ties

LANES = 16  # channels of a group
WORD_PITCH = 4 * LANES  # bytes from a word of a channel to its next one
MAX_WORDS = 16  # of a window: four vectors of weights stay in registers
LEAST_BUFFER, MOST_BUFFER = 2048, 8192  # bytes of scratch memory; a longer batch of strips pays the cost of a channel for more tiles at once
OFFSET_LIMIT = 2**16 - 1  # of the store's 16-bit offsets
PATTERN_WORDS = 5
CHANNEL_COST, VECTOR_COST, COLUMN_COST = 34, 5, 14  # rough instructions, to choose an orientation
TILE_COST = {"pair": 30, "g1s2": 29, "g1": 37, "g2": 53, "g3": 69, "g4": 85}


@dataclass(frozen=True)
class Axis:
    """One axis of the image."""

    size: int
    out: int
    kernel: int
    stride: int
    padding: int  # before the first element
    step: int  # bytes of the input from one element to the next
    out_step: int


@dataclass(frozen=True)
class Strips:
    """How the kernel cuts the image: strips of `phases` rows of outputs, each strip `columns` columns of `groups` words."""

    exchanged: bool  # rows of the image are columns here
    rows: Axis
    columns: Axis
    pair: bool
    groups: int
    vectors: int
    phases: int

    @property
    def kind(self) -> str:
        """Which assembly function."""
        if self.pair:
            return "pair"
        step = self.columns.stride * WORD_PITCH * self.groups
        return "g1s2" if self.vectors == 1 and step == 2 * WORD_PITCH else f"g{self.vectors}"

    @property
    def strip_rows(self) -> int:
        """Input rows that a strip's windows see."""
        return (self.phases - 1) * self.rows.stride + self.rows.kernel

    @property
    def strip_columns(self) -> int:
        """Input columns of a strip, padding and what the last tile reads beyond it included."""
        if self.pair:
            return max(self.columns.out, 4) + 2
        return (max(self.columns.out, 8) - 1) * self.columns.stride + -(-4 * self.vectors // self.groups)

    @property
    def strip_bytes(self) -> int:
        """Of the buffer."""
        return self.strip_columns * WORD_PITCH * self.groups

    @property
    def strips(self) -> int:
        """Of the image."""
        return -(-self.rows.out // self.phases)

    @property
    def batch(self) -> int:
        """Strips at a time."""
        size = self.rows.size * self.rows.step if self.rows.step > self.columns.step else self.columns.size * self.columns.step  # of the input
        room = min(max(size // 4, LEAST_BUFFER), MOST_BUFFER)  # little beside the activations
        batches = -(-self.strips // max(room // self.strip_bytes, 1))
        return -(-self.strips // batches)

    @property
    def strip_tiles(self) -> int:
        """Tiles of a strip, of one of its rows if not a pair."""
        return -(-self.columns.out // (4 if self.pair else 8))

    @property
    def tiles(self) -> int:
        """Of a channel."""
        return self.strip_tiles * (self.strips if self.pair else self.rows.out)

    @property
    def visits(self) -> int:
        """How often a channel's weights are loaded."""
        return -(-self.strips // self.batch) * (1 if self.pair else self.phases)

    @property
    def copied_columns(self) -> int:
        """Input columns that are interleaved for each strip."""
        return min(self.columns.size, self.strip_columns - self.columns.padding)

    @property
    def cost(self) -> float:
        """Rough instructions a channel."""
        return (self.visits * (CHANNEL_COST + VECTOR_COST * self.vectors) + self.tiles * TILE_COST[self.kind]
                + self.strips * self.groups * self.copied_columns * COLUMN_COST / LANES)

    @property
    def offsets_fit(self) -> bool:
        """Whether the store reaches all lanes."""
        far = self.rows.out_step + 3 * self.columns.out_step if self.pair else 7 * self.columns.out_step
        return far <= OFFSET_LIMIT


def _strips(exchanged: bool, rows: Axis, columns: Axis) -> Strips | None:
    if rows.stride == columns.stride == 1 and rows.kernel <= 3 and columns.kernel <= 3:
        return Strips(exchanged, rows, columns, True, 1, 1, 2)
    groups = -(-rows.kernel // 4)
    words = columns.kernel * groups
    if words > MAX_WORDS or columns.stride > 4:
        return None
    return Strips(exchanged, rows, columns, False, groups, -(-words // 4), (4 * groups - rows.kernel) // rows.stride + 1)


@lru_cache(maxsize=4096)
def _choose(shape: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int],
            padding: tuple[int, ...]) -> Strips | None:
    (height, width, channels), (out_height, out_width, _) = shape, out
    vertical = Axis(height, out_height, kernel[0], stride[0], padding[0], width * channels, out_width * channels)
    horizontal = Axis(width, out_width, kernel[1], stride[1], padding[2], channels, channels)
    both = _strips(False, vertical, horizontal), _strips(True, horizontal, vertical)
    choices = [strips for strips in both if strips is not None and strips.offsets_fit]
    return min(choices, key=lambda strips: strips.cost, default=None)


def make_strips(call: Call) -> Strips | None:
    """The cheaper orientation that the kernel can do, if there is one."""
    op = call.op
    return _choose(call.inputs[0].shape, call.output.shape, op.kernel, op.stride, op.padding)


def patterns(strips: Strips) -> np.ndarray:
    """int32 [phases * vectors * 5]: ec_depthwise_pattern_mve of each vector of each phase; taps stand column by column."""
    phases = 1 if strips.pair else strips.phases
    phase, word, byte = np.meshgrid(np.arange(phases), np.arange(4 * strips.vectors), np.arange(4), indexing="ij")
    column, row = word // strips.groups, word % strips.groups * 4 + byte - phase * strips.rows.stride
    valid = ((column < strips.columns.kernel) & (row >= 0) & (row < strips.rows.kernel)).reshape(-1, VECTOR)
    taps = np.where(valid, (column * strips.rows.kernel + row).reshape(-1, VECTOR), 0).astype(np.uint8)
    bits = (valid.astype(np.int64) << np.arange(VECTOR)).sum(axis=1).astype(np.int32)
    return np.concatenate([taps.view(np.int32), bits[:, None]], axis=1).ravel()


class DepthwiseMveEmitter(Emitter):
    """ec_depthwise_<kind>_<ties>_mve."""

    extensions = frozenset({"mve"})
    takes_scratch = True
    same_start = True
    narrow = {**OUTPUT_RANGE, "input_zero_point": "int8_t",
              **dict.fromkeys(("weight_bits", "stride_rows", "stride_columns", "row_groups", "phases", "vectors"), "uint8_t"),
              **dict.fromkeys(("channels", "taps", "input_rows", "input_columns", "output_rows", "output_columns", "padding_rows",
                               "padding_columns", "strip_rows", "strip_columns", "strips"), "uint16_t")}

    def supports(self, call: Call) -> bool:
        op = call.op
        return (call.output.shape[2] == call.inputs[0].shape[2] and op.dilation == (1, 1) and shifts_fit(op.requant)
                and biases_fit(op, op.weights.reshape(-1, call.output.shape[2]).T) and make_strips(call) is not None
                and self.params_fit(call))

    def _strips(self, call: Call) -> Strips:
        strips = make_strips(call)
        assert strips is not None  # supports() saw to it
        return strips

    def kernel(self, call: Call) -> str:
        return f"ec_depthwise_{self._strips(call).kind}_{ties(call.op)}_mve"

    def struct(self, call: Call) -> str:
        return "ec_depthwise_mve_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"ec_depthwise_{self._strips(call).kind}_mve.c", "ec_depthwise_mve.c", "ec_depthwise_mve.h", "ec_depthwise_asm_mve.h",
                "ec_depthwise_tiles_mve.h", "ec_interleave_mve.c", "ec_interleave_mve.h", "ec_requant_mve.h", "ec_segments_mve.c",
                "ec_segments_mve.h")

    def params(self, call: Call) -> dict[str, int | Reference]:
        op, strips = call.op, self._strips(call)
        result: dict[str, int | Reference] = {name: Reference(name) for name in ("weights", "factors", "patterns")}
        rows, columns = strips.rows, strips.columns
        return {**result, "input_row_bytes": rows.step, "input_column_bytes": columns.step, "output_row_bytes": rows.out_step,
                "output_column_bytes": columns.out_step, "table_words": self._table_words(strips), "saved_bytes": self._saved_bytes(call, strips),
                "channels": call.output.shape[2], "taps": op.kernel[0] * op.kernel[1], "input_rows": rows.size, "input_columns": columns.size,
                "output_rows": rows.out, "output_columns": columns.out, "padding_rows": rows.padding, "padding_columns": columns.padding,
                "strip_rows": strips.strip_rows, "strip_columns": strips.strip_columns, "strips": strips.batch, "weight_bits": op.weight_bits,
                "stride_rows": rows.stride, "stride_columns": columns.stride, "row_groups": strips.groups, "phases": strips.phases,
                "vectors": strips.vectors, "input_zero_point": op.input_zero_point, "output_zero_point": op.output_zero_point,
                "activation_min": op.activation_min, "activation_max": op.activation_max}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op, strips = call.op, self._strips(call)
        by_channel = op.weights.transpose(2, 0, 1) if strips.exchanged else op.weights.transpose(2, 1, 0)
        rows = np.ascontiguousarray(by_channel).reshape(len(by_channel), -1)
        packed = np.ascontiguousarray(pack_rows(rows, op.weight_bits)).view(np.int8).ravel()
        return (ConstArray("weights", "int8_t", packed), ConstArray("factors", "int32_t", channel_constants(op, rows).T.ravel()),
                ConstArray("patterns", "int32_t", patterns(strips)))

    def array_bytes(self, call: Call) -> int:
        strips, taps = self._strips(call), call.op.kernel[0] * call.op.kernel[1]
        vectors = strips.vectors * (1 if strips.pair else strips.phases)
        return call.output.shape[2] * (packed_row_bytes(taps, call.op.weight_bits) + 4 * CHANNEL_WORDS) + 4 * PATTERN_WORDS * vectors

    def _in_place(self, call: Call) -> bool:
        """A group of channels only overwrites its own: output pixel n lies where input pixel n does, in the same row of the strips or before."""
        strips = self._strips(call)
        vertical, horizontal = (strips.columns, strips.rows) if strips.exchanged else (strips.rows, strips.columns)
        fits = horizontal.out == horizontal.size if strips.exchanged else horizontal.out <= horizontal.size
        return fits and vertical.out <= vertical.size

    def _table_words(self, strips: Strips) -> int:
        return 1 + 4 * strips.strip_tiles * strips.batch

    def _saved_bytes(self, call: Call, strips: Strips) -> int:
        later = strips.batch < strips.strips
        return strips.rows.padding * strips.columns.size * LANES if later and self._in_place(call) else 0

    def scratch_bytes(self, call: Call) -> int:
        strips, op = self._strips(call), call.op
        unpacked = LANES * op.kernel[0] * op.kernel[1] if op.weight_bits != 8 else 0
        return strips.batch * strips.strip_bytes + VECTOR + 8 * self._table_words(strips) + self._saved_bytes(call, strips) + unpacked

    def overlaps(self, call: Call) -> Mapping[int, int]:
        return {0: 0} if self._in_place(call) else {}

    def features(self, call: Call) -> dict[str, float]:
        op, strips = call.op, self._strips(call)
        channels = call.output.shape[2]
        groups = -(-channels // LANES)
        packed: Any = op.weight_bits != 8
        copied = groups * strips.strips * strips.groups
        whole = channels // LANES * strips.strips * strips.groups
        return {"call": 1, "groups": groups, "batches": groups * -(-strips.strips // strips.batch), "strips": copied,
                "columns": copied * strips.copied_columns, "narrow_columns": (copied - whole) * strips.copied_columns,
                "visits": channels * strips.visits, "tiles": channels * strips.tiles, "partial_tiles": channels * self._partial_tiles(strips),
                "table": 2 * strips.strip_tiles * strips.batch, "unpacked": packed * channels * op.kernel[0] * op.kernel[1],
                "filled": strips.batch * strips.strip_bytes / VECTOR,
                "clamped": call.output.size / VECTOR * ((op.activation_min, op.activation_max) != (-128, 127))}

    def _partial_tiles(self, strips: Strips) -> int:
        if strips.columns.out < (4 if strips.pair else 8):
            return strips.tiles
        return strips.strip_tiles if strips.pair and strips.rows.out % 2 else 0
