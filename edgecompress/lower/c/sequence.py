"""Emitters of the ops that remember, and of those that only move elements about."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecompress.ir.graph import ITEM_BYTES
from edgecompress.ir.requant import Requant
from edgecompress.lower.c.dsp_weights import pair_words, paired, sums_fit
from edgecompress.lower.c.emitter import Call, ConstArray, Reference, doubled_multiplier
from edgecompress.lower.c.simple import Params, SimpleEmitter
from edgecompress.lower.c.state import needs_array

REARRANGE_AXES = 6  # EC_REARRANGE_AXES in ec_kernels.h


def _wrapped(values: np.ndarray) -> np.ndarray:
    """int64 modulo 2^32 as int32."""
    wrapped: np.ndarray = values.astype(np.int64).astype(np.int32)
    return wrapped


def _less_zero_point(weights: np.ndarray, zero_point: int, bias: np.ndarray) -> np.ndarray:
    """Biases [rows] that hold the zero point's share of their row in `weights` [rows, inputs]."""
    return _wrapped(bias - zero_point * weights.sum(axis=1, dtype=np.int64))


def _doubled(requant: Requant) -> np.ndarray:
    """int32 [factors, 2]: multiplier as doubled_multiplier makes it, right shift less 1."""
    pairs = [doubled_multiplier(*pair) for pair in zip(requant.multiplier, requant.shift, strict=True)]
    return np.array([(multiplier, -shift - 1) for multiplier, shift in pairs], dtype=np.int32)


def _rows(weights: np.ndarray) -> np.ndarray:
    """[4, units, inputs] as [4 * units, inputs]: the gates of a unit lie together."""
    return weights.transpose(1, 0, 2).reshape(-1, weights.shape[2])


