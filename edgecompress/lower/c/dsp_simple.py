"""Emitters of the ops without weights for cores with the DSP extension (Cortex-M4, M7, M33)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgecompress.ir.ops.add import LEFT_SHIFT, Add
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.requant import Requant
from edgecompress.lower.c.convolution import spans
from edgecompress.lower.c.dsp_weights import ACTIVATION_RANGE, CLAMP_FILES
from edgecompress.lower.c.emitter import Call
from edgecompress.lower.c.simple import GlobalAveragePoolEmitter, Params, Pool2DEmitter, SimpleEmitter

DSP = frozenset({"dsp"})
RESULT_SHIFT, FACTOR_SHIFT = 20, 8  # kernels compute (offset + sum of (input * factor >> 8)) >> 20
STEEPER = (0.0, *(sign * 2.0**-24 * 1.5**step for step in range(20) for sign in (1, -1)))  # changes of the slopes to try
POOL_LANES, POOL_RUN = 4, 256  # ec_pool_dsp.h
BYTES = np.arange(-128, 128, dtype=np.int64)
OPEN = 2**40  # a bound that does not bind


def fit_line(slopes: tuple[float, ...], outputs: np.ndarray, low: int, high: int) -> tuple[tuple[int, ...], int] | None:
    """(factors, offset) with which `clamp((offset + sum(input * factor >> 8)) >> 20)` is the reference for all inputs, or None.

    `slopes`: outputs a unit of each input; `outputs`: the reference, int64 [256, ...] with one axis an input, clamped to [low, high]. For given
    factors every case bounds the offset from both sides. The exact slopes leave room for it unless some sums lie just between two outputs;
    slightly steeper ones then round halves away from zero, as the reference does. Nothing is left where many sums are halves and the
    reference's first roundings push some up and some down: inputs of scales like 5:7, which no training gives.
    """
    scale = 2.0 ** (RESULT_SHIFT + FACTOR_SHIFT)
    if max(slopes) * scale >= 2**31 - 2**10 or 255 * sum(slopes) >= 2.0 ** (31 - RESULT_SHIFT) - 4:
        return None
    bottom = np.where(outputs > low, outputs << RESULT_SHIFT, -OPEN)
    top = np.where(outputs < high, ((outputs + 1) << RESULT_SHIFT) - 1, OPEN)
    for steeper in STEEPER:
        factors = tuple(round(slope * scale * (1.0 + steeper)) for slope in slopes)
        total = _total(factors)
        least = max(int((bottom - total).max()), -(2**31) - min(int(total.min()), 0))
        greatest = min(int((top - total).min()), 2**31 - 1 - max(int(total.max()), 0))
        if least <= greatest:
            return factors, least + (greatest - least) // 2
    return None


def _total(factors: tuple[int, ...]) -> np.ndarray:
    """Sum of the products for all inputs, int64 [256, ...]."""
    parts = [factor * BYTES >> FACTOR_SHIFT for factor in factors]
    return parts[0] if len(parts) == 1 else parts[0][:, None] + parts[1][None, :]


@lru_cache(maxsize=256)
def _fit_add(left: tuple[int, int], right: tuple[int, int], out: tuple[int, int], zero_points: tuple[int, int, int],
             limits: tuple[int, int]) -> tuple[tuple[int, ...], int] | None:
    """fit_line of an addition; an emitter asks several times, and a graph's additions are often alike."""
    factors = [Requant((multiplier,), (shift,)) for multiplier, shift in (left, right, out)]
    op = Add(factors[0], factors[1], factors[2], *zero_points, *limits)
    pairs = np.broadcast_arrays(BYTES.astype(np.int8)[:, None], BYTES.astype(np.int8)[None, :])
    slopes = tuple(float(side.real[0] * factors[2].real[0]) * 2.0**LEFT_SHIFT for side in factors[:2])
    return fit_line(slopes, op.reference(*pairs).astype(np.int64), *limits)


def fit_add(op: Add) -> tuple[tuple[int, ...], int] | None:
    """((left factor, right factor), offset) of ec_add_dsp, or None."""
    left, right, out = ((requant.multiplier[0], requant.shift[0]) for requant in (op.left, op.right, op.out))
    return _fit_add(left, right, out, (op.left_zero_point, op.right_zero_point, op.output_zero_point), (op.activation_min, op.activation_max))


def fit_requantize(op: Requantize) -> tuple[tuple[int, ...], int] | None:
    """((factor,), offset) of ec_requantize_dsp, or None."""
    outputs = op.reference(BYTES.astype(np.int8)).astype(np.int64)
    return fit_line((float(op.requant.real[0]),), outputs, op.activation_min, op.activation_max)


