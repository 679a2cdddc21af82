"""Depthwise kernels of the DSP extension: equal to the reference on the cores and, as portable twins, on the host; also where they work in place."""

from __future__ import annotations

import dataclasses
import re
import shutil

import numpy as np
import pytest
from host_build import build, run
from op_cases import OpCase
from test_conformance_cores import Outputs, check, run_cases
from tools import require_tool

from edgecompress.bench import bench
from edgecompress.hw.target import load_target
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.table import Table
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import resolve_padding
from edgecompress.lower import lower
from edgecompress.lower.artifact import Artifact
from edgecompress.lower.c.emitter import Call, Emitter
from edgecompress.lower.c.table import select

LIMITS = {8: (-128, 127), 4: (-7, 7), 2: (-1, 1)}
KERNELS = {f"ec_depthwise_{name}_dsp" for name in (
    "3x3", "3x3_stride2", "width5", "width5_stride2", "width7", "width7_stride2", "window", "line", "dot")}
TURNED = Table(np.arange(127, -129, -1).astype(np.int8))  # no pass takes it away


def depthwise(seed: int, shape: tuple[int, int, int], kernel: tuple[int, int], stride: tuple[int, int] = (1, 1),
              padding: str | tuple[int, int, int, int] = "same", bits: int = 8, extreme: bool = False) -> tuple[DepthwiseConv2D, Tensor]:
    """An op with its input. Zero points, activation ranges and rescaling factors vary with the seed; `extreme`: weights at their ends only."""
    random = np.random.default_rng([seed, *shape, *kernel])
    channels, (low, high) = shape[2], LIMITS[bits]
    weights = random.choice([low, high], (*kernel, channels)) if extreme else random.integers(low, high + 1, (*kernel, channels))
    input_zero_point, output_zero_point = (int(random.choice([-128, -128, 127, 3, -77])) for _ in range(2))
    spread = 75.0 * high * 0.6 * (kernel[0] * kernel[1]) ** 0.5
    factors = np.minimum(random.uniform(0.3, 1.5, channels) * 60.0 / spread, 0.49)  # at least one right shift
    if seed % 3 == 0:
        factors[0], factors[-1] = 0.0, 2.0**-30  # shifts beyond those that the kernels know
    activation = [(-128, 127), (-128, 127), (-100, 90), (output_zero_point, 127)][int(random.integers(4))]
    op = DepthwiseConv2D(weights, random.integers(-500, 501, channels), Requant.from_real(factors), input_zero_point, output_zero_point, stride,
                         padding=resolve_padding(padding, shape[:2], kernel, stride), activation_min=activation[0], activation_max=activation[1],
                         weight_bits=bits)
    return op, Tensor("a", shape, 0.05, input_zero_point)


def in_place(name: str, op: DepthwiseConv2D, source: Tensor) -> OpCase:
    """The op between two tables, so that its input and output lie in the arena."""
    result = Tensor("b", op.infer_shape(source.shape), 0.1, op.output_zero_point)
    tensors = (dataclasses.replace(source, name="x"), source, result, dataclasses.replace(result, name="y"))
    nodes = (Node("before", TURNED, ("x",), "a"), Node("middle", op, ("a",), "b"), Node("after", TURNED, ("b",), "y"))
    graph = QuantizedGraph(f"depthwise_{name}", {tensor.name: tensor for tensor in tensors}, nodes, ("x",), ("y",))
    inputs = np.random.default_rng(len(name)).integers(-128, 128, (2, *source.shape), dtype=np.int8)
    ends = np.where(np.arange(source.size) % 2, 127, -128).astype(np.int8).reshape(1, *source.shape)
    return OpCase(name, graph, {"x": np.concatenate([inputs, ends, ends[:, ::-1, ::-1, ::-1]])})


