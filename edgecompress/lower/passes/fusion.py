"""Passes that let one node do the work of two: pads in convolutions, chains of unary functions, clamps in the node before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.graph import Node, QuantizedGraph
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.table import Table
from edgecompress.lower.passes.rewrite import consumers, rebuilt

Result = tuple[QuantizedGraph, tuple[str, ...]]
CODES = np.arange(-128, 128, dtype=np.int8)
CLAMPING = ("conv2d", "depthwise_conv2d", "dense", "add", "mul", "average_pool2d", "max_pool2d", "global_average_pool", "requantize")


def fuse_pads(graph: QuantizedGraph) -> Result:
    """A pad with the zero point before convolutions becomes their padding: both put real zeros there."""
    readers = consumers(graph)
    writers: dict[str, Node] = {}
    replaced: dict[str, Conv2D | DepthwiseConv2D] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Pad) or node.output in graph.outputs or not readers[node.output]:
            continue
        merged = [_padded(reader, node.op) for reader in readers[node.output]]
        if all(merged):
            writers[node.output] = node
            replaced.update({reader.name: op for reader, op in zip(readers[node.output], merged, strict=True) if op is not None})
    if not writers:
        return graph, ()
    nodes = [replace(node, op=replaced[node.name], inputs=writers[node.inputs[0]].inputs) if node.name in replaced else node
             for node in graph.nodes if node.output not in writers]
    return rebuilt(graph, nodes), (f"moved {len(writers)} pad(s) into the convolutions behind them",)


def _padded(node: Node, pad: Pad) -> Conv2D | DepthwiseConv2D | None:
    """The convolution with the pad in it, or None where it is none or cannot hold it."""
    op = node.op
    if not isinstance(op, (Conv2D, DepthwiseConv2D)) or pad.value != op.input_zero_point:
        return None
    top, bottom, left, right = (own + more for own, more in zip(op.padding, pad.padding, strict=True))
    try:
        return replace(op, padding=(top, bottom, left, right))
    except ModelError:  # more padding than a window may have
        return None


def _unary_table(op: Any) -> np.ndarray | None:
    """The 256 results of an element-wise function of one input, or None."""
    if isinstance(op, Table):
        return op.table
    if isinstance(op, Requantize):
        result: np.ndarray = op.reference(CODES[None])[0]
        return result
    return None


def compose_unary(graph: QuantizedGraph) -> Result:
    """A table or rescaling that only another one reads is looked up once: their composition is again a table of 256 entries."""
    readers = consumers(graph)
    joined: dict[str, Node] = {}  # by output, as far as the walk has come
    gone = set()
    for node in graph.nodes:
        source, second = joined.get(node.inputs[0]), _unary_table(node.op)
        first = None if source is None or second is None else _unary_table(source.op)
        if source is not None and first is not None and second is not None and source.output not in graph.outputs \
                and len(readers[source.output]) == 1:
            names = [op.function for op in (source.op, node.op) if isinstance(op, Table) and op.function]
            node = replace(node, op=Table(second[first.astype(np.int16) + 128], " then ".join(names)), inputs=source.inputs)
            gone.add(source.output)
        joined[node.output] = node
    if not gone:
        return graph, ()
    return rebuilt(graph, (node for name, node in joined.items() if name not in gone)), (f"joined {len(gone)} table(s) with the table behind",)


def _clamp_bounds(op: Any) -> tuple[int, int] | None:
    """(low, high) if the unary op only clamps."""
    table = _unary_table(op)
    if table is None:
        return None
    low, high = int(table.min()), int(table.max())
    return (low, high) if np.array_equal(table, np.clip(CODES, low, high)) else None


def fuse_clamps(graph: QuantizedGraph) -> Result:
    """A clamp behind a node with an activation range narrows that range."""
    readers, writers = consumers(graph), {node.output: node for node in graph.nodes}
    changed: dict[str, Node] = {}
    removed = set()
    for node in graph.nodes:
        bounds = _clamp_bounds(node.op)
        source = writers.get(node.inputs[0])
        if bounds is None or source is None or source.name in changed or source.op.kind not in CLAMPING:
            continue
        if source.output in graph.outputs or len(readers[source.output]) != 1:
            continue
        op: Any = source.op
        low, high = (int(np.clip(bound, *bounds)) for bound in (op.activation_min, op.activation_max))
        changed[source.name] = replace(source, op=replace(op, activation_min=low, activation_max=high), output=node.output)
        removed.add(node.name)
        changed[node.name] = node  # its reader may not narrow it in the same walk: it is gone
    if not removed:
        return graph, ()
    nodes = [changed.get(node.name, node) for node in graph.nodes if node.name not in removed]
    return rebuilt(graph, nodes), (f"moved {len(removed)} clamp(s) into the node before",)
