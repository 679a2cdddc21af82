"""Sliding windows shared by convolution and pooling: output sizes, padding rules, patches."""

from __future__ import annotations

import numpy as np

from edgecompress.errors import ModelError

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]  # top, bottom, left, right
MAX_STEP = 2**15 - 1  # largest kernel, stride, dilation and padding: positions then fit 32 bits on every device


def check_window(kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)) -> None:
    """Raises ModelError for a value that is out of range."""
    ones = (*kernel, *stride, *dilation)
    if min(ones) < 1 or min(padding) < 0 or max(*ones, *padding) > MAX_STEP:
        raise ModelError(f"kernel {kernel}, stride {stride} and dilation {dilation} must be at least 1, padding {padding} at least 0, "
                         f"all at most {MAX_STEP}")


def check_pool(kernel: Pair, stride: Pair, padding: Padding) -> None:
    """check_window, and no window may lie wholly in the padding, where a pool has nothing to look at."""
    check_window(kernel, stride, padding)
    if max(padding[:2]) >= kernel[0] or max(padding[2:]) >= kernel[1]:
        raise ModelError(f"padding {padding} of a pool must be smaller than its window {kernel}")


def same_padding(size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Padding:
    """TFLite's SAME: output is ceil(size / stride), the odd pixel goes below and right."""
    total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    return total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2


def resolve_padding(padding: str | Padding, size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Padding:
    """Explicit (top, bottom, left, right) from 'same', 'valid' or an explicit padding."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        return same_padding(size, kernel, stride, dilation)
    if not isinstance(padding, (tuple, list)) or len(padding) != 4 or not all(isinstance(side, int) for side in padding):
        raise ModelError(f"padding {padding!r} is not 'same', 'valid' or (top, bottom, left, right)")
    return padding[0], padding[1], padding[2], padding[3]


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)) -> Pair:
    """Output (height, width); raises ModelError when the window does not fit or a value is out of range."""
    check_window(kernel, stride, padding, dilation)
    result = []
    for axis in (0, 1):
        room = size[axis] + padding[2 * axis] + padding[2 * axis + 1] - (kernel[axis] - 1) * dilation[axis] - 1
        if room < 0:
            raise ModelError(f"a window of {kernel} (dilation {dilation}) does not fit an input of {size} padded by {padding}")
        result.append(room // stride[axis] + 1)
    return result[0], result[1]


def patches(x: np.ndarray, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, fill: int) -> np.ndarray:
    """View of x [batch, height, width, channels] as windows [batch, out_h, out_w, kernel_h, kernel_w, channels]."""
    top, bottom, left, right = padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    out_h, out_w = output_size((x.shape[1], x.shape[2]), kernel, stride, padding, dilation)
    batch, rows, columns, channels = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded,
        (x.shape[0], out_h, out_w, kernel[0], kernel[1], x.shape[3]),
        (batch, rows * stride[0], columns * stride[1], rows * dilation[0], columns * dilation[1], channels),
        writeable=False,
    )


def valid_taps(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)) -> int:
    """Window positions times taps that fall on real input, summed over one channel."""
    out = output_size(size, kernel, stride, padding, dilation)
    total = 1
    for axis in (0, 1):
        starts = np.arange(out[axis])[:, None] * stride[axis] - padding[2 * axis] + np.arange(kernel[axis])[None, :] * dilation[axis]
        total *= int(((starts >= 0) & (starts < size[axis])).sum())
    return total
