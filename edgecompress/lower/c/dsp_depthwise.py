"""Emitters of depthwise convolutions for cores with the DSP extension (Cortex-M4, M7, M33)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgecompress.ir.packing import pack_rows, packed_row_bytes
from edgecompress.ir.requant import Requant
from edgecompress.lower.c.emitter import CHANNEL_BYTES, Call, ConstArray, Emitter, Reference

LANES = 4  # EC_DEPTHWISE_LANES in ec_depthwise_dsp.h
RECTIFIED, WHOLE, CLAMPED = 0, 1, 2  # EC_DEPTHWISE_* in ec_kernels.h
MODES = ("rectified", "whole", "clamped")
LARGEST_SHIFT = 23
FACTOR_BYTES = 16  # ec_depthwise_scale


def clamp_mode(op: Any) -> int:
    """How short a way a rescaling may take: index into MODES."""
    if (op.activation_min, op.activation_max) != (-128, 127):
        return CLAMPED
    return RECTIFIED if op.output_zero_point == -128 else WHOLE


def largest_sums(weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Bound of |accumulator| for weights [channels, taps]; a difference to the zero point is at most 255. int64 [channels]."""
    bound: np.ndarray = np.abs(bias.astype(np.int64)) + 255 * np.abs(weights.astype(np.int64)).sum(axis=1)
    return bound


