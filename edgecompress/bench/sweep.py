"""Random layer chains for latency profiles: every op, over the shapes that small networks have."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op, Shape
from edgecompress.ir.ops import (
    Add,
    AveragePool2D,
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
    Reshape,
    ResizeNearest,
    Slice,
    Softmax,
    Svdf,
    Table,
    Transpose,
)
from edgecompress.ir.ops.global_average_pool import fold_count
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import resolve_padding

SCALE = 0.05
ZERO_POINTS = (-128, -4)  # after a ReLU that nothing shares, and elsewhere: kernels have a faster loop for outputs that need no clamp
MAX_LAYER_MACS = 600_000  # keeps one chain below a second or two of emulation
# how often a step is tried: what networks are made of comes first
STEPS = (("pointwise", 6), ("conv", 5), ("depthwise", 5), ("add", 3), ("average_pool", 1), ("max_pool", 1), ("mul", 1), ("pad", 1), ("concat", 1),
         ("table", 1), ("requantize", 1), ("resize", 1), ("sequence", 2))  # their number must share no factor with the weight widths' cycle below


@dataclass
class _Chain:
    """A graph in the making."""

    random: np.random.Generator
    shape: Shape
    weight_bits: int
    zero_point: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    current: str = "x"

    def __post_init__(self) -> None:
        self.tensors["x"] = Tensor("x", self.shape, SCALE, self.zero_point)

    def apply(self, op: Op, *others: str, scale: float = SCALE, zero_point: int | None = None) -> None:
        """Appends a node that reads the current tensor and `others`."""
        inputs = (self.current, *others)
        name = f"t{len(self.nodes)}"
        self.shape = op.infer_shape(*(self.tensors[i].shape for i in inputs))
        self.tensors[name] = Tensor(name, self.shape, scale, self.zero_point if zero_point is None else zero_point)
        self.nodes.append(Node(f"{op.kind}_{len(self.nodes)}", op, inputs, name))
        self.current = name

    def pick(self, *values: int) -> int:
        """One of the values."""
        return int(self.random.choice(values))

    def weights(self, *shape: int) -> np.ndarray:
        """Random weights of the chain's width."""
        limit = {8: 127, 4: 7, 2: 1}[self.weight_bits]
        return self.random.integers(-limit, limit + 1, shape)

    def requant(self, channels: int) -> Requant:
        """Per-channel factors of the size that networks have; now and then large ones, which take a slower loop."""
        low, high = (0.1, 0.9) if self.random.random() < 0.15 else (2e-4, 2e-2)
        return Requant.from_real(self.random.uniform(low, high, channels))

    def lowest(self) -> int:
        """Lower end of a layer's outputs: a ReLU's or none."""
        return self.zero_point if self.random.random() < 0.5 else -128

    def bias(self, channels: int) -> np.ndarray:
        """Random biases."""
        return self.random.integers(-2000, 2000, channels)


