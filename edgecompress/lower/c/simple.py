"""Emitters of the ops without weights."""

from __future__ import annotations

import math

import numpy as np

from edgecompress.ir.graph import ITEM_BYTES, Tensor
from edgecompress.ir.requant import Requant
from edgecompress.lower.c.convolution import spans, sweep_distance
from edgecompress.lower.c.emitter import POINTER_BYTES, Call, ConstArray, Emitter, Reference, doubled_multiplier

Params = dict[str, int | Reference]


class SimpleEmitter(Emitter):
    """One kernel `ec_<name>_s8` in `ec_<name>.c` with the struct `ec_<name>_params`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kernel(self, call: Call) -> str:
        return f"ec_{self.name}_s8"

    def struct(self, call: Call) -> str:
        return f"ec_{self.name}_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"ec_{self.name}.c",)

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "elements": call.output.size}


def _factor(requant: Requant) -> tuple[int, int]:
    return requant.multiplier[0], requant.shift[0]


def _range(op: object) -> Params:
    return {name: getattr(op, name) for name in ("output_zero_point", "activation_min", "activation_max")}


ADD_ANY, ADD_LEFT_HALF, ADD_BOTH_HALF = 0, 1, 2  # EC_ADD_* in ec_kernels.h
HALF = (2**30, 0)


class AddEmitter(SimpleEmitter):
    """ec_add_s8. Operands change places where only the right factor is 1/2, so that the kernel knows one order."""

    in_place = (0, 1)

    def swaps(self, call: Call) -> bool:
        """Whether the kernel's left operand is the node's right one."""
        left, right = _factor(call.op.left), _factor(call.op.right)
        return left != HALF and right == HALF

    def mode(self, call: Call) -> int:
        """Which of the kernel's loops may run."""
        op = call.op
        left, right = (_factor(op.right), _factor(op.left)) if self.swaps(call) else (_factor(op.left), _factor(op.right))
        if left != HALF or op.out.multiplier[0] == 0 or op.out.shift[0] > -2 or (op.activation_min, op.activation_max) != (-128, 127):
            return ADD_ANY
        return ADD_BOTH_HALF if right == HALF else ADD_LEFT_HALF if right[1] < 0 else ADD_ANY

    def argument_order(self, call: Call) -> tuple[int, ...]:
        return (1, 0) if self.swaps(call) else (0, 1)

    def params(self, call: Call) -> Params:
        op = call.op
        sides = [(op.left, op.left_zero_point), (op.right, op.right_zero_point)]
        params: Params = {"size": call.output.size, "mode": self.mode(call)}
        for name, (requant, zero_point) in zip(("left", "right"), (sides[index] for index in self.argument_order(call)), strict=True):
            multiplier, shift = doubled_multiplier(*_factor(requant))
            params |= {f"{name}_zero_point": zero_point, f"{name}_multiplier": multiplier, f"{name}_shift": shift}
        multiplier, shift = doubled_multiplier(*_factor(op.out))
        return {**params, "output_multiplier": multiplier, "output_shift": shift, **_range(op)}

    def features(self, call: Call) -> dict[str, float]:
        size, mode = call.output.size, self.mode(call)
        return {"call": 1, "elements": size, "elements_left_half": size * (mode == ADD_LEFT_HALF), "elements_any": size * (mode == ADD_ANY)}


class MulEmitter(SimpleEmitter):
    """ec_mul_s8."""

    in_place = (0,)

    def params(self, call: Call) -> Params:
        op = call.op
        return {"size": call.output.size, "right_size": call.inputs[1].size, "left_zero_point": op.left_zero_point,
                "right_zero_point": op.right_zero_point, "multiplier": op.requant.multiplier[0], "shift": op.requant.shift[0], **_range(op)}

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "runs": call.output.size // call.inputs[1].size, "elements": call.output.size}


class RequantizeEmitter(SimpleEmitter):
    """ec_requantize_s8."""

    in_place = (0,)

    def params(self, call: Call) -> Params:
        op = call.op
        return {"size": call.output.size, "input_zero_point": op.input_zero_point, "multiplier": op.requant.multiplier[0],
                "shift": op.requant.shift[0], **_range(op)}


class TableEmitter(SimpleEmitter):
    """ec_table_s8."""

    in_place = (0,)

    def params(self, call: Call) -> Params:
        return {"table": Reference("table"), "size": call.output.size}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        return (ConstArray("table", "int8_t", call.op.table),)

    def array_bytes(self, call: Call) -> int:
        return 256

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "quads": call.output.size // 4, "tails": call.output.size % 4}


