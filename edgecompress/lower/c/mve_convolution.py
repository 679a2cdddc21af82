"""Emitter of convolution on cores with Helium."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecompress.lower.c.emitter import Call, ConstArray, Emitter, Reference
from edgecompress.lower.c.mve_weights import (
    CHANNEL_WORDS,
    HALF,
    OUTPUT_RANGE,
    VECTOR,
    biases_fit,
    block_weight_bytes,
    parameter_blocks,
    shifts_fit,
    ties,
    weight_blocks,
)

POINTS, ROWS, COLUMNS = 0, 1, 2  # EC_SWEEP_* of ec_kernels.h
STRIP_BYTES = 2048  # of scratch memory; a longer strip pays the cost of a block of channels for more windows at once
FIXED_CHUNKS = 4  # windows of up to so many chunks have a variant of their own
LOOP_CHUNKS = 8  # chunks of the loop of variant _n
HALF_LIMIT = 2**16 - 4  # largest distance of two outputs that the store's 16-bit offsets reach


@dataclass(frozen=True)
class Sweep:
    """How a convolution walks over its outputs. `run` is the number of windows of a row, column or image, cut into strips of `tile`."""

    kind: int
    taps: int  # elements of a window
    half: bool  # a half chunk comes first
    new_bytes: int  # bytes of the strip from one window to the next
    run: int
    runs: int
    tile: int
    variant: str

    @property
    def chunks(self) -> int:
        """Vectors of a window, without the half one."""
        return -(-(self.taps - HALF * self.half) // VECTOR)

    @property
    def window_bytes(self) -> int:
        """What the kernel reads of a window."""
        return self.chunks * VECTOR + HALF * self.half

    @property
    def strips(self) -> list[int]:
        """Windows of each strip of one run."""
        return [min(self.tile, self.run - start) for start in range(0, self.run, self.tile)]

    @property
    def strip_bytes(self) -> int:
        """The longest strip, with what the last vector reads beyond it."""
        return ((self.tile - 1) * self.new_bytes + self.window_bytes + 3) // 4 * 4


def make_sweep(call: Call) -> Sweep:
    """Along rows where a piece of one input pixel fills a vector (rows may overlap the input's memory), else along columns."""
    op, channels = call.op, call.inputs[0].shape[2]
    out_height, out_width, _ = call.output.shape
    height_taps, width_taps = op.kernel
    taps = height_taps * width_taps * channels
    points = op.kernel == (1, 1) and not any(op.padding)
    # flash before speed: half chunks need the variant _n, which costs pixels of 24 bytes an eighth more instructions
    half = op.weight_bits == 8 and 0 < taps % VECTOR <= HALF and taps > (VECTOR if points else FIXED_CHUNKS * VECTOR)
    if points:
        grain = HALF if half else VECTOR
        row = -(-channels // grain) * grain
        return _sweep(POINTS, taps, half, row, out_height * out_width, 1, row)
    if channels >= VECTOR // 2:
        step = height_taps * channels
        return _sweep(ROWS, taps, half, op.stride[1] * step, out_width, out_height, (width_taps - 1) * step)
    step = width_taps * channels
    return _sweep(COLUMNS, taps, half, op.stride[0] * step, out_height, out_width, (height_taps - 1) * step)


def _sweep(kind: int, taps: int, half: bool, new_bytes: int, run: int, runs: int, rest_bytes: int) -> Sweep:
    room = max((STRIP_BYTES - rest_bytes) // new_bytes // 2 * 2, 2)
    share = -(-run // -(-run // room))
    tile = min(share + share % 2, run)  # strips of about equal size, an even number of windows
    chunks = -(-taps // VECTOR)
    family = "k" if kind == POINTS else "s"
    return Sweep(kind, taps, half, new_bytes, run, runs, tile, "n" if half or chunks > FIXED_CHUNKS else f"{family}{chunks}")


class Conv2DMveEmitter(Emitter):
    """ec_conv2d_<variant>_<ties>_mve."""

    extensions = frozenset({"mve"})
    takes_scratch = True
    narrow = {**OUTPUT_RANGE, "input_zero_point": "int8_t",
              **dict.fromkeys(("weight_bits", "sweep", "stepwise", "stride_height", "stride_width"), "uint8_t"),
              **dict.fromkeys(("window_bytes", "tile", "input_height", "input_width", "input_channels", "output_height", "output_width",
                               "output_channels", "kernel_height", "kernel_width", "padding_top", "padding_left"), "uint16_t")}

    def supports(self, call: Call) -> bool:
        op, (_, out_width, channels) = call.op, call.output.shape
        distance = out_width * channels if make_sweep(call).kind == COLUMNS else channels
        return (op.groups == 1 and op.dilation == (1, 1) and distance <= HALF_LIMIT and shifts_fit(op.requant)
                and biases_fit(op, op.weights.reshape(channels, -1)) and self.params_fit(call))

    def kernel(self, call: Call) -> str:
        return f"ec_conv2d_{make_sweep(call).variant}_{ties(call.op)}_mve"

    def struct(self, call: Call) -> str:
        return "ec_conv2d_mve_params"

    def files(self, call: Call) -> tuple[str, ...]:
        variant = make_sweep(call).variant
        return (f"ec_conv2d_{variant}_mve.c", "ec_conv2d_mve.c", "ec_conv2d_mve.h", "ec_matmul_mve.h",
                "ec_matmul_asm_mve.h", "ec_requant_mve.h", "ec_segments_mve.c", "ec_segments_mve.h", "ec_unpack_mve.c", "ec_unpack_mve.h")

    def params(self, call: Call) -> dict[str, int | Reference]:
        op, sweep = call.op, make_sweep(call)
        height, width, channels = call.inputs[0].shape
        out_height, out_width, out_channels = call.output.shape
        return {"weights": Reference("weights"), "parameters": Reference("parameters"), "strip_bytes": sweep.strip_bytes,
                "tail_bytes": self._tail_bytes(call), "window_bytes": sweep.window_bytes, "tile": sweep.tile, "input_height": height,
                "input_width": width, "input_channels": channels, "output_height": out_height, "output_width": out_width,
                "output_channels": out_channels, "kernel_height": op.kernel[0], "kernel_width": op.kernel[1], "padding_top": op.padding[0],
                "padding_left": op.padding[2], "weight_bits": op.weight_bits, "sweep": sweep.kind, "stepwise": int(sweep.variant == "n"),
                "stride_height": op.stride[0], "stride_width": op.stride[1], "input_zero_point": op.input_zero_point,
                "output_zero_point": op.output_zero_point, "activation_min": op.activation_min, "activation_max": op.activation_max}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op = call.op
        ordered = op.weights.transpose(0, 2, 1, 3) if make_sweep(call).kind == ROWS else op.weights
        rows = ordered.reshape(len(ordered), -1)
        return (ConstArray("weights", "int32_t", weight_blocks(rows, 4, op.weight_bits, make_sweep(call).half)),
                ConstArray("parameters", "int32_t", parameter_blocks(op, rows)))

    def array_bytes(self, call: Call) -> int:
        channels, sweep = call.output.shape[2], make_sweep(call)
        weights = block_weight_bytes(channels, sweep.taps, 4, call.op.weight_bits, sweep.half)
        return weights + 4 * CHANNEL_WORDS * 4 * -(-channels // 4)

    def _tail_bytes(self, call: Call) -> int:
        """Outputs of a block with missing channels."""
        return 4 * self._longest(call) if call.output.shape[2] % 4 else 0

    def _longest(self, call: Call) -> int:
        """Most windows at a time: all where the kernel may read pixels straight from the input."""
        sweep = make_sweep(call)
        return sweep.run if self._may_be_direct(call) else sweep.tile

    def _may_be_direct(self, call: Call) -> bool:
        sweep = make_sweep(call)
        return sweep.kind == POINTS and call.op.stride == (1, 1) and sweep.taps == sweep.window_bytes

    def scratch_bytes(self, call: Call) -> int:
        sweep = make_sweep(call)
        return sweep.strip_bytes + self._tail_bytes(call) + (64 * sweep.chunks if call.op.weight_bits != 8 else 0)

    def overlaps(self, call: Call) -> Mapping[int, int]:
        """A strip is read whole before its outputs are written: the largest of (end of a strip's outputs - first input needed after it)."""
        op, sweep = call.op, make_sweep(call)
        (_, width, channels), (_, out_width, out_channels) = call.inputs[0].shape, call.output.shape
        if sweep.kind == COLUMNS:
            return {}
        starts = np.arange(0, sweep.run, sweep.tile)
        position = (np.arange(sweep.runs)[:, None] * sweep.run + starts).ravel()[1:]  # first window of each strip but the first
        y, x = position // out_width, position % out_width
        row = np.maximum(y * op.stride[0] - op.padding[0], 0)
        column = np.maximum(x * op.stride[1] - op.padding[2], 0) if sweep.kind == POINTS or len(starts) > 1 else 0
        if sweep.kind == ROWS and len(starts) > 1:
            column = 0  # later strips of the row begin in its first kernel row again
            row = np.maximum((position - 1) // out_width * op.stride[0] - op.padding[0], 0)
        needed = (row * width + column) * channels
        return {0: max(int((position * out_channels - needed).max(initial=0)), 0)}

    def features(self, call: Call) -> dict[str, float]:
        op, sweep = call.op, make_sweep(call)
        out_channels = call.output.shape[2]
        blocks = -(-out_channels // 4)
        strips = [sweep.run] if self._may_be_direct(call) else sweep.strips
        tiles = sweep.runs * blocks * sum(-(-count // 2) for count in strips)
        halves = sweep.runs * sum((count > 1) + count % 2 for count in strips)
        chunks = sweep.chunks + sweep.half
        passes = -(-(chunks - 1) // LOOP_CHUNKS) if sweep.variant == "n" else 0
        packed = op.weight_bits != 8
        return {"call": 1, "strips": sweep.runs * len(strips), "products": halves * (blocks if packed else 1 + bool(out_channels % 4)),
                "blocks": halves * blocks, "tiles": tiles, **({"tile_chunks": tiles * chunks, "tile_passes": tiles * passes} if passes else {}),
                "unpacked": sweep.runs * len(strips) * blocks * sweep.chunks * packed, **self._copy_features(call, sweep),
                "tails": sweep.runs * sweep.run * bool(out_channels % 4),
                "clamped": call.output.size / VECTOR * ((op.activation_min, op.activation_max) != (-128, 127))}

    def _copy_features(self, call: Call, sweep: Sweep) -> dict[str, float]:
        """Pieces of 16 bytes and of less that the strips are made of."""
        op, (_, _, channels) = call.op, call.inputs[0].shape
        if self._may_be_direct(call):
            return {}
        if sweep.kind == POINTS:
            pieces, copies, length = sweep.run, len(sweep.strips), channels
        else:
            taps, stride = (op.kernel[1], op.stride[1]) if sweep.kind == ROWS else op.kernel[:1] + op.stride[:1]
            pieces = sweep.runs * sum((count - 1) * stride + taps for count in sweep.strips)
            copies, length = sweep.runs * len(sweep.strips), channels if sweep.kind == ROWS else op.kernel[1] * channels
            if sweep.kind == ROWS:
                pieces, copies = pieces * op.kernel[0], copies * op.kernel[0]
        return {"copies": copies, "copied": pieces * (length // VECTOR), "copied_parts": pieces * bool(length % VECTOR)}
