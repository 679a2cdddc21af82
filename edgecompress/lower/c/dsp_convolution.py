"""Emitters of convolution and dense layers for cores with the DSP extension (Cortex-M4, M7, M33)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.lower.c.dsp_staircase import short_rescaling
from edgecompress.lower.c.dsp_weights import CONSTANT_WORDS, pair_streams, quad_streams, rescale_constants, rescale_factors, sums_fit
from edgecompress.lower.c.emitter import Call, ConstArray, Emitter, Reference

TILE = 3  # pixels of ec_conv_tile
RESCALE_SHIFTS = {8: (11, 15), 4: (8, 12), 2: (8, 12)}  # weight bits -> shifts of EC_RESCALE_SHORT and EC_RESCALE_SHORTER, ec_rescale_shift in ec_rescale_dsp.h
CHAIN_BLOCKS = 16  # EC_CHAIN_BLOCKS in ec_conv_tile_dsp.h


def rescale_form(op: Any, rows: np.ndarray) -> tuple[int, int]:
    """(EC_RESCALE_* of ec_rescale_dsp.h, words of constants a channel) of a layer with weights `rows` [channels, positions]."""
    short = short_rescaling(op, rows, RESCALE_SHIFTS[op.weight_bits])
    return (0, CONSTANT_WORDS) if short is None else (short.mode, 2)


def constants_of(op: Any, rows: np.ndarray) -> np.ndarray:
    """Constants of the form, int32 [channels, words]."""
    short = short_rescaling(op, rows, RESCALE_SHIFTS[op.weight_bits])
    return rescale_constants(op, rows) if short is None else short.constants


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution lie, in bytes; the fields that ec_conv2d_dsp_params has too mean the same."""

    height: int
    width: int  # of the output, as the kernel walks over it
    kernel_height: int
    run_words: int
    run_step: int
    column_step: int
    row_step: int
    stride_height: int
    buffer_rows: int
    pitch: int
    left_bytes: int
    rgb: bool  # three runs of 9 bytes, whose last bytes share a word

    @property
    def blocks(self) -> int:
        """Words of 4 positions in a window."""
        return self.kernel_height * self.run_words + self.rgb

    @property
    def pixels(self) -> int:
        """Of the output."""
        return self.height * self.width


