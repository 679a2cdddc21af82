"""What the passes share: consumers of tensors, and a graph with other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor


def consumers(graph: QuantizedGraph) -> dict[str, list[Node]]:
    """Nodes that read each tensor; a tensor that nothing reads has an empty list."""
    table: dict[str, list[Node]] = {name: [] for name in graph.tensors}
    for node in graph.nodes:
        for name in node.inputs:
            table[name].append(node)
    return table


def rebuilt(graph: QuantizedGraph, nodes: Iterable[Node], tensors: Mapping[str, Tensor] | None = None) -> QuantizedGraph:
    """The graph with these nodes, and only the tensors that they, the inputs and the outputs name; `tensors` adds to or replaces the old ones."""
    kept = tuple(nodes)
    known = {**graph.tensors, **(tensors or {})}
    used = {*graph.inputs, *graph.outputs, *(name for node in kept for name in (*node.inputs, node.output))}
    return replace(graph, nodes=kept, tensors={name: tensor for name, tensor in known.items() if name in used})


def renamed_inputs(node: Node, alias: Mapping[str, str]) -> Node:
    """The node reading `alias[name]` in place of each name in `alias`."""
    inputs = tuple(alias.get(name, name) for name in node.inputs)
    return node if inputs == node.inputs else replace(node, inputs=inputs)


def free_name(taken: Iterable[str], name: str) -> str:
    """`name`, or `name:2`, `name:3`, ... if it is taken."""
    known, result, count = set(taken), name, 2
    while result in known:
        result, count = f"{name}:{count}", count + 1
    return result