class LstmEmitter(SimpleEmitter):
    """ec_lstm_s8."""

    def files(self, call: Call) -> tuple[str, ...]:
        return ("ec_lstm.c", "ec_lstm.h", "ec_dense.h", "ec_gates.h")

    def params(self, call: Call) -> Params:
        op, (steps, inputs) = call.op, call.inputs[0].shape
        arrays: Params = {name: Reference(name) for name in ("input_weights", "recurrent_weights", "input_bias", "recurrent_bias", "gates")}
        multiplier, shift = (int(value) for value in _doubled(op.output_requant)[0])
        return {**arrays, "steps": steps, "inputs": inputs, "units": op.units, "cell_power": op.cell_power,
                "cell_min": -op.cell_clip if op.cell_clip else -(2**15), "cell_max": op.cell_clip or 2**15 - 1,
                "output_multiplier": multiplier, "output_shift": shift, "output_zero_point": op.output_zero_point}

    def weight_array(self, name: str, rows: np.ndarray) -> ConstArray:
        """Weights [4 * units, inputs] as the kernel reads them."""
        return ConstArray(name, "int8_t", rows.ravel())

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op = call.op
        from_input, from_hidden = _rows(op.input_weights), _rows(op.recurrent_weights)
        known = np.array(op.input_requant.multiplier) != 0  # without its bias no sum of a factor 0 reaches what 2^-32 would round to 1
        bias = np.where(known, op.bias.T, 0).ravel().astype(np.int64)
        gates = np.concatenate([_doubled(op.input_requant), _doubled(op.recurrent_requant)], axis=1)
        return (self.weight_array("input_weights", from_input), self.weight_array("recurrent_weights", from_hidden),
                ConstArray("input_bias", "int32_t", _less_zero_point(from_input, op.input_zero_point, bias)),
                ConstArray("recurrent_bias", "int32_t", _less_zero_point(from_hidden, op.output_zero_point, np.zeros_like(bias))),
                ConstArray("gates", "ec_lstm_gate", gates))

    def array_bytes(self, call: Call) -> int:
        return int(call.op.constant_bytes)

    def features(self, call: Call) -> dict[str, float]:
        steps, inputs = call.inputs[0].shape
        units = call.op.units
        return {"call": 1, "steps": steps, "units": steps * units, "quads": steps * units * (inputs // 4 + units // 4),
                "tails": steps * units * (inputs % 4 + units % 4)}


def _eights(size: int) -> int:
    return -(-size // 8)


class LstmDspEmitter(LstmEmitter):
    """ec_lstm_s8_dsp."""

    extensions = frozenset({"dsp"})
    takes_scratch = True

    def supports(self, call: Call) -> bool:
        return all(sums_fit(_rows(weights), 8) for weights in (call.op.input_weights, call.op.recurrent_weights))

    def kernel(self, call: Call) -> str:
        return "ec_lstm_s8_dsp"

    def files(self, call: Call) -> tuple[str, ...]:
        return ("ec_lstm_dsp.c", "ec_lstm.h", "ec_gates.h", "ec_dsp.h")

    def weight_array(self, name: str, rows: np.ndarray) -> ConstArray:
        padded = np.zeros((len(rows), 8 * _eights(rows.shape[1])), dtype=np.int8)
        padded[:, : rows.shape[1]] = rows
        words = pair_words(paired(padded), 8).reshape(len(rows) // 4, 2, -1).transpose(0, 2, 1)  # of both pairs of a unit in turn
        return ConstArray(name, "int32_t", np.ascontiguousarray(words).ravel())

    def array_bytes(self, call: Call) -> int:
        op, inputs = call.op, call.inputs[0].shape[1]
        padding = 8 * _eights(inputs) - inputs + 8 * _eights(op.units) - op.units
        return int(op.constant_bytes + 4 * op.units * padding)

    def scratch_bytes(self, call: Call) -> int:
        return 16 * (_eights(call.inputs[0].shape[1]) + _eights(call.op.units))

    def features(self, call: Call) -> dict[str, float]:
        steps, inputs = call.inputs[0].shape
        units = call.op.units
        eights = _eights(inputs) + _eights(units)
        return {"call": 1, "steps": steps, "expanded": steps * eights, "blocks": steps * -(-units // 4), "units": steps * units,
                "unit_eights": steps * units * eights}


class SvdfEmitter(SimpleEmitter):
    """ec_svdf_s16, ec_svdf_s8."""

    def kernel(self, call: Call) -> str:
        return f"ec_svdf_s{call.op.state_bits}"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"{self.kernel(call)}.c", "ec_svdf.h", "ec_dense.h")

    def params(self, call: Call) -> Params:
        op = call.op
        arrays: Params = {name: Reference(name) for name in ("feature_weights", "feature_bias", "time_weights", "bias")}
        return {**arrays, "inputs": call.inputs[0].size, "units": call.output.size, "rank": op.rank, "memory": op.memory,
                "feature_multiplier": op.feature_requant.multiplier[0], "feature_shift": op.feature_requant.shift[0],
                "output_multiplier": op.output_requant.multiplier[0], "output_shift": op.output_requant.shift[0],
                "output_zero_point": op.output_zero_point}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op = call.op
        filters = len(op.feature_weights)
        dtype = {8: np.int8, 16: np.int16}[op.state_bits]
        feature_bias = _less_zero_point(op.feature_weights, op.input_zero_point, np.zeros(filters, dtype=np.int64))
        return (ConstArray("feature_weights", "int8_t", op.feature_weights.ravel()), ConstArray("feature_bias", "int32_t", feature_bias),
                ConstArray("time_weights", f"int{op.state_bits}_t", op.time_weights.astype(dtype).ravel()),
                ConstArray("bias", "int32_t", op.bias))

    def array_bytes(self, call: Call) -> int:
        return int(call.op.constant_bytes)

    def features(self, call: Call) -> dict[str, float]:
        op = call.op
        (filters, inputs), memory = op.feature_weights.shape, op.memory
        fours, ones = divmod(filters, 4)
        return {"call": 1, "units": call.output.size, "filters": filters, "blocks_x4": fours, "quads_x4": fours * (inputs // 4),
                "tails_x4": fours * (inputs % 4), "blocks_x1": ones, "quads_x1": ones * (inputs // 4), "tails_x1": ones * (inputs % 4),
                "remembered": filters * memory}


class DelayLineEmitter(SimpleEmitter):
    """ec_delay_line_s8."""

    def params(self, call: Call) -> Params:
        return {"size": call.inputs[0].size, "kept": call.op.state_bytes}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        return (ConstArray("initial", "int8_t", call.op.initial.ravel()),) if needs_array(call.op) else ()

    def array_bytes(self, call: Call) -> int:
        return int(call.op.initial.size) if needs_array(call.op) else 0

    def features(self, call: Call) -> dict[str, float]:
        new, kept = call.inputs[0].size, call.op.state_bytes
        return {"call": 1, "blocks": new // 16 + 2 * (kept // 16), "tails": new % 16 + 2 * (kept % 16)}


def merged_axes(sizes: Sequence[int], steps: Sequence[int]) -> list[tuple[int, int]]:
    """(size, step) of the fewest axes that visit the same positions in the same order, outermost first."""
    merged: list[tuple[int, int]] = []
    for size, step in zip(sizes, steps, strict=True):
        if size == 1:
            continue
        if merged and merged[-1][1] == size * step:
            merged[-1] = (merged[-1][0] * size, step)
        else:
            merged.append((size, step))
    return merged or [(1, 1)]


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[axis + 1:]) for axis in range(len(shape))]


class RearrangeEmitter(SimpleEmitter):
    """ec_rearrange_s8 as SliceEmitter and TransposeEmitter use it; the bytes of a float are one axis more."""

    def walk(self, call: Call) -> tuple[int, list[int]]:
        """Offset of the first element in the input, and how far apart the output's axes lie there, in elements."""
        raise NotImplementedError  # abstract: both emitters below override it

    def _axes(self, call: Call) -> tuple[int, list[tuple[int, int]]]:
        offset, steps = self.walk(call)
        item = ITEM_BYTES[call.output.dtype]
        return offset * item, merged_axes((*call.output.shape, item), (*(step * item for step in steps), 1))

    def params(self, call: Call) -> Params:
        offset, axes = self._axes(call)
        (run, run_step), outer = axes[-1], axes[-2::-1]
        params: Params = {"offset": offset, "run": run, "run_step": run_step, "axes": len(outer)}
        outer += [(1, 0)] * (REARRANGE_AXES - len(outer))
        params |= {f"size[{index}]": size for index, (size, _) in enumerate(outer)}
        return params | {f"step[{index}]": step for index, (_, step) in enumerate(outer)}

    def features(self, call: Call) -> dict[str, float]:
        _, axes = self._axes(call)
        run, step = axes[-1]
        runs = call.output.size // run
        turns = sum(math.prod(size for size, _ in axes[:depth]) for depth in range(len(axes) - 1))
        if step == 1:
            return {"call": 1, "turns": turns, "copies": runs, "blocks": runs * (run // 16), "tails": runs * (run % 16)}
        return {"call": 1, "turns": turns, "runs": runs, "elements": call.output.size}


class SliceEmitter(RearrangeEmitter):
    """A slice."""

    def walk(self, call: Call) -> tuple[int, list[int]]:
        strides = _strides(call.inputs[0].shape)
        offset = sum(begin * stride for begin, stride in zip(call.op.begin, strides, strict=True))
        return offset, [step * stride for step, stride in zip(call.op.step, strides, strict=True)]


class TransposeEmitter(RearrangeEmitter):
    """A transposition."""

    def walk(self, call: Call) -> tuple[int, list[int]]:
        strides = _strides(call.inputs[0].shape)
        return 0, [strides[axis] for axis in call.op.permutation]
