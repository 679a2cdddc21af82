"""Emitters of the ops without weights on cores with Helium."""

from __future__ import annotations

from edgecompress.lower.c.convolution import spans
from edgecompress.lower.c.emitter import Call, Reference
from edgecompress.lower.c.mve_weights import OUTPUT_RANGE
from edgecompress.lower.c.simple import HALF, AddEmitter, GlobalAveragePoolEmitter, Pool2DEmitter

TABLE_BYTES = 1024


class AddMveEmitter(AddEmitter):
    """ec_add_s8_mve; operands change places as for the portable kernel."""

    extensions = frozenset({"mve"})
    takes_scratch = True
    narrow = {**OUTPUT_RANGE, **dict.fromkeys(("left_half", "ties"), "uint8_t"),
              **dict.fromkeys(("left_zero_point", "left_shift", "right_zero_point", "right_shift", "output_shift"), "int8_t")}

    def __init__(self) -> None:
        super().__init__("add")

    def supports(self, call: Call) -> bool:
        return self.params_fit(call)

    def kernel(self, call: Call) -> str:
        return "ec_add_s8_mve"

    def struct(self, call: Call) -> str:
        return "ec_add_mve_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return ("ec_add_mve.c", "ec_requant_mve.h")

    def _left_half(self, call: Call) -> bool:
        op = call.op
        left = op.right if self.swaps(call) else op.left
        return bool((left.multiplier[0], left.shift[0]) == HALF)

    def params(self, call: Call) -> dict[str, int | Reference]:
        op = call.op
        sides = [(op.left, op.left_zero_point), (op.right, op.right_zero_point)]
        (left, left_zero_point), (right, right_zero_point) = (sides[index] for index in self.argument_order(call))
        return {"size": call.output.size, "left_multiplier": left.multiplier[0], "right_multiplier": right.multiplier[0],
                "output_multiplier": op.out.multiplier[0], "left_half": int(self._left_half(call)), "ties": int(self._ties(call)),
                "left_zero_point": left_zero_point, "left_shift": left.shift[0], "right_zero_point": right_zero_point,
                "right_shift": right.shift[0], "output_shift": op.out.shift[0], "output_zero_point": op.output_zero_point,
                "activation_min": op.activation_min, "activation_max": op.activation_max}

    def _ties(self, call: Call) -> bool:
        return bool(call.op.activation_min < call.op.output_zero_point and call.op.out.shift[0] < 0)

    def scratch_bytes(self, call: Call) -> int:
        return TABLE_BYTES if self._left_half(call) else 2 * TABLE_BYTES

    def features(self, call: Call) -> dict[str, float]:
        eights, lookup = -(-call.output.size // 8), not self._left_half(call)
        return {"call": 1, "tables": 1 + lookup, "eights": eights, "eights_lookup": eights * lookup, "eights_ties": eights * self._ties(call)}


class Pool2DMveEmitter(Pool2DEmitter):
    """ec_average_pool2d_s8_mve, ec_max_pool2d_s8_mve."""

    extensions = frozenset({"mve"})

    def kernel(self, call: Call) -> str:
        return f"ec_{self.name}_s8_mve"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"ec_{self.name}_mve.c", "ec_requant_mve.h", *(("ec_sum_mve.h",) if self.name == "average_pool2d" else ()))

    def features(self, call: Call) -> dict[str, float]:
        op, (height, width, channels), (out_height, out_width, _) = call.op, call.inputs[0].shape, call.output.shape
        rows = sum(end - first for first, end in spans(out_height, op.stride[0], op.padding[0], 1, op.kernel[0], height))
        columns = sum(end - first for first, end in spans(out_width, op.stride[1], op.padding[2], 1, op.kernel[1], width))
        average = self.name == "average_pool2d"
        blocks = -(-channels // (8 if average else 16))
        runs = out_height if average and columns == out_width * width else rows  # whole rows are one run
        return {"call": 1, "pixels": out_height * out_width, "blocks": blocks * out_height * out_width, "outputs": call.output.size,
                "rows": blocks * runs * out_width, "taps": blocks * rows * columns}


class GlobalAveragePoolMveEmitter(GlobalAveragePoolEmitter):
    """ec_global_average_pool_s8_mve."""

    extensions = frozenset({"mve"})

    def kernel(self, call: Call) -> str:
        return f"ec_{self.name}_s8_mve"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"ec_{self.name}_mve.c", "ec_requant_mve.h", "ec_sum_mve.h")

    def features(self, call: Call) -> dict[str, float]:
        height, width, channels = call.inputs[0].shape
        blocks = -(-channels // 8)
        return {"call": 1, "outputs": channels, "blocks": blocks, "taps": blocks * height * width}
