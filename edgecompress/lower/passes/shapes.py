"""Passes over nodes that move no byte or need not (unread nodes, reshapes, transposes, identities), and over layers that are also another kind."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.table import Table
from edgecompress.lower.passes.parts import takes_all
from edgecompress.lower.passes.rewrite import free_name, rebuilt, renamed_inputs

Result = tuple[QuantizedGraph, tuple[str, ...]]
IDENTITY_FACTOR = (2**30, 1)


def remove_unread(graph: QuantizedGraph) -> Result:
    """Without nodes that no output depends on. Ops with state stay only if they are read: their state shows nowhere else."""
    needed, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    removed = len(graph.nodes) - len(kept)
    return (rebuilt(graph, reversed(kept)), (f"removed {removed} node(s) that no output depends on",)) if removed else (graph, ())


def _writers(graph: QuantizedGraph) -> dict[str, Node]:
    return {node.output: node for node in graph.nodes}


def join_reshapes(graph: QuantizedGraph) -> Result:
    """A reshape of a reshape reads the first one's input."""
    writers, changed, nodes = _writers(graph), 0, []
    for node in graph.nodes:
        source = writers.get(node.inputs[0])
        if node.op.kind == "reshape" and source is not None and source.op.kind == "reshape":
            node, changed = replace(node, inputs=source.inputs), changed + 1
            writers[node.output] = node
        nodes.append(node)
    return (rebuilt(graph, nodes), (f"joined {changed} reshape(s)",)) if changed else (graph, ())


def join_transposes(graph: QuantizedGraph) -> Result:
    """A transpose of a transpose becomes one; one that moves only axes of size 1 becomes a reshape."""
    writers, changed, nodes = _writers(graph), 0, []
    for node in graph.nodes:
        if node.op.kind == "transpose":
            source = writers.get(node.inputs[0])
            op: Any = node.op
            if source is not None and source.op.kind == "transpose":
                earlier: Any = source.op
                op = replace(op, permutation=tuple(earlier.permutation[axis] for axis in op.permutation))
                node, changed = replace(node, op=op, inputs=source.inputs), changed + 1
            shape = graph.tensors[node.inputs[0]].shape
            moved = [axis for axis in op.permutation if shape[axis] != 1]
            if moved == sorted(moved):
                node, changed = replace(node, op=Reshape(graph.tensors[node.output].shape)), changed + 1
            writers[node.output] = node
        nodes.append(node)
    return (rebuilt(graph, nodes), (f"joined or removed {changed} transpose(s)",)) if changed else (graph, ())


def _is_identity(graph: QuantizedGraph, node: Node) -> bool:
    """Whether the output's bytes and shape are the first input's."""
    op: Any = node.op
    if op.kind == "reshape":
        return graph.tensors[node.inputs[0]].shape == graph.tensors[node.output].shape
    if isinstance(op, Table):
        return bool(op.table.tolist() == list(range(-128, 128)))
    if isinstance(op, Requantize):
        exact = (op.requant.multiplier[0], op.requant.shift[0]) == IDENTITY_FACTOR and op.input_zero_point == op.output_zero_point
        return bool(exact) and (op.activation_min, op.activation_max) == (-128, 127)
    if op.kind in ("average_pool2d", "max_pool2d"):
        window = (op.kernel, op.stride, op.padding)
        return bool(window == ((1, 1), (1, 1), (0, 0, 0, 0))) and (op.activation_min, op.activation_max) == (-128, 127)
    if op.kind == "pad":
        return not any(op.padding)
    if isinstance(op, Slice):
        return takes_all(op, graph.tensors[node.inputs[0]].shape)
    if op.kind == "concat":
        return len(node.inputs) == 1 and bool(op.is_copy(0))
    return False


def remove_identities(graph: QuantizedGraph) -> Result:
    """Without nodes that return their input; one that writes an output of the graph stays."""
    alias: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        node = renamed_inputs(node, alias)
        if _is_identity(graph, node) and node.output not in graph.outputs:
            alias[node.output] = node.inputs[0]
        else:
            kept.append(node)
    return (rebuilt(graph, kept), (f"removed {len(alias)} node(s) that return their input",)) if alias else (graph, ())


def one_channel_to_convolution(graph: QuantizedGraph) -> Result:
    """A depthwise convolution of one input channel is a convolution: every output channel sums the same taps of that channel."""
    nodes = [replace(node, op=_as_convolution(node.op)) if isinstance(node.op, DepthwiseConv2D) and graph.tensors[node.inputs[0]].shape[2] == 1
             else node for node in graph.nodes]
    changed = sum(new is not old for new, old in zip(nodes, graph.nodes, strict=True))
    return (rebuilt(graph, nodes), (f"made {changed} depthwise convolution(s) of one input channel ordinary",)) if changed else (graph, ())


def _as_convolution(op: DepthwiseConv2D) -> Conv2D:
    return Conv2D(op.weights.transpose(2, 0, 1)[..., None], op.bias, op.requant, op.input_zero_point, op.output_zero_point, op.stride, op.dilation,
                  op.padding, 1, op.activation_min, op.activation_max, op.weight_bits)


def full_windows_to_dense(graph: QuantizedGraph) -> Result:
    """A convolution whose only window is the whole input is a dense layer: (h, w, c) in memory is already the order of its weights."""
    nodes: list[Node] = []
    tensors = dict(graph.tensors)
    names = {node.name for node in graph.nodes}
    changed = 0
    for node in graph.nodes:
        op, source = node.op, graph.tensors[node.inputs[0]]
        if not isinstance(op, Conv2D) or op.groups != 1 or any(op.padding) or source.shape[:2] != op.kernel:
            nodes.append(node)
            continue
        changed += 1
        target = graph.tensors[node.output]
        flat = Tensor(free_name(tensors, f"{source.name}:flat"), (math.prod(source.shape),), source.scale, source.zero_point)
        tensors[flat.name] = flat
        row = Tensor(free_name(tensors, f"{target.name}:flat"), (target.shape[2],), target.scale, target.zero_point)
        tensors[row.name] = row
        dense = Dense(op.weights.reshape(len(op.weights), -1), op.bias, op.requant, op.input_zero_point, op.output_zero_point, op.activation_min,
                      op.activation_max, op.weight_bits)
        before, after = free_name(names, f"{node.name}:flat"), free_name(names, f"{node.name}:image")
        names |= {before, after}
        nodes += [Node(before, Reshape(flat.shape), node.inputs, flat.name), Node(node.name, dense, (flat.name,), row.name),
                  Node(after, Reshape(target.shape), (row.name,), target.name)]
    return (rebuilt(graph, nodes, tensors), (f"made {changed} convolution(s) over the whole input dense",)) if changed else (graph, ())