def named_cases() -> list[OpCase]:
    """Every kernel, with maps of a size of their own: odd, even, tiny, narrow, wide; channels that are no multiple of four."""
    ops = {
        "plain": depthwise(1, (8, 8, 8), (3, 3)), "kws": depthwise(2, (25, 5, 12), (3, 3)), "odd": depthwise(3, (7, 9, 7), (3, 3)),
        "tiny": depthwise(4, (3, 3, 6), (3, 3)), "pixel": depthwise(5, (1, 1, 9), (3, 3)), "narrow": depthwise(6, (9, 1, 5), (3, 3)),
        "flat": depthwise(7, (1, 9, 5), (3, 3)), "valid": depthwise(8, (8, 7, 5), (3, 3), padding="valid"), "two": depthwise(9, (2, 2, 5), (3, 3)),
        "lopsided": depthwise(10, (6, 7, 4), (3, 3), padding=(2, 0, 0, 2)), "extreme": depthwise(11, (6, 6, 8), (3, 3), extreme=True),
        "nibbles": depthwise(12, (7, 6, 10), (3, 3), bits=4), "ternary": depthwise(13, (7, 6, 10), (3, 3), bits=2),
        "half": depthwise(14, (9, 8, 12), (3, 3), (2, 2)), "half_odd": depthwise(15, (7, 7, 5), (3, 3), (2, 2)),
        "half_valid": depthwise(16, (10, 8, 5), (3, 3), (2, 2), "valid"), "half_row": depthwise(17, (3, 9, 5), (3, 3), (2, 2)),
        "half_nibbles": depthwise(18, (6, 6, 5), (3, 3), (2, 2), bits=4), "half_extreme": depthwise(19, (8, 8, 4), (3, 3), (2, 2), extreme=True),
        "five": depthwise(20, (10, 10, 6), (5, 5)), "five_tiny": depthwise(21, (3, 2, 5), (5, 5)), "five_low": depthwise(22, (9, 7, 4), (2, 5)),
        "five_half": depthwise(23, (9, 10, 5), (5, 5), (2, 2)), "five_mixed": depthwise(24, (9, 10, 5), (4, 5), (1, 2)),
        "five_ternary": depthwise(25, (6, 7, 5), (5, 5), bits=2), "five_tall": depthwise(26, (9, 10, 5), (6, 5), (2, 1)),
        "seven": depthwise(27, (12, 11, 6), (7, 7)), "seven_small": depthwise(28, (5, 5, 8), (7, 7)), "seven_tiny": depthwise(29, (3, 3, 8), (7, 7)),
        "seven_half": depthwise(30, (13, 12, 5), (7, 7), (2, 2)), "seven_half_small": depthwise(31, (5, 6, 5), (7, 7), (2, 2)),
        "seven_extreme": depthwise(32, (7, 7, 4), (7, 7), extreme=True), "seven_nibbles": depthwise(33, (7, 6, 5), (7, 7), bits=4),
        "any_even": depthwise(34, (6, 7, 5), (2, 2)), "any_four": depthwise(35, (9, 8, 6), (4, 4), (2, 2)),
        "any_wide": depthwise(36, (6, 20, 4), (3, 10)),
        "any_mixed": depthwise(37, (7, 8, 5), (3, 3), (2, 1)), "any_other": depthwise(38, (8, 7, 5), (3, 3), (1, 2)),
        "any_nibbles": depthwise(39, (7, 9, 5), (5, 3), bits=4), "any_six": depthwise(40, (8, 13, 4), (3, 6), (2, 2)),
        "line_tall": depthwise(41, (20, 1, 6), (9, 1)), "line_flat": depthwise(42, (1, 20, 8), (1, 9)),
        "line_half": depthwise(43, (21, 1, 5), (5, 1), (2, 2)),
        "line_columns": depthwise(44, (11, 4, 5), (4, 1)), "line_rows": depthwise(45, (4, 12, 5), (1, 5), (1, 2)),
        "line_rows_half": depthwise(46, (7, 12, 5), (1, 7), (2, 2)), "line_columns_half": depthwise(47, (12, 7, 5), (3, 1), (2, 2)),
        "line_valid": depthwise(48, (24, 1, 8), (10, 1), padding="valid"), "line_ternary": depthwise(49, (14, 2, 5), (3, 1), bits=2),
        "line_causal": depthwise(50, (15, 1, 5), (5, 1), padding=(4, 0, 0, 0)), "line_one": depthwise(51, (6, 5, 5), (1, 1)),
        "line_last": depthwise(52, (5, 1, 6), (4, 1), padding="valid", bits=4), "line_two_left": depthwise(53, (3, 1, 5), (2, 1), padding="valid"),
        "dot": depthwise(54, (15, 1, 10), (15, 1), padding="valid"), "dot_image": depthwise(55, (5, 4, 6), (5, 4), padding="valid"),
        "dot_inside": depthwise(56, (5, 6, 7), (4, 5), (2, 2), "valid"),
        "dot_extreme": depthwise(57, (3, 3, 4), (3, 3), padding="valid", extreme=True),
    }
    return [in_place(name, op, source) for name, (op, source) in ops.items()]


