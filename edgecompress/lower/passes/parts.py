"""Passes over slices and concatenations: bytes that are moved twice, or apart and together again."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from edgecompress.ir.float_ops.elementwise import FloatConcat
from edgecompress.ir.graph import Node, QuantizedGraph
from edgecompress.ir.op import Op
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.requant import Requant
from edgecompress.lower.passes.rewrite import consumers, rebuilt, renamed_inputs

Result = tuple[QuantizedGraph, tuple[str, ...]]


def join_slices(graph: QuantizedGraph) -> Result:
    """A slice of a slice that nothing else reads takes its elements from the whole."""
    readers, writers, changed = consumers(graph), {node.output: node for node in graph.nodes}, 0
    gone = set()
    for node in graph.nodes:
        source = writers.get(node.inputs[0])
        if not isinstance(node.op, Slice) or source is None or not isinstance(source.op, Slice):
            continue
        if source.output not in graph.outputs and len(readers[source.output]) == 1:
            first, second = source.op, node.op
            begin = tuple(a + b * step for a, b, step in zip(first.begin, second.begin, first.step, strict=True))
            step = tuple(a * b if size > 1 else 1 for a, b, size in zip(first.step, second.step, second.size, strict=True))
            writers[node.output] = replace(node, op=Slice(begin, second.size, step), inputs=source.inputs)
            gone.add(source.output)
            changed += 1
    nodes = [writers[node.output] for node in graph.nodes if node.output not in gone]
    return (rebuilt(graph, nodes), (f"joined {changed} slice(s)",)) if changed else (graph, ())


def remove_concats(graph: QuantizedGraph) -> Result:
    """A concatenation of which only slices inside its parts are read is not needed: they read the parts."""
    readers = consumers(graph)
    replaced: dict[str, Node] = {}
    gone = set()
    for node in graph.nodes:
        if not isinstance(node.op, (Concat, FloatConcat)) or node.output in graph.outputs:
            continue
        found = [_from_part(graph, node, reader) for reader in readers[node.output]]
        kept = [one for one in found if one is not None]
        if kept and len(kept) == len(found):
            gone.add(node.output)
            replaced.update({one.output: one for one in kept})
    nodes = [replaced.get(node.output, node) for node in graph.nodes if node.output not in gone]
    return (rebuilt(graph, nodes), (f"removed {len(gone)} concatenation(s) that were only taken apart",)) if gone else (graph, ())


def _from_part(graph: QuantizedGraph, concat: Node, reader: Node) -> Node | None:
    """The reader as a slice of one part, or as the rescaling of a whole part that is rescaled; None where it cannot be."""
    op, reading = concat.op, reader.op
    if not isinstance(op, (Concat, FloatConcat)) or not isinstance(reading, Slice):
        return None
    axis, start = op.axis, 0
    first, last = sorted((reading.begin[axis], reading.begin[axis] + (reading.size[axis] - 1) * reading.step[axis]))
    for index, tensor in enumerate(graph.input_tensors(concat)):
        end = start + tensor.shape[axis]
        if start <= first and last < end:
            begin = tuple(at - start if position == axis else at for position, at in enumerate(reading.begin))
            part = Slice(begin, reading.size, reading.step)
            if isinstance(op, FloatConcat) or op.is_copy(index):
                return replace(reader, op=part, inputs=(concat.inputs[index],))
            factor = Requant((op.requant.multiplier[index],), (op.requant.shift[index],))
            rescaled: Op = Requantize(factor, op.input_zero_points[index], op.output_zero_point)
            return replace(reader, op=rescaled, inputs=(concat.inputs[index],)) if takes_all(part, tensor.shape) else None
        start = end
    return None


def takes_all(op: Slice, shape: Sequence[int]) -> bool:
    """Whether a slice of a tensor of this shape is the tensor."""
    return op.size == tuple(shape) and all(step == 1 or size == 1 for step, size in zip(op.step, op.size, strict=True))


def merge_equal(graph: QuantizedGraph) -> Result:
    """What is computed twice from the same tensors is computed once; ops with a state stay two, and so do outputs of the graph."""
    alias: dict[str, str] = {}
    seen: dict[Hashable, str] = {}
    kept = []
    for node in graph.nodes:
        node = renamed_inputs(node, alias)
        key = node.op.contents(), node.inputs, replace(graph.tensors[node.output], name="any")
        if node.op.state_bytes or node.output in graph.outputs or key not in seen:
            kept.append(node)
            if not node.op.state_bytes:
                seen.setdefault(key, node.output)
        else:
            alias[node.output] = seen[key]
    return (rebuilt(graph, kept), (f"merged {len(alias)} node(s) with equal ones",)) if alias else (graph, ())
