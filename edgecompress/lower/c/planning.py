"""LoweredPlan of a graph: fast, because the architecture search asks for thousands."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from edgecompress.errors import ModelError
from edgecompress.hw.memory import FAST, THOROUGH, plan_memory
from edgecompress.hw.plan import LayerPlan, LoweredPlan
from edgecompress.hw.target import Target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.c.constants import Constants, make_constants
from edgecompress.lower.c.emitter import Call, Emitter
from edgecompress.lower.c.fitting import Layout, fit, kernel_key, what_was_done
from edgecompress.lower.c.state import state_bytes
from edgecompress.lower.c.storage import Permission, Storage, resolve_storage
from edgecompress.lower.c.table import COPY, UNSUPPORTED, select
from edgecompress.lower.c.views import view_offset
from edgecompress.lower.options import QUICK, LowerOptions

FPUS = {"fpu", "fpu64"}


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
    """Raises ModelError for an op in UNSUPPORTED, naming the node and the reason, BudgetError for a RAM limit that is out of reach."""
    for node in graph.nodes:
        if node.op.kind in UNSUPPORTED:
            raise ModelError(f"node {node.name!r} ({node.op.kind}) cannot be lowered to C: {UNSUPPORTED[node.op.kind]}")
    if not FPUS & set(target.extensions) and any(tensor.dtype == "float32" for tensor in graph.tensors.values()):
        raise ModelError(f"graph {graph.name!r} is float32 and '{target.name}' has no FPU", "try: --calibrate DATA, which makes the model int8")
    layout = _layout(graph, target, options, THOROUGH if options.thorough else FAST)
    notes: tuple[str, ...] = ()
    if options.ram_bytes is not None and layout.ram_bytes > options.ram_bytes:
        layout = fit(layout, options.ram_bytes, lambda split, steps, frugal: _layout(split, target, options, steps, frugal))
        layout = _layout(layout.graph, target, options, THOROUGH, layout.frugal) if options.thorough else layout
        notes = what_was_done(layout, graph)
    kept = [index for index, (_, call) in enumerate(layout.calls) if call.node.output not in layout.storage.without_code]
    pairs = [layout.calls[index] for index in kept]
    constants = make_constants(pairs, share=True) if options.thorough else None
    layers = tuple(_layer(layout.graph, call, emitter, constants.stored_bytes(index) if constants else emitter.constant_bytes(call), step)
                   for index, ((emitter, call), step) in enumerate(zip(pairs, kept, strict=True)))
    plan = LoweredPlan(target.name, layers, layout.memory, sum(layer.constant_bytes for layer in layers), state_bytes(layout.graph.nodes),
                       notes)
    return Decisions(layout.graph, plan, layout.storage, tuple(call for _, call in pairs), tuple(emitter for emitter, _ in pairs), constants)


def _layout(graph: QuantizedGraph, target: Target, options: LowerOptions, steps: int,
            frugal: frozenset[Hashable] = frozenset()) -> Layout:
    """`frugal`: kernel_key of nodes whose kernel is to be the one with the least scratch memory."""
    calls = [Call(node, graph.input_tensors(node), graph.tensors[node.output]) for node in graph.nodes]
    emitters = [COPY if view_offset(graph, call.node) is not None else select(call, target.extensions, bool(frugal) and kernel_key(call.node) in frugal)
                for call in calls]
    permissions = tuple(map(_permission, emitters, calls))
    storage = resolve_storage(graph, permissions, options.io)
    memory = plan_memory(storage.buffers, storage.overlaps, steps)
    return Layout(graph, tuple(zip(emitters, calls, strict=True)), frugal, permissions, storage, memory, memory.arena_bytes + state_bytes(graph.nodes))


def _permission(emitter: Emitter, call: Call) -> Permission:
    return Permission(emitter.overlaps(call), emitter.same_start, emitter.scratch_bytes(call), emitter.scratch_overlaps(call))


def _layer(graph: QuantizedGraph, call: Call, emitter: Emitter, constant_bytes: int, step: int) -> LayerPlan:
    return LayerPlan(
        node=call.node.name, op=call.node.op.kind, kernel=emitter.kernel(call), macs=graph.macs(call.node),
        features={name: float(count) for name, count in emitter.features(call).items()},
        constant_bytes=constant_bytes, scratch_bytes=emitter.scratch_bytes(call),
        input_shapes=tuple(tensor.shape for tensor in call.inputs), output_shape=call.output.shape, step=step,
    )