def windows(op: Conv2D, source: tuple[int, ...], output: tuple[int, ...]) -> Windows:
    """Windows are read from the input itself where none leaves it and no word reaches beyond it."""
    (height, width, channels), (kernel_height, kernel_width), (stride_height, stride_width) = source, op.kernel, op.stride
    run_bytes, row_bytes = kernel_width * channels, width * channels
    rgb = kernel_height == 3 and run_bytes == 9
    run_words = 2 if rgb else -(-run_bytes // 4)
    reach = (kernel_height - 1) * op.dilation[0] + 1
    inside = not (op.padding[0] or op.padding[2]) and (output[0] - 1) * stride_height + reach <= height \
        and (output[1] - 1) * stride_width + kernel_width <= width
    if inside and run_bytes >= 4 * run_words:
        flat = op.kernel == (1, 1) and op.stride == (1, 1)
        return Windows(*((1, output[0] * output[1]) if flat else output[:2]), kernel_height, run_words, op.dilation[0] * row_bytes,
                       stride_width * channels, stride_height * row_bytes, stride_height, 0, 0, 0, rgb)
    left = op.padding[2] * channels
    pitch = -(-max(left + row_bytes, (output[1] - 1) * stride_width * channels + max(4 * run_words, run_bytes)) // 4) * 4
    spanned = 0 if output[1] % TILE == 0 else 2 if output[1] == 1 else 1  # rows that a tile reaches beyond its first pixel's
    return Windows(output[0], output[1], kernel_height, run_words, op.dilation[0] * pitch, stride_width * channels, stride_height * pitch,
                   stride_height, reach + spanned * stride_height, pitch, left, rgb)


class Conv2DDspEmitter(Emitter):
    """ec_conv2d_s8_dsp, ec_conv2d_s4_dsp."""

    extensions = frozenset({"dsp"})
    takes_scratch = True

    def kernel(self, call: Call) -> str:
        return f"ec_conv2d_{'rgb_' if self._windows(call).rgb else ''}s{call.op.weight_bits}_dsp"

    def struct(self, call: Call) -> str:
        return "ec_conv2d_dsp_params"

    def files(self, call: Call) -> tuple[str, ...]:
        own = ("ec_conv_gather_rgb_dsp.c",) if self._windows(call).rgb else ()
        return (f"{self.kernel(call)}.c", *own, f"ec_conv_tile_s{call.op.weight_bits}_dsp.c", "ec_conv2d_dsp.c", "ec_conv2d_dsp.h",
                "ec_conv_gather_dsp.c", "ec_conv_gather_dsp.h", "ec_conv_gather_asm_dsp.h", "ec_conv_tile_dsp.h", "ec_conv_tile_asm_dsp.h",
                "ec_clamp_dsp.h", "ec_rescale_dsp.h", "ec_dsp.h")

    def supports(self, call: Call) -> bool:
        op, rows = call.op, self._rows(call)
        return op.groups == 1 and (op.dilation[1] == 1 or op.kernel[1] == 1) and sums_fit(rows, op.weight_bits) \
            and rescale_factors(op.requant, rows, op.bias, op.output_zero_point) is not None

    def _rows(self, call: Call) -> np.ndarray:
        rows: np.ndarray = call.op.weights.reshape(call.op.weights.shape[0], -1)
        return rows

    def _windows(self, call: Call) -> Windows:
        return windows(call.op, call.inputs[0].shape, call.output.shape)

    def overlaps(self, call: Call) -> dict[int, int]:
        """The output may stay behind what is still to be read: of the input's windows, or of its rows that are not in the buffer yet."""
        shape, (height, width, channels), out_channels = self._windows(call), call.inputs[0].shape, call.output.shape[2]
        first = np.arange(0, shape.pixels // TILE * TILE, TILE)  # first pixels of tiles; the rest goes one by one
        ends = np.append(first + TILE, np.arange(shape.pixels // TILE * TILE + 1, shape.pixels + 1))[:-1]  # pixels written, but for the last step
        if shape.buffer_rows:
            starts = np.append(first, np.arange(shape.pixels // TILE * TILE, shape.pixels))[:-1]
            loaded = starts // shape.width * shape.stride_height + shape.buffer_rows - call.op.padding[0]
            safe = np.where(loaded >= height, np.iinfo(np.int64).max // 2, np.maximum(loaded, 0) * width * channels)
        else:
            safe = ends // shape.width * shape.row_step + ends % shape.width * shape.column_step
        return {0: max(0, int((ends * out_channels - safe).max(initial=0)))}

    def params(self, call: Call) -> dict[str, int | Reference]:
        op, shape, (height, width, channels) = call.op, self._windows(call), call.inputs[0].shape
        return {"weights": Reference("weights"), "weight_words": self._weight_words(call), "blocks": shape.blocks,
                "form": rescale_form(op, self._rows(call))[0], "activation_min": op.activation_min,
                "activation_max": op.activation_max, "input_height": height, "input_row_bytes": width * channels,
                "input_zero_point": op.input_zero_point, "output_height": shape.height, "output_width": shape.width,
                "output_channels": call.output.shape[2], "kernel_height": shape.kernel_height, "stride_height": shape.stride_height,
                "padding_top": op.padding[0], "run_words": shape.run_words, "run_step": shape.run_step, "column_step": shape.column_step,
                "row_step": shape.row_step, "buffer_rows": shape.buffer_rows, "pitch": shape.pitch, "left_bytes": shape.left_bytes}

    def _pairs(self, call: Call) -> int:
        return (call.output.shape[2] + 1) // 2

    def _weight_words(self, call: Call) -> int:
        return self._pairs(call) * (-(-self._windows(call).blocks * call.op.weight_bits // 4) + 2 * rescale_form(call.op, self._rows(call))[1])

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op, shape = call.op, self._windows(call)
        runs = op.weights.reshape(op.weights.shape[0], shape.kernel_height, -1)
        if shape.rgb:
            whole = np.concatenate([runs[:, :, :8].reshape(len(runs), -1), runs[:, :, 8], np.zeros((len(runs), 1), np.int8)], axis=1)
        else:
            whole = np.pad(runs, ((0, 0), (0, 0), (0, 4 * shape.run_words - runs.shape[2]))).reshape(len(runs), -1)
        if op.weight_bits == 2:  # words of two blocks
            whole = np.pad(whole, ((0, 0), (0, -whole.shape[1] % 8)))
        return (ConstArray("weights", "int32_t", pair_streams(whole, op.weight_bits, constants_of(op, self._rows(call)))),)

    def array_bytes(self, call: Call) -> int:
        return 4 * self._weight_words(call)

    def scratch_bytes(self, call: Call) -> int:
        shape, channels = self._windows(call), call.output.shape[2]
        filler = shape.blocks % 2 if call.op.weight_bits == 2 else 0
        return 24 * (shape.blocks + filler) + shape.buffer_rows * shape.pitch + TILE * (channels + 1) * (channels % 2)

    def features(self, call: Call) -> dict[str, float]:
        op, shape, pairs = call.op, self._windows(call), self._pairs(call)
        tiles, singles = divmod(shape.pixels, TILE)
        narrow = (op.activation_min, op.activation_max) != (-128, 127)
        rest = shape.blocks - 1
        result: dict[str, float] = {
            "call": 1, "tiles": tiles, "tile_pairs": tiles * pairs, "tile_blocks": tiles * pairs * rest,
            "tile_passes": tiles * pairs * -(-rest // CHAIN_BLOCKS), "tile_general": tiles * pairs * (rescale_form(op, self._rows(call))[0] == 0),
            "gather_runs": tiles * shape.kernel_height, "gather_twos": tiles * shape.kernel_height * (shape.run_words // 2),
            "gather_ones": tiles * shape.kernel_height * (shape.run_words % 2), "singles": singles, "single_pairs": singles * pairs,
            "single_twos": singles * pairs * (shape.blocks // 2), "single_ones": singles * pairs * (shape.blocks % 2),
            "single_runs": singles * shape.kernel_height, "single_words": singles * shape.blocks,
            "rows": shape.height, "clamped": call.output.size * narrow, "odd_channels": call.output.size * (call.output.shape[2] % 2)}
        return result | self._buffer_features(call, shape)

    def _buffer_features(self, call: Call, shape: Windows) -> dict[str, float]:
        if not shape.buffer_rows:
            return {}
        (height, width, channels), moves = call.inputs[0].shape, shape.height - 1
        kept = max(shape.buffer_rows - shape.stride_height, 0)
        loaded = shape.buffer_rows + moves * min(shape.buffer_rows, shape.stride_height)
        return {"buffer_bytes": shape.buffer_rows * shape.pitch, "moves": moves, "moved_words": moves * kept * shape.pitch // 4,
                "loaded_rows": loaded, "loaded_sixteens": loaded * (width * channels // 16), "loaded_bytes": loaded * (width * channels % 16)}


DENSE_UNIT, DENSE_CHAIN = 8, 8  # positions of a unit; EC_DENSE_CHAIN in ec_dense_tile_dsp.h


class DenseDspEmitter(Emitter):
    """ec_dense_s8_dsp, ec_dense_s4_dsp; also a convolution whose only window is the whole input."""

    extensions = frozenset({"dsp"})
    takes_scratch = True

    def kernel(self, call: Call) -> str:
        return f"ec_dense_s{call.op.weight_bits}_dsp"

    def struct(self, call: Call) -> str:
        return "ec_dense_dsp_params"

    def files(self, call: Call) -> tuple[str, ...]:
        bits = call.op.weight_bits
        return (f"ec_dense_s{bits}_dsp.c", f"ec_dense_tile_s{bits}_dsp.c", f"ec_conv_tile_s{bits}_dsp.c", "ec_dense_dsp.h", "ec_dense_tile_dsp.h",
                "ec_dense_tile_asm_dsp.h", "ec_conv_tile_dsp.h", "ec_conv_tile_asm_dsp.h", "ec_conv_gather_dsp.h", "ec_clamp_dsp.h",
                "ec_rescale_dsp.h", "ec_dsp.h")

    def supports(self, call: Call) -> bool:
        op, rows = call.op, self._rows(call)
        if op.kind == "conv2d" and (op.groups != 1 or any(op.padding) or rows.shape[1] != call.inputs[0].size):
            return False
        return sums_fit(rows, op.weight_bits) \
            and rescale_factors(op.requant, rows, op.bias, op.output_zero_point) is not None

    def _rows(self, call: Call) -> np.ndarray:
        rows: np.ndarray = call.op.weights.reshape(call.op.weights.shape[0], -1)
        return rows

    def _sizes(self, call: Call) -> tuple[int, int, int]:
        """(units of 8 positions, quads of channels, 1 if a pair remains)."""
        channels, length = self._rows(call).shape
        return -(-length // DENSE_UNIT), (channels + 1) // 4, int(channels % 4 in (1, 2))

    def overlaps(self, call: Call) -> dict[int, int]:
        """All inputs are in scratch before the first output is written."""
        return {0: 0}

    def params(self, call: Call) -> dict[str, int | Reference]:
        op, (channels, length) = call.op, self._rows(call).shape
        return {"weights": Reference("weights"), "form": rescale_form(op, self._rows(call))[0], "input_size": length, "output_size": channels, "activation_min": op.activation_min,
                "activation_max": op.activation_max}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op, rows = call.op, self._rows(call)
        whole = np.pad(rows, ((0, 0), (0, -rows.shape[1] % DENSE_UNIT)))
        return (ConstArray("weights", "int32_t", quad_streams(whole, op.weight_bits, constants_of(op, rows))),)

    def array_bytes(self, call: Call) -> int:
        units, quads, pairs = self._sizes(call)
        return (2 * quads + pairs) * (2 * units * call.op.weight_bits + 8 * rescale_form(call.op, self._rows(call))[1])

    def scratch_bytes(self, call: Call) -> int:
        return 16 * self._sizes(call)[0]

    def features(self, call: Call) -> dict[str, float]:
        (units, quads, pairs), channels, op = self._sizes(call), call.output.size, call.op
        narrow = (op.activation_min, op.activation_max) != (-128, 127)
        return {"call": 1, "expanded_units": units, "expanded_tail": call.inputs[0].size % DENSE_UNIT, "quads": quads, "quad_units": quads * units,
                "quad_passes": quads * -(-units // DENSE_CHAIN), "quads_general": quads * (rescale_form(op, self._rows(call))[0] == 0),
                "pairs": pairs, "pair_units": pairs * units, "copied": channels % 4,
                "clamped": channels * narrow}
