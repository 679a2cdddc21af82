"""Emitters of the product of two computed matrices."""

from __future__ import annotations

from edgecompress.lower.c.emitter import Call
from edgecompress.lower.c.simple import Params, SimpleEmitter


class BatchMatmulEmitter(SimpleEmitter):
    """ec_batch_matmul_s8."""

    takes_scratch = True

    def files(self, call: Call) -> tuple[str, ...]:
        return ("ec_batch_matmul.c", "ec_dense.h")

    def params(self, call: Call) -> Params:
        op = call.op
        batches, rows, columns, depth = op.sizes(*(tensor.shape for tensor in call.inputs))
        return {"batches": batches, "rows": rows, "columns": columns, "depth": depth, "transpose_left": op.transpose_left,
                "transpose_right": op.transpose_right, "left_zero_point": op.left_zero_point, "right_zero_point": op.right_zero_point,
                "multiplier": op.requant.multiplier[0], "shift": op.requant.shift[0], "output_zero_point": op.output_zero_point,
                "activation_min": op.activation_min, "activation_max": op.activation_max}

    def scratch_bytes(self, call: Call) -> int:
        op = call.op
        _, _, columns, depth = op.sizes(*(tensor.shape for tensor in call.inputs))
        return int(4 * columns + (0 if op.transpose_right else columns * depth) + (depth if op.transpose_left else 0))

    def features(self, call: Call) -> dict[str, float]:
        op = call.op
        batches, rows, columns, depth = op.sizes(*(tensor.shape for tensor in call.inputs))
        (fours, ones), (quads, tails) = divmod(columns, 4), divmod(depth, 4)
        lines = batches * rows
        gathered = batches * depth * ((0 if op.transpose_right else columns) + (rows if op.transpose_left else 0))
        return {"call": 1, "lines": lines, "columns": batches * columns, "summed": batches * (rows + columns) * depth, "gathered": gathered,
                "outputs": lines * columns, "blocks_x4": lines * fours, "quads_x4": lines * fours * quads, "tails_x4": lines * fours * tails,
                "quads_x1": lines * ones * quads, "tails_x1": lines * ones * tails}


class BatchMatmulDspEmitter(BatchMatmulEmitter):
    """ec_batch_matmul_s8_dsp."""

    extensions = frozenset({"dsp"})

    def kernel(self, call: Call) -> str:
        return "ec_batch_matmul_s8_dsp"

    def files(self, call: Call) -> tuple[str, ...]:
        return ("ec_batch_matmul_dsp.c", "ec_dsp.h")

    def scratch_bytes(self, call: Call) -> int:
        _, _, columns, depth = call.op.sizes(*(tensor.shape for tensor in call.inputs))
        return int(8 * -(-depth // 4) * (columns + 2))

    def features(self, call: Call) -> dict[str, float]:
        op = call.op
        batches, rows, columns, depth = op.sizes(*(tensor.shape for tensor in call.inputs))
        quads, lines = -(-depth // 4), batches * rows
        tiles = batches * (rows // 2) * (columns // 2)
        ones = lines * columns - 4 * tiles
        side_by_side = batches * ((columns if op.transpose_right else 0) + (0 if op.transpose_left else rows))
        unpacked = batches * (rows + columns)
        return {"call": 1, "lines": lines, "unpacked": unpacked, "quads_together": side_by_side * (depth // 4),
                "quads_apart": (unpacked - side_by_side) * (depth // 4), "tails": unpacked * (depth % 4 != 0), "tiles": tiles,
                "quads_x4": tiles * quads, "outputs_x1": ones, "quads_x1": ones * quads}
