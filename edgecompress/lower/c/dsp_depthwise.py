"""Emitters of depthwise convolutions for cores with the DSP extension (Cortex-M4, M7, M33)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecompress.ir.packing import pack_rows, packed_row_bytes
from edgecompress.lower.c.dsp_staircase import SUM_BITS, short_rescaling
from edgecompress.lower.c.dsp_weights import ACTIVATION_RANGE, rescale_factors
from edgecompress.lower.c.emitter import POINTER_BYTES, Call, ConstArray, Emitter, Reference, Symbol

LANES = 4  # EC_DEPTHWISE_LANES in ec_depthwise_dsp.h
SCALE_WORDS = 4  # EC_DEPTHWISE_SCALE_WORDS
SHORT_SHIFTS = (11, 15)  # of ec_depthwise_rescale_11 and _15
READ_BEYOND = 2  # bytes that ec_depthwise_window_run_dsp.c reads behind the weights of an even number of columns


@dataclass(frozen=True)
class Span:
    """One axis of a window: kernel positions `first` to `end` that meet the image for some output; the others are cut off."""

    size: int  # of the image
    outputs: int
    stride: int
    first: int
    end: int
    padding: int  # before the image, for what is left of the kernel

    @property
    def taps(self) -> int:
        """Of what is left."""
        return self.end - self.first

    @property
    def meets(self) -> bool:
        """Whether every window meets the image."""
        return 0 <= self.padding < self.taps and (self.outputs - 1) * self.stride - self.padding < self.size


def crop(size: int, outputs: int, stride: int, taps: int, padding: int) -> Span:
    """The part of a kernel that ever meets the image. A small image under a large kernel leaves much in the padding."""
    first = min(max(padding - (outputs - 1) * stride, 0), taps - 1)
    end = max(min(taps, size + padding), first + 1)
    return Span(size, outputs, stride, first, end, padding - first)


def pairs_seen(taps: int, stride: int) -> int:
    """Pairs of rows that two neighbouring windows see together, the first of which begins with a pair."""
    return taps // 2 + 1 if stride == 1 else (taps + 1) // 2 + 1


def blocks_of(columns: int) -> tuple[int, int]:
    """(threes, twos) in which columns are taken, as ec_depthwise_threes has it."""
    threes = columns // 3 if columns % 3 != 1 else max(columns - 4, 0) // 3
    return threes, -(-(columns - 3 * threes) // 2)


def round_up(value: int, unit: int) -> int:
    """The least multiple of `unit` that is at least `value`."""
    return -(-value // unit) * unit


class DepthwiseDspEmitter(Emitter):
    """What the kernels share: one input channel an output channel, the image in groups of four channels."""

    extensions = frozenset({"dsp"})
    takes_scratch = True
    same_start = True
    narrow = {**ACTIVATION_RANGE, "input_zero_point": "int8_t",
              **dict.fromkeys(("scale_words", "weight_bits", "stride_height", "stride_width"), "uint8_t"),
              **dict.fromkeys(("channels", "input_height", "input_width", "output_height", "output_width", "kernel_height", "kernel_width",
                               "padding_top", "padding_left"), "uint16_t")}
    name = ""
    parts: tuple[str, ...] = ()  # files beside the kernel's own

    def kernel(self, call: Call) -> str:
        return f"ec_depthwise_{self.name}_dsp"

    def struct(self, call: Call) -> str:
        return "ec_depthwise_dsp_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"{self.kernel(call)}.c", *self.parts, "ec_depthwise_dsp.c", "ec_depthwise_dsp.h", "ec_rescale_dsp.h", "ec_dsp.h")

    def spans(self, call: Call) -> tuple[Span, Span]:
        """Vertical and horizontal."""
        op, source, output = call.op, call.inputs[0].shape, call.output.shape
        vertical, horizontal = (crop(source[axis], output[axis], op.stride[axis], op.kernel[axis], op.padding[2 * axis]) for axis in (0, 1))
        return vertical, horizontal

    def supports(self, call: Call) -> bool:
        op, channels = call.op, call.inputs[0].shape[2]
        vertical, horizontal = self.spans(call)
        return channels == call.output.shape[2] >= LANES and op.dilation == (1, 1) and max(op.stride) <= 2 and vertical.meets and horizontal.meets \
            and self.fits(vertical, horizontal) and self._factors(call) is not None and self.params_fit(call)

    def fits(self, vertical: Span, horizontal: Span) -> bool:
        """Whether this kernel is for windows like these."""
        raise NotImplementedError

    def overlaps(self, call: Call) -> dict[int, int]:
        """In place: whatever a step overwrites must have been copied.

        When the outputs of row r are written, all input rows up to r * stride - padding + taps - 1 have been copied, those above the next
        one to be copied. They are r + 1 rows at least, because padding < taps; so where no row of the output is longer than one of the input,
        the last output of row r, at pixel (r + 1) * output columns - 1, lies in those rows. A group only overwrites its own channels.
        """
        source, output = call.inputs[0].shape, call.output.shape
        return {0: 0} if output[1] <= source[1] and output[0] <= source[0] else {}

    def _weights(self, call: Call) -> np.ndarray:
        """[kernel height, kernel width, channels], without what only ever meets padding."""
        vertical, horizontal = self.spans(call)
        weights: np.ndarray = call.op.weights[vertical.first:vertical.end, horizontal.first:horizontal.end]
        return weights

    def _rows(self, call: Call) -> np.ndarray:
        """Weights [channels, taps], each channel's column by column."""
        weights = self._weights(call)
        return weights.transpose(2, 1, 0).reshape(weights.shape[2], -1)

    def _factors(self, call: Call) -> tuple[np.ndarray, np.ndarray] | None:
        return rescale_factors(call.op.requant, self._rows(call), call.op.bias, call.op.output_zero_point)

    def _rescale(self, call: Call) -> tuple[str, np.ndarray]:
        """Name of the rescaling and its constants, int32 [channels, words], as ec_kernels.h describes them."""
        op, rows = call.op, self._rows(call)
        whole, rectified = (op.activation_min, op.activation_max) == (-128, 127), op.output_zero_point == -128
        short = short_rescaling(op, rows, SHORT_SHIFTS) if whole and rectified and op.weight_bits == 8 else None
        if short is not None:
            less = op.input_zero_point * rows.astype(np.int64).sum(axis=1) << SUM_BITS  # the kernels' sums are without the zero point's share
            constants = short.constants + np.stack([less, np.zeros_like(less)], axis=1)
            return str(SHORT_SHIFTS[short.mode - 1]), constants.astype(np.uint32).view(np.int32)
        return ("clamped" if not whole else "rectified" if rectified else "whole"), general_scales(op, rows, op.bias.astype(np.int64))

    def params(self, call: Call) -> dict[str, int | Reference | Symbol]:
        op, (vertical, horizontal), (name, scales) = call.op, self.spans(call), self._rescale(call)
        return {"weights": Reference("weights"), "scales": Reference("scales"), "rescale": Symbol(f"ec_depthwise_rescale_{name}"),
                "scale_words": scales.shape[1], "weight_bits": op.weight_bits, "stride_height": vertical.stride, "stride_width": horizontal.stride,
                "activation_min": op.activation_min, "activation_max": op.activation_max, "input_zero_point": op.input_zero_point,
                "channels": call.output.shape[2], "input_height": vertical.size, "input_width": horizontal.size,
                "output_height": vertical.outputs, "output_width": horizontal.outputs, "kernel_height": vertical.taps,
                "kernel_width": horizontal.taps, "padding_top": vertical.padding, "padding_left": horizontal.padding}

    def packed(self, call: Call) -> np.ndarray:
        """Weights as the kernel reads them, int8."""
        return np.ascontiguousarray(pack_rows(self._rows(call), call.op.weight_bits)).view(np.int8).ravel()

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        return ConstArray("weights", "int8_t", self.packed(call)), ConstArray("scales", "int32_t", self._rescale(call)[1].ravel())

    def array_bytes(self, call: Call) -> int:
        height, width, channels = self._weights(call).shape
        return int(channels * (packed_row_bytes(height * width, call.op.weight_bits) + POINTER_BYTES * self._rescale(call)[1].shape[1]))

    def _rescale_features(self, call: Call, outputs: float) -> dict[str, float]:
        """Outputs in pairs that are rescaled in a longer way than the shortest."""
        name = self._rescale(call)[0]
        return {f"rescaled_{longer}": outputs * (name == longer) for longer in ("rectified", "whole", "clamped")}