def _conv(chain: _Chain, kernel: int) -> None:
    height, width, channels = chain.shape
    size = (min(kernel, height), min(kernel, width)) if chain.random.random() < 0.8 else (min(kernel, height), 1)
    stride = chain.pick(1, 1, 2) if kernel > 1 else 1
    outputs = 4 * chain.pick(1, 2, 3, 4, 6, 8, 12, 16, 20)
    room = MAX_LAYER_MACS * stride * stride // max(height * width * channels * size[0] * size[1], 1)
    outputs = max(min(outputs, room // 4 * 4), 4)
    padding = resolve_padding("same" if chain.random.random() < 0.75 else "valid", (height, width), size, (stride, stride))
    op = Conv2D(chain.weights(outputs, *size, channels), chain.bias(outputs), chain.requant(outputs), chain.zero_point, chain.zero_point,
                stride=(stride, stride), padding=padding, activation_min=chain.lowest(), weight_bits=chain.weight_bits)
    chain.apply(op)


def _depthwise(chain: _Chain) -> None:
    height, width, channels = chain.shape
    kernel = chain.pick(3, 3, 5)
    size = (min(kernel, height), min(kernel, width)) if chain.random.random() < 0.8 else (min(kernel, height), 1)
    stride = chain.pick(1, 1, 2)
    padding = resolve_padding("same", (height, width), size, (stride, stride))
    chain.apply(DepthwiseConv2D(chain.weights(*size, channels), chain.bias(channels), chain.requant(channels), chain.zero_point, chain.zero_point,
                                stride=(stride, stride), padding=padding, activation_min=chain.lowest(), weight_bits=chain.weight_bits))


def _pool(chain: _Chain, kind: type[AveragePool2D] | type[MaxPool2D]) -> None:
    height, width, _ = chain.shape
    kernel = (min(chain.pick(2, 3), height), min(chain.pick(2, 3), width))
    stride = chain.pick(1, 2)
    chain.apply(kind(kernel, (stride, stride), resolve_padding("same" if chain.pick(0, 1) else "valid", (height, width), kernel, (stride, stride))))


def _partner(chain: _Chain) -> str:
    same = [name for name, tensor in chain.tensors.items() if tensor.shape == chain.shape]
    return str(chain.random.choice(same))


def _step(chain: _Chain, name: str) -> None:
    height, width, channels = chain.shape
    if name in ("pointwise", "conv"):
        _conv(chain, 1 if name == "pointwise" else chain.pick(3, 3, 5))
    elif name == "depthwise":
        _depthwise(chain)
    elif name == "average_pool":
        _pool(chain, AveragePool2D)
    elif name == "max_pool":
        _pool(chain, MaxPool2D)
    elif name == "add":
        left, right = float(chain.random.choice([1.0, 1.0, 0.6, 0.3])), float(chain.random.choice([1.0, 1.0, 0.7]))
        chain.apply(Add.from_scales((left, chain.zero_point), (right, chain.zero_point), (1.5, chain.zero_point), chain.lowest()), _partner(chain))
    elif name == "mul":
        chain.apply(Mul(Requant.from_real(0.004), chain.zero_point, chain.zero_point, chain.zero_point), _partner(chain))
    elif name == "pad" and height * width < 400:
        chain.apply(Pad((chain.pick(0, 1, 2), 1, 1, chain.pick(0, 1)), chain.zero_point))
    elif name == "concat" and channels <= 48:
        factor = chain.pick(0, 1)
        zero_point = chain.zero_point
        chain.apply(Concat(2, Requant.from_real([1.0, 1.0 if factor else 0.8]), (zero_point, zero_point), zero_point), _partner(chain))
    elif name == "table":
        chain.apply(Table.from_function("hardswish", SCALE, chain.zero_point, SCALE, chain.zero_point))
    elif name == "requantize":
        chain.apply(Requantize(Requant.from_real(0.7), chain.zero_point, 3))
    elif name == "resize" and height * width < 150:
        chain.apply(ResizeNearest((height * 2, width * 2)))
    elif name == "sequence":
        _sequence(chain)


def _lstm(chain: _Chain) -> None:
    """Rows are steps; most sums stay where sigmoid and tanh bend."""
    steps, inputs = chain.shape[0], chain.shape[1] * chain.shape[2]
    units = min(chain.pick(3, 8, 12, 20, 32, 64), max(MAX_LAYER_MACS // (4 * steps * (inputs + 64)), 1))
    chain.apply(Reshape((steps, inputs)))
    factors = [Requant.from_real(chain.random.uniform(0.5, 2.0, 4) / size**0.5) for size in (inputs, units)]
    chain.apply(Lstm(chain.random.integers(-127, 128, (4, units, inputs)), chain.random.integers(-127, 128, (4, units, units)),
                     chain.random.integers(-2000, 2000, (4, units)), factors[0], factors[1], Requant.from_real(2.0**-30 * 128), chain.zero_point,
                     chain.zero_point, chain.pick(-12, -11)))
    chain.apply(Reshape((steps, 1, units)))


def _sequence(chain: _Chain) -> None:
    """What remembers, and what only moves elements."""
    height, width, channels = chain.shape
    choice = chain.pick(0, 1, 2, 3)
    if choice == 0 and height * width * channels < 10_000:
        kept = chain.pick(1, 2, 4)
        chain.apply(DelayLine(chain.random.integers(-128, 128, (kept, width, channels))))
    elif choice == 1:
        sizes = tuple(max(size * chain.pick(1, 2, 3) // 3, 1) for size in chain.shape)
        begin = tuple(int(chain.random.integers(0, size - part + 1)) for size, part in zip(chain.shape, sizes, strict=True))
        chain.apply(Slice(begin, sizes, (1, 1, 1)))
    elif choice == 2:
        chain.apply(Transpose(((1, 0, 2), (0, 2, 1), (2, 0, 1))[chain.pick(0, 1, 2)]))
    elif choice == 3:
        _lstm(chain)


def _svdf(chain: _Chain) -> None:
    (inputs,), units, rank, memory = chain.shape, chain.pick(4, 10, 16, 32), chain.pick(1, 2), chain.pick(2, 4, 8, 16)
    bits = chain.pick(8, 16, 16)
    times = chain.random.integers(-127, 128, (units * rank, memory))
    chain.apply(Svdf(chain.random.integers(-127, 128, (units * rank, inputs)), times, chain.bias(units), Requant.from_real(2.0 ** (bits - 22)),
                     Requant.from_real(2.0 ** (3 - bits)), chain.zero_point, chain.zero_point, rank, bits))


def _head(chain: _Chain) -> None:
    """Pooling or flattening, dense layers, perhaps a softmax."""
    if chain.pick(0, 1):
        chain.apply(GlobalAveragePool(fold_count(1.0, chain.shape[0] * chain.shape[1]), chain.zero_point, chain.zero_point))
    size = int(np.prod(chain.shape))
    if size > 6000:
        chain.apply(MaxPool2D((min(4, chain.shape[0]), min(4, chain.shape[1])), (4, 4)))
        size = int(np.prod(chain.shape))
    chain.apply(Reshape((size,)))
    if chain.pick(0, 0, 1):
        _svdf(chain)
    for _ in range(chain.pick(1, 1, 2)):
        outputs = chain.pick(2, 5, 10, 12, 32, 64)
        chain.apply(Dense(chain.weights(outputs, chain.shape[0]), chain.bias(outputs), chain.requant(outputs), chain.zero_point, chain.zero_point,
                          weight_bits=chain.weight_bits))
    if chain.pick(0, 0, 1):
        chain.apply(Softmax.from_scale(SCALE), scale=1 / 256, zero_point=-128)


def random_chain(seed: int, index: int) -> QuantizedGraph:
    """One chain; the same (seed, index) gives the same graph."""
    random = np.random.default_rng([seed, index])
    height = int(random.choice([1, 4, 6, 8, 12, 16, 24, 28, 49]))
    width = int(random.choice([1, 4, 8, 10, 14, 16, 28])) if height > 1 else int(random.choice([8, 32, 49]))
    shape = (height, width, int(random.choice([1, 1, 2, 3, 4, 8, 10, 16, 24, 32, 40])))
    chain = _Chain(random, shape, (8, 8, 4, 8, 2)[index % 5], ZERO_POINTS[int(random.integers(len(ZERO_POINTS)))])
    names = [name for name, weight in STEPS for _ in range(weight)]
    featured = STEPS[index % len(STEPS)][0]  # so that the rare steps are seen as well
    for turn in range(int(random.integers(6, 10))):
        _step(chain, featured if turn % 3 == 1 else names[int(random.integers(len(names)))])
    _head(chain)
    return QuantizedGraph(f"chain_{index}", chain.tensors, tuple(chain.nodes), ("x",), (chain.current,))
