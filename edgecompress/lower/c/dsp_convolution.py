"""Emitters of convolution and dense layers for cores with the DSP extension (Cortex-M4, M7, M33)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecompress.lower.c.dsp_staircase import short_rescaling
from edgecompress.lower.c.dsp_weights import (
    ACTIVATION_RANGE,
    CLAMP_FILES,
    GENERAL_WORDS,
    general_constants,
    pair_streams,
    quad_streams,
    rescale_factors,
    sums_fit,
)
from edgecompress.lower.c.dsp_windows import TILE, Walk, Windows, walk, windows
from edgecompress.lower.c.emitter import Call, ConstArray, Emitter, Reference

RESCALE_SHIFTS = {8: (11, 15), 4: (8, 12), 2: (8, 12)}  # weight bits -> ec_rescale_shift of the short forms, ec_rescale_dsp.h
CHAIN_BLOCKS, CHAIN_WORDS_S2 = 8, 4  # EC_CHAIN_BLOCKS and EC_CHAIN_WORDS_S2 in ec_conv_tile_dsp.h
RESCALING = {"form": "uint8_t", "rounding": "int16_t", **ACTIVATION_RANGE}  # of those with weights, but for depthwise ones


def rescale_form(op: Any, rows: np.ndarray) -> tuple[int, int]:
    """(EC_RESCALE_* of ec_rescale_dsp.h, words of constants a channel) of a layer with weights `rows` [channels, positions]."""
    short = short_rescaling(op, rows, RESCALE_SHIFTS[op.weight_bits])
    return (0, GENERAL_WORDS) if short is None else (short.mode, 2)


def constants_of(op: Any, rows: np.ndarray) -> np.ndarray:
    """Constants of the form, int32 [channels, words]."""
    short = short_rescaling(op, rows, RESCALE_SHIFTS[op.weight_bits])
    return general_constants(op, rows) if short is None else short.constants


class Conv2DDspEmitter(Emitter):
    """ec_conv2d_s8_dsp, _s4_ and _s2_, and with _rgb_ those for 3 runs of 9 bytes: one group, no horizontal dilation."""

    extensions = frozenset({"dsp"})
    takes_scratch = True
    narrow = {**RESCALING, "input_zero_point": "int8_t",
              **dict.fromkeys(("blocks", "input_height", "output_height", "output_channels", "kernel_height", "stride_height", "padding_top", "run_words",
                               "buffer_rows"), "uint16_t")}

    def kernel(self, call: Call) -> str:
        return f"ec_conv2d_{'rgb_' if self._windows(call).rgb else ''}s{call.op.weight_bits}_dsp"

    def struct(self, call: Call) -> str:
        return "ec_conv2d_dsp_params"

    def files(self, call: Call) -> tuple[str, ...]:
        own = ("ec_conv_gather_rgb_dsp.c",) if self._windows(call).rgb else ()
        return (f"{self.kernel(call)}.c", *own, f"ec_conv_tile_s{call.op.weight_bits}_dsp.c", "ec_conv2d_dsp.c", "ec_conv2d_dsp.h",
                "ec_conv_gather_dsp.c", "ec_conv_gather_dsp.h", "ec_conv_gather_asm_dsp.h", "ec_conv_tile_dsp.h", "ec_conv_tile_asm_dsp.h",
                *CLAMP_FILES, "ec_rescale_dsp.h", "ec_dsp.h")

    def supports(self, call: Call) -> bool:
        op, rows = call.op, self._rows(call)
        return op.groups == 1 and (op.dilation[1] == 1 or op.kernel[1] == 1) and sums_fit(rows, op.weight_bits) \
            and rescale_factors(op.requant, rows, op.bias, op.output_zero_point) is not None and self.params_fit(call)

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
        return {"weights": Reference("weights"), "weight_words": self._weight_words(call), "input_row_bytes": width * channels,
                "output_width": shape.width, "run_step": shape.run_step, "column_step": shape.column_step, "row_step": shape.row_step,
                "pitch": shape.pitch, "left_bytes": shape.left_bytes, "form": rescale_form(op, self._rows(call))[0],
                "activation_min": op.activation_min, "activation_max": op.activation_max, "input_zero_point": op.input_zero_point,
                "rounding": 1 + 2 * op.output_zero_point, "blocks": shape.blocks, "input_height": height, "output_height": shape.height,
                "output_channels": call.output.shape[2], "kernel_height": shape.kernel_height, "stride_height": shape.stride_height,
                "padding_top": op.padding[0], "run_words": shape.run_words, "buffer_rows": shape.buffer_rows}

    def _pairs(self, call: Call) -> int:
        return (call.output.shape[2] + 1) // 2

    def _weight_words(self, call: Call) -> int:
        weight_bits: int = call.op.weight_bits
        return self._pairs(call) * (-(-self._windows(call).blocks * weight_bits // 4) + 2 * rescale_form(call.op, self._rows(call))[1])

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
        op, shape, pairs, bits = call.op, self._windows(call), self._pairs(call), call.op.weight_bits
        tiles, singles = divmod(shape.pixels, TILE)
        narrow, odd = (op.activation_min, op.activation_max) != (-128, 127), call.output.shape[2] % 2
        walked = walk(shape, bool(odd))
        words, general = -(-shape.blocks // 2), rescale_form(op, self._rows(call))[0] == 0
        passes = -(-words // CHAIN_WORDS_S2) if bits == 2 else -(-(shape.blocks - 1) // CHAIN_BLOCKS)
        return {
            "call": 1, "runs": walked.runs, "tiles": tiles, "tile_pairs": tiles * pairs,
            "tile_blocks": tiles * pairs * (words if bits == 2 else shape.blocks), "tile_passes": tiles * pairs * passes,
            "tile_looped": tiles * pairs * (passes > 1), "tile_general": tiles * pairs * general,
            "gather_runs": tiles * shape.kernel_height, "gather_twos": tiles * shape.kernel_height * (shape.run_words // 2),
            "gather_ones": tiles * shape.kernel_height * (shape.run_words % 2), "input_sums": tiles * words * (bits == 2),
            "singles": singles, "single_pairs": singles * pairs, "single_general": singles * pairs * general,
            "single_twos": singles * pairs * (words if bits == 2 else shape.blocks // 2),
            "single_ones": singles * pairs * (0 if bits == 2 else shape.blocks % 2), "single_runs": singles * shape.kernel_height,
            "single_words": singles * shape.blocks, "rows": shape.height, "clamped": call.output.size * narrow,
            "odd_pixels": shape.pixels * odd, "odd_outputs": call.output.size * odd, **self._buffer_features(call, shape, walked)}

    def _buffer_features(self, call: Call, shape: Windows, walked: Walk) -> dict[str, float]:
        if not shape.buffer_rows:
            return {}
        row_bytes = call.inputs[0].shape[1] * call.inputs[0].shape[2]
        return {"buffer_bytes": shape.buffer_rows * shape.pitch, "moves": walked.moves, "kept_words": walked.kept_rows * shape.pitch // 4,
                "loaded_rows": walked.loaded_rows, "loaded_sixteens": walked.loaded_rows * (row_bytes // 16),
                "loaded_bytes": walked.loaded_rows * (row_bytes % 16)}


DENSE_UNIT, DENSE_CHAIN = 8, 4  # positions of a unit; EC_DENSE_CHAIN in ec_dense_tile_dsp.h
SHARED_FORM, SHARED_WORDS = 3, 1  # EC_RESCALE_SHARED of ec_rescale_dsp.h


class DenseDspEmitter(Emitter):
    """ec_dense_s8_dsp, _s4_ and _s2_; also a convolution whose only window is the whole input."""

    extensions = frozenset({"dsp"})
    takes_scratch = True
    narrow = {**RESCALING, "shift": "uint8_t"}

    def kernel(self, call: Call) -> str:
        return f"ec_dense_s{call.op.weight_bits}_dsp"

    def struct(self, call: Call) -> str:
        return "ec_dense_dsp_params"

    def files(self, call: Call) -> tuple[str, ...]:
        bits = call.op.weight_bits
        return (f"ec_dense_s{bits}_dsp.c", f"ec_dense_tile_s{bits}_dsp.c", f"ec_conv_tile_s{bits}_dsp.c", "ec_dense_dsp.h", "ec_dense_tile_dsp.h",
                "ec_dense_tile_asm_dsp.h", "ec_conv_tile_dsp.h", "ec_conv_tile_asm_dsp.h", "ec_conv_gather_dsp.h", *CLAMP_FILES,
                "ec_rescale_dsp.h", "ec_dsp.h")

    def supports(self, call: Call) -> bool:
        op, rows = call.op, self._rows(call)
        if op.kind == "conv2d" and (op.groups != 1 or any(op.padding) or rows.shape[1] != call.inputs[0].size):
            return False
        return sums_fit(rows, op.weight_bits) and rescale_factors(op.requant, rows, op.bias, op.output_zero_point) is not None

    def _rows(self, call: Call) -> np.ndarray:
        rows: np.ndarray = call.op.weights.reshape(call.op.weights.shape[0], -1)
        return rows

    def _sizes(self, call: Call) -> tuple[int, int, int]:
        """(units of 8 positions, quads of channels, 1 if a pair remains)."""
        channels, length = self._rows(call).shape
        return -(-length // DENSE_UNIT), (channels + 1) // 4, int(channels % 4 in (1, 2))

    def _shared(self, call: Call) -> tuple[int, int] | None:
        """(multiplier, shift less 1) where all channels have the same, as models with one factor a layer do."""
        factors = rescale_factors(call.op.requant, self._rows(call), call.op.bias, call.op.output_zero_point)
        assert factors is not None  # supports() saw to it
        same = all((values == values[0]).all() for values in factors)
        return (int(factors[0][0]), int(factors[1][0]) - 1) if same else None

    def _forms(self, call: Call) -> tuple[int, int, int]:
        """(form, words of constants a channel of a quad, words a channel of a pair)."""
        if self._shared(call) is not None:
            return SHARED_FORM, SHARED_WORDS, GENERAL_WORDS
        form, words = rescale_form(call.op, self._rows(call))
        return form, words, words

    def overlaps(self, call: Call) -> dict[int, int]:
        """All inputs are in scratch before the first output is written."""
        return {0: 0}

    def params(self, call: Call) -> dict[str, int | Reference]:
        op, (channels, length), (multiplier, shift) = call.op, self._rows(call).shape, self._shared(call) or (0, 0)
        return {"weights": Reference("weights"), "multiplier": multiplier, "input_size": length, "output_size": channels, "shift": shift,
                "form": self._forms(call)[0], "rounding": 1 + 2 * op.output_zero_point, "activation_min": op.activation_min,
                "activation_max": op.activation_max}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op, rows = call.op, self._rows(call)
        whole = np.pad(rows, ((0, 0), (0, -rows.shape[1] % DENSE_UNIT)))
        if self._shared(call) is None:
            constants = pair_constants = constants_of(op, rows)
        else:
            pair_constants = general_constants(op, rows)
            constants = pair_constants[:, :SHARED_WORDS]
        return (ConstArray("weights", "int32_t", quad_streams(whole, op.weight_bits, constants, pair_constants)),)

    def array_bytes(self, call: Call) -> int:
        (units, quads, pairs), (_, words, pair_words) = self._sizes(call), self._forms(call)
        weight_words = units * int(call.op.weight_bits)  # of a quad
        return 4 * (quads * (weight_words + 4 * words) + pairs * (weight_words // 2 + 2 * pair_words))

    def scratch_bytes(self, call: Call) -> int:
        return 16 * self._sizes(call)[0]

    def scratch_overlaps(self, call: Call) -> dict[int, int]:
        """Halfwords are written from the first to the last: what is written stays behind what is not read yet from that distance on."""
        return {0: DENSE_UNIT * (call.inputs[0].size // DENSE_UNIT)}

    def features(self, call: Call) -> dict[str, float]:
        (units, quads, pairs), channels, op, (form, _, pair_words) = self._sizes(call), call.output.size, call.op, self._forms(call)
        narrow = (op.activation_min, op.activation_max) != (-128, 127)
        return {"call": 1, "expanded_units": call.inputs[0].size // DENSE_UNIT, "expanded_tail": call.inputs[0].size % DENSE_UNIT, "units": units,
                "quads": quads, "quad_units": quads * units, "quad_passes": quads * -(-units // DENSE_CHAIN), "quads_general": quads * (form == 0),
                "quads_shared": quads * (form == SHARED_FORM), "pairs": pairs, "pair_units": pairs * units,
                "pairs_general": pairs * (pair_words == GENERAL_WORDS), "copied": channels % 4, "clamped": channels * narrow}