def short_factors(requant: Requant, sums: np.ndarray, zero_point: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(multipliers, right shifts) for the form `smmlar(2 * sum, multiplier, offset) >> shift`, one a channel, or None where it does not hold.

    The form needs shifts from 1 to 23 and sums that leave room for the offset. A larger shift makes 0 of every sum below half its power of
    two; so does the multiplier 0.
    """
    repeat = len(sums) if len(requant.multiplier) == 1 else 1
    multiplier, shift = np.array(requant.multiplier * repeat, dtype=np.int64), -np.array(requant.shift * repeat, dtype=np.int64)
    nothing = (multiplier == 0) | ((shift > LARGEST_SHIFT) & (sums < np.int64(1) << np.maximum(shift - 1, 0)))
    multiplier, shift = np.where(nothing, 0, multiplier), np.where(nothing, 1, shift)
    if shift.min() < 1 or shift.max() > LARGEST_SHIFT:
        return None
    room = 2**31 - 1 - (abs(1 + 2 * zero_point) << (shift - 1))
    return None if (sums >= np.minimum(room, 2**30)).any() else (multiplier, shift)


class DepthwiseDspEmitter(Emitter):
    """What the kernels share: one input channel an output channel, constants by channel, the image in groups of four channels."""

    extensions = frozenset({"dsp"})
    takes_scratch = True
    same_start = True
    name = ""

    def kernel(self, call: Call) -> str:
        return f"ec_depthwise_{self.name}_dsp"

    def struct(self, call: Call) -> str:
        return "ec_depthwise_dsp_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"{self.kernel(call)}.c", "ec_depthwise_dsp.c", "ec_depthwise_dsp.h", "ec_dsp.h")

    def supports(self, call: Call) -> bool:
        op, channels = call.op, call.inputs[0].shape[2]
        return channels == call.output.shape[2] >= LANES and op.dilation == (1, 1) and self._factors(call) is not None

    def overlaps(self, call: Call) -> dict[int, int]:
        """In place: the group's pixels that a step overwrites must all have been copied.

        Before the step that ends with output row r, the input rows up to r * stride - top + kernel - 1 are copied, so the next copy begins at
        row r * stride - top + kernel or later. Pixel (r, columns - 1) of the output lies at index (r + 1) * output columns - 1. It lies
        before that row's first index for every r when output columns <= input columns and r + 1 <= r * stride - top + kernel, that is, when
        top < kernel.
        """
        op, source, output = call.op, call.inputs[0].shape, call.output.shape
        return {0: 0} if output[1] <= source[1] and output[0] <= source[0] and op.padding[0] < op.kernel[0] else {}

    def _rows(self, call: Call) -> np.ndarray:
        """Weights [channels, taps], each channel's column by column."""
        rows: np.ndarray = call.op.weights.transpose(2, 1, 0).reshape(call.op.weights.shape[2], -1)
        return rows

    def _factors(self, call: Call) -> tuple[np.ndarray, np.ndarray] | None:
        return short_factors(call.op.requant, largest_sums(self._rows(call), call.op.bias), call.op.output_zero_point)

    def params(self, call: Call) -> dict[str, int | Reference]:
        op, (height, width, channels) = call.op, call.inputs[0].shape
        return {"weights": Reference("weights"), "bias": Reference("bias"), "multiplier": Reference("multiplier"), "shift": Reference("shift"),
                "weight_bits": op.weight_bits, "mode": clamp_mode(op), "activation_min": op.activation_min, "activation_max": op.activation_max,
                "input_zero_point": op.input_zero_point, "output_zero_point": op.output_zero_point, "channels": channels,
                "input_height": height, "input_width": width, "output_height": call.output.shape[0], "output_width": call.output.shape[1],
                "kernel_height": op.kernel[0], "kernel_width": op.kernel[1], "padding_top": op.padding[0], "padding_left": op.padding[2]}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op, rows, factors = call.op, self._rows(call), self._factors(call)
        assert factors is not None  # supports() saw to it
        doubled = 2 * op.bias.astype(np.int64)  # fits: supports() saw to that as well
        packed = np.ascontiguousarray(pack_rows(rows, op.weight_bits)).view(np.int8).ravel()
        return (ConstArray("weights", "int8_t", packed), ConstArray("bias", "int32_t", doubled.astype(np.int32)),
                ConstArray("multiplier", "int32_t", factors[0].astype(np.int32)), ConstArray("shift", "int8_t", factors[1].astype(np.int8)))

    def array_bytes(self, call: Call) -> int:
        height, width, channels = call.op.weights.shape
        return int(channels * (packed_row_bytes(height * width, call.op.weight_bits) + CHANNEL_BYTES))


class Depthwise3x3Emitter(DepthwiseDspEmitter):
    """ec_depthwise_3x3_dsp and ec_depthwise_3x3_stride2_dsp: two output rows a step."""

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.name = "3x3" if stride == 1 else f"3x3_stride{stride}"

    def supports(self, call: Call) -> bool:
        return call.op.kernel == (3, 3) and call.op.stride == (self.stride, self.stride) and super().supports(call)

    def scratch_bytes(self, call: Call) -> int:
        words, pairs = self._columns(call) * LANES * (self.stride + 1), 7 - self.stride
        return 4 * (2 * call.output.shape[1] + words + LANES * (1 + pairs)) + LANES * FACTOR_BYTES

    def _columns(self, call: Call) -> int:
        """Columns that the windows look at, borders included."""
        return int((call.output.shape[1] - 1) * self.stride + 3)

    def features(self, call: Call) -> dict[str, float]:
        (height, width, channels), op, columns = call.output.shape, call.op, self._columns(call)
        groups, steps = math.ceil(channels / LANES), math.ceil(height / 2)
        sweeps, fills = channels * steps, groups * (1 + self.stride * steps)
        seen = min(call.inputs[0].shape[1], columns - op.padding[2])
        return {"call": 1, "ring": columns * LANES * (self.stride + 1), 
                "lanes": channels, "unpacked": 9 * channels * (op.weight_bits != 8), "groups": groups, "steps": groups * steps,
                "fills": fills, "filled": fills * seen, "sweeps": sweeps, "odd_sweeps": sweeps * (width % 2), "columns": sweeps * width,
                **{f"columns_{mode}": sweeps * width * (index == clamp_mode(op)) for index, mode in enumerate(MODES) if index}}
