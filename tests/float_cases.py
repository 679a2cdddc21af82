"""Random graphs of float32 ops, and inputs with every kind of number that a float32 can be."""

from __future__ import annotations

import numpy as np

from edgecompress.ir.float_ops import (
    FloatBinary,
    FloatConcat,
    FloatConv2D,
    FloatDense,
    FloatDepthwiseConv2D,
    FloatGlobalAveragePool,
    FloatPad,
    FloatPool2D,
    FloatSoftmax,
    FloatUnary,
)
from edgecompress.ir.float_ops.functions import FUNCTIONS
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.transpose import Transpose

SPECIAL = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1.1e-38, -1.1e-38, 3.4e38, -3.4e38, 88.5, -88.5, 0.25, 1.0, -1.0],
                   np.float32)


class FloatBuilder:
    """Appends nodes and keeps their tensors."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, *shape: int) -> str:
        """A graph input."""
        name = f"x{len(self.inputs)}"
        self.tensors[name] = Tensor(name, shape, 1.0, 0, "float32")
        self.inputs.append(name)
        return name

    def add(self, op: Op, *inputs: str) -> str:
        """A node; returns its output's name."""
        name = f"t{len(self.nodes)}"
        self.tensors[name] = Tensor(name, op.infer_shape(*(self.tensors[i].shape for i in inputs)), 1.0, 0, "float32")
        self.nodes.append(Node(f"{op.kind}_{len(self.nodes)}", op, inputs, name))
        return name

    def graph(self, name: str, *outputs: str) -> QuantizedGraph:
        """The finished graph."""
        return QuantizedGraph(name, self.tensors, tuple(self.nodes), tuple(self.inputs), outputs)

    def numbers(self, *shape: int) -> np.ndarray:
        """Weights."""
        return self.random.normal(scale=0.5, size=shape).astype(np.float32)

    def bounds(self) -> np.ndarray:
        """Of an activation, or of none."""
        return np.array([(-np.inf, np.inf), (0.0, 6.0), (-1.5, 2.0), (-0.0, np.inf)][int(self.random.integers(0, 4))])


def functions_graph() -> QuantizedGraph:
    """Every function of one number on the input, one below the other."""
    b = FloatBuilder(0)
    x = b.input(3, 40, 2)
    return b.graph("float functions", b.add(FloatConcat(0), *(b.add(FloatUnary(name), x) for name in ("identity", *FUNCTIONS))))


def random_float_network(seed: int) -> QuantizedGraph:
    """A network of all float ops with branches, views, joins in place, and up to three outputs."""
    b = FloatBuilder(seed)
    pick = b.random.integers
    pool = [b.input(int(pick(1, 6)), int(pick(1, 6)), int(pick(1, 7)))]
    if pick(0, 4) == 0:
        pool.append(b.input(*b.tensors[pool[0]].shape))
    for _ in range(int(pick(2, 12))):
        x = pool[-1] if pick(0, 4) else pool[int(pick(0, len(pool)))]
        if b.tensors[x].elements > 600:
            x = pool[0]
        pool.append(_step(b, x, [name for name in pool if b.tensors[name].shape == b.tensors[x].shape]))
    written = [name for name in dict.fromkeys(pool[::-1]) if name not in b.inputs]
    return b.graph(f"float {seed}", *written[:int(pick(1, 4))])


def _step(b: FloatBuilder, x: str, partners: list[str]) -> str:
    height, width, channels = shape = b.tensors[x].shape
    partner = partners[int(b.random.integers(0, len(partners)))]
    kind = int(b.random.integers(0, 16))
    if kind < 4:
        return _windowed(b, x, kind)
    if kind == 4:
        flat = b.add(Reshape((height * width * channels,)), x)
        outs = int(b.random.integers(1, 10))
        return b.add(Reshape((1, 1, outs)), b.add(FloatDense(b.numbers(outs, height * width * channels), b.numbers(outs), b.bounds()), flat))
    if kind == 5:
        return b.add(FloatBinary("add", b.bounds()), x, partner)
    if kind == 6:
        other = partner if b.random.random() < 0.5 else b.add(FloatGlobalAveragePool(b.bounds()), x)
        return b.add(FloatBinary("mul", b.bounds()), x, other)
    if kind == 7:
        return b.add(FloatUnary(str(b.random.choice(["identity", *FUNCTIONS])), b.bounds()), x)
    if kind == 8:
        return b.add(FloatSoftmax(), x)
    if kind in (9, 10):
        return b.add(FloatConcat(int(b.random.integers(0, 3)) if kind == 9 else 0), x, partner)
    if kind == 11:
        return b.add(FloatPad(tuple(int(size) for size in b.random.integers(0, 3, 4)), b.numbers(1)), x)
    if kind == 12:
        return b.add(Reshape((width, channels, height)), x)
    if kind == 13:
        return b.add(Transpose(tuple(int(axis) for axis in b.random.permutation(3))), x)
    if kind == 14:
        begin = tuple(int(b.random.integers(0, size)) for size in shape)
        step = tuple(int(b.random.choice([1, 1, 2, -1])) for _ in shape)
        room = [first // -by + 1 if by < 0 else (size - 1 - first) // by + 1 for first, by, size in zip(begin, step, shape, strict=True)]
        return b.add(Slice(begin, tuple(int(b.random.integers(1, most + 1)) for most in room), step), x)
    return b.add(ResizeNearest((height * 2, width)), x)


def _windowed(b: FloatBuilder, x: str, kind: int) -> str:
    height, width, channels = b.tensors[x].shape
    kernel = min(int(b.random.integers(1, 4)), height), min(int(b.random.integers(1, 4)), width)
    stride = int(b.random.integers(1, 3)), int(b.random.integers(1, 3))
    padding = tuple(int(b.random.integers(0, size)) for size in (kernel[0], kernel[0], kernel[1], kernel[1]))
    if kind == 0:
        groups = int(b.random.choice([size for size in (1, 1, 2, 3) if channels % size == 0]))
        outs = groups * int(b.random.integers(1, 7))
        wide = tuple(size + int(b.random.integers(0, 3)) for size in padding)
        return b.add(FloatConv2D(b.numbers(outs, *kernel, channels // groups), b.numbers(outs), stride, (1, 1), wide, b.bounds(), groups), x)
    if kind == 1:
        outs = channels * int(b.random.integers(1, 3))
        return b.add(FloatDepthwiseConv2D(b.numbers(*kernel, outs), b.numbers(outs), stride, (1, 1), padding, b.bounds()), x)
    return b.add(FloatPool2D("average" if kind == 2 else "max", kernel, stride, padding, b.bounds()), x)


def float_inputs(graph: QuantizedGraph, seed: int = 0) -> dict[str, np.ndarray]:
    """Ordinary numbers, very large and very small ones, and some that are none."""
    random = np.random.default_rng(seed)
    inputs = {}
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        plain = random.normal(scale=3.0, size=(4, *shape)).astype(np.float32)
        mixed = np.where(random.random((3, *shape)) < 0.3, random.choice(SPECIAL, (3, *shape)), random.normal(size=(3, *shape)).astype(np.float32))
        inputs[name] = np.concatenate([plain[:2], plain[2:3] * np.float32(1e30), plain[3:] * np.float32(1e-38), mixed.astype(np.float32),
                                       np.resize(SPECIAL, (1, *shape))])
    return inputs
