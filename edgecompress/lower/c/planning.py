"""LoweredPlan of a graph: fast, because the architecture search asks for thousands."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.errors import ModelError
from edgecompress.hw.memory import plan_memory
from edgecompress.hw.plan import Buffer, LayerPlan, LoweredPlan
from edgecompress.hw.target import Target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.c.emitter import Call, Emitter
from edgecompress.lower.c.storage import Storage, resolve_storage
from edgecompress.lower.c.table import UNSUPPORTED, select


@dataclass(frozen=True)
class Decisions:
    """The plan together with what the emission needs: storage, and the calls in order (reshapes without code left out)."""

    plan: LoweredPlan
    storage: Storage
    calls: tuple[Call, ...]
    emitters: tuple[Emitter, ...]  # one a call


def scratch_name(node_name: str) -> str:
    """Name of a node's scratch buffer in the memory plan; the colon keeps it apart from most tensor names."""
    return f"scratch:{node_name}"


def decide(graph: QuantizedGraph, target: Target) -> Decisions:
    """Raises ModelError for an op in UNSUPPORTED, naming the node and the reason."""
    for node in graph.nodes:
        if node.op.kind in UNSUPPORTED:
            raise ModelError(f"node {node.name!r} ({node.op.kind}) cannot be lowered to C: {UNSUPPORTED[node.op.kind]}")
    all_calls = [Call(node, graph.input_tensors(node), graph.tensors[node.output]) for node in graph.nodes]
    all_emitters = [select(call, target.extensions) for call in all_calls]
    storage = resolve_storage(graph, [emitter.overlaps(call) for emitter, call in zip(all_emitters, all_calls, strict=True)])
    calls, emitters, layers, buffers = [], [], [], list(storage.buffers)
    for index, (call, emitter) in enumerate(zip(all_calls, all_emitters, strict=True)):
        if call.kind == "reshape" and call.node.output not in storage.copies:
            continue
        layer = _layer(graph, call, emitter)
        if layer.scratch_bytes:
            buffers.append(Buffer(scratch_name(call.node.name), layer.scratch_bytes, index, index))
        calls.append(call)
        emitters.append(emitter)
        layers.append(layer)
    constant_bytes = sum(layer.constant_bytes for layer in layers)
    return Decisions(LoweredPlan(target.name, tuple(layers), plan_memory(buffers), constant_bytes), storage, tuple(calls), tuple(emitters))


def _layer(graph: QuantizedGraph, call: Call, emitter: Emitter) -> LayerPlan:
    return LayerPlan(
        node=call.node.name, op=call.node.op.kind, kernel=emitter.kernel(call), macs=graph.macs(call.node),
        features={name: float(count) for name, count in emitter.features(call).items()},
        constant_bytes=emitter.constant_bytes(call), scratch_bytes=emitter.scratch_bytes(call),
        input_shapes=tuple(tensor.shape for tensor in call.inputs), output_shape=call.output.shape,
    )
