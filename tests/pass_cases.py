"""Random graphs for the passes: every integer op, dead channels, several inputs and outputs, states, packed weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from graph_cases import SCALE, ZERO_POINT, Builder
from sequence_cases import delay_line, lstm, svdf

from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.op import Op
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.batch_matmul import BatchMatmul
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.ops.transpose import Transpose
from edgecompress.ir.requant import Requant

LIMITS = {8: 127, 4: 7, 2: 1}
CODES = np.arange(-128, 128)


class Maker(Builder):
    """Random nodes; of their weights and biases a share is zero in whole rows and columns."""

    def __init__(self, seed: int, dead: float) -> None:
        super().__init__(seed)
        self.dead = dead

    def pick(self, *values: int) -> int:
        """One of them."""
        return int(self.random.choice(values))

    def chance(self, share: float) -> bool:
        """True that often."""
        return bool(self.random.random() < share)

    def zero_point(self) -> int:
        """Often the usual one, so that passes find something."""
        return ZERO_POINT if self.chance(0.8) else self.pick(-128, 127, 3)

    def activation(self) -> tuple[int, int]:
        """Bounds of an activation."""
        low, high = sorted(int(value) for value in self.random.integers(-128, 128, 2))
        return (-128, 127) if self.chance(0.6) else (ZERO_POINT, 127) if self.chance(0.5) else (low, high)

    def layer(self, shape: tuple[int, ...], row_axis: int, column_axis: int | None) -> tuple[np.ndarray, np.ndarray, Requant, int]:
        """(weights, bias, rescaling, bits) with dead rows and unread columns."""
        bits = self.pick(8, 8, 4, 2)
        weights = self.random.integers(-LIMITS[bits], LIMITS[bits] + 1, shape)
        rows = shape[row_axis]
        taps = weights.size // rows
        gone = self.random.random(rows) < self.dead
        weights[(slice(None),) * row_axis + (gone,)] = 0
        bias = self.random.integers(-500, 500, rows)
        bias[gone & (self.random.random(rows) < 0.5)] = 0
        if column_axis is not None:
            weights[..., self.random.random(shape[column_axis]) < self.dead / 2] = 0
        factors = self.random.uniform(0.5, 1.5, rows if self.chance(0.7) else 1) / (0.6 * LIMITS[bits] * taps**0.5)
        return weights, bias, Requant.from_real(factors), bits

    def window(self, height: int, width: int) -> tuple[tuple[int, int], dict[str, tuple[int, ...]]]:
        """A kernel that fits, and stride, dilation and padding."""
        kernel = min(self.pick(1, 2, 3), height), min(self.pick(1, 2, 3), width)
        dilation = tuple(self.pick(1, 2) if (size - 1) // max(taps - 1, 1) >= 2 else 1 for size, taps in zip((height, width), kernel, strict=True))
        padding = tuple(int(value) for value in self.random.integers(0, self.pick(1, 2, 3), 4))
        return kernel, {"stride": (self.pick(1, 2), self.pick(1, 1, 2)), "dilation": dilation, "padding": padding}


def _conv(m: Maker, x: str, pool: list[str]) -> str:
    height, width, channels = m.shape(x)
    kernel, window = m.window(height, width)
    groups = m.pick(1, 1, 1, *(size for size in (2, 3) if channels % size == 0))
    if groups == 1 and m.chance(0.15):
        kernel, window = (height, width), {}
    weights, bias, requant, bits = m.layer((groups * m.pick(1, 2, 3, 6), *kernel, channels // groups), 0, 3)
    low, high = m.activation()
    op = Conv2D(weights, bias, requant, m.zero_point(), ZERO_POINT, **window, groups=groups, activation_min=low, activation_max=high,
                weight_bits=bits)
    return m.add(op, x)


def _depthwise(m: Maker, x: str, pool: list[str]) -> str:
    height, width, channels = m.shape(x)
    kernel, window = m.window(height, width)
    weights, bias, requant, bits = m.layer((*kernel, channels * m.pick(1, 1, 2, 3 if channels < 5 else 1)), 2, None)
    low, high = m.activation()
    op = DepthwiseConv2D(weights, bias, requant, m.zero_point(), ZERO_POINT, **window, activation_min=low, activation_max=high, weight_bits=bits)
    return m.add(op, x)


def _dense(m: Maker, x: str, pool: list[str]) -> str:
    size = int(np.prod(m.shape(x)))
    weights, bias, requant, bits = m.layer((m.pick(1, 4, 12, 24), size), 0, 1)
    low, high = m.activation()
    flat = x if len(m.shape(x)) == 1 else m.add(Reshape((size,)), x)
    y = m.add(Dense(weights, bias, requant, m.zero_point(), ZERO_POINT, low, high, bits), flat)
    return m.add(Reshape((2, 2, len(bias) // 4)), y) if len(bias) % 4 == 0 and m.chance(0.7) else m.add(Reshape((1, 1, len(bias))), y)


def _partner(m: Maker, x: str, pool: list[str]) -> str:
    same = [name for name in pool if m.shape(name) == m.shape(x)]
    return same[int(m.random.integers(0, len(same)))]


def _add(m: Maker, x: str, pool: list[str]) -> str:
    return m.add(Add.from_scales((SCALE, ZERO_POINT), (SCALE, m.zero_point()), (SCALE, ZERO_POINT), *m.activation()), x, _partner(m, x, pool))


def _mul(m: Maker, x: str, pool: list[str]) -> str:
    other = _partner(m, x, pool)
    if m.chance(0.4):
        height, width, _ = m.shape(x)
        other = m.add(GlobalAveragePool(fold_count(1.0, height * width), ZERO_POINT, ZERO_POINT, *m.activation()), x)
    return m.add(Mul(Requant.from_real(0.02), ZERO_POINT, m.zero_point(), ZERO_POINT, *m.activation()), x, other)


def _concat(m: Maker, x: str, pool: list[str]) -> str:
    axis = m.pick(0, 1, 2, 2)
    fits = [name for name in pool if all(a == b for i, (a, b) in enumerate(zip(m.shape(name), m.shape(x), strict=True)) if i != axis)]
    names = [x, *(fits[int(m.random.integers(0, len(fits)))] for _ in range(m.pick(0, 1, 1, 2)))]
    if m.chance(0.6):
        return m.add(Concat(axis, Requant((2**30,) * len(names), (1,) * len(names)), (ZERO_POINT,) * len(names), ZERO_POINT), *names)
    return m.add(Concat(axis, Requant.from_real(m.random.uniform(0.5, 1.2, len(names))), (m.zero_point(),) * len(names), ZERO_POINT), *names)


def _pool(m: Maker, x: str, pool: list[str]) -> str:
    height, width, _ = m.shape(x)
    kernel = min(m.pick(1, 2, 3), height), min(m.pick(1, 2, 3), width)
    padding = tuple(int(m.random.integers(0, kernel[axis])) if m.chance(0.4) else 0 for axis in (0, 0, 1, 1))
    kind = AveragePool2D if m.chance(0.5) else MaxPool2D
    stride = (1, 1) if m.chance(0.5) else (m.pick(1, 2), m.pick(1, 2))
    return m.add(kind(kernel, stride, (padding[0], padding[1], padding[2], padding[3]), *m.activation()), x)


def _pad(m: Maker, x: str, pool: list[str]) -> str:
    top, bottom, left, right = (int(value) for value in m.random.integers(0, 3, 4))
    return m.add(Pad((top, bottom, left, right), m.zero_point()), x)


def _unary(m: Maker, x: str, pool: list[str]) -> str:
    low, high = sorted(int(value) for value in m.random.integers(-128, 128, 2))
    choices: tuple[Op, ...] = (
        Table(np.clip(CODES, low, high)), Table(CODES.copy()), Table(m.random.integers(-128, 128, 256)),
        Table.from_function("hardswish", SCALE, ZERO_POINT, SCALE, ZERO_POINT), Requantize(Requant((2**30,), (1,)), 3, 3),
        Requantize(Requant((2**30,), (1,)), 0, 0, *m.activation()), Requantize(Requant.from_real(0.7), 4, -9, *m.activation()))
    return m.add(choices[int(m.random.integers(0, len(choices)))], x)


def _reshape(m: Maker, x: str, pool: list[str]) -> str:
    height, width, channels = m.shape(x)
    shapes = [(width, height, channels), (height * width, 1, channels), (1, height, width * channels), (channels, height, width),
              (1, 1, height * width * channels)]
    y = m.add(Reshape((height * width * channels,)), x) if m.chance(0.4) else x
    return m.add(Reshape(shapes[int(m.random.integers(0, len(shapes)))]), y)


def _transpose(m: Maker, x: str, pool: list[str]) -> str:
    return m.add(Transpose(tuple(int(axis) for axis in m.random.permutation(3))), x)


def _slice(m: Maker, x: str, pool: list[str]) -> str:
    begin = tuple(int(m.random.integers(0, size)) for size in m.shape(x))
    step = tuple(m.pick(1, 1, 2, -1) for _ in begin)
    room = [(first // -by if by < 0 else (length - 1 - first) // by) + 1 for first, by, length in zip(begin, step, m.shape(x), strict=True)]
    return m.add(Slice(begin, tuple(int(m.random.integers(1, most + 1)) for most in room), step), x)


def _resize(m: Maker, x: str, pool: list[str]) -> str:
    height, width, channels = m.shape(x)
    return m.add(ResizeNearest((height * 2, width)), x) if height * width * channels < 200 else x


def _softmax(m: Maker, x: str, pool: list[str]) -> str:
    return m.add(Softmax.from_scale(SCALE), x)


def _matmul(m: Maker, x: str, pool: list[str]) -> str:
    """A tensor by one of its shape, either side transposed."""
    left = m.pick(0, 1)
    return m.add(BatchMatmul(Requant.from_real(0.01), m.zero_point(), ZERO_POINT, ZERO_POINT, left, 1 - left, *m.activation()), x, _partner(m, x, pool))


def _recurrent(m: Maker, x: str, pool: list[str]) -> str:
    """An op with a state, between reshapes where it needs another rank."""
    height, width, channels = m.shape(x)
    name = f"{x} {m.random.integers(0, 2**31)}"
    kind = m.pick(0, 1, 2)
    if kind == 0:
        return m.add(delay_line(name, m.pick(1, 2), m.shape(x), None if m.chance(0.5) else ZERO_POINT)[1], x)
    if kind == 1:
        y = m.add(lstm(name, height * width, channels, 4)[1], m.add(Reshape((height * width, channels)), x))
        return m.add(Reshape((height, width, 4)), y)
    size = height * width * channels
    y = m.add(svdf(name, size, 6, 1, 3)[1], m.add(Reshape((size,)), x))
    return m.add(Reshape((1, 1, 6)), y)


STEPS: tuple[Callable[[Maker, str, list[str]], str], ...] = (
    _conv, _conv, _conv, _depthwise, _depthwise, _dense, _add, _mul, _concat, _pool, _pad, _unary, _unary, _reshape, _transpose, _slice, _resize,
    _softmax, _matmul)


def rich_network(seed: int, stateful: bool = False) -> QuantizedGraph:
    """A graph of all ops; with `stateful` some of them remember."""
    random = np.random.default_rng(seed)
    m = Maker(seed, float(random.choice([0.0, 0.2, 0.5, 0.9])))
    pool = [m.input(m.pick(1, 2, 3, 5), m.pick(1, 3, 4), m.pick(1, 2, 4, 6)) for _ in range(m.pick(1, 1, 2))]
    if len(pool) == 2 and m.chance(0.7):
        pool.append(_conv(m, pool[0], pool))
    steps = (*STEPS, _recurrent, _recurrent, _recurrent) if stateful else STEPS
    for _ in range(m.pick(3, 6, 10, 14)):
        x = pool[-1] if m.chance(0.75) else pool[int(m.random.integers(max(0, len(pool) - 3), len(pool)))]
        if max(m.shape(x)) * len(m.shape(x)) > 400:
            x = pool[0]
        pool.append(steps[int(m.random.integers(0, len(steps)))](m, x, pool))
    written = {node.output for node in m.nodes}
    outputs = [name for name in dict.fromkeys(pool[::-1]) if name in written][:m.pick(1, 1, 2, 3)]
    return m.graph(f"rich {seed}", *(outputs or [_unary(m, pool[0], pool)]))
