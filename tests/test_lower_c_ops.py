"""Rung 2 of the ladder: every op's generated C equals the reference bit for bit, with sanitizers and warnings as errors."""

from __future__ import annotations

import numpy as np
import pytest
from host_build import build, run
from op_cases import ALL_CASES, CASES

from edgecompress.hw.target import load_target
from edgecompress.ir.ops import OPS
from edgecompress.ir.reference import run_all
from edgecompress.lower import lower
from edgecompress.lower.c.table import EMIT, UNSUPPORTED


def test_every_op_has_cases_and_an_emitter_or_a_reason():
    assert set(CASES) == set(OPS)
    assert all(len(cases) >= 6 for cases in CASES.values())
    assert set(EMIT) | set(UNSUPPORTED) == set(OPS)
    assert not set(EMIT) & set(UNSUPPORTED)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Outputs of all cases from one sanitized program."""
    target = load_target("host")
    artifacts = [(case.graph, lower(case.graph, target, case.inputs)) for case in ALL_CASES]
    program = build(tmp_path_factory.mktemp("ops"), artifacts)
    results = run(program, [case.graph for case in ALL_CASES], [case.inputs for case in ALL_CASES])
    return {case.name: result for case, result in zip(ALL_CASES, results, strict=True)}


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_generated_c_equals_the_reference(case, outputs):
    expected = run_all(case.graph, case.inputs)
    for name in case.graph.outputs:
        np.testing.assert_array_equal(outputs[case.name][name], expected[name])
