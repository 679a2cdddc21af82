"""Where every tensor lives: the caller's input or output, or a block of the arena. Reshapes share their input's bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecompress.errors import ModelError
from edgecompress.hw.plan import Buffer
from edgecompress.ir.graph import QuantizedGraph


@dataclass(frozen=True)
class Storage:
    """`root` maps each tensor to the tensor whose bytes it shares; a root is an input, an output or an arena buffer."""

    root: Mapping[str, str]
    inputs: Mapping[str, int]  # root -> index of the model input it is
    outputs: Mapping[str, int]  # root -> index of the model output it is written to
    copies: frozenset[str]  # outputs of reshapes that must move bytes
    buffers: tuple[Buffer, ...]  # activations in the arena, named by root


def resolve_storage(graph: QuantizedGraph, overlaps: Sequence[Mapping[int, int]]) -> Storage:
    """`overlaps`: what Emitter.overlaps says of each node. Raises ModelError for an output that is also an input."""
    for name in graph.outputs:
        if name in graph.inputs:
            raise ModelError(f"output {name!r} of graph {graph.name!r} is one of its inputs; there is nothing to compute")
    inputs = {name: index for index, name in enumerate(graph.inputs)}
    copies: frozenset[str] = frozenset()
    while True:
        root = _alias_roots(graph, copies)
        outputs: dict[str, int] = {}
        clashing = set()
        # tensors with bytes of their own go first: whoever clashes after them is a reshape, which can copy
        for name in sorted(graph.outputs, key=lambda name: root[name] != name):
            if root[name] in inputs or root[name] in outputs:
                clashing.add(name)
            else:
                outputs[root[name]] = graph.outputs.index(name)
        if not clashing:
            break
        assert not clashing & copies
        copies |= clashing
    lifetimes = _lifetimes(graph, root, outputs, overlaps)
    buffers = tuple(Buffer(name, graph.tensors[name].size, first, last) for name, (first, last) in lifetimes.items())
    return Storage(root, inputs, outputs, copies, buffers)


def _alias_roots(graph: QuantizedGraph, copies: frozenset[str]) -> dict[str, str]:
    root = {name: name for name in graph.inputs}
    for node in graph.nodes:
        alias = node.op.kind == "reshape" and node.output not in copies
        root[node.output] = root[node.inputs[0]] if alias else node.output
    return root


def _lifetimes(graph: QuantizedGraph, root: dict[str, str], outputs: dict[str, int],
               overlaps: Sequence[Mapping[int, int]]) -> dict[str, tuple[int, int]]:
    """First and last node of each arena buffer. Ends by letting outputs take over the bytes of inputs that die (`root` is updated)."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in (*node.inputs, node.output):
            last[root[name]] = index
    lifetimes: dict[str, tuple[int, int]] = {}
    heir: dict[str, str] = {}
    for index, node in enumerate(graph.nodes):
        name = node.output
        if root[name] != name or name in outputs:
            continue
        ancestor = _overwritable(graph, index, root, heir, lifetimes, overlaps[index]) if node.op.kind != "reshape" else None
        if ancestor is None:
            lifetimes[name] = (index, last[name])
        else:
            heir[name] = ancestor
            lifetimes[ancestor] = (lifetimes[ancestor][0], last[name])
    for name, owner in root.items():
        root[name] = heir.get(owner, owner)
    return lifetimes


def _overwritable(graph: QuantizedGraph, index: int, root: dict[str, str], heir: dict[str, str], lifetimes: dict[str, tuple[int, int]],
                  overlaps: Mapping[int, int]) -> str | None:
    """Arena buffer of an input that dies at this node and that the kernel may write over, if there is one."""
    node = graph.nodes[index]
    size = graph.tensors[node.output].size
    for position in (position for position, distance in overlaps.items() if distance == 0):
        owner = root[node.inputs[position]]
        owner = heir.get(owner, owner)
        if owner in lifetimes and lifetimes[owner][1] == index and graph.tensors[owner].size == size:
            return owner
    return None
