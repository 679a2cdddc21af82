"""Runs a plan with the reference's arithmetic in the plan's memory, and checks that nothing overwrites what is still needed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecompress.hw.target import load_target
from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.lower.c.planning import Decisions, decide
from edgecompress.lower.options import LowerOptions


def random_inputs(graph: QuantizedGraph, samples: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """int8 [samples, *shape] for each input of the graph."""
    generator = np.random.default_rng(seed)
    return {name: generator.integers(-128, 128, (samples, *graph.tensors[name].shape), dtype=np.int8) for name in graph.inputs}


def run_in_arena(graph: QuantizedGraph, inputs: Mapping[str, np.ndarray], options: LowerOptions, target: str = "host") -> dict[str, np.ndarray]:
    """Outputs of the first sample."""
    return run_decisions(decide(graph, load_target(target), options), inputs)


def run_decisions(decisions: Decisions, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of the first sample; scratch memory is filled with junk at every call."""
    blocks = _blocks(decisions)
    computed = decisions.graph

    def view(tensor: Tensor) -> np.ndarray:
        root, offset = decisions.storage.places[tensor.name]
        return blocks[root][offset:offset + tensor.size]

    for name in computed.inputs:
        view(computed.tensors[name])[:] = inputs[name][0].ravel()
    for call, emitter in zip(decisions.calls, decisions.emitters, strict=True):
        operands = [view(t).reshape(1, *t.shape).copy() for t in call.inputs]
        result = view(call.output)
        skipped = decisions.storage.copies.get(call.output.name)
        for position, tensor in enumerate(call.inputs):
            read = view(tensor) if skipped is None else view(tensor)[skipped:skipped + call.output.size]
            _check_overlap(result, read, emitter.overlaps(call).get(position), emitter.same_start)
        if call.node.name in decisions.storage.scratch:
            scratch = _scratch(decisions, blocks, call.node.name, emitter.scratch_bytes(call))
            assert not np.shares_memory(scratch, result)
            for position, tensor in enumerate(call.inputs):
                _check_overlap(scratch, view(tensor), emitter.scratch_overlaps(call).get(position), same_start=False)
            scratch[:] = -77
        result[:] = call.op.reference(*operands).ravel()
    for name in decisions.storage.inputs:
        np.testing.assert_array_equal(blocks[name], inputs[name][0].ravel(), err_msg="an input of the caller was written to")
    return {name: view(computed.tensors[name]).reshape(computed.tensors[name].shape) for name in computed.outputs}


def _blocks(decisions: Decisions) -> dict[str, np.ndarray]:
    """Memory of every root and scratch buffer: slices of one arena, or the caller's."""
    memory, storage = decisions.plan.memory, decisions.storage
    arena = np.full(memory.arena_bytes, 85, dtype=np.int8)
    blocks = {p.buffer.name: arena[p.offset:p.offset + p.buffer.size] for p in memory.placements}
    return blocks | {name: np.zeros(decisions.graph.tensors[name].size, dtype=np.int8) for name in (*storage.outputs, *storage.inputs)}


def _scratch(decisions: Decisions, blocks: Mapping[str, np.ndarray], node: str, size: int) -> np.ndarray:
    block = decisions.plan.memory.placements[decisions.storage.scratch[node]]
    assert block.buffer.size == size and block.offset % 16 == 0
    return blocks[block.buffer.name]


def _check_overlap(written: np.ndarray, read: np.ndarray, distance: int | None, same_start: bool) -> None:
    """What a kernel writes and reads may share bytes only as its emitter allows."""
    if np.shares_memory(written, read):
        ahead = read.ctypes.data - written.ctypes.data
        assert distance is not None and (ahead == distance if same_start else ahead >= distance)
