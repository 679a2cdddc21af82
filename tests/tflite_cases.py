"""Random one-op graphs for tests/test_tflite_micro.py, built the way an importer would.

Float32 scales as a file holds them, multipliers derived from them in double.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import tflite_writer
from tflite_sequence import SEQUENCE_MAKERS

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op, Shape
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
from edgecompress.ir.ops.resize_nearest import ResizeNearest, float32_positions, source_positions
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import UNARY, Table
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import output_size, same_padding


@dataclass
class Case:
    """A graph under construction, with the weight scales that no graph keeps."""

    rng: np.random.Generator
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    weight_scales: dict[str, np.ndarray] = field(default_factory=dict)

    def scale(self, low: float = 1e-3, high: float = 1.0) -> float:
        """A float32 scale, now and then a power of two, whose ratios make exact ties."""
        if self.rng.random() < 0.25:
            return float(2.0 ** self.rng.integers(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1))
        return float(np.float32(np.exp(self.rng.uniform(np.log(low), np.log(high)))))

    def zero_point(self) -> int:
        """An int8, often an extreme."""
        return int(self.rng.choice([-128, 127, 0, self.rng.integers(-128, 128)]))

    def tensor(self, name: str, shape: Shape, scale: float | None = None, zero_point: int | None = None) -> Tensor:
        """A new tensor; what is not given is random."""
        made = Tensor(name, shape, scale or self.scale(), self.zero_point() if zero_point is None else zero_point)
        self.tensors[name] = made
        return made

    def activation(self, out: Tensor) -> tuple[int, int]:
        """Bounds of a random fused activation."""
        bounds = [(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.0, 1.0)]
        low, high = tflite_writer.activation_range(out, *bounds[self.rng.integers(4)])
        return (low, high) if low <= high else (-128, 127)

    def image(self, largest: int = 9) -> Shape:
        """A random (height, width, channels)."""
        return tuple(int(size) for size in self.rng.integers(1, largest + 1, 3))

    def pair(self, high: int) -> tuple[int, int]:
        """Two sizes of at least 1."""
        return int(self.rng.integers(1, high + 1)), int(self.rng.integers(1, high + 1))

    def add(self, op: Op, inputs: tuple[str, ...], output: str) -> None:
        """Appends a node named after its output."""
        self.nodes.append(Node(f"node_{output}", op, inputs, output))

    def graph(self, inputs: tuple[str, ...] = ("a",), output: str = "y") -> QuantizedGraph:
        """The finished graph."""
        return QuantizedGraph("case", self.tensors, tuple(self.nodes), inputs, (output,))

    def weights(self, shape: Shape, fan_in: int, channel_axis: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(weights, bias, float32 scales): random, sometimes all extremes; per channel, or one scale when the axis is None."""
        low = -128 if self.rng.random() < 0.2 else -127
        values = self.rng.integers(low, 128, shape) if self.rng.random() < 0.8 else self.rng.choice([low, 127], shape)
        channels = shape[channel_axis or 0] if channel_axis is None else shape[channel_axis]
        bias = self.rng.integers(-(2**13), 2**13, channels) * int(self.rng.choice([0, 1, 1, 2**10]))
        scales = np.array([self.scale(1e-4, 0.1) for _ in range(1 if channel_axis is None else channels)], dtype=np.float32)
        return values.astype(np.int8), bias.astype(np.int32), scales

    def output_scale(self, factor: float, fan_in: int) -> float:
        """A scale at which sums of `fan_in` products neither vanish nor all saturate."""
        return float(np.float32(factor * np.sqrt(fan_in) * 128 * 128 / 100 * np.exp(self.rng.uniform(-2, 2))))


def make_conv2d(case: Case, grouped: bool = False) -> QuantizedGraph:
    groups = int(case.rng.integers(2, 4)) if grouped else 1
    height, width, depth = case.image()
    a = case.tensor("a", (height, width, depth * groups))
    kernel, stride = case.pair(min(4, height, width)), case.pair(3)
    dilation = case.pair(2)
    paddings = [same_padding((height, width), kernel, stride, dilation), (0, 0, 0, 0), tuple(int(side) for side in case.rng.integers(0, 3, 4))]
    padding = paddings[case.rng.integers(3)]
    room = [size + low + high - (k - 1) * d for size, low, high, k, d in
            zip((height, width), padding[::2], padding[1::2], kernel, dilation, strict=True)]
    if min(room) < 1:
        dilation, padding = (1, 1), (0, 0, 0, 0)
    channels = groups * int(case.rng.integers(1, 6))
    fan_in = kernel[0] * kernel[1] * depth
    weights, bias, scales = case.weights((channels, *kernel, depth), fan_in, 0)
    factors = np.float64(a.scale) * scales.astype(np.float64)
    y = case.tensor("y", (*output_size((height, width), kernel, stride, padding, dilation), channels), case.output_scale(factors.max(), fan_in))
    case.weight_scales["node_y"] = scales
    case.add(Conv2D(weights, bias, Requant.from_real(factors / y.scale), a.zero_point, y.zero_point, stride, dilation, padding, groups,
                    *case.activation(y)), ("a",), "y")
    return case.graph()