def general_scales(op: Any, rows: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Twice the bias (modulo 2^32), multiplier and offset of each channel, int32 [channels, 3]; the shift is one more than the offset's zeros."""
    factors = rescale_factors(op.requant, rows, op.bias, op.output_zero_point)
    assert factors is not None  # supports() saw to it
    offset = np.int64(1 + 2 * op.output_zero_point) << (factors[1] - 1)
    return np.stack([2 * bias, factors[0], offset], axis=1).astype(np.uint32).view(np.int32)


class Depthwise3x3Emitter(DepthwiseDspEmitter):
    """ec_depthwise_3x3_dsp and ec_depthwise_3x3_stride2_dsp: two output rows a step."""

    parts = ("ec_depthwise_3x3_dsp.h",)

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.name = "3x3" if stride == 1 else f"3x3_stride{stride}"

    def fits(self, vertical: Span, horizontal: Span) -> bool:
        return vertical.taps == horizontal.taps == 3 and vertical.stride == horizontal.stride == self.stride

    def scratch_bytes(self, call: Call) -> int:
        width, pairs = call.output.shape[1], 7 - self.stride
        words = ((width - 1) * self.stride + 3) * LANES * (self.stride + 1)
        return int(4 * (2 * width + words + LANES * (1 + pairs + SCALE_WORDS)))

    def features(self, call: Call) -> dict[str, float]:
        (height, width, channels), op, (_, horizontal) = call.output.shape, call.op, self.spans(call)
        columns = (width - 1) * self.stride + 3
        groups, steps = -(-channels // LANES), -(-height // 2)
        sweeps, fills = channels * steps, groups * (1 + self.stride * steps)
        return {"call": 1, "ring": columns * LANES * (self.stride + 1), "lanes": channels, "unpacked": 9 * channels * (op.weight_bits != 8),
                "groups": groups, "steps": groups * steps, "fills": fills,
                "filled": fills * min(horizontal.size, columns - horizontal.padding), "sweeps": sweeps, "odd_sweeps": sweeps * (width % 2),
                "columns": sweeps * width, **self._rescale_features(call, sweeps * width)}


class DepthwiseWindowEmitter(DepthwiseDspEmitter):
    """ec_depthwise_width<n>_dsp, ec_depthwise_width<n>_stride2_dsp, and ec_depthwise_window_dsp for all other widths."""

    def __init__(self, width: int = 0, stride: int = 0) -> None:
        self.width, self.stride = width, stride
        self.name = "window" if not width else f"width{width}" + ("_stride2" if stride == 2 else "")
        self.parts = ("ec_depthwise_window_run_dsp.c", "ec_depthwise_window_dsp.h", *(() if width else ("ec_depthwise_window_any_dsp.c",)))

    def fits(self, vertical: Span, horizontal: Span) -> bool:
        return not self.width or (horizontal.taps, horizontal.stride) == (self.width, self.stride)

    def _rows(self, call: Call) -> np.ndarray:
        """Weights [channels, taps]: two columns at a time, row by row; an odd last column by itself."""
        weights = self._weights(call)
        columns = [weights[:, first:first + 2].reshape(-1, weights.shape[2]) for first in range(0, weights.shape[1], 2)]
        return np.concatenate(columns).T

    def packed(self, call: Call) -> np.ndarray:
        return np.concatenate([super().packed(call), np.zeros(READ_BEYOND, dtype=np.int8)])

    def array_bytes(self, call: Call) -> int:
        return super().array_bytes(call) + READ_BEYOND

    def scratch_bytes(self, call: Call) -> int:
        vertical, horizontal = self.spans(call)
        positions, pairs = max(horizontal.outputs, 2), pairs_seen(vertical.taps, vertical.stride)
        words = pairs * (horizontal.stride * (positions - 1) + horizontal.taps)
        lane = 1 + 2 * pairs * horizontal.taps + SCALE_WORDS
        unpacked = vertical.taps * horizontal.taps if call.op.weight_bits != 8 else 0
        return int(4 * (2 * positions + LANES * (words + lane) + horizontal.stride * pairs) + round_up(unpacked + READ_BEYOND, 4))

    def _seen(self, vertical: Span) -> list[int]:
        """Pairs of rows with a part of the image that each step sees."""
        first, end = vertical.padding // 2, (vertical.size - 1 + vertical.padding) // 2 + 1
        pairs = pairs_seen(vertical.taps, vertical.stride)
        starts = range(0, -(-vertical.outputs // 2) * vertical.stride, vertical.stride)
        return [max(min(start + pairs, end) - max(start, first), 0) for start in starts]

    def features(self, call: Call) -> dict[str, float]:
        channels, op, (vertical, horizontal) = call.output.shape[2], call.op, self.spans(call)
        seen, groups, pairs = self._seen(vertical), -(-channels // LANES), pairs_seen(vertical.taps, vertical.stride)
        steps, (threes, twos) = len(seen), blocks_of(horizontal.outputs)
        fills = groups * ((vertical.size - 1 + vertical.padding) // 2 + 1 - vertical.padding // 2)
        return {"call": 1, "words": LANES * pairs * horizontal.taps, "lanes": channels, "lane_lines": channels * horizontal.taps,
                "lane_taps": channels * pairs * horizontal.taps,
                "unpacked": vertical.taps * horizontal.taps * channels * (op.weight_bits != 8), "groups": groups, "steps": groups * steps,
                "fills": fills * horizontal.stride, "filled": fills * horizontal.size, "sweeps": channels * steps,
                **_block_features(channels * steps, channels * sum(seen) * horizontal.stride, channels * sum(seen) * horizontal.taps, threes, twos),
                "outputs": channels * steps * horizontal.outputs,
                **self._rescale_features(call, channels * steps * horizontal.outputs)}


class DepthwiseLineEmitter(DepthwiseDspEmitter):
    """ec_depthwise_line_dsp: windows of one column or one row."""

    name = "line"
    parts = ("ec_depthwise_window_any_dsp.c", "ec_depthwise_window_run_dsp.c", "ec_depthwise_window_dsp.h")

    def fits(self, vertical: Span, horizontal: Span) -> bool:
        return min(vertical.taps, horizontal.taps) == 1

    def _axes(self, call: Call) -> tuple[Span, Span]:
        """Along the lines, and across them."""
        vertical, horizontal = self.spans(call)
        upright = horizontal.taps == 1 and (vertical.taps != 1 or vertical.outputs > horizontal.outputs)
        return (vertical, horizontal) if upright else (horizontal, vertical)

    def overlaps(self, call: Call) -> dict[int, int]:
        """A line is copied as a whole before its outputs are written. Lines that are rows come in order, so that they fill no more than the rows
        that are copied; lines that are columns must stay what they are."""
        along, across = self._axes(call)
        upright = along == self.spans(call)[0]
        return super().overlaps(call) if not upright or across.outputs == across.size else {}

    def scratch_bytes(self, call: Call) -> int:
        along, _ = self._axes(call)
        positions, taps = max(-(-along.outputs // 2), 2) + 1, pairs_seen(along.taps, along.stride)
        words, lane = along.stride * (positions - 1) + taps, 1 + 2 * taps + SCALE_WORDS
        return int(4 * (2 * positions + LANES * (words + lane) + 2) + round_up(along.taps if call.op.weight_bits != 8 else 0, 4))

    def features(self, call: Call) -> dict[str, float]:
        channels, op, (along, across) = call.output.shape[2], call.op, self._axes(call)
        groups, taps, pairs, rest = -(-channels // LANES), pairs_seen(along.taps, along.stride), along.outputs // 2, along.outputs % 2
        threes, twos = blocks_of(pairs)
        lines, steps = groups * across.outputs, channels * across.outputs * ((pairs > 0) + rest)
        outputs = channels * across.outputs * (pairs + rest)
        return {"call": 1, "words": LANES * along.size, "lanes": channels, "lane_taps": channels * taps,
                "unpacked": along.taps * channels * (op.weight_bits != 8), "groups": groups, "lines": lines,
                "fills": lines * along.stride, "edges": lines * (along.padding % 2 + (along.size + along.padding) % 2),
                "filled": lines * along.size / 2, "sweeps": steps,
                **_block_features(channels * across.outputs, channels * across.outputs * along.stride, channels * across.outputs * taps, threes,
                                  twos + rest), "outputs": outputs, **self._rescale_features(call, outputs)}


def _block_features(steps: float, runs: float, taps: float, threes: int, twos: int) -> dict[str, float]:
    """Counts over all blocks of three and of two columns, of which each step, run and tap has so many."""
    return {"blocks_3": steps * threes, "runs_3": runs * threes, "taps_3": taps * threes,
            "blocks_2": steps * twos, "runs_2": runs * twos, "taps_2": taps * twos}


class DepthwiseDotEmitter(DepthwiseDspEmitter):
    """ec_depthwise_dot_dsp: one output pixel, int8 weights."""

    name = "dot"
    takes_scratch = False
    narrow = {**ACTIVATION_RANGE, **dict.fromkeys(("channels", "runs", "taps"), "uint16_t")}

    def struct(self, call: Call) -> str:
        return "ec_depthwise_dot_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return "ec_depthwise_dot_dsp.c", "ec_depthwise_dsp.h", "ec_rescale_dsp.h", "ec_dsp.h"

    def supports(self, call: Call) -> bool:
        return call.op.weight_bits == 8 and super().supports(call)

    def fits(self, vertical: Span, horizontal: Span) -> bool:
        return vertical.outputs == horizontal.outputs == 1

    def _groups(self, call: Call) -> list[int]:
        """First channel of each group; the last one begins early."""
        channels = call.output.shape[2]
        return [min(first, channels - LANES) for first in range(0, channels, LANES)]

    def _runs(self, call: Call) -> tuple[int, int]:
        """(runs, taps of each): rows of the kernel, or all of them where it is as wide as the image."""
        vertical, horizontal = self.spans(call)
        whole = horizontal.taps == horizontal.size
        return (1, vertical.taps * horizontal.taps) if whole else (vertical.taps, horizontal.taps)

    def packed(self, call: Call) -> np.ndarray:
        channels, (runs, taps) = call.output.shape[2], self._runs(call)
        even = np.zeros((runs, round_up(taps, 2), channels), dtype=np.int8)
        even[:, :taps] = self._weights(call).reshape(runs, taps, channels)
        groups = np.stack([even[..., first:first + LANES] for first in self._groups(call)])  # [group, run, tap, lane]
        pairs = groups.reshape(len(groups), -1, 2, 2, 2)  # [group, pair of taps, tap, half of the lanes, lane]
        return pairs.transpose(0, 1, 3, 2, 4).ravel()

    def params(self, call: Call) -> dict[str, int | Reference | Symbol]:
        op, (runs, taps), width, channels = call.op, self._runs(call), call.inputs[0].shape[1], call.output.shape[2]
        return {"weights": Reference("weights"), "scales": Reference("scales"), "run_step": (width - taps // 2 * 2) * channels,
                "channels": channels, "runs": runs, "taps": taps, "activation_min": op.activation_min, "activation_max": op.activation_max}

    def _rescale(self, call: Call) -> tuple[str, np.ndarray]:
        op, rows = call.op, self._rows(call)
        return "clamped", general_scales(op, rows, op.bias.astype(np.int64) - op.input_zero_point * rows.astype(np.int64).sum(axis=1))

    def array_bytes(self, call: Call) -> int:
        runs, taps = self._runs(call)
        return int(LANES * len(self._groups(call)) * runs * round_up(taps, 2) + 3 * POINTER_BYTES * call.output.shape[2])

    def features(self, call: Call) -> dict[str, float]:
        groups, (runs, taps) = len(self._groups(call)), self._runs(call)
        return {"call": 1, "groups": groups, "runs": groups * runs, "pairs": groups * runs * (taps // 2), "odd": groups * runs * (taps % 2),
                "outputs": call.output.shape[2]}
