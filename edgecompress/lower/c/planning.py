"""LoweredPlan of a graph: fast, because the architecture search asks for thousands."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.errors import ModelError
from edgecompress.hw.memory import FAST, THOROUGH, plan_memory
from edgecompress.hw.plan import LayerPlan, LoweredPlan
from edgecompress.hw.target import Target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.c.constants import Constants, make_constants
from edgecompress.lower.c.emitter import Call, Emitter
from edgecompress.lower.c.state import state_bytes
from edgecompress.lower.c.storage import Permission, Storage, resolve_storage
from edgecompress.lower.c.table import UNSUPPORTED, select
from edgecompress.lower.options import QUICK, LowerOptions


@dataclass(frozen=True)
class Decisions:
    """The plan together with what the emission needs: storage, and the calls in order (nodes without code left out)."""

    graph: QuantizedGraph  # what the code computes: the graph given, or one split into bands with the same outputs
    plan: LoweredPlan
    storage: Storage
    calls: tuple[Call, ...]
    emitters: tuple[Emitter, ...]  # one a call
    constants: Constants | None  # None: nobody asked for exact constants


def decide(graph: QuantizedGraph, target: Target, options: LowerOptions = QUICK) -> Decisions:
    """Raises ModelError for an op in UNSUPPORTED, naming the node and the reason."""
    for node in graph.nodes:
        if node.op.kind in UNSUPPORTED:
            raise ModelError(f"node {node.name!r} ({node.op.kind}) cannot be lowered to C: {UNSUPPORTED[node.op.kind]}")
    calls = [Call(node, graph.input_tensors(node), graph.tensors[node.output]) for node in graph.nodes]
    emitters = [select(call, target.extensions) for call in calls]
    storage = resolve_storage(graph, [_permission(*pair) for pair in zip(emitters, calls, strict=True)], options.io)
    memory = plan_memory(storage.buffers, storage.overlaps, THOROUGH if options.thorough else FAST)
    kept = [index for index, call in enumerate(calls) if call.node.output not in storage.without_code]
    calls, emitters = [calls[index] for index in kept], [emitters[index] for index in kept]
    constants = make_constants(zip(emitters, calls, strict=True), share=True) if options.thorough else None
    layers = tuple(_layer(graph, call, emitter, constants.shared_bytes(index) if constants else 0, step)
                   for index, (call, emitter, step) in enumerate(zip(calls, emitters, kept, strict=True)))
    plan = LoweredPlan(target.name, layers, memory, sum(layer.constant_bytes for layer in layers), state_bytes(graph.nodes))
    return Decisions(graph, plan, storage, tuple(calls), tuple(emitters), constants)


def _permission(emitter: Emitter, call: Call) -> Permission:
    return Permission(emitter.overlaps(call), emitter.same_start, emitter.scratch_bytes(call))


def _layer(graph: QuantizedGraph, call: Call, emitter: Emitter, shared_bytes: int, step: int) -> LayerPlan:
    return LayerPlan(
        node=call.node.name, op=call.node.op.kind, kernel=emitter.kernel(call), macs=graph.macs(call.node),
        features={name: float(count) for name, count in emitter.features(call).items()},
        constant_bytes=emitter.constant_bytes(call) - shared_bytes, scratch_bytes=emitter.scratch_bytes(call),
        input_shapes=tuple(tensor.shape for tensor in call.inputs), output_shape=call.output.shape, step=step,
    )
