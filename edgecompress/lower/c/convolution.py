"""Emitters of the layers with weights: convolution, depthwise convolution, dense."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.packing import packed_row_bytes
from edgecompress.lower.c.emitter import (
    CHANNEL_BYTES,
    Call,
    ConstArray,
    Emitter,
    Reference,
    rescale_features,
    weight_arrays,
    weight_references,
)

CONV2D_CHUNK, DEPTHWISE_CHUNK = 32, 16  # EC_CONV2D_CHUNK and EC_DEPTHWISE_CHUNK in ec_kernels.h


@lru_cache(maxsize=4096)
def spans(out: int, stride: int, padding: int, dilation: int, taps: int, size: int) -> tuple[tuple[int, int], ...]:
    """(first, end) taps inside the input for each output position, as ec_make_span; an empty span is (0, 0)."""
    result = []
    for position in range(out):
        start = position * stride - padding
        first = -(start // dilation) if start < 0 else 0
        end = max(min(-(-(size - start) // dilation), taps), first)
        result.append((first, end))
    return tuple(result)


@lru_cache(maxsize=4096)
def sweep_distance(input_shape: tuple[int, ...], output_shape: tuple[int, ...], stride: tuple[int, int], corner: tuple[int, int], step: int) -> int:
    """For kernels that read the windows of `step` output pixels, then write these pixels, in order: how many bytes before its input the output
    must begin so that nothing is overwritten that is still to be read. `corner` is the padding above and to the left."""
    (height, width, channels), (out_height, out_width, out_channels) = input_shape, output_shape
    written = np.arange(step, out_height * out_width, step)
    row, column = np.divmod(written, out_width)
    here = np.clip(row * stride[0] - corner[0], 0, height) * width + np.clip(column * stride[1] - corner[1], 0, width)
    below = np.where(row + 1 < out_height, np.clip((row + 1) * stride[0] - corner[0], 0, height) * width, height * width)
    return max(0, int((written * out_channels - np.minimum(here, below) * channels).max(initial=0)))


class WindowedEmitter(Emitter):
    """What Conv2D and DepthwiseConv2D share."""

    takes_scratch = True
    name = ""

    def kernel(self, call: Call) -> str:
        return f"ec_{self.name}_s{call.op.weight_bits}"

    def struct(self, call: Call) -> str:
        return f"ec_{self.name}_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"{self.kernel(call)}.c", f"ec_{self.name}.h")

    def row_spans(self, call: Call) -> tuple[tuple[int, int], ...]:
        """Vertical taps inside the input for each output row."""
        op = call.op
        return spans(call.output.shape[0], op.stride[0], op.padding[0], op.dilation[0], op.kernel[0], call.inputs[0].shape[0])

    def column_spans(self, call: Call) -> tuple[tuple[int, int], ...]:
        """Horizontal taps inside the input for each output column."""
        op = call.op
        return spans(call.output.shape[1], op.stride[1], op.padding[2], op.dilation[1], op.kernel[1], call.inputs[0].shape[1])

    def window_params(self, call: Call) -> dict[str, int | Reference]:
        """Kernel, stride, dilation and the paddings that matter (the output's size implies the others)."""
        op = call.op
        return {"kernel_height": op.kernel[0], "kernel_width": op.kernel[1], "stride_height": op.stride[0], "stride_width": op.stride[1],
                "dilation_height": op.dilation[0], "dilation_width": op.dilation[1], "padding_top": op.padding[0], "padding_left": op.padding[2]}


class Conv2DEmitter(WindowedEmitter):
    """ec_conv2d_s8, _s4, _s2."""

    name = "conv2d"

    def overlaps(self, call: Call) -> dict[int, int]:
        op = call.op
        if op.groups > 1:  # each group reads the whole image
            return {}
        return {0: sweep_distance(call.inputs[0].shape, call.output.shape, op.stride, (op.padding[0], op.padding[2]), 2)}

    def params(self, call: Call) -> dict[str, int | Reference]:
        height, width, channels = call.inputs[0].shape
        out_height, out_width, out_channels = call.output.shape
        return {**weight_references(call.op), "input_height": height, "input_width": width, "input_channels": channels, "output_height": out_height,
                "output_width": out_width, "output_channels": out_channels, **self.window_params(call), "pointwise": int(self._is_pointwise(call.op)),
                "groups": call.op.groups, "input_zero_point": call.op.input_zero_point}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op = call.op
        return weight_arrays(op.weights.reshape(op.weights.shape[0], -1), op.weight_bits, op.bias, op.requant)

    def array_bytes(self, call: Call) -> int:
        weights = call.op.weights
        return int(weights.shape[0] * (packed_row_bytes(weights[0].size, call.op.weight_bits) + CHANNEL_BYTES))

    def scratch_bytes(self, call: Call) -> int:
        out_channels, height, width, channels = call.op.weights.shape
        outputs = out_channels // call.op.groups
        return int(4 * height * width * channels + 8 * min(outputs + outputs % 2, CONV2D_CHUNK))

    def _is_pointwise(self, op: Conv2D) -> bool:
        return op.kernel == (1, 1) and op.stride == (1, 1) and not any(op.padding) and op.groups == 1

    def features(self, call: Call) -> dict[str, float]:
        op = call.op
        out_channels, height, width, channels = op.weights.shape
        pixels, length, outputs = call.output.shape[0] * call.output.shape[1], height * width * channels, out_channels // op.groups
        pairs, singles = op.groups * (pixels // 2), op.groups * (pixels % 2)
        blocks, chunks = math.ceil(outputs / 2), math.ceil(outputs / CONV2D_CHUNK)
        return {"call": 1, "groups": op.groups, "chunks": (pairs + singles) * chunks, **self._gather_features(call, pairs + singles, length),
                **rescale_features(op, pairs=pairs * outputs, singles=singles * outputs),
                "pair_blocks": pairs * blocks, "pair_quads": pairs * blocks * (length // 4), "pair_tails": pairs * blocks * (length % 4),
                "single_blocks": singles * blocks, "single_quads": singles * blocks * (length // 4), "single_tails": singles * blocks * (length % 4)}

    def _gather_features(self, call: Call, patches: int, length: int) -> dict[str, float]:
        op, width, channels = call.op, call.op.kernel[1], call.op.weights.shape[3]
        if self._is_pointwise(op):
            return {"pointwise_patches": patches, "runs": patches, "run_quads": patches * (length // 4), "run_tails": patches * (length % 4)}
        whole, clipped_rows, clipped_taps = self._windows(call)
        runs, clipped = whole * op.kernel[0], patches - whole
        joined = op.groups == 1 and op.dilation[1] == 1
        return {"whole_patches": whole, "runs": runs, "run_quads": runs * (width * channels // 4), "run_tails": runs * (width * channels % 4),
                "clipped_patches": clipped, "cleared": clipped * length, "clipped_rows": clipped_rows,
                "clipped_runs": clipped_rows if joined else clipped_taps, "clipped_elements": clipped_taps * channels}

    def _windows(self, call: Call) -> tuple[int, int, int]:
        """(patches gathered in whole kernel rows; and of all other pixels: kernel rows, taps inside the input), all groups."""
        op = call.op
        rows, columns = np.array(self.row_spans(call)), np.array(self.column_spans(call))
        heights, widths = rows[:, 1] - rows[:, 0], columns[:, 1] - columns[:, 0]
        inside = ((heights == op.kernel[0])[:, None] & (widths == op.kernel[1])[None, :]).ravel()
        row_counts = np.repeat(heights, len(widths))
        tap_counts = np.outer(heights, widths).ravel()
        if len(inside) % 2:  # the last pixel is its own partner
            inside, row_counts, tap_counts = (np.append(values, values[-1]) for values in (inside, row_counts, tap_counts))
        whole = inside[0::2] & inside[1::2] & (op.groups == 1 and op.dilation[1] == 1)
        rest = np.repeat(~whole, 2)
        return int(whole.sum()), op.groups * int(row_counts[rest].sum()), op.groups * int(tap_counts[rest].sum())


class DepthwiseConv2DEmitter(WindowedEmitter):
    """ec_depthwise_conv2d_s8, _s4, _s2."""

    name = "depthwise_conv2d"

    def params(self, call: Call) -> dict[str, int | Reference]:
        height, width, channels = call.inputs[0].shape
        out_height, out_width, out_channels = call.output.shape
        return {**weight_references(call.op), "input_height": height, "input_width": width, "input_channels": channels, "output_height": out_height,
                "output_width": out_width, "depth_multiplier": out_channels // channels, **self.window_params(call),
                "input_zero_point": call.op.input_zero_point}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op = call.op
        return weight_arrays(op.weights.reshape(-1, op.weights.shape[2]), op.weight_bits, op.bias, op.requant)

    def array_bytes(self, call: Call) -> int:
        height, width, channels = call.op.weights.shape
        return int(height * width * packed_row_bytes(channels, call.op.weight_bits) + CHANNEL_BYTES * channels)

    def scratch_bytes(self, call: Call) -> int:
        return 8 * int(call.op.kernel[0] * call.op.kernel[1]) + 16 * min(DEPTHWISE_CHUNK, call.output.shape[1])

    def features(self, call: Call) -> dict[str, float]:
        channels, multiplier = call.output.shape[2], call.output.shape[2] // call.inputs[0].shape[2]
        fours = channels // 4 if multiplier == 1 else 0
        ones = channels - 4 * fours
        sweep = self._sweep(call)
        result: dict[str, float] = {
            "call": 1, **rescale_features(call.op, blocks=sweep["whole_pixels"] * channels, singles=sweep["clipped_pixels"] * channels),
            "rescaled_lanes": sweep["runs"] * channels,
        }
        by_3 = fours if call.op.kernel[1] == 3 else 0
        result |= {"whole_pixels_by_3": sweep["whole_pixels"] * by_3, "whole_rows_by_3": sweep["whole_rows"] * by_3}
        for suffix, count in (("x4", fours), ("x1", ones)):
            whole = 0 if suffix == "x4" and by_3 else count
            result |= {f"{name}_{suffix}": value * (whole if name.startswith("whole") else count) for name, value in sweep.items()}
        return result

    def _sweep(self, call: Call) -> dict[str, float]:
        """Loop counts of one block of channels over the image; `whole` pixels see all columns of the kernel."""
        taps, row_spans, column_spans = call.op.kernel[1], self.row_spans(call), self.column_spans(call)
        heights = [end - first for first, end in row_spans]
        folds = [height for index, height in enumerate(heights) if index == 0 or row_spans[index] != row_spans[index - 1]]
        clipped = [end - first for first, end in column_spans if (first, end) != (0, taps)]
        rows, tap_rows, whole = len(heights), sum(heights), len(column_spans) - len(clipped)
        return {"blocks": 1, "unpacked": call.op.kernel[0] * taps, "rows": rows, "folds": len(folds), "fold_taps": taps * sum(folds),
                "runs": rows * math.ceil(whole / DEPTHWISE_CHUNK), "whole_pixels": rows * whole, "whole_rows": tap_rows * whole,
                "whole_taps": tap_rows * whole * taps, "clipped_pixels": rows * len(clipped), "clipped_rows": tap_rows * len(clipped),
                "clipped_taps": tap_rows * sum(clipped)}


class DenseEmitter(Emitter):
    """ec_dense_s8, _s4, _s2."""

    def kernel(self, call: Call) -> str:
        return f"ec_dense_s{call.op.weight_bits}"

    def struct(self, call: Call) -> str:
        return "ec_dense_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"{self.kernel(call)}.c", "ec_dense.h")

    def params(self, call: Call) -> dict[str, int | Reference]:
        op = call.op
        return {**weight_references(op), "input_size": op.weights.shape[1], "output_size": op.weights.shape[0]}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op = call.op
        folded = op.bias.astype(np.int64) - op.input_zero_point * op.weights.astype(np.int64).sum(axis=1)
        wrapped = folded.astype(np.uint32).astype(np.int32)  # the kernel's sums are modulo 2^32
        return weight_arrays(op.weights, op.weight_bits, wrapped, op.requant)

    def array_bytes(self, call: Call) -> int:
        rows, length = call.op.weights.shape
        return int(rows * (packed_row_bytes(length, call.op.weight_bits) + CHANNEL_BYTES))

    def features(self, call: Call) -> dict[str, float]:
        rows, length = call.op.weights.shape
        block = 4 if call.op.weight_bits == 8 else 2
        blocks, singles = rows // block, rows % block
        return {"call": 1, "blocks": blocks, "block_quads": blocks * (length // 4), "block_tails": blocks * (length % 4),
                **rescale_features(call.op, singles=rows),
                "singles": singles, "single_quads": singles * (length // 4), "single_tails": singles * (length % 4)}