def make_depthwise(case: Case) -> QuantizedGraph:
    a = case.tensor("a", case.image())
    kernel, stride, dilation = case.pair(min(4, *a.shape[:2])), case.pair(3), case.pair(2)
    padding = same_padding(a.shape[:2], kernel, stride, dilation)
    if case.rng.random() < 0.5:
        dilation, padding = (1, 1), (0, 0, 0, 0)
    channels = a.shape[2] * int(case.rng.integers(1, 4))
    weights, bias, scales = case.weights((*kernel, channels), kernel[0] * kernel[1], 2)
    factors = np.float64(a.scale) * scales.astype(np.float64)
    y = case.tensor("y", (*output_size(a.shape[:2], kernel, stride, padding, dilation), channels),
                    case.output_scale(factors.max(), kernel[0] * kernel[1]))
    case.weight_scales["node_y"] = scales
    case.add(DepthwiseConv2D(weights, bias, Requant.from_real(factors / y.scale), a.zero_point, y.zero_point, stride, dilation, padding,
                             *case.activation(y)), ("a",), "y")
    return case.graph()


def make_dense(case: Case, per_channel: bool = True) -> QuantizedGraph:
    length, channels = int(case.rng.integers(1, 200)), int(case.rng.integers(2, 20))
    a = case.tensor("a", (length,))
    weights, bias, scales = case.weights((channels, length), length, 0 if per_channel else None)
    # with one scale for all channels, TFLite multiplies the two scales in float32 before it goes on in double
    factors = np.float64(a.scale) * scales.astype(np.float64) if per_channel else (np.float32(a.scale) * scales).astype(np.float64)
    y = case.tensor("y", (channels,), case.output_scale(factors.max(), length))
    case.weight_scales["node_y"] = scales
    case.add(Dense(weights, bias, Requant.from_real(factors / y.scale), a.zero_point, y.zero_point, *case.activation(y)), ("a",), "y")
    return case.graph()


def make_add(case: Case) -> QuantizedGraph:
    shape = case.image()
    a, b, y = (case.tensor(name, shape) for name in "aby")
    case.add(Add.from_scales((a.scale, a.zero_point), (b.scale, b.zero_point), (y.scale, y.zero_point), *case.activation(y)), ("a", "b"), "y")
    return case.graph(("a", "b"))


def make_mul(case: Case) -> QuantizedGraph:
    shape = case.image()
    a, b = case.tensor("a", shape), case.tensor("b", (1, 1, shape[2]) if case.rng.random() < 0.4 else shape)
    y = case.tensor("y", shape, float(np.float32(a.scale * b.scale * np.exp(case.rng.uniform(-1, 6)))))
    case.add(Mul(Requant.from_real(a.scale * b.scale / y.scale), a.zero_point, b.zero_point, y.zero_point, *case.activation(y)), ("a", "b"), "y")
    return case.graph(("a", "b"))


def make_pool(case: Case, kind: type[AveragePool2D] | type[MaxPool2D]) -> QuantizedGraph:
    a = case.tensor("a", case.image())
    kernel, stride = case.pair(min(a.shape[:2])), case.pair(3)
    padding = same_padding(a.shape[:2], kernel, stride) if case.rng.random() < 0.6 else (0, 0, 0, 0)
    y = case.tensor("y", (*output_size(a.shape[:2], kernel, stride, padding), a.shape[2]), a.scale, a.zero_point)
    case.add(kind(kernel, stride, padding, *case.activation(y)), ("a",), "y")
    return case.graph()


def make_global_average_pool(case: Case) -> QuantizedGraph:
    a = case.tensor("a", case.image(16))
    y = case.tensor("y", (1, 1, a.shape[2]), float(np.float32(a.scale * np.exp(case.rng.uniform(-2, 1)))) if case.rng.random() < 0.7 else a.scale)
    case.add(GlobalAveragePool(fold_count(a.scale / y.scale, a.shape[0] * a.shape[1]), a.zero_point, y.zero_point), ("a",), "y")
    return case.graph()


def make_pad(case: Case) -> QuantizedGraph:
    a = case.tensor("a", case.image())
    padding = tuple(int(side) for side in case.rng.integers(0, 4, 4))
    value = a.zero_point if case.rng.random() < 0.5 else int(case.rng.integers(-128, 128))
    case.tensor("y", (a.shape[0] + padding[0] + padding[1], a.shape[1] + padding[2] + padding[3], a.shape[2]), a.scale, a.zero_point)
    case.add(Pad(padding, value), ("a",), "y")
    return case.graph()


