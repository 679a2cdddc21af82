"""Kernels without weights of the DSP extension: one line for an addition's 65,536 cases, pools, and work in place."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import op_cases as cases
import pytest
from host_build import build, run
from op_cases import CASES, OpCase
from test_conformance_cores import Outputs, check, run_cases
from tools import require_tool

from edgecompress.bench import bench
from edgecompress.hw.target import load_target
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.table import Table
from edgecompress.ir.requant import Requant
from edgecompress.lower import lower
from edgecompress.lower.c.dsp_simple import fit_add, fit_requantize
from edgecompress.lower.c.emitter import Call
from edgecompress.lower.c.table import select

KINDS = ("add", "average_pool2d", "max_pool2d", "global_average_pool", "requantize", "batch_matmul")
BYTES = np.arange(-128, 128, dtype=np.int8)
TURNED = Table(BYTES[::-1])  # no pass takes it away


def random_adds(count: int) -> list[Add]:
    """Scales as they come, some of them alike or in simple ratios, with zero points at the ends."""
    random, ops = np.random.default_rng(5), []
    for index in range(count):
        scales = np.exp(random.uniform(-1.0, 1.0, 3)) * np.array([0.05, 0.05, 0.1])
        if index % 4 == 0:
            scales[1] = scales[0]
        if index % 8 == 0:
            scales[2] = scales[0] * (1, 2, 0.5)[index // 8 % 3]
        zero_points = random.choice([-128, 127, 0, 3, -50], 3)
        limits = [(-128, 127), (-128, 127), (-20, 100)][index % 3]
        left, right, out = ((float(np.float32(scale)), int(zero)) for scale, zero in zip(scales, zero_points, strict=True))
        ops.append(Add.from_scales(left, right, out, *limits))
    return ops


def evaluate(fit: tuple[tuple[int, ...], int], low: int, high: int, *inputs: np.ndarray) -> np.ndarray:
    """What the kernel computes; no sum may leave 32 bits."""
    total = fit[1] + sum(factor * (x.astype(np.int64) * 256) // 2**16 for factor, x in zip(fit[0], inputs, strict=True))
    assert all(abs(value) < 2**31 for value in (total.min(), total.max()))
    return np.clip((total // 2**20).astype(np.int64), low, high)


def test_one_line_is_the_addition_in_all_cases() -> None:
    left, right, missed = np.repeat(BYTES, 256), np.tile(BYTES, 256), 0
    for op in random_adds(60):
        fit = fit_add(op)
        missed += fit is None
        if fit is not None:
            np.testing.assert_array_equal(evaluate(fit, op.activation_min, op.activation_max, left, right), op.reference(left, right))
    assert missed <= 1


@pytest.mark.parametrize("real", [0.001, 0.3, 0.5, 1.0, 1.4999, 7.0])
@pytest.mark.parametrize("zero_points", [(-128, -128), (127, -3), (5, 127)])
def test_one_line_is_the_change_of_scale(real: float, zero_points: tuple[int, int]) -> None:
    op = Requantize(Requant.from_real(real), *zero_points)
    fit = fit_requantize(op)
    assert fit is not None
    np.testing.assert_array_equal(evaluate(fit, -128, 127, BYTES), op.reference(BYTES))


@pytest.mark.parametrize("op", [Add.from_scales((0.05, 3), (0.07, -5), (0.08, -128)), Add.from_scales((0.5, 3), (0.5, -5), (0.05, 0))],
                         ids=["halves", "steep"])
def test_what_no_line_fits_is_left_to_the_portable_kernel(op: Add) -> None:
    assert fit_add(op) is None
    tensors = tuple(Tensor(name, (4, 4, 4), 0.1, 0) for name in "aby")
    assert select(Call(Node("n", op, ("a", "b"), "y"), tensors[:2], tensors[2]), ("dsp",)).kernel is not None
    assert select(Call(Node("n", op, ("a", "b"), "y"), tensors[:2], tensors[2]), ("dsp",)).name == "add"


def chains() -> list[OpCase]:
    """Additions that overwrite their left, their right operand or none; pools whose output overlaps their input."""
    result = []
    for index, op in enumerate(random_adds(6)):
        shape = (3, 5, 4 + index)
        tensors = {name: Tensor(name, shape, 0.05, 0) for name in ("x0", "x1", "a", "b", "c", "d", "y")}
        kept = ("a", "b")[index % 2]
        nodes = (Node("l", TURNED, ("x0",), "a"), Node("r", TURNED, ("x1",), "b"), Node("n", op, ("a", "b"), "c"),
                 *((Node("m", op, ("c", kept), "d"), Node("z", TURNED, ("d",), "y")) if index < 4 else (Node("z", TURNED, ("c",), "y"),)))
        used = {name for node in nodes for name in (*node.inputs, node.output)}
        graph = QuantizedGraph(f"add_chain{index}", {name: tensor for name, tensor in tensors.items() if name in used}, nodes, ("x0", "x1"), ("y",))
        inputs = np.random.default_rng(index).integers(-128, 128, (2, 3, *shape), dtype=np.int8)
        result.append(OpCase(f"add-chain{index}", graph, {"x0": inputs[0], "x1": inputs[1]}))
    for index, (kind, shape, kernel, stride, padding) in enumerate([
            (AveragePool2D, (6, 7, 6), (2, 2), (2, 2), (0, 0, 0, 0)), (MaxPool2D, (7, 7, 5), (3, 3), (2, 2), (1, 1, 1, 1)),
            (MaxPool2D, (5, 6, 7), (3, 3), (1, 1), (1, 1, 1, 1)), (AveragePool2D, (5, 6, 7), (3, 2), (1, 1), (1, 1, 0, 1)),
            (AveragePool2D, (20, 15, 5), (20, 15), (1, 1), (0, 0, 0, 0)), (AveragePool2D, (30, 12, 6), (30, 11), (1, 1), (0, 0, 0, 0))]):
        op = kind(kernel, stride, padding, *((-128, 127), (-90, 80))[index % 2])
        tensors = {"x": Tensor("x", shape, 0.05, 0), "a": Tensor("a", shape, 0.05, 0)}
        tensors |= {name: Tensor(name, op.infer_shape(shape), 0.05, 0) for name in ("b", "y")}
        graph = QuantizedGraph(f"pool_chain{index}", tensors,
                               (Node("l", TURNED, ("x",), "a"), Node("n", op, ("a",), "b"), Node("z", TURNED, ("b",), "y")), ("x",), ("y",))
        inputs = np.random.default_rng(index).integers(-128, 128, (3, *shape), dtype=np.int8)
        inputs[1:] = np.array([-128, 127])[:, None, None, None]
        result.append(OpCase(f"pool-chain{index}", graph, {"x": inputs}))
    return result


ALL = [*chains(), *(case for kind in KINDS for case in CASES[kind]), *(
    cases.add(f"random{size}", (size,), (0.0513127, 3), (0.0733781, -7), (0.0912345, 1)) for size in (1, 2, 3, 5, 6, 7, 8))]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Outputs of the portable bodies, with sanitizers."""
    target = dataclasses.replace(load_target("host"), extensions=("dsp",))
    artifacts = [(case.graph, lower(case.graph, target, case.inputs)) for case in ALL]
    results = run(build(tmp_path_factory.mktemp("twins"), artifacts), [case.graph for case in ALL], [case.inputs for case in ALL])
    return {case.name: result for case, result in zip(ALL, results, strict=True)}


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_portable_twin(case: OpCase, twins: Outputs) -> None:
    check(case, twins)