def random_cases(count: int) -> list[OpCase]:
    """Shapes, kernels, strides and explicit paddings at random."""
    cases = []
    for index in range(count):
        random = np.random.default_rng([7, index])
        kernel = tuple(int(random.choice([1, 2, 3, 3, 4, 5, 7])) for _ in range(2))
        shape = (*(int(random.integers(1, 14)) for _ in range(2)), int(random.integers(4, 15)))
        stride = tuple(int(random.choice([1, 2])) for _ in range(2))
        padding = tuple(int(random.integers(0, kernel[side // 2])) for side in range(4))
        if any(shape[axis] + padding[2 * axis] + padding[2 * axis + 1] < kernel[axis] for axis in (0, 1)):
            padding = tuple(kernel[side // 2] - 1 for side in range(4))
        op, source = depthwise(100 + index, shape, kernel, stride, padding, int(random.choice([8, 8, 4, 2])), bool(random.integers(2)))
        cases.append(in_place(f"random{index}", op, source))
    return cases


CASES = [*named_cases(), *random_cases(40)]
FEW = CASES[::4]


def emitter_of(case: OpCase, target_name: str = "cortex-m4") -> tuple[Emitter, Call]:
    node = case.graph.nodes[1]
    call = Call(node, case.graph.input_tensors(node), case.graph.tensors[node.output])
    return select(call, load_target(target_name).extensions), call


def test_the_cases_reach_every_kernel_and_few_are_left_to_the_portable_one() -> None:
    kernels = [emitter.kernel(call) for emitter, call in map(emitter_of, CASES)]
    assert set(kernels) >= KERNELS
    left = [case.name for case, kernel in zip(CASES, kernels, strict=True) if kernel not in KERNELS]
    assert len(left) <= 2, left


def test_the_output_takes_the_place_of_the_input_wherever_the_kernel_allows() -> None:
    allowed = 0
    for case in CASES:
        emitter, call = emitter_of(case)
        if emitter.overlaps(call):
            offsets = {placement.buffer.name: placement.offset for placement in lower(case.graph, load_target("cortex-m4")).plan.memory.placements}
            assert offsets["a"] == offsets["b"], case.name
            allowed += 1
    assert allowed > len(CASES) // 2


SCRATCH = """#include <stdlib.h>
static void *%(name)s_scratch(size_t size)
{
    static void *block;
    free(block);
    return block = malloc(size);
}
"""


def with_own_scratch(artifact: Artifact) -> Artifact:
    """The same model with the depthwise layer's scratch in a heap block of its own, so that a step beyond it ends the program."""
    name = artifact.name
    (layer,) = (layer for layer in artifact.plan.layers if layer.node == "middle")
    text, count = re.subn(r"(ec_depthwise_\w+\(&\w+, [^,;]+, [^,;]+, )[^);]+\);", rf"\g<1>{name}_scratch({layer.scratch_bytes}));",
                          artifact.files[f"{name}.c"].decode())
    assert count == (layer.scratch_bytes > 0)
    code = (SCRATCH % {"name": name} if count else "") + text
    return dataclasses.replace(artifact, files={**artifact.files, f"{name}.c": code.encode()})


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Outputs of the portable bodies, with sanitizers."""
    target = dataclasses.replace(load_target("host"), extensions=("dsp",))
    artifacts = [(case.graph, with_own_scratch(lower(case.graph, target, case.inputs))) for case in CASES]
    results = run(build(tmp_path_factory.mktemp("twins"), artifacts), [case.graph for case in CASES], [case.inputs for case in CASES])
    return {case.name: result for case, result in zip(CASES, results, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_portable_twin(case: OpCase, twins: Outputs) -> None:
    check(case, twins)


@pytest.fixture(scope="module")
def on_m4(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return run_cases(CASES, "cortex-m4", "unicorn", "zig", tmp_path_factory.mktemp("m4"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_on_cortex_m4(case: OpCase, on_m4: Outputs) -> None:
    check(case, on_m4)


@pytest.fixture(scope="module")
def on_m7(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return run_cases(FEW, "cortex-m7", "unicorn", "zig", tmp_path_factory.mktemp("m7"))


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_on_cortex_m7(case: OpCase, on_m7: Outputs) -> None:
    check(case, on_m7)


@pytest.fixture(scope="module")
def by_gcc(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    require_tool("arm-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    return run_cases(FEW, "cortex-m33", "unicorn", "gcc", tmp_path_factory.mktemp("gcc"))


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_by_gcc_on_cortex_m33(case: OpCase, by_gcc: Outputs) -> None:
    check(case, by_gcc)


@pytest.mark.parametrize("change", [{"bias": np.full(4, 2**30)}, {"requant": Requant.from_real([3.0] * 4)}, {"dilation": (2, 2)}, {"stride": (3, 3)}])
def test_what_the_kernels_cannot_do_is_left_to_the_portable_one(change: dict) -> None:
    op, source = depthwise(1, (8, 8, 4), (3, 3))
    changed = dataclasses.replace(op, **change)
    emitter, call = emitter_of(in_place("changed", changed, source))
    assert emitter.kernel(call) == "ec_depthwise_conv2d_s8"


@pytest.mark.parametrize(("shape", "stride", "most"), [((24, 24, 8), (1, 1), 18.0), ((25, 5, 16), (1, 1), 24.0), ((24, 24, 8), (2, 2), 29.0)])
def test_instructions_per_output(shape: tuple[int, int, int], stride: tuple[int, int], most: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    op, source = depthwise(1, shape, (3, 3), stride)
    op = dataclasses.replace(op, output_zero_point=-128, activation_min=-128, activation_max=127)
    folder = tmp_path_factory.mktemp("count") / "model"
    lower(in_place("counted", op, source).graph, load_target("cortex-m4")).write(folder)
    (layer,) = (layer for layer in bench(folder, samples=1).layers if layer.node == "middle")
    assert layer.kernel.startswith("ec_depthwise_3x3")
    assert layer.instructions / np.prod(op.infer_shape(shape)) < most