def make_concat(case: Case, rescaled: bool) -> QuantizedGraph:
    shape, axis, count = case.image(), int(case.rng.integers(3)), int(case.rng.integers(1, 5))
    scale, zero_point = case.scale(), case.zero_point()
    names = [f"i{position}" for position in range(count)]
    shapes = [(*shape[:axis], int(case.rng.integers(1, 5)), *shape[axis + 1 :]) for _ in names]
    for name, one in zip(names, shapes, strict=True):
        case.tensor(name, one, *((None, None) if rescaled else (scale, zero_point)))
    case.tensor("y", (*shape[:axis], sum(one[axis] for one in shapes), *shape[axis + 1 :]), scale, zero_point)
    inputs = [case.tensors[name] for name in names]
    op = Concat(axis, Requant.from_real([tensor.scale / scale for tensor in inputs]), tuple(tensor.zero_point for tensor in inputs), zero_point)
    case.add(op, tuple(names), "y")
    return case.graph(tuple(names))


def make_reshape(case: Case) -> QuantizedGraph:
    a = case.tensor("a", case.image())
    shape = [(a.size,), (a.shape[0] * a.shape[1], a.shape[2]), (a.shape[2], a.shape[0], a.shape[1])][case.rng.integers(3)]
    case.tensor("y", shape, a.scale, a.zero_point)
    case.add(Reshape(shape), ("a",), "y")
    return case.graph()


def make_softmax(case: Case) -> QuantizedGraph:
    shape: Shape = (int(case.rng.integers(1, 200)),) if case.rng.random() < 0.5 else (int(case.rng.integers(1, 5)), int(case.rng.integers(1, 40)))
    a = case.tensor("a", shape, case.scale(1e-7, 64.0) if case.rng.random() < 0.3 else case.scale(0.004, 0.3))
    case.tensor("y", shape, 1 / 256, -128)
    case.add(Softmax.from_scale(a.scale), ("a",), "y")
    return case.graph()


def make_batch_matmul(case: Case) -> QuantizedGraph:
    """The interpreter multiplies the two input scales in float32, and knows at most four axes."""
    rows, columns, depth = (int(size) for size in case.rng.integers(1, 24, 3))
    leading = tuple(int(size) for size in case.rng.integers(1, 4, case.rng.integers(0, 2)))
    transposed = int(case.rng.integers(2)), int(case.rng.integers(2))
    a = case.tensor("a", (*leading, *((depth, rows) if transposed[0] else (rows, depth))))
    b = case.tensor("b", (*leading, *((columns, depth) if transposed[1] else (depth, columns))))
    y = case.tensor("y", (*leading, rows, columns), float(np.float32(a.scale * b.scale * np.exp(case.rng.uniform(1, 6)))))
    product = float(np.float32(a.scale) * np.float32(b.scale))
    case.add(BatchMatmul(Requant.from_real(product / y.scale), a.zero_point, b.zero_point, y.zero_point, *transposed), ("a", "b"), "y")
    return case.graph(("a", "b"))


def make_resize(case: Case) -> QuantizedGraph:
    a = case.tensor("a", case.image(16))
    size = case.pair(40)
    if any((source_positions(s, t) != float32_positions(s, t)).any() for s, t in zip(a.shape, size, strict=False)):
        size = (a.shape[0] * 2, a.shape[1] * 2)
    case.tensor("y", (*size, a.shape[2]), a.scale, a.zero_point)
    case.add(ResizeNearest(size), ("a",), "y")
    return case.graph()


def make_table(case: Case) -> QuantizedGraph:
    function = sorted(UNARY)[case.rng.integers(len(UNARY))]
    a, y = case.tensor("a", (256,)), case.tensor("y", (256,))
    case.add(Table.from_function(function, a.scale, a.zero_point, y.scale, y.zero_point), ("a",), "y")
    return case.graph()


def make_requantize(case: Case) -> QuantizedGraph:
    shape = case.image()
    a = case.tensor("a", shape)
    # factors from below 2^-32, which count as 0, to 2^20, where everything but the zero point saturates
    spread = case.rng.uniform(-4, 4) if case.rng.random() < 0.8 else case.rng.uniform(-14, 24)
    y = case.tensor("y", shape, float(np.float32(a.scale * np.exp(spread))))
    case.add(Requantize(Requant.from_real(a.scale / y.scale), a.zero_point, y.zero_point), ("a",), "y")
    return case.graph()


MAKERS: dict[str, tuple[Callable[[Case], QuantizedGraph], ...]] = {
    "conv2d": (make_conv2d, partial(make_conv2d, grouped=True)),
    "depthwise_conv2d": (make_depthwise,),
    "dense": (make_dense, partial(make_dense, per_channel=False)),
    "add": (make_add,),
    "mul": (make_mul,),
    "average_pool2d": (partial(make_pool, kind=AveragePool2D),),
    "max_pool2d": (partial(make_pool, kind=MaxPool2D),),
    "global_average_pool": (make_global_average_pool,),
    "pad": (make_pad,),
    "concat": (partial(make_concat, rescaled=False), partial(make_concat, rescaled=True)),
    "reshape": (make_reshape,),
    "softmax": (make_softmax,),
    "resize_nearest": (make_resize,),
    "table": (make_table,),
    "requantize": (make_requantize,),
    "batch_matmul": (make_batch_matmul,),
    **SEQUENCE_MAKERS,
}
