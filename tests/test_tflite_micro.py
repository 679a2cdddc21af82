"""Rung 1 of the ladder: the numpy reference equals the tflite-micro interpreter, byte for byte, op by op.

Every case goes the way of an importer: float32 scales as a file holds them, multipliers derived from them in double.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from tools import require_tool

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op, Shape
from edgecompress.ir.ops import OPS
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
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
from edgecompress.ir.reference import run_all
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import output_size, same_padding

AVAILABLE = find_spec("tflite_micro") is not None
if AVAILABLE:
    import tflite_writer
    from tflite_micro import runtime

CASES = 80  # random graphs an op
SAMPLES = 4  # inputs a graph: all low, all high, two random


@pytest.fixture(autouse=True)
def _interpreter() -> None:
    require_tool("tflite-micro", AVAILABLE)


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


def interpret(graph: QuantizedGraph, inputs: Mapping[str, np.ndarray], weight_scales: Mapping[str, np.ndarray], keep_dims: bool = True) -> np.ndarray:
    """The interpreter's answer, sample by sample."""
    content = tflite_writer.tflite_bytes(graph, weight_scales, keep_dims)
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=400_000)
    results = []
    for sample in range(SAMPLES):
        for position, name in enumerate(graph.inputs):
            interpreter.set_input(inputs[name][sample : sample + 1], position)
        interpreter.invoke()
        results.append(np.array(interpreter.get_output(0)))
    return np.concatenate(results)


def extremes(rng: np.random.Generator, graph: QuantizedGraph) -> dict[str, np.ndarray]:
    """All-low, all-high and random inputs."""
    inputs = {}
    for name in graph.inputs:
        x = rng.integers(-128, 128, (SAMPLES, *graph.tensors[name].shape)).astype(np.int8)
        x[0], x[1] = -128, 127
        inputs[name] = x
    return inputs


def check(case: Case, graph: QuantizedGraph, keep_dims: bool = True) -> np.ndarray:
    """Asserts equality on extremes and random inputs; returns the bytes."""
    inputs = extremes(case.rng, graph)
    expected = interpret(graph, inputs, case.weight_scales, keep_dims)
    actual = run_all(graph, inputs)[graph.outputs[0]]
    assert actual.dtype == np.int8
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)
    return actual


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
}


@pytest.mark.parametrize("kind", OPS)
def test_reference_equals_tflite_micro(kind: str) -> None:
    distinct: set[int] = set()
    for position, make in enumerate(MAKERS[kind]):
        for seed in range(CASES):
            case = Case(np.random.default_rng([seed, position, *kind.encode()]))
            distinct |= set(check(case, make(case)).ravel().tolist())
    assert len(distinct) > 100, "the cases were too tame: most outputs were saturated"


def test_mean_without_kept_dimensions_is_the_same() -> None:
    for seed in range(CASES):
        case = Case(np.random.default_rng(seed))
        check(case, make_global_average_pool(case), keep_dims=False)


@pytest.mark.parametrize("depth", [256, 300, 511])
def test_softmax_of_many_equal_inputs(depth: int) -> None:
    """The largest sums that tflite-micro takes: from 512 on its shift would pass 31 and it stops the process."""
    for scale in (2.0**-20, 0.01, 1.0):
        case = Case(np.random.default_rng(depth))
        case.tensor("a", (depth,), float(np.float32(scale)))
        case.tensor("y", (depth,), 1 / 256, -128)
        case.add(Softmax.from_scale(case.tensors["a"].scale), ("a",), "y")
        check(case, case.graph())


