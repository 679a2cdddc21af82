"""Joins element-wise nodes that depend on one tensor: hard-swish written as x * clip(x + 3, 0, 6) / 6 becomes one unary node, one table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from edgecompress.frontend.expression import FUNCTIONS, MAX_STEPS, Step, Steps, clamp_steps, joined, known_name
from edgecompress.frontend.float_graph import UNBOUNDED, FloatGraph, FloatNode, Shape, frozen_float
from edgecompress.ir.ops.table import UNARY

MAX_REGION = 24  # nodes; written-out GELU and Mish have fewer than ten


def uniform(node: FloatNode) -> tuple[float, float] | None:
    """(scale, offset) of a batch_norm that treats all channels alike, else None."""
    scale, offset = node.attributes["scale"], node.attributes["offset"]
    if (scale == scale[0]).all() and (offset == offset[0]).all():
        return float(scale[0]), float(offset[0])
    return None


def node_steps(node: FloatNode) -> Steps | None:
    """Steps of a node with one input that does the same to every element, else None."""
    if node.kind == "unary":
        return tuple(node.attributes["steps"]) if node.attributes["function"] == "expression" else ((node.attributes["function"], 0),)
    if node.kind == "clamp":
        return clamp_steps(node.attributes["low"], node.attributes["high"]) or None
    if node.kind == "batch_norm" and (pair := uniform(node)) is not None:
        return affine_steps(*pair)
    return None


def affine_steps(scale: float, offset: float) -> Steps:
    """Steps for x * scale + offset."""
    return ("mul", 0, scale), ("add", 1, offset)


def unary_node(name: str, source: str, output: str, steps: Steps) -> FloatNode:
    """A unary node, under the function's own name if it has one."""
    known = known_name(steps)
    return FloatNode(name, "unary", (source,), output, {"function": known} if known else {"function": "expression", "steps": steps})


def _is_join(node: FloatNode, graph: FloatGraph) -> bool:
    return node.kind in ("add", "mul") and graph.shapes[node.inputs[0]] == graph.shapes[node.inputs[1]]


class _Region:
    """Grows upwards from a sum or product until everything in it depends on one tensor."""

    def __init__(self, graph: FloatGraph, producers: Mapping[str, tuple[int, FloatNode]], consumers: Mapping[str, list[FloatNode]]) -> None:
        self.graph, self.producers, self.consumers = graph, producers, consumers

    def grow(self, root: FloatNode) -> tuple[str, list[FloatNode]] | None:
        """(the one tensor, nodes in topological order) or None."""
        inside = {root.name: root}
        frontier = set(root.inputs)
        while len(frontier) > 1:
            inner = [self.producers[name] for name in frontier if name in self.producers]
            if not inner or len(inside) >= MAX_REGION:
                return None
            _, node = max(inner, key=lambda pair: pair[0])
            if not self._may_join(node, inside):
                return None
            inside[node.name] = node
            frontier = (frontier - {node.output}) | set(node.inputs)
        return frontier.pop(), sorted(inside.values(), key=lambda node: self.producers[node.output][0])

    def _may_join(self, node: FloatNode, inside: Mapping[str, FloatNode]) -> bool:
        if node.output in self.graph.outputs or not all(user.name in inside for user in self.consumers[node.output]):
            return False
        return _is_join(node, self.graph) or node_steps(node) is not None


def _region_steps(source: str, nodes: Iterable[FloatNode]) -> Steps | None:
    """Steps of the whole region, None if there are too many."""
    steps: list[Step] = []
    place = {source: 0}
    for node in nodes:
        if node.kind in ("add", "mul"):
            steps.append((node.kind, *(place[name] for name in node.inputs)))
            if node.clamp != UNBOUNDED:
                steps.extend(clamp_steps(*node.clamp, len(steps), len(steps) + 1))
        else:
            offset = len(steps)
            own = node_steps(node) or ()
            steps.extend((operation, *(o if isinstance(o, float) else place[node.inputs[0]] if o == 0 else o + offset for o in operands))
                         for operation, *operands in own)
        place[node.output] = len(steps)
    return tuple(steps) if len(steps) <= MAX_STEPS else None


def fuse_diamonds(graph: FloatGraph) -> FloatGraph:
    """Sums and products whose operands all depend on one tensor, element by element, become unary nodes."""
    consumers = graph.consumers
    producers = {node.output: (index, node) for index, node in enumerate(graph.nodes)}
    region = _Region(graph, producers, consumers)
    replaced: dict[str, FloatNode] = {}
    gone: set[str] = set()
    for node in reversed(graph.nodes):  # from the end, so that the largest region wins
        if node.name in gone or not _is_join(node, graph):
            continue
        found = region.grow(node)
        steps = _region_steps(*found) if found else None
        if found and steps:
            gone.update(part.name for part in found[1])
            replaced[node.name] = unary_node(node.name, found[0], node.output, steps)
    if not replaced:
        return graph
    return graph.rebuilt(replaced.get(node.name, node) for node in graph.nodes if node.name in replaced or node.name not in gone)


