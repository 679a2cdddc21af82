"""Emitter of 3x3 convolutions by Winograd's F(2, 3) for cores with the DSP extension: faster than dsp_convolution.py, for more scratch memory."""

from __future__ import annotations

import numpy as np

from edgecompress.lower.c.dsp_convolution import RESCALING, constants_of, rescale_form
from edgecompress.lower.c.dsp_weights import CLAMP_FILES, paired, rescale_factors
from edgecompress.lower.c.emitter import Call, ConstArray, Emitter, Reference

BLOCK_PIXELS, LEAST_PIXELS = 64, 24  # of a block of rows, which are the uses of a transformed weight: wanted, and where it begins to pay
SCRATCH_LIMIT = 16 * 1024  # bytes; a wider image would take more than the time is worth
CHAIN_STEPS = 8  # EC_WINOGRAD_CHAIN in ec_winograd_tile_dsp.h


class WinogradDspEmitter(Emitter):
    """ec_conv2d_winograd_s8_dsp."""

    extensions = frozenset({"dsp"})
    takes_scratch = True
    narrow = {**RESCALING, "input_zero_point": "int8_t",
              **dict.fromkeys(("input_height", "input_width", "input_channels", "output_height", "output_width", "output_channels", "padding_top",
                               "padding_left", "block_rows"), "uint16_t")}

    def kernel(self, call: Call) -> str:
        return "ec_conv2d_winograd_s8_dsp"

    def struct(self, call: Call) -> str:
        return "ec_conv2d_winograd_dsp_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return ("ec_conv2d_winograd_s8_dsp.c", "ec_winograd_tile_dsp.c", "ec_winograd_tile_dsp.h", "ec_conv_tile_asm_dsp.h", *CLAMP_FILES,
                "ec_rescale_dsp.h", "ec_dsp.h")

    def supports(self, call: Call) -> bool:
        op, channels, (_, width, out_channels) = call.op, call.inputs[0].shape[2], call.output.shape
        fits = op.kernel == (3, 3) and op.stride == (1, 1) and op.dilation == (1, 1) and op.groups == 1 and op.weight_bits == 8 \
            and channels % 8 == 0 and out_channels % 2 == 0 and width % 8 == 0 and op.padding[2] <= 1 and op.padding[3] <= 1
        return fits and self.scratch_bytes(call) <= SCRATCH_LIMIT and self._block_rows(call) * width >= LEAST_PIXELS \
            and rescale_factors(op.requant, self._rows(call), op.bias, op.output_zero_point) is not None and self.params_fit(call)

    def _rows(self, call: Call) -> np.ndarray:
        rows: np.ndarray = call.op.weights.reshape(call.op.weights.shape[0], -1)
        return rows

    def _block_rows(self, call: Call) -> int:
        """As many rows as a transformed weight should serve; fewer where scratch memory would not suffice, but at least one."""
        height, width, _ = call.output.shape
        affordable = (SCRATCH_LIMIT // (4 * call.inputs[0].shape[2]) - 12) // width - 2
        return max(min(-(-BLOCK_PIXELS // width), height, affordable), 1)

    def overlaps(self, call: Call) -> dict[int, int]:
        """The output may stay behind the input rows that are not transformed yet."""
        (height, width, channels), (out_height, out_width, out_channels), block = call.inputs[0].shape, call.output.shape, self._block_rows(call)
        ends = np.arange(block, out_height, block)
        read = np.maximum(ends + 2 - call.op.padding[0], 0)
        ahead = np.where(read < height, ends * out_width * out_channels - read * width * channels, 0)
        return {0: max(0, int(ahead.max(initial=0)))}

    def params(self, call: Call) -> dict[str, int | Reference]:
        op, (height, width, channels), (out_height, out_width, out_channels) = call.op, call.inputs[0].shape, call.output.shape
        return {"weights": Reference("weights"), "form": rescale_form(op, self._rows(call))[0], "activation_min": op.activation_min,
                "activation_max": op.activation_max, "input_zero_point": op.input_zero_point, "rounding": 1 + 2 * op.output_zero_point,
                "input_height": height, "input_width": width, "input_channels": channels, "output_height": out_height, "output_width": out_width,
                "output_channels": out_channels, "padding_top": op.padding[0], "padding_left": op.padding[2],
                "block_rows": self._block_rows(call)}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        """A channel pair's weights, then its constants; a word has the bytes (w0, w1) of both input channels of a step."""
        op, rows = call.op, self._rows(call)
        channels = op.weights.shape[3]
        split = paired(rows).reshape(len(rows) // 2, 2, 3, 3, channels // 4, 2, 2)  # [pair, output, row, column, four, half, step]
        steps = split.transpose(0, 2, 4, 6, 3, 5, 1)  # [pair, row, four, step, column, half, output]
        words = np.ascontiguousarray(steps.astype(np.int8)).view(np.uint8).reshape(len(rows) // 2, -1).view("<i4")
        constants = constants_of(op, rows).reshape(len(words), -1)
        return (ConstArray("weights", "int32_t", np.concatenate([words, constants], axis=1).astype(np.int32).ravel()),)

    def array_bytes(self, call: Call) -> int:
        return int(call.op.weights.size) + 4 * call.output.shape[2] * rescale_form(call.op, self._rows(call))[1]

    def scratch_bytes(self, call: Call) -> int:
        channels = call.inputs[0].shape[2]
        return 4 * channels * (call.output.shape[1] * (self._block_rows(call) + 2) + 12)

    def features(self, call: Call) -> dict[str, float]:
        op, channels, (height, width, out_channels), block = call.op, call.inputs[0].shape[2], call.output.shape, self._block_rows(call)
        blocks, pairs, steps = -(-height // block), out_channels // 2, 3 * channels // 2
        tiles = height * width // 8 * pairs
        above, rows = op.padding[0], height + 2
        padded = min(above, rows) + max(rows - above - call.inputs[0].shape[0], 0)
        general, narrow = rescale_form(op, self._rows(call))[0] == 0, (op.activation_min, op.activation_max) != (-128, 127)
        return {"call": 1, "blocks": blocks, "block_pairs": blocks * pairs, "weight_steps": blocks * pairs * steps,
                "columns": blocks * pairs * width // 8, "tiles": tiles, "tile_passes": 4 * tiles * -(-steps // CHAIN_STEPS),
                "tile_steps": 4 * tiles * steps, "tile_general": tiles * general, "rows": (rows - padded) * (channels // 4),
                "pairs": (rows - padded) * (channels // 4) * (width // 2), "padded_rows": padded, "padded_words": padded * channels * width,
                "kept_words": (blocks - 1) * 2 * channels * width, "clamped": call.output.size * narrow}
