"""Whole graphs for the lowering's tests: one fixed small network, and random ones with branches from a seed."""

from __future__ import annotations

import numpy as np

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.requant import Requant

SCALE, ZERO_POINT = 0.05, -4


class Builder:
    """Appends nodes and keeps their tensors."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, *shape: int) -> str:
        """A graph input."""
        name = f"x{len(self.inputs)}"
        self.tensors[name] = Tensor(name, shape, SCALE, ZERO_POINT)
        self.inputs.append(name)
        return name

    def add(self, op: Op, *inputs: str, scale: float = SCALE, zero_point: int = ZERO_POINT) -> str:
        """A node; returns its output's name."""
        name = f"t{len(self.nodes)}"
        self.tensors[name] = Tensor(name, op.infer_shape(*(self.tensors[i].shape for i in inputs)), scale, zero_point)
        self.nodes.append(Node(f"{op.kind}_{len(self.nodes)}", op, inputs, name))
        return name

    def graph(self, name: str, *outputs: str) -> QuantizedGraph:
        """The finished graph."""
        return QuantizedGraph(name, self.tensors, tuple(self.nodes), tuple(self.inputs), outputs)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self.tensors[tensor].shape

    def factors(self, channels: int, taps: int) -> Requant:
        """Rescaling that spreads sums over the int8 range."""
        return Requant.from_real(self.random.uniform(0.5, 1.5, channels) / (75.0 * taps**0.5))

    def conv(self, x: str, out: int, kernel: int, stride: int = 1) -> str:
        """SAME convolution of odd kernel size."""
        channels, pad = self.shape(x)[2], kernel // 2
        weights = self.random.integers(-127, 128, (out, kernel, kernel, channels))
        return self.add(Conv2D(weights, self.random.integers(-500, 500, out), self.factors(out, weights[0].size), ZERO_POINT, ZERO_POINT,
                               (stride, stride), padding=(pad, pad, pad, pad)), x)

    def depthwise(self, x: str) -> str:
        """SAME 3x3 depthwise convolution."""
        channels = self.shape(x)[2]
        return self.add(DepthwiseConv2D(self.random.integers(-127, 128, (3, 3, channels)), self.random.integers(-500, 500, channels),
                                        self.factors(channels, 9), ZERO_POINT, ZERO_POINT, padding=(1, 1, 1, 1)), x)

    def sum(self, a: str, b: str) -> str:
        """Addition."""
        return self.add(Add.from_scales((SCALE, ZERO_POINT), (SCALE, ZERO_POINT), (SCALE, ZERO_POINT)), a, b)

    def dense(self, x: str, out: int) -> str:
        """Fully connected."""
        size = self.shape(x)[0]
        return self.add(Dense(self.random.integers(-127, 128, (out, size)), self.random.integers(-500, 500, out), self.factors(out, size),
                              ZERO_POINT, ZERO_POINT), x)

    def head(self, x: str, classes: int) -> str:
        """Global average, dense, softmax."""
        height, width, channels = self.shape(x)
        pooled = self.add(GlobalAveragePool(fold_count(1.0, height * width), ZERO_POINT, ZERO_POINT), x)
        return self.add(Softmax.from_scale(SCALE), self.dense(self.add(Reshape((channels,)), pooled), classes), scale=1 / 256, zero_point=-128)


def small_network(name: str = "small net") -> QuantizedGraph:
    """A residual block with all weight formats' usual layers and a head."""
    b = Builder(7)
    stem = b.conv(b.input(6, 5, 2), 4, 3)
    branch = b.conv(b.depthwise(stem), 4, 1)
    return b.graph(name, b.head(b.sum(stem, branch), 3))


def random_network(seed: int) -> QuantizedGraph:
    """A network with branches, additions, concatenations, in-place candidates, reshapes in the middle, sometimes two inputs or outputs."""
    b = Builder(seed)
    pick = b.random.integers
    pool = [b.input(int(pick(3, 8)), int(pick(3, 8)), int(pick(1, 6)))]
    if pick(0, 4) == 0:
        pool.append(b.input(*b.shape(pool[0])))
    for _ in range(int(pick(3, 10))):
        x = pool[int(pick(max(0, len(pool) - 3), len(pool)))]
        pool.append(_random_step(b, x, pool))
    last = pool[-1]
    outputs = [b.head(last, int(pick(2, 6))) if pick(0, 2) else last]
    if pick(0, 3) == 0 and pool[-2] not in (*b.inputs, *outputs):
        outputs.append(pool[-2])
    if outputs[0] in b.inputs:
        outputs[0] = b.depthwise(outputs[0])
    return b.graph(f"random {seed}", *outputs)


def _random_step(b: Builder, x: str, pool: list[str]) -> str:
    height, width, channels = b.shape(x)
    partners = [name for name in pool if b.shape(name) == b.shape(x)]
    partner = partners[int(b.random.integers(0, len(partners)))]
    kind = int(b.random.integers(0, 8))
    if kind == 0:
        return b.conv(x, int(b.random.integers(1, 9)), 3, int(b.random.integers(1, 3)))
    if kind == 1:
        return b.conv(x, channels, 1)
    if kind == 2:
        return b.depthwise(x)
    if kind == 3:
        return b.sum(x, partner)
    if kind == 4 and channels < 12:
        zero_points = (ZERO_POINT, ZERO_POINT)
        return b.add(Concat(2, Requant.from_real([1.0, 0.9]), zero_points, ZERO_POINT), x, partner)
    if kind == 5:
        return b.add(Table.from_function("hardswish", SCALE, ZERO_POINT, SCALE, ZERO_POINT), x)
    if kind == 6:
        there = b.add(Reshape((height * width * channels,)), x)
        return b.add(Reshape((width, height, channels)), there)
    if kind == 7 and min(height, width) > 1:
        return b.add(MaxPool2D((2, 2), (1, 1)), x)
    return b.add(Mul(Requant.from_real(0.3), ZERO_POINT, ZERO_POINT, ZERO_POINT), x, partner)