def test_a_residual_network_equals_tflite_micro() -> None:
    """A chain: strided convolution, convolution, residual add, mean, reshape, dense, requantize, softmax."""
    case = Case(np.random.default_rng(7))
    x = case.tensor("a", (9, 8, 3), float(np.float32(0.02)), -3)

    def layer(kind: type[Conv2D] | type[Dense], source: Tensor, name: str, shape: Shape, out_shape: Shape, zero_point: int, *rest: object) -> Tensor:
        weights = case.rng.integers(-127, 128, shape).astype(np.int8)
        fan_in = weights[0].size
        # weights of about 1 / sqrt(fan-in), so that every tensor keeps a useful range
        scales = (case.rng.uniform(0.5, 1.5, shape[0]) / (64 * np.sqrt(fan_in))).astype(np.float32)
        out = case.tensor(name, out_shape, source.scale, zero_point)
        case.weight_scales[f"node_{name}"] = scales
        bias = case.rng.integers(-2000, 2000, shape[0]).astype(np.int32)
        requant = Requant.from_real(source.scale * scales.astype(np.float64) / out.scale)
        case.add(kind(weights, bias, requant, source.zero_point, zero_point, *rest), (source.name,), name)  # type: ignore[arg-type]
        return out

    first = layer(Conv2D, x, "first", (8, 3, 3, 3), (5, 4, 8), -128, (2, 2), (1, 1), same_padding((9, 8), (3, 3), (2, 2)))
    second = layer(Conv2D, first, "second", (8, 3, 3, 8), (5, 4, 8), -20, (1, 1), (1, 1), (1, 1, 1, 1))
    total = case.tensor("total", first.shape, float(np.float32(0.03)), 5)
    case.add(Add.from_scales((first.scale, -128), (second.scale, -20), (total.scale, 5)), ("first", "second"), "total")
    mean = case.tensor("mean", (1, 1, 8), float(np.float32(0.01)), -7)
    case.add(GlobalAveragePool(fold_count(total.scale / mean.scale, 20), 5, -7), ("total",), "mean")
    flat = case.tensor("flat", (8,), mean.scale, -7)
    case.add(Reshape((8,)), ("mean",), "flat")
    logits = layer(Dense, flat, "logits", (10, 8), (10,), 11)
    soft = case.tensor("soft", (10,), 0.0625, 30)
    case.add(Requantize(Requant.from_real(logits.scale / soft.scale), 11, 30), ("logits",), "soft")
    case.tensor("y", (10,), 1 / 256, -128)
    case.add(Softmax.from_scale(soft.scale), ("soft",), "y")
    assert len(np.unique(check(case, case.graph()))) > 10


def test_elu_table_equals_tflite_micro_up_to_its_float32() -> None:
    """tflite-micro fills ELU's table in float32; ours, in float64, may differ only where the exact result lies at a tie."""
    different = 0
    for seed in range(CASES):
        case = Case(np.random.default_rng(seed))
        a, y = case.tensor("a", (256,)), case.tensor("y", (256,))
        op = Table.from_function("elu", a.scale, a.zero_point, y.scale, y.zero_point)
        case.add(op, ("a",), "y")
        x = np.tile(np.arange(-128, 128).astype(np.int8), (SAMPLES, 1))
        got = _builtin_unary(case.graph(), "ELU", x)
        exact = UNARY["elu"]((np.arange(-128, 128) - a.zero_point) * a.scale) / y.scale
        wrong = got != op.table
        different += int(wrong.sum())
        to_tie = np.abs(np.abs(exact - np.trunc(exact)) - 0.5)
        # float32 exp(x) - 1 is off by up to 2^-24 of 1, so by 2^-24 / scale in output steps
        assert (to_tie[wrong] < 1e-6 * np.maximum(1 / y.scale, np.abs(exact[wrong]))).all()
    assert different < CASES * 256 // 200


def _builtin_unary(graph: QuantizedGraph, name: str, x: np.ndarray) -> np.ndarray:
    writer = tflite_writer.Writer(graph, {})
    writer.activation("a")
    writer.operator(getattr(tflite_writer.Builtin, name), [writer.activation("a")], [writer.activation("y")])
    content = writer.pack()
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=100_000)
    interpreter.set_input(x[:1], 0)
    interpreter.invoke()
    return np.array(interpreter.get_output(0))[0]
