"""Random single layers for latency profiles: every op, in the shapes, weight widths and activations that change which loops a kernel runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from edgecompress.ir.op import Op, Shape
from edgecompress.ir.ops import (
    Add,
    AveragePool2D,
    BatchMatmul,
    Concat,
    Conv2D,
    DelayLine,
    Dense,
    DepthwiseConv2D,
    GlobalAveragePool,
    Lstm,
    MaxPool2D,
    Mul,
    Pad,
    Requantize,
    ResizeNearest,
    Slice,
    Softmax,
    Svdf,
    Table,
    Transpose,
)
from edgecompress.ir.ops.global_average_pool import fold_count
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import Padding, resolve_padding

SCALE, ZERO_POINT = 0.05, -4  # of the sweep's tensors
LOWEST, HIGHEST = -128, 127
T = TypeVar("T")


@dataclass(frozen=True)
class SweptLayer:
    """An op and the shapes of its inputs."""

    op: Op
    inputs: tuple[Shape, ...]


@dataclass(frozen=True)
class Dice:
    """Random choices as networks make them."""

    random: np.random.Generator

    def pick(self, *values: T) -> T:
        """One of the values."""
        return values[int(self.random.integers(len(values)))]

    def between(self, low: int, high: int) -> int:
        """Whole number, each size as likely as each other: 3 to 6 as often as 30 to 60."""
        return min(int(math.exp(self.random.uniform(math.log(low), math.log(high + 1)))), high)

    def channels(self, low: int, high: int) -> int:
        """Three times in four a multiple of 4 or 8, else any number."""
        count, unit = self.between(low, high), self.pick(1, 4, 8, 8)
        return max(round(count / unit) * unit, low)

    def image(self, low: int, high: int) -> tuple[int, int]:
        """Height and width, half of the time a square."""
        height = self.between(low, high)
        return height, height if self.random.random() < 0.5 else self.between(low, high)

    def weights(self, bits: int, *shape: int) -> np.ndarray:
        """Of a width in bits."""
        limit = {8: 127, 4: 7, 2: 1}[bits]
        return self.random.integers(-limit, limit + 1, shape)

    def bias(self, channels: int) -> np.ndarray:
        """Biases."""
        return self.random.integers(-2000, 2000, channels)

    def requant(self, channels: int) -> Requant:
        """A factor a channel, or one for all, of the size that networks have; now and then large ones, which take a slower loop."""
        low, high = (0.1, 0.9) if self.random.random() < 0.1 else (2e-4, 2e-2)
        return Requant.from_real(self.random.uniform(low, high, self.pick(channels, channels, channels, 1)))

    def bits(self) -> int:
        """Weight width."""
        return self.pick(8, 8, 8, 8, 4, 4, 2)

    def range(self) -> tuple[int, int, int]:
        """Output zero point, least and greatest output: of a ReLU, of no activation, of a ReLU whose tensor others share, of a ReLU6."""
        return self.pick((LOWEST, LOWEST, HIGHEST), (ZERO_POINT, LOWEST, HIGHEST), (ZERO_POINT, LOWEST, HIGHEST), (ZERO_POINT, ZERO_POINT, HIGHEST),
                         (LOWEST, LOWEST, 100))


def make_padding(same: bool, image: Shape, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> Padding:
    """SAME also where the window is larger than the image."""
    fits = all((taps - 1) * step < size for taps, step, size in zip(kernel, dilation, image, strict=True))
    return resolve_padding("valid" if fits and not same else "same", (image[0], image[1]), kernel, stride, dilation)


def _convolution(d: Dice, shape: Shape, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], same: bool = True, groups: int = 1,
                 dilation: tuple[int, int] = (1, 1)) -> SweptLayer:
    bits, (zero_point, low, high) = d.bits(), d.range()
    padding = make_padding(same, shape[:2], kernel, stride, dilation)
    op = Conv2D(d.weights(bits, outputs, *kernel, shape[2] // groups), d.bias(outputs), d.requant(outputs), ZERO_POINT, zero_point, stride, dilation,
                padding, groups, low, high, bits)
    return SweptLayer(op, (shape,))


def _pointwise(d: Dice) -> SweptLayer:
    stride = d.pick(1, 1, 1, 1, 1, 2)
    return _convolution(d, (*d.image(1, 48), d.channels(1, 256)), d.channels(1, 256), (1, 1), (stride, stride))


def _narrow_pointwise(d: Dice) -> SweptLayer:
    """Few input channels: a vector or some."""
    channels = 16 * d.pick(1, 2, 3, 4) - d.pick(0, 0, 4, 8, int(d.random.integers(16)))
    return _convolution(d, (*d.image(2, 48), channels), d.channels(2, 64), (1, 1), (1, 1))


def _square(d: Dice) -> SweptLayer:
    kernel, stride = d.pick(3, 3, 3, 5), d.pick(1, 1, 2)
    return _convolution(d, (*d.image(3, 48), d.channels(2, 96)), d.channels(2, 96), (kernel, kernel), (stride, stride), d.pick(True, True, False))


def _square_in_eights(d: Dice) -> SweptLayer:
    """3x3 as residual networks have it: all sizes even, or multiples of 8."""
    width = 8 * d.pick(1, 1, 2, 2, 3, 4, 6)
    return _convolution(d, (d.pick(width, d.between(2, 48)), width, 8 * d.between(1, 12)), 2 * d.between(2, 48), (3, 3), (1, 1))


def _oblong(d: Dice) -> SweptLayer:
    kernel = d.pick((1, 3), (3, 1), (1, 5), (5, 1), (2, 2), (4, 4), (10, 4), (1, 9), (7, 7))
    stride = (d.pick(1, 1, 2), d.pick(1, 1, 2))
    return _convolution(d, (*d.image(2, 49), d.channels(1, 96)), d.channels(2, 96), kernel, stride)


def _first(d: Dice) -> SweptLayer:
    """As networks begin: pictures and spectrograms."""
    kernel, stride = d.pick((3, 3), (3, 3), (3, 3), (5, 5), (10, 4), (10, 8), (7, 7), (4, 4)), d.pick(1, 2, 2)
    return _convolution(d, (*d.image(12, 96), d.pick(1, 3, 3, 3)), d.channels(4, 64), kernel, (stride, stride), d.pick(True, True, False))


def _few_taps(d: Dice) -> SweptLayer:
    """Windows of at most 64 elements."""
    kernel = d.pick((3, 3), (3, 3), (1, 3), (3, 1), (2, 2), (5, 1), (4, 4), (5, 5))
    channels, stride = int(d.random.integers(1, 64 // (kernel[0] * kernel[1]) + 1)), d.pick(1, 1, 2)
    return _convolution(d, (*d.image(2, 64), channels), d.channels(2, 48), kernel, (stride, stride))


def _whole(d: Dice) -> SweptLayer:
    """One window: the whole input."""
    image = d.image(1, 8)
    return _convolution(d, (*image, d.channels(2, 128)), d.channels(2, 64), image, (1, 1), same=False)


def _grouped(d: Dice) -> SweptLayer:
    groups, kernel = d.pick(2, 3, 4, 8), d.pick(1, 3)
    shape, outputs = (*d.image(2, 24), groups * d.between(1, 16)), groups * d.between(1, 16)
    return _convolution(d, shape, outputs, (kernel, kernel), (1, 1), groups=groups)


def _dilated(d: Dice) -> SweptLayer:
    kernel, dilation = d.pick((3, 3), (3, 1), (1, 3)), (d.pick(1, 2, 4), d.pick(1, 2, 3))
    return _convolution(d, (*d.image(4, 32), d.channels(2, 64)), d.channels(2, 64), kernel, (1, 1), dilation=dilation)


def _depthwise_of(d: Dice, shape: Shape, kernel: tuple[int, int], stride: tuple[int, int], same: bool = True, multiplier: int = 1,
                  dilation: tuple[int, int] = (1, 1)) -> SweptLayer:
    bits, channels, (zero_point, low, high) = d.bits(), shape[2] * multiplier, d.range()
    padding = make_padding(same, shape[:2], kernel, stride, dilation)
    op = DepthwiseConv2D(d.weights(bits, *kernel, channels), d.bias(channels), d.requant(channels), ZERO_POINT, zero_point, stride, dilation, padding,
                         low, high, bits)
    return SweptLayer(op, (shape,))


def _depthwise(*kernels: tuple[int, int]) -> Callable[[Dice], SweptLayer]:
    """Of these kernels, as MobileNets have them."""
    def draw(d: Dice) -> SweptLayer:
        kernel, stride = d.pick(*kernels), d.pick(1, 2)
        return _depthwise_of(d, (*d.image(2, 64), d.channels(4, 256)), kernel, (stride, stride), d.pick(True, True, True, False))

    return draw


def _line(d: Dice) -> SweptLayer:
    """Along time only."""
    taps, length, stride = d.between(2, 24), d.between(2, 64), d.pick(1, 1, 2)
    if d.random.random() < 0.5:
        return _depthwise_of(d, (length, d.pick(1, 1, 4), d.channels(4, 192)), (taps, 1), (stride, 1), d.pick(True, False))
    return _depthwise_of(d, (d.pick(1, 1, 4), length, d.channels(4, 192)), (1, taps), (1, stride), d.pick(True, False))


def _whole_depthwise(d: Dice) -> SweptLayer:
    """One output pixel: streaming networks and learned pools."""
    image = d.pick((d.between(2, 24), 1), d.image(2, 8))
    return _depthwise_of(d, (*image, d.channels(4, 256)), image, (1, 1), same=False)


def _unusual_depthwise(d: Dice) -> SweptLayer:
    """Several outputs a channel, dilated windows, very few channels."""
    kernel, dilation = d.pick((3, 3), (5, 5), (10, 4)), d.pick((1, 1), (1, 1), (2, 2))
    return _depthwise_of(d, (*d.image(2, 49), d.between(1, 24)), kernel, (d.pick(1, 2),) * 2, multiplier=d.pick(1, 2, 4, 8), dilation=dilation)


def _dense(d: Dice) -> SweptLayer:
    bits, inputs, outputs, (zero_point, low, high) = d.bits(), d.channels(2, 2048), d.channels(1, 256), d.range()
    op = Dense(d.weights(bits, outputs, inputs), d.bias(outputs), d.requant(outputs), ZERO_POINT, zero_point, low, high, bits)
    return SweptLayer(op, ((inputs,),))


def _shape(d: Dice) -> Shape:
    return (*d.image(1, 32), d.channels(1, 128))


def _add(d: Dice) -> SweptLayer:
    left, right, low = d.pick(1.0, 1.0, 0.6), d.pick(1.0, 1.0, 0.7), d.pick(LOWEST, LOWEST, ZERO_POINT)
    return SweptLayer(Add.from_scales((left, ZERO_POINT), (right, ZERO_POINT), (1.5, ZERO_POINT), low), (_shape(d),) * 2)


def _mul(d: Dice) -> SweptLayer:
    shape = _shape(d)
    right = d.pick(shape, (1, 1, shape[2]))
    return SweptLayer(Mul(Requant.from_real(0.004), ZERO_POINT, ZERO_POINT, ZERO_POINT), (shape, right))


def _pool(kind: type[AveragePool2D] | type[MaxPool2D]) -> Callable[[Dice], SweptLayer]:
    def draw(d: Dice) -> SweptLayer:
        shape = (*d.image(2, 48), d.channels(1, 128))
        kernel = (min(d.pick(2, 2, 3, 3, 5), shape[0]), min(d.pick(2, 2, 3, 3, 5), shape[1]))
        kernel = d.pick(kernel, kernel, kernel, shape[:2])
        stride, low = d.pick((1, 1), (2, 2), (2, 2), kernel), d.pick(LOWEST, ZERO_POINT)
        return SweptLayer(kind(kernel, stride, resolve_padding(d.pick("same", "valid"), shape[:2], kernel, stride), low), (shape,))

    return draw


def _global_average_pool(d: Dice) -> SweptLayer:
    shape = _shape(d)
    return SweptLayer(GlobalAveragePool(fold_count(1.0, shape[0] * shape[1]), ZERO_POINT, ZERO_POINT), (shape,))


def _pad(d: Dice) -> SweptLayer:
    return SweptLayer(Pad((d.pick(0, 1, 2), d.pick(1, 2), d.pick(0, 1, 3), d.pick(0, 1)), ZERO_POINT), (_shape(d),))


def _concat(d: Dice) -> SweptLayer:
    (height, width, channels), axis, count = _shape(d), d.pick(1, 2, 2, 2), d.pick(2, 2, 3, 4)
    shapes = [(height, d.between(1, 32), channels) if axis == 1 else (height, width, d.channels(1, 64)) for _ in range(count)]
    factors = Requant.from_real([d.pick(1.0, 1.0, 0.8) for _ in range(count)])
    return SweptLayer(Concat(axis, factors, (ZERO_POINT,) * count, ZERO_POINT), tuple(shapes))


def _copy(d: Dice) -> SweptLayer:
    """A concatenation in one piece: the parts are copied, as they belong to an input that must stay what it is."""
    return SweptLayer(Concat(0, Requant.from_real([1.0, 1.0]), (ZERO_POINT,) * 2, ZERO_POINT), ((d.between(1, 20_000),), (d.between(1, 2000),)))


def _softmax(d: Dice) -> SweptLayer:
    return SweptLayer(Softmax.from_scale(SCALE), ((d.pick(1, 1, 4, 50), d.between(2, 500)),))


def _batch_matmul(d: Dice) -> SweptLayer:
    """As attention has them: scores (the right matrix transposed), weighted sums (neither), now and then the left one."""
    batches, rows, columns, depth = d.pick((), (1,), (2,), (4,)), d.channels(1, 96), d.channels(1, 96), d.channels(1, 128)
    transposed = d.pick(0, 0, 0, 1), d.pick(0, 1)
    left, right = ((depth, rows) if transposed[0] else (rows, depth)), ((columns, depth) if transposed[1] else (depth, columns))
    op = BatchMatmul(Requant.from_real(d.pick(0.002, 0.02, 0.2)), ZERO_POINT, ZERO_POINT, ZERO_POINT, *transposed)
    return SweptLayer(op, ((*batches, *left), (*batches, *right)))


def _table(d: Dice) -> SweptLayer:
    return SweptLayer(Table.from_function("hardswish", SCALE, ZERO_POINT, SCALE, ZERO_POINT), (_shape(d),))


def _requantize(d: Dice) -> SweptLayer:
    return SweptLayer(Requantize(Requant.from_real(d.pick(0.7, 0.02)), ZERO_POINT, 3), (_shape(d),))


def _resize(d: Dice) -> SweptLayer:
    height, width, channels = *d.image(1, 16), d.channels(1, 64)
    return SweptLayer(ResizeNearest((height * d.pick(2, 2, 3), width * d.pick(1, 2, 3))), ((height, width, channels),))


def _slice(d: Dice) -> SweptLayer:
    shape = (*d.image(2, 32), d.channels(2, 96))
    sizes = tuple(max(size * d.pick(1, 2, 3) // 3, 1) for size in shape)
    steps = tuple(d.pick(1, 1, 2) if (part - 1) * 2 < size else 1 for size, part in zip(shape, sizes, strict=True))
    return SweptLayer(Slice((0, 0, 0), sizes, steps), (shape,))


def _transpose(d: Dice) -> SweptLayer:
    return SweptLayer(Transpose(d.pick((1, 0, 2), (0, 2, 1), (2, 0, 1), (2, 1, 0))), ((*d.image(2, 32), d.channels(2, 64)),))


def _delay_line(d: Dice) -> SweptLayer:
    width, channels = d.pick(1, 1, 10), d.channels(1, 128)
    return SweptLayer(DelayLine(d.random.integers(-128, 128, (d.between(1, 24), width, channels))), ((d.pick(1, 1, 2, 3), width, channels),))


def _lstm(d: Dice) -> SweptLayer:
    """Most sums stay where sigmoid and tanh bend."""
    steps, inputs, units = d.between(1, 32), d.channels(2, 128), d.channels(2, 96)
    from_input, from_hidden = (Requant.from_real(d.random.uniform(0.5, 2.0, 4) / size**0.5) for size in (inputs, units))
    op = Lstm(d.weights(8, 4, units, inputs), d.weights(8, 4, units, units), d.bias(4 * units).reshape(4, units), from_input, from_hidden,
              Requant.from_real(2.0**-23), ZERO_POINT, ZERO_POINT, d.pick(-12, -11))
    return SweptLayer(op, ((steps, inputs),))


def _svdf(d: Dice) -> SweptLayer:
    inputs, units, rank, memory, bits = d.channels(2, 512), d.channels(2, 128), d.pick(1, 2, 2), d.between(2, 32), d.pick(8, 16)
    op = Svdf(d.weights(8, units * rank, inputs), d.weights(8, units * rank, memory), d.bias(units), Requant.from_real(2.0 ** (bits - 22)),
              Requant.from_real(2.0 ** (3 - bits)), ZERO_POINT, ZERO_POINT, rank, bits)
    return SweptLayer(op, ((inputs,),))


# how often each is drawn: in proportion to how many kernels and loops it can end in
LAYERS: dict[str, tuple[Callable[[Dice], SweptLayer], int]] = {
    "pointwise": (_pointwise, 6), "narrow_pointwise": (_narrow_pointwise, 6), "square": (_square, 6), "square_in_eights": (_square_in_eights, 4),
    "oblong": (_oblong, 4), "first": (_first, 6), "few_taps": (_few_taps, 6), "whole": (_whole, 2), "grouped": (_grouped, 2), "dilated": (_dilated, 2),
    "depthwise_3x3": (_depthwise((3, 3)), 6), "depthwise_wide": (_depthwise((5, 5), (7, 7)), 6),
    "depthwise_other": (_depthwise((2, 2), (4, 4), (9, 9), (3, 5), (11, 3), (10, 4)), 3), "depthwise_line": (_line, 4),
    "depthwise_whole": (_whole_depthwise, 3), "depthwise_unusual": (_unusual_depthwise, 3), "dense": (_dense, 6),
    "add": (_add, 3), "mul": (_mul, 2), "average_pool": (_pool(AveragePool2D), 2), "max_pool": (_pool(MaxPool2D), 2),
    "global_average_pool": (_global_average_pool, 2), "pad": (_pad, 2), "concat": (_concat, 3), "copy": (_copy, 1), "softmax": (_softmax, 2),
    "batch_matmul": (_batch_matmul, 3),
    "table": (_table, 1), "requantize": (_requantize, 1), "resize": (_resize, 1), "slice": (_slice, 2), "transpose": (_transpose, 2),
    "delay_line": (_delay_line, 1), "lstm": (_lstm, 2), "svdf": (_svdf, 3),
}
