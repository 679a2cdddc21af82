"""Rung 3 of the ladder: every op's generated C on every emulated core equals the reference bit for bit.

All cases of a core are linked into one firmware and run in one emulation.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from op_cases import ALL_CASES, CASES, OpCase
from tools import require_tool

from edgecompress.bench.runner import run_subjects
from edgecompress.bench.subject import Subject, load_subject
from edgecompress.hw.target import load_target
from edgecompress.ir.reference import run_all
from edgecompress.lower import lower

TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imc")
UNIT_SIZE = 12  # models a compiler run
FEW_CASES = [case for cases in CASES.values() for case in cases[:2]]
Outputs = dict[str, dict[str, np.ndarray]]


def one_unit(folder: Path, subjects: Sequence[Subject]) -> list[Subject]:
    """The same subjects with their generated sources in one file, owned by the first: starting a compiler costs more than a small model."""
    own = [[source for source in subject.sources if source.name.startswith(subject.name)] for subject in subjects]
    unit = folder / f"unit_{subjects[0].name}.c"
    unit.write_text("".join(f'#undef EC_LAYER_DONE\n#include "{source}"\n' for sources in own for source in sources))
    rest = [tuple(source for source in subject.sources if source not in sources) for subject, sources in zip(subjects, own, strict=True)]
    return [dataclasses.replace(subject, sources=(unit, *kernels) if index == 0 else kernels)
            for index, (subject, kernels) in enumerate(zip(subjects, rest, strict=True))]


def run_cases(cases: Sequence[OpCase], target_name: str, where: str, cc: str | None, folder: Path) -> Outputs:
    """Outputs by case and tensor from one firmware that holds all cases."""
    target = load_target(target_name)
    subjects: list[Subject] = []
    frames = []
    for index, case in enumerate(cases):
        lower(case.graph, target, case.inputs).write(folder / case.name)
        subject = load_subject(folder / case.name)
        assert subject.name not in {other.name for other in subjects}
        subjects.append(subject)
        frames += [(index, frame) for frame in subject.encode(case.inputs)]
    grouped = [one for start in range(0, len(subjects), UNIT_SIZE) for one in one_unit(folder, subjects[start : start + UNIT_SIZE])]
    outputs = run_subjects(grouped, frames, target, where, cc)
    return {case.name: subjects[index].decode([output for (model, _), output in zip(frames, outputs, strict=True) if model == index])
            for index, case in enumerate(cases)}


def check(case: OpCase, outputs: Outputs) -> None:
    expected = run_all(case.graph, case.inputs)
    for name in case.graph.outputs:
        np.testing.assert_array_equal(outputs[case.name][name], expected[name])


@pytest.fixture(scope="module", params=TARGETS)
def on_core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """All cases on one core in unicorn, built by zig."""
    return run_cases(ALL_CASES, request.param, "unicorn", "zig", tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_generated_c_on_the_core_equals_the_reference(case: OpCase, on_core: Outputs) -> None:
    check(case, on_core)


@pytest.fixture(scope="module", params=["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"])
def in_qemu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Some cases of every op built by gcc and run by qemu: another compiler and another emulator."""
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    require_tool("arm-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    return run_cases(FEW_CASES, request.param, "qemu", "gcc", tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("case", FEW_CASES, ids=lambda case: case.name)
def test_gcc_and_qemu_agree(case: OpCase, in_qemu: Outputs) -> None:
    check(case, in_qemu)
