"""The models that a latency profile is made from: graphs of random layers that have nothing to do with each other.

Every layer reads views of the one input, which are no code, and writes an output of its own. So a layer may have any shape, and each is one
kernel call.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgecompress.bench.sweep_float import FLOAT_LAYERS
from edgecompress.bench.sweep_layers import LAYERS, SCALE, ZERO_POINT, Dice, SweptLayer
from edgecompress.hw.plan import LoweredPlan
from edgecompress.hw.target import Target
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op, Shape
from edgecompress.ir.ops import Reshape, Slice
from edgecompress.lower import plan
from edgecompress.lower.options import LowerOptions

LAYERS_PER_GRAPH = 8
MAX_MACS, MAX_ELEMENTS, MAX_WEIGHTS = 1_500_000, 100_000, 100_000  # of a layer: a graph is emulated in a second or two
OPTIONS = LowerOptions(io="arena", thorough=False)  # how the graphs are lowered
ROWS, ROWS_A_FEATURE = 16, 3  # of each kernel: at least so many, and more for one with many loops
FLOAT_SHARE = 6  # one draw in so many is float32, for a core with an FPU
FALLBACK_SHARE = 4  # one draw in so many is also lowered for kernels of fewer extensions, to which rare layers fall back
ALIGNMENT = 16  # elements: as far from the input's start as a buffer of the arena may begin


@dataclass(frozen=True)
class Draw:
    """Which of a seed's random layers. Those of one table draw its kinds in turn, as often as the table says.

    `without` are extensions whose kernels it is not lowered to."""

    position: int
    floats: bool = False
    without: tuple[str, ...] = ()

    def layer(self, seed: int) -> SweptLayer:
        """The layer; the same one for the same seed."""
        table = FLOAT_LAYERS if self.floats else LAYERS
        names = [name for name, (_, weight) in table.items() for _ in range(weight)]
        cycle, place = divmod(self.position, len(names))
        order = np.random.default_rng([seed, cycle]).permutation(len(names))
        return _bounded(table[names[order[place]]][0], Dice(np.random.default_rng([seed, int(self.floats), self.position])))


def make_graph(seed: int, draws: Sequence[Draw]) -> QuantizedGraph:
    """A graph of these layers, which are all of one type."""
    floats = draws[0].floats
    name = f"sweep_{'float_' * floats}{'_'.join((*draws[0].without, str(draws[0].position)))}"
    return _assemble(name, [draw.layer(seed) for draw in draws], "float32" if floats else "int8")


def random_layers(seed: int, index: int) -> QuantizedGraph:
    """Some layers of a seed in a row, for whoever needs a random model."""
    return make_graph(seed, [Draw(position) for position in range(index * LAYERS_PER_GRAPH, (index + 1) * LAYERS_PER_GRAPH)])


def choose(target: Target, seed: int, draws: int, enough: int = ROWS, enough_a_feature: int = ROWS_A_FEATURE) -> list[tuple[Draw, ...]]:
    """The graphs to run on a target: of the first `draws` layers those whose kernel has not got its rows yet. A kernel that few layers end in
    is thus seen as often as it comes, and one that most end in only as often as its fit needs."""
    rows: Counter[str] = Counter()
    features: dict[str, set[str]] = defaultdict(set)
    chosen: dict[tuple[bool, tuple[str, ...]], list[Draw]] = defaultdict(list)
    has_fpu = bool({"fpu", "fpu64"} & set(target.extensions))
    for number in range(draws):
        floats = has_fpu and number % FLOAT_SHARE == FLOAT_SHARE - 1
        for without in ((), *(_fallbacks(target) if not floats and number % FALLBACK_SHARE == 0 else ())):
            draw = Draw(number // FLOAT_SHARE if floats else number, floats, without)
            layers = lowered(make_graph(seed, [draw]), reduced(target, without)).layers
            if any(rows[layer.kernel] < max(enough, enough_a_feature * len(features[layer.kernel])) for layer in layers):
                chosen[floats, without].append(draw)
                for layer in layers:
                    rows[layer.kernel] += 1
                    features[layer.kernel] |= {name for name, count in layer.features.items() if count}
    return [tuple(part[start:start + LAYERS_PER_GRAPH]) for part in chosen.values() for start in range(0, len(part), LAYERS_PER_GRAPH)]


def reduced(target: Target, without: tuple[str, ...]) -> Target:
    """The target without the kernels of these extensions."""
    return replace(target, extensions=tuple(name for name in target.extensions if name not in without))


def _fallbacks(target: Target) -> tuple[tuple[str, ...], ...]:
    """Extensions to leave out so that every kernel is seen that a layer of this target may get."""
    return tuple(without for without in (("mve",), ("mve", "dsp")) if without[-1] in target.extensions)


def lowered(graph: QuantizedGraph, target: Target) -> LoweredPlan:
    """The plan that a graph of the sweep is run with."""
    return plan(graph, target, OPTIONS)


def _bounded(draw: Callable[[Dice], SweptLayer], dice: Dice) -> SweptLayer:
    """The first one that is not too large."""
    while True:
        layer = draw(dice)
        elements = max(map(math.prod, (*layer.inputs, layer.op.infer_shape(*layer.inputs))))
        if layer.op.macs(*layer.inputs) <= MAX_MACS and elements <= MAX_ELEMENTS and layer.op.parameters <= MAX_WEIGHTS:
            return layer


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


class _Builder:
    """Nodes and tensors; `x` is the input."""

    def __init__(self, size: int, dtype: str) -> None:
        self.kind = (SCALE, ZERO_POINT, "int8") if dtype == "int8" else (1.0, 0, dtype)
        self.tensors = {"x": Tensor("x", (size,), *self.kind)}
        self.nodes: list[Node] = []

    def add(self, op: Op, *inputs: str) -> str:
        """Name of the new node's output."""
        name = f"{op.kind}_{len(self.nodes)}"
        self.tensors[name] = Tensor(name, op.infer_shape(*(self.tensors[i].shape for i in inputs)), *self.kind)
        self.nodes.append(Node(name, op, inputs, name))
        return name

    def part(self, start: int, shape: Shape) -> str:
        """A view of the input."""
        flat = self.add(Slice((start,), (math.prod(shape),), (1,)), "x")
        return flat if len(shape) == 1 else self.add(Reshape(shape), flat)


def _assemble(name: str, layers: list[SweptLayer], dtype: str) -> QuantizedGraph:
    needs = [sum(_round_up(math.prod(shape), ALIGNMENT) for shape in layer.inputs) for layer in layers]
    builder = _Builder(max(needs), dtype)
    outputs = []
    for layer in layers:
        start, parts = 0, []
        for shape in layer.inputs:
            parts.append(builder.part(start, shape))
            start += _round_up(math.prod(shape), ALIGNMENT)
        outputs.append(builder.add(layer.op, *parts))
    return QuantizedGraph(name, builder.tensors, tuple(builder.nodes), ("x",), tuple(outputs))