def fuse_chains(graph: FloatGraph) -> FloatGraph:
    """A unary node, or a clamp, behind a unary node, or a clamp, that nobody else reads becomes one with it."""
    consumers = graph.consumers
    kept: list[FloatNode] = []
    place: dict[str, int] = {}
    chains: dict[int, tuple[Steps, str]] = {}  # place in kept: steps of the joined chain, its output
    for node in graph.nodes:
        at = place.get(node.inputs[0]) if node.kind in ("unary", "clamp") else None
        if at is not None and len(consumers[node.inputs[0]]) == 1 and node.inputs[0] not in graph.outputs:
            inner, outer = chains[at][0] if at in chains else node_steps(kept[at]), node_steps(node)
            if inner and outer and len(inner) + len(outer) <= MAX_STEPS:
                chains[at] = joined(inner, outer), node.output
                place[node.output] = at
                continue
        if node.kind in ("unary", "clamp"):
            place[node.output] = len(kept)
        kept.append(node)
    for at, (steps, output) in chains.items():
        kept[at] = unary_node(kept[at].name, kept[at].inputs[0], output, steps)
    return graph.rebuilt(kept)


def lower_uniform_norms(graph: FloatGraph) -> FloatGraph:
    """A batch norm that stands alone and treats all channels alike becomes a unary node."""
    def one(node: FloatNode) -> FloatNode:
        pair = uniform(node) if node.kind == "batch_norm" else None
        return unary_node(node.name, node.inputs[0], node.output, affine_steps(*pair)) if pair and np.isfinite(pair).all() else node

    return graph.rebuilt(map(one, graph.nodes))


class _Expansion:
    """Writes the steps of one unary node as nodes of the other kinds, for backends that compute instead of looking up; `taken` are names in use."""

    def __init__(self, node: FloatNode, channels: int, taken: set[str]) -> None:
        self.node, self.channels, self.taken = node, channels, taken
        self.nodes: list[FloatNode] = []
        self.values = [node.inputs[0]]

    def run(self) -> list[FloatNode] | None:
        """The nodes, the last one with the name and output of the unary node; None if a step is no node kind."""
        for operation, *operands in self.node.attributes["steps"]:
            names = [operand if isinstance(operand, float) else self.values[operand] for operand in operands]
            result = self._step(str(operation), names)
            if result is None:
                return None
            self.values.append(result)
        last = self.nodes[-1]
        return [*self.nodes[:-1], FloatNode(self.node.name, last.kind, last.inputs, self.node.output, last.attributes)]

    def _add(self, kind: str, *inputs: str, **attributes: object) -> str:
        count = len(self.nodes)
        while (name := f"{self.node.name}:{count}") in self.taken:
            count += 1
        self.taken.add(name)
        self.nodes.append(FloatNode(name, kind, inputs, name, attributes))
        return name

    def _affine(self, source: str, scale: float, offset: float) -> str:
        return self._add("batch_norm", source, scale=frozen_float(np.full(self.channels, scale)), offset=frozen_float(np.full(self.channels, offset)))

    def _step(self, operation: str, operands: list[str | float]) -> str | None:
        tensors = [operand for operand in operands if isinstance(operand, str)]
        numbers = [operand for operand in operands if isinstance(operand, float)]
        if operation in UNARY and tensors:
            return self._add("unary", tensors[0], function=operation)
        if operation in FUNCTIONS and tensors:
            return self._add("unary", tensors[0], function="expression", steps=((operation, 0),))
        if operation == "power" and operands[1:] == [2.0]:
            return self._add("unary", tensors[0], function="square")
        if operation in ("add", "mul") and tensors:
            if numbers:
                return self._affine(tensors[0], *((1.0, numbers[0]) if operation == "add" else (numbers[0], 0.0)))
            return self._add(operation, *tensors)
        if operation in ("maximum", "minimum") and len(tensors) == 1:
            low, high = (numbers[0], math.inf) if operation == "maximum" else (-math.inf, numbers[0])
            return self._add("clamp", tensors[0], low=low, high=high)
        if operation == "maximum" and len(tensors) == 2:  # max(a, b) = relu(a - b) + b
            difference = self._add("add", tensors[0], self._affine(tensors[1], -1.0, 0.0))
            return self._add("add", self._add("clamp", difference, low=0.0, high=math.inf), tensors[1])
        return None


def expand_expressions(graph: FloatGraph) -> FloatGraph:
    """Unary nodes without a name as sums, products, clamps and named functions, where those can express them."""
    kept: list[FloatNode] = []
    shapes: dict[str, Shape] = {}
    taken = {*graph.shapes, *(node.name for node in graph.nodes)}
    for node in graph.nodes:
        shape = graph.shapes[node.output]
        expanded = _Expansion(node, shape[-1], taken).run() if node.kind == "unary" and node.attributes["function"] == "expression" else None
        kept.extend(expanded or [node])
        shapes.update({part.output: shape for part in expanded or []})
    return graph.rebuilt(kept, shapes=shapes)