@pytest.fixture(scope="module")
def on_m4(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return run_cases(ALL, "cortex-m4", "unicorn", "zig", tmp_path_factory.mktemp("m4"))


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_on_cortex_m4(case: OpCase, on_m4: Outputs) -> None:
    check(case, on_m4)


@pytest.fixture(scope="module")
def by_gcc(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    require_tool("arm-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    return run_cases(ALL[::2], "cortex-m7", "unicorn", "gcc", tmp_path_factory.mktemp("gcc"))


@pytest.mark.parametrize("case", ALL[::2], ids=lambda case: case.name)
def test_by_gcc_on_cortex_m7(case: OpCase, by_gcc: Outputs) -> None:
    check(case, by_gcc)


@pytest.mark.parametrize(("case", "most"), [
    (cases.add("count", (16, 16, 8), (0.0513127, 3), (0.0733781, -7), (0.0912345, -128)), 6.5),
    (cases.requantize("count", (16, 16, 8), (0.0513127, 3), (0.0733781, -7)), 4.5),
    (cases.pool(AveragePool2D, "count", (25, 5, 64), (25, 5), (1, 1)), 1.5 * 125),
    (cases.global_average("count", (12, 12, 16), (0.0513127, 3), (0.0733781, -7)), 1.5 * 144)], ids=lambda value: getattr(value, "name", None))
def test_instructions_per_output(case: OpCase, most: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("count") / "model"
    lower(case.graph, load_target("cortex-m4")).write(folder)
    layer = bench(folder, samples=1).layers[0]
    assert layer.kernel.endswith("_dsp")
    assert layer.instructions / case.graph.tensors["y"].size < most
