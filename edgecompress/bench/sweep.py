"""The models that a latency profile is made from: graphs of random layers that have nothing to do with each other.

Every layer reads views of the one input, which are no code, and writes an output of its own. So a layer may have any shape, and each is one
kernel call.
"""

from __future__ import annotations

import math

import numpy as np

from edgecompress.bench.sweep_float import FLOAT_LAYERS
from edgecompress.bench.sweep_layers import LAYERS, SCALE, ZERO_POINT, Dice, SweptLayer
from edgecompress.hw.target import Target
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op, Shape
from edgecompress.ir.ops import Reshape, Slice

LAYERS_PER_GRAPH = 8
MAX_MACS, MAX_ELEMENTS, MAX_WEIGHTS = 1_500_000, 100_000, 100_000  # of a layer: a graph is emulated in a second or two
FLOAT_EVERY = 4  # graphs for a core with an FPU
ALIGNMENT = 16  # elements: as far from the input's start as a buffer of the arena may begin


def random_layers(seed: int, index: int, floats: bool = False) -> QuantizedGraph:
    """Graph `index` of a sweep; the same arguments give the same graph. Together the graphs draw the kinds in turn, as often as their table says."""
    table = FLOAT_LAYERS if floats else LAYERS
    names = [name for name, (_, weight) in table.items() for _ in range(weight)]
    layers = []
    for position in range(index * LAYERS_PER_GRAPH, (index + 1) * LAYERS_PER_GRAPH):
        cycle, place = divmod(position, len(names))
        order = np.random.default_rng([seed, cycle]).permutation(len(names))
        layers.append(_draw(table[names[order[place]]][0], Dice(np.random.default_rng([seed, int(floats), position]))))
    return _assemble(f"sweep_{'float_' * floats}{index}", layers, "float32" if floats else "int8")


def sweep_graph(target: Target, seed: int, index: int) -> QuantizedGraph:
    """Graph `index` of a target's sweep: with an FPU every fourth one is float32."""
    if not {"fpu", "fpu64"} & set(target.extensions):
        return random_layers(seed, index)
    turn, place = divmod(index, FLOAT_EVERY)
    return random_layers(seed, turn, floats=True) if place == FLOAT_EVERY - 1 else random_layers(seed, index - turn)


def _draw(layer: object, dice: Dice) -> SweptLayer:
    """The first one that is not too large."""
    while True:
        drawn: SweptLayer = layer(dice)  # type: ignore[operator]
        elements = max(map(math.prod, (*drawn.inputs, drawn.op.infer_shape(*drawn.inputs))))
        if drawn.op.macs(*drawn.inputs) <= MAX_MACS and elements <= MAX_ELEMENTS and drawn.op.parameters <= MAX_WEIGHTS:
            return drawn


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
