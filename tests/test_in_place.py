"""Kernels that overwrite their input: with input and output as close together as their emitters allow, every byte is still right."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from op_cases import ALL_CASES, OpCase, dense
from test_conformance_cores import UNIT_SIZE, one_unit
from tools import require_tool

from edgecompress.bench.runner import run_subjects
from edgecompress.bench.subject import Subject, load_subject
from edgecompress.hw.target import Target, load_target
from edgecompress.ir.reference import run_all
from edgecompress.lower import lower, plan
from edgecompress.lower.options import LowerOptions

ARENA = LowerOptions(io="arena")
PLACES = {"cortex-m0plus": "unicorn", "cortex-m4": "unicorn", "cortex-m55": "qemu"}


def _shares(case: OpCase, target: Target) -> bool:
    """Whether the plan lets the output overlap an input."""
    memory = plan(case.graph, target, ARENA).memory
    ranges = {p.buffer.name: (p.offset, p.offset + p.buffer.size) for p in memory.placements}
    (output,) = case.graph.outputs
    return any(name in ranges and ranges[name][0] < ranges[output][1] and ranges[output][0] < ranges[name][1]
               for name in case.graph.inputs) if output in ranges else False


@pytest.mark.parametrize("core", PLACES)
def test_an_output_in_its_inputs_bytes_is_right(core: str, tmp_path: Path) -> None:
    require_tool("qemu", PLACES[core] != "qemu" or shutil.which("qemu-system-arm") is not None)
    target = load_target(core)
    cases = [case for case in ALL_CASES if not case.graph.state_bytes and _shares(case, target)]
    kinds = {case.graph.nodes[0].op.kind for case in cases}
    assert {"conv2d", "add", "table", "average_pool2d", "max_pool2d", "requantize", "mul"} <= kinds
    assert ("depthwise_conv2d" in kinds) == bool(target.extensions)
    _run(cases, target, tmp_path)


def test_scratch_memory_in_the_inputs_bytes_is_right(tmp_path: Path) -> None:
    """Dense layers of the DSP extension make halfwords of their input over the input itself."""
    target = load_target("cortex-m4")
    cases = [dense(f"dense_{size}", size, 6) for size in (5, 8, 16, 24, 37, 63, 129, 640)]
    for case in cases:
        (layer,) = plan(case.graph, target, ARENA).layers
        needed = plan(case.graph, target, ARENA).memory.arena_bytes
        assert needed < layer.scratch_bytes + case.graph.tensors["x"].size + 6
    _run(cases, target, tmp_path)


def _run(cases: list[OpCase], target: Target, folder: Path) -> None:
    """Runs all cases on the core and compares with the reference."""
    subjects: list[Subject] = []
    for case in cases:
        lower(case.graph, target, case.inputs, options=ARENA).write(folder / case.name)
        subjects.append(load_subject(folder / case.name))
    frames = [(index, frame) for index, case in enumerate(cases) for frame in subjects[index].encode(case.inputs)]
    grouped = [one for start in range(0, len(subjects), UNIT_SIZE) for one in one_unit(folder, subjects[start:start + UNIT_SIZE])]
    outputs = run_subjects(grouped, frames, target, PLACES[target.name], "zig")
    for index, case in enumerate(cases):
        found = subjects[index].decode([output for (model, _), output in zip(frames, outputs, strict=True) if model == index])
        for name, expected in run_all(case.graph, case.inputs).items():
            if name in case.graph.outputs:
                np.testing.assert_array_equal(found[name], expected, err_msg=case.name)
