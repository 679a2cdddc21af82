"""LoweredPlan of a graph: fast, because the architecture search asks for thousands."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.errors import ModelError
from edgecompress.hw.memory import plan_memory
from edgecompress.hw.plan import Buffer, LayerPlan, LoweredPlan
from edgecompress.hw.target import Target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.c.emitter import Call
from edgecompress.lower.c.storage import Storage, resolve_storage
from edgecompress.lower.c.table import EMIT, UNSUPPORTED


@dataclass(frozen=True)
class Decisions:
    """The plan together with what the emission needs: storage, and the calls in order (reshapes without code left out)."""

    plan: LoweredPlan
    storage: Storage
    calls: tuple[Call, ...]


def scratch_name(node_name: str) -> str:
    """Name of a node's scratch buffer in the memory plan; the colon keeps it apart from most tensor names."""
    return f"scratch:{node_name}"


def decide(graph: QuantizedGraph, target: Target) -> Decisions:
    """Raises ModelError for an op in UNSUPPORTED, naming the node and the reason."""
    for node in graph.nodes:
        if node.op.kind in UNSUPPORTED:
            raise ModelError(f"node {node.name!r} ({node.op.kind}) cannot be lowered to C: {UNSUPPORTED[node.op.kind]}")
    storage = resolve_storage(graph)
    calls, layers, buffers = [], [], list(storage.buffers)
    for index, node in enumerate(graph.nodes):
        if node.op.kind == "reshape" and node.output not in storage.copies:
            continue
        call = Call(node, graph.input_tensors(node), graph.tensors[node.output])
        layer = _layer(graph, call)
        if layer.scratch_bytes:
            buffers.append(Buffer(scratch_name(node.name), layer.scratch_bytes, index, index))
        calls.append(call)
        layers.append(layer)
    constant_bytes = sum(layer.constant_bytes for layer in layers)
    return Decisions(LoweredPlan(target.name, tuple(layers), plan_memory(buffers), constant_bytes), storage, tuple(calls))


def _layer(graph: QuantizedGraph, call: Call) -> LayerPlan:
    emitter = EMIT[call.node.op.kind]
    return LayerPlan(
        node=call.node.name, op=call.node.op.kind, kernel=emitter.kernel(call), macs=graph.macs(call.node),
        features={name: float(count) for name, count in emitter.features(call).items()},
        constant_bytes=emitter.constant_bytes(call), scratch_bytes=emitter.scratch_bytes(call),
        input_shapes=tuple(tensor.shape for tensor in call.inputs), output_shape=call.output.shape,
    )