class Pool2DEmitter(SimpleEmitter):
    """ec_average_pool2d_s8, ec_max_pool2d_s8."""

    def overlaps(self, call: Call) -> dict[int, int]:
        op = call.op
        return {0: sweep_distance(call.inputs[0].shape, call.output.shape, op.stride, (op.padding[0], op.padding[2]), 1)}

    def struct(self, call: Call) -> str:
        return "ec_pool2d_params"

    def params(self, call: Call) -> Params:
        op, (height, width, channels) = call.op, call.inputs[0].shape
        return {"input_height": height, "input_width": width, "channels": channels, "output_height": call.output.shape[0],
                "output_width": call.output.shape[1], "kernel_height": op.kernel[0], "kernel_width": op.kernel[1], "stride_height": op.stride[0],
                "stride_width": op.stride[1], "padding_top": op.padding[0], "padding_left": op.padding[2],
                "activation_min": op.activation_min, "activation_max": op.activation_max}

    def features(self, call: Call) -> dict[str, float]:
        op, out, source = call.op, call.output.shape, call.inputs[0].shape
        heights = [end - first for first, end in spans(out[0], op.stride[0], op.padding[0], 1, op.kernel[0], source[0])]
        widths = [end - first for first, end in spans(out[1], op.stride[1], op.padding[2], 1, op.kernel[1], source[1])]
        pixels, rows = out[0] * out[1], sum(heights) * len(widths)
        taps = sum(heights) * sum(widths)
        fours, ones = divmod(out[2], 4)
        return {"call": 1, "pixels": pixels, "pixels_x4": pixels * fours, "rows_x4": rows * fours, "taps_x4": taps * fours,
                "pixels_x1": pixels * ones, "rows_x1": rows * ones, "taps_x1": taps * ones}


class GlobalAveragePoolEmitter(SimpleEmitter):
    """ec_global_average_pool_s8."""

    def params(self, call: Call) -> Params:
        op, (height, width, channels) = call.op, call.inputs[0].shape
        return {"pixels": height * width, "channels": channels, "input_zero_point": op.input_zero_point, "multiplier": op.requant.multiplier[0],
                "shift": op.requant.shift[0], **_range(op)}

    def features(self, call: Call) -> dict[str, float]:
        pixels, (fours, ones) = call.inputs[0].size // call.output.size, divmod(call.output.size, 4)
        return {"call": 1, "blocks_x4": fours, "pixels_x4": fours * pixels, "blocks_x1": ones, "pixels_x1": ones * pixels}


class PadEmitter(SimpleEmitter):
    """ec_pad_s8."""

    def params(self, call: Call) -> Params:
        (top, bottom, left, right), (height, width, channels) = call.op.padding, call.inputs[0].shape
        row_bytes = call.output.shape[1] * channels
        return {"rows": height, "row_bytes": width * channels, "top_bytes": top * row_bytes, "left_bytes": left * channels,
                "right_bytes": right * channels, "bottom_bytes": bottom * row_bytes, "value": call.op.value}

    def features(self, call: Call) -> dict[str, float]:
        copied = call.inputs[0].size
        return {"call": 1, "rows": call.inputs[0].shape[0], "copied": copied, "filled": call.output.size - copied}


class ConcatEmitter(SimpleEmitter):
    """ec_concat_s8."""

    takes_input_array = True

    def params(self, call: Call) -> Params:
        axis, shape = call.op.axis, call.output.shape
        return {"inputs": Reference("inputs"), "input_count": len(call.inputs), "outer": math.prod(shape[:axis]),
                "output_inner": math.prod(shape[axis:]), "output_zero_point": call.op.output_zero_point}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op = call.op
        rows = [(self._inner(call, tensor), int(op.is_copy(i)), op.input_zero_points[i], op.requant.multiplier[i], op.requant.shift[i])
                for i, tensor in enumerate(call.inputs)]
        return (ConstArray("inputs", "ec_concat_input", np.array(rows, dtype=np.int32)),)

    def array_bytes(self, call: Call) -> int:
        return 5 * POINTER_BYTES * len(call.inputs)

    def _inner(self, call: Call, tensor: Tensor) -> int:
        return math.prod(tensor.shape[call.op.axis:])

    def features(self, call: Call) -> dict[str, float]:
        outer = math.prod(call.output.shape[: call.op.axis])
        copied = [tensor.size for i, tensor in enumerate(call.inputs) if call.op.is_copy(i)]
        return {"call": 1, "inputs": len(call.inputs), "copies": outer * len(copied), "copied_bytes": sum(copied),
                "rescaled_runs": outer * (len(call.inputs) - len(copied)), "rescaled": call.output.size - sum(copied)}


class CopyEmitter(SimpleEmitter):
    """ec_copy_s8, only for a reshape or slice that must move bytes. Its input begins where the bytes to copy do."""

    def overlaps(self, call: Call) -> dict[int, int]:
        return {0: 0}

    def params(self, call: Call) -> Params:
        return {"size": call.output.size}


class SoftmaxEmitter(SimpleEmitter):
    """ec_softmax_s8."""

    takes_scratch = True

    def params(self, call: Call) -> Params:
        length, beta = call.output.shape[-1], call.op.beta
        return {"rows": call.output.size // length, "length": length, "multiplier": beta.multiplier[0], "shift": beta.shift[0],
                "diff_min": call.op.diff_min}

    def scratch_bytes(self, call: Call) -> int:
        return 4 * call.output.shape[-1]

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "rows": call.output.size // call.output.shape[-1], "elements": call.output.size}


class ResizeNearestEmitter(SimpleEmitter):
    """ec_resize_nearest_s8; a float is four channels to it."""

    def params(self, call: Call) -> Params:
        height, width, channels = call.inputs[0].shape
        return {"input_height": height, "input_width": width, "output_height": call.output.shape[0], "output_width": call.output.shape[1],
                "channels": channels * ITEM_BYTES[call.output.dtype]}

    def features(self, call: Call) -> dict[str, float]:
        (height, width, _), (out_height, out_width, _) = call.inputs[0].shape, call.output.shape
        return {"call": 1, "rows": out_height, "steps": height + out_height * width, "pixels": out_height * out_width, "bytes": call.output.size}