class DspEmitter(SimpleEmitter):
    """One kernel `ec_<name>_dsp` in `ec_<name>_dsp.c`."""

    extensions = DSP
    headers: tuple[str, ...] = ()

    def kernel(self, call: Call) -> str:
        return f"ec_{self.name}_dsp"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"ec_{self.name}_dsp.c", "ec_dsp.h", *self.headers)


def _clamp_features(call: Call) -> dict[str, float]:
    """Elements that a second pass clamps."""
    return {"clamped": call.output.size * ((call.op.activation_min, call.op.activation_max) != (-128, 127))}


class LineEmitter(DspEmitter):
    """ec_add_dsp, ec_requantize_dsp."""

    headers = CLAMP_FILES
    narrow = ACTIVATION_RANGE

    def struct(self, call: Call) -> str:
        return f"ec_{self.name}_dsp_params"

    def features(self, call: Call) -> dict[str, float]:
        return {"call": 1, "fours": call.output.size // 4, "tails": call.output.size % 4, **_clamp_features(call)}


class AddDspEmitter(LineEmitter):
    """ec_add_dsp, for the additions that one line fits in all 65,536 cases."""

    in_place = (0, 1)

    def supports(self, call: Call) -> bool:
        return fit_add(call.op) is not None

    def params(self, call: Call) -> Params:
        fit, op = fit_add(call.op), call.op
        assert fit is not None  # supports() saw to it
        (left, right), offset = fit
        return {"size": call.output.size, "left_factor": left, "right_factor": right, "offset": offset, "activation_min": op.activation_min,
                "activation_max": op.activation_max}


class RequantizeDspEmitter(LineEmitter):
    """ec_requantize_dsp, for factors that one line fits for all 256 inputs."""

    in_place = (0,)

    def supports(self, call: Call) -> bool:
        return fit_requantize(call.op) is not None

    def params(self, call: Call) -> Params:
        fit, op = fit_requantize(call.op), call.op
        assert fit is not None  # supports() saw to it
        return {"size": call.output.size, "factor": fit[0][0], "offset": fit[1], "activation_min": op.activation_min,
                "activation_max": op.activation_max}


class Pool2DDspEmitter(DspEmitter, Pool2DEmitter):
    """ec_average_pool2d_dsp, ec_max_pool2d_dsp."""

    headers = ("ec_pool_dsp.h",)

    def files(self, call: Call) -> tuple[str, ...]:
        return (*super().files(call), *(CLAMP_FILES if self.name == "max_pool2d" else ()))

    def supports(self, call: Call) -> bool:
        return call.output.shape[2] >= POOL_LANES and call.op.kernel[1] <= POOL_RUN

    def overlaps(self, call: Call) -> dict[int, int]:
        """The last four channels begin early, so those that are computed again must still be there."""
        again = -call.output.shape[2] % POOL_LANES
        return {position: distance + again for position, distance in Pool2DEmitter.overlaps(self, call).items()}

    def struct(self, call: Call) -> str:
        return Pool2DEmitter.struct(self, call)

    def features(self, call: Call) -> dict[str, float]:
        op, source, output = call.op, call.inputs[0].shape, call.output.shape
        heights, widths = (np.array([end - first for first, end in spans(output[axis], op.stride[axis], op.padding[2 * axis], 1, op.kernel[axis],
                                                                         source[axis])]) for axis in (0, 1))
        joined = (np.outer(heights, widths) <= POOL_RUN) & (widths == source[1]) & (self.name == "average_pool2d")
        runs = int(np.where(joined, 1, heights[:, None]).sum())
        fours, pixels = -(-output[2] // POOL_LANES), output[0] * output[1]
        clamped = _clamp_features(call) if self.name == "max_pool2d" else {}
        return {"call": 1, "pixels": pixels, "fours": pixels * fours, "runs": runs * fours, "taps": int(np.outer(heights, widths).sum()) * fours,
                **clamped}


class GlobalAveragePoolDspEmitter(DspEmitter, GlobalAveragePoolEmitter):
    """ec_global_average_pool_dsp."""

    headers = ("ec_pool_dsp.h",)

    def supports(self, call: Call) -> bool:
        return call.output.size >= POOL_LANES

    def struct(self, call: Call) -> str:
        return GlobalAveragePoolEmitter.struct(self, call)

    def features(self, call: Call) -> dict[str, float]:
        fours, pixels = -(-call.output.size // POOL_LANES), call.inputs[0].size // call.output.size
        return {"call": 1, "fours": fours, "taps": fours * pixels}
