"""Helium kernels: equal to the reference on qemu's Cortex-M55 and, as plain C twins with sanitizers, on the host; also where they work in place."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from host_build import build, run
from op_cases import CASES as OP_CASES
from op_cases import OpCase
from test_conformance_cores import Outputs, check, run_cases
from tools import require_tool

from edgecompress.bench import bench
from edgecompress.bench.toolchain import select_compiler
from edgecompress.hw.target import Target, load_target
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops import Add, AveragePool2D, Conv2D, Dense, DepthwiseConv2D, GlobalAveragePool, MaxPool2D, Table
from edgecompress.ir.ops.global_average_pool import fold_count
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import resolve_padding
from edgecompress.lower import lower, plan
from edgecompress.lower.c.emitter import Call, Emitter
from edgecompress.lower.c.mve_weights import weight_blocks
from edgecompress.lower.c.table import EMIT, select
from edgecompress.resources import data_dir

TARGET = "cortex-m55"
LIMITS = {8: (-128, 127), 4: (-7, 7), 2: (-1, 1)}
IDENTITY = Table(np.arange(-128, 128, dtype=np.int8))
EXTENSIONS = ("dsp", "mve", "fpu")
Padding = str | tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Draw:
    """What all layers with weights have in common, from a seed."""

    seed: tuple[int, ...]
    bits: int = 8
    extreme: bool = False  # weights at their ends only

    def layer(self, channels: int, taps: int, shape: tuple[int, ...]) -> dict[str, object]:
        """Weights, bias, rescaling, zero points and activation range of a layer; some factors are 0 or need the largest shift."""
        random = np.random.default_rng(self.seed)
        low, high = LIMITS[self.bits]
        weights = random.choice([low, high], shape) if self.extreme else random.integers(low, high + 1, shape)
        input_zero_point, zero_point = (int(random.choice([-128, -128, 127, 3, -77])) for _ in range(2))
        factors = np.minimum(random.uniform(0.3, 1.5, channels) * 60.0 / (75.0 * high * 0.6 * taps**0.5), 0.49)
        if sum(self.seed) % 3 == 0:
            factors[0], factors[-1] = 0.0, 2.0**-30
        activation = [(-128, 127), (-128, 127), (-100, 90), (zero_point, 127)][int(random.integers(4))]
        return {"weights": weights, "bias": random.integers(-500, 501, channels), "requant": Requant.from_real(factors),
                "input_zero_point": input_zero_point, "output_zero_point": zero_point, "activation_min": activation[0],
                "activation_max": activation[1], "weight_bits": self.bits}


def conv(seed: int, shape: tuple[int, int, int], out: int, kernel: tuple[int, int] = (1, 1), stride: tuple[int, int] = (1, 1),
         padding: Padding = "same", bits: int = 8, extreme: bool = False) -> tuple[Op, list[tuple[int, ...]]]:
    """Convolution and its input's shape."""
    layer = Draw((seed, *shape, out, *kernel), bits, extreme).layer(out, kernel[0] * kernel[1] * shape[2], (out, *kernel, shape[2]))
    return Conv2D(**layer, stride=stride, padding=resolve_padding(padding, shape[:2], kernel, stride)), [shape]  # type: ignore[arg-type]


def biased(seed: int) -> tuple[Op, list[tuple[int, ...]]]:
    """Biases of nearly 27 bits, of both signs, and factors for which they do not saturate."""
    op, shapes = conv(seed, (3, 3, 16), 8)
    return dataclasses.replace(op, bias=np.linspace(-6.6e7, 6.6e7, 8).astype(np.int64), input_zero_point=0, output_zero_point=3,  # type: ignore[call-arg]
                               requant=Requant.from_real(np.linspace(1e-6, 2e-6, 8))), shapes


def depthwise(seed: int, shape: tuple[int, int, int], kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (1, 1), padding: Padding = "same",
              bits: int = 8, extreme: bool = False) -> tuple[Op, list[tuple[int, ...]]]:
    """Depthwise convolution and its input's shape."""
    layer = Draw((seed, *shape, *kernel), bits, extreme).layer(shape[2], kernel[0] * kernel[1], (*kernel, shape[2]))
    return DepthwiseConv2D(**layer, stride=stride, padding=resolve_padding(padding, shape[:2], kernel, stride)), [shape]  # type: ignore[arg-type]


def dense(seed: int, inputs: int, outputs: int, bits: int = 8, one_factor: bool = False, extreme: bool = False) -> tuple[Op, list[tuple[int, ...]]]:
    """Fully connected layer and its input's shape."""
    layer = Draw((seed, inputs, outputs), bits, extreme).layer(outputs, inputs, (outputs, inputs))
    if one_factor:
        layer["requant"] = Requant.from_real(0.37 / (75.0 * inputs**0.5))
    return Dense(**layer), [(inputs,)]  # type: ignore[arg-type]


def ties(shift: int, activation_min: int) -> tuple[Op, list[tuple[int, ...]]]:
    """A sum for every small integer, with a factor of 2^-shift: half of the sums are ties of one of the two roundings."""
    bias = np.arange(-900, 901)
    return Dense(np.ones((len(bias), 1), dtype=np.int8), bias, Requant((2**30,), (1 - shift,)), 0, activation_min, activation_min, 127), [(1,)]


def add(seed: int, shape: tuple[int, ...], activation: tuple[int, int] = (-128, 127)) -> tuple[Op, list[tuple[int, ...]]]:
    """Sum of two tensors whose scales stand in every order to each other."""
    random = np.random.default_rng(seed)
    scales = random.choice([0.01, 0.05, 0.11, 0.4], 3)
    sides = [(float(scale), int(random.integers(-128, 128))) for scale in scales]
    return Add.from_scales(*sides, *activation), [shape, shape]


def between_copies(name: str, op: Op, shapes: Sequence[tuple[int, ...]]) -> OpCase:
    """The op between copies, so that its inputs and output lie in the arena and may share memory."""
    sources = [Tensor(f"a{index}", shape, 0.05, getattr(op, "input_zero_point", 0)) for index, shape in enumerate(shapes)]
    result = Tensor("b", op.infer_shape(*shapes), 0.1, getattr(op, "output_zero_point", 0))
    outside = [dataclasses.replace(source, name=f"x{index}") for index, source in enumerate(sources)]
    nodes = [Node(f"before{index}", IDENTITY, (f"x{index}",), f"a{index}") for index in range(len(shapes))]
    nodes += [Node("middle", op, tuple(source.name for source in sources), "b"), Node("after", IDENTITY, ("b",), "y")]
    tensors = [*sources, *outside, result, dataclasses.replace(result, name="y")]
    graph = QuantizedGraph(f"mve_{name}", {tensor.name: tensor for tensor in tensors}, tuple(nodes), tuple(tensor.name for tensor in outside), ("y",))
    random = np.random.default_rng(len(name))
    inputs = {}
    for tensor in outside:
        ends = np.where(np.arange(tensor.size) % 2, 127, -128).astype(np.int8).reshape(1, *tensor.shape)
        inputs[tensor.name] = np.concatenate([random.integers(-128, 128, (2, *tensor.shape), dtype=np.int8), ends, np.full_like(ends, -128)])
    return OpCase(name, graph, inputs)


NAMED: dict[str, tuple[Op, list[tuple[int, ...]]]] = {
    "points_1": conv(1, (5, 7, 16), 8), "points_2": conv(2, (6, 6, 32), 12), "points_3": conv(3, (4, 5, 48), 7),
    "points_4": conv(4, (25, 5, 64), 64), "points_5": conv(5, (5, 5, 80), 9), "points_long": conv(6, (3, 3, 300), 6),
    "points_narrow": conv(7, (9, 9, 3), 5), "points_few": conv(8, (7, 7, 8), 3), "points_wide": conv(9, (12, 12, 8), 33),
    "points_half": conv(10, (9, 8, 20), 16, stride=(2, 2)), "points_cropped": conv(11, (9, 9, 16), 4, stride=(3, 2)),
    "points_one": conv(12, (1, 1, 33), 10), "points_padded": conv(13, (4, 4, 16), 4, padding=(1, 1, 1, 1)),
    "points_nibbles": conv(14, (6, 5, 24), 13, bits=4), "points_ternary": conv(15, (5, 5, 64), 6, bits=2),
    "points_24": conv(17, (6, 6, 24), 13), "points_40": conv(18, (5, 7, 40), 8, extreme=True), "points_56": conv(19, (8, 7, 56), 6, stride=(2, 2)),
    "points_118": conv(502, (3, 3, 118), 10), "points_136": conv(503, (3, 4, 136), 12), "points_24_nibbles": conv(504, (5, 5, 24), 6, bits=4),
    "points_3_more": conv(505, (5, 6, 48), 12), "points_extreme": conv(16, (8, 8, 64), 8, extreme=True),
    "points_4_more": conv(501, (9, 5, 64), 16), "points_biased": biased(506), "rows": conv(20, (12, 11, 16), 16, (3, 3)),
    "rows_wide": conv(21, (6, 70, 16), 8, (3, 3)), "rows_half": conv(22, (9, 10, 16), 12, (3, 3), (2, 2)),
    "rows_odd": conv(23, (7, 9, 13), 5, (3, 3)), "rows_valid": conv(24, (8, 9, 8), 6, (3, 3), padding="valid"),
    "rows_big": conv(25, (6, 5, 64), 20, (3, 3)), "rows_flat": conv(26, (1, 20, 12), 8, (1, 5), (1, 2)),
    "rows_tall": conv(27, (20, 1, 9), 6, (7, 1)), "rows_five": conv(28, (9, 9, 16), 8, (5, 5)),
    "rows_lopsided": conv(29, (6, 7, 16), 6, (3, 3), padding=(2, 0, 0, 2)), "rows_nibbles": conv(30, (6, 6, 16), 10, (3, 3), bits=4),
    "rows_ternary": conv(31, (5, 6, 17), 9, (3, 3), bits=2), "rows_extreme": conv(32, (6, 6, 32), 4, (3, 3), extreme=True),
    "rows_pixel": conv(33, (1, 1, 16), 4, (3, 3)), "rows_outside": conv(34, (3, 3, 8), 4, (2, 2), padding=(3, 2, 4, 3)),
    "columns_first": conv(40, (49, 10, 1), 64, (10, 4), (2, 2)), "columns_image": conv(41, (20, 20, 3), 8, (3, 3), (2, 2)),
    "columns_same": conv(42, (11, 9, 3), 16, (3, 3)), "columns_odd": conv(43, (7, 9, 5), 5, (3, 3)), "columns_tiny": conv(44, (2, 3, 1), 4, (3, 3)),
    "columns_wide": conv(45, (5, 9, 7), 4, (3, 7)), "columns_outside": conv(46, (3, 3, 2), 4, (2, 2), padding=(3, 2, 4, 3)),
    "columns_nibbles": conv(47, (9, 8, 4), 6, (3, 3), bits=4), "columns_long": conv(48, (70, 6, 6), 4, (5, 5)),
    "columns_one": conv(49, (30, 3, 1), 4, (3, 3)), "pair": depthwise(60, (24, 24, 32)), "pair_kws": depthwise(61, (25, 5, 64)),
    "pair_small": depthwise(62, (6, 6, 40)), "pair_tiny": depthwise(63, (3, 3, 20)), "pair_narrow": depthwise(64, (9, 1, 17)),
    "pair_valid": depthwise(66, (8, 7, 5), padding="valid"), "pair_two": depthwise(67, (7, 6, 8), (2, 2)),
    "pair_lopsided": depthwise(68, (6, 7, 4), padding=(2, 0, 0, 2)), "pair_extreme": depthwise(69, (9, 9, 16), extreme=True),
    "pair_nibbles": depthwise(70, (7, 6, 18), bits=4), "pair_ternary": depthwise(71, (7, 6, 10), bits=2), "pair_long": depthwise(72, (7, 90, 4)),
    "half": depthwise(73, (12, 12, 32), stride=(2, 2)), "half_odd": depthwise(74, (9, 11, 19), stride=(2, 2)),
    "half_more": depthwise(500, (9, 10, 17), stride=(2, 2)), "half_tiny": depthwise(75, (2, 3, 16), stride=(2, 2)),
    "half_mixed": depthwise(76, (9, 10, 5), stride=(1, 2)), "five": depthwise(77, (10, 10, 24), (5, 5)),
    "five_half": depthwise(78, (11, 10, 20), (5, 5), (2, 2)), "five_tiny": depthwise(79, (3, 2, 5), (5, 5)),
    "seven": depthwise(80, (12, 11, 20), (7, 7)), "seven_half": depthwise(81, (13, 12, 5), (7, 7), (2, 2)),
    "seven_nibbles": depthwise(82, (7, 6, 17), (7, 7), bits=4), "seven_extreme": depthwise(83, (9, 9, 4), (7, 7), extreme=True),
    "four": depthwise(84, (9, 8, 6), (4, 4)), "line": depthwise(85, (1, 20, 16), (1, 9)), "line_tall": depthwise(86, (20, 1, 16), (9, 1)),
    "line_mixed": depthwise(87, (9, 1, 6), (7, 3)), "line_causal": depthwise(88, (15, 1, 5), (5, 1), padding=(4, 0, 0, 0)),
    "dense": dense(100, 64, 12), "dense_long": dense(101, 640, 24), "dense_one": dense(102, 1, 1), "dense_odd": dense(103, 33, 19),
    "dense_tensor": dense(104, 128, 33, one_factor=True), "dense_tensor_odd": dense(105, 7, 9, one_factor=True),
    "dense_nibbles": dense(106, 50, 13, 4), "dense_ternary": dense(107, 40, 16, 2), "dense_ternary_tensor": dense(108, 20, 11, 2, True),
    "dense_extreme": dense(109, 250, 8, extreme=True), "ties_3": ties(3, -128), "ties_5": ties(5, -20), "ties_8": ties(8, 0),
    "ties_relu": (dataclasses.replace(ties(4, -128)[0], output_zero_point=-128), [(1,)]), "add": add(120, (6, 5, 7)), "add_other": add(121, (33,)),
    "add_short": add(122, (3,)), "add_relu": add(123, (4, 4, 4), (0, 127)), "add_more": add(124, (17,)), "add_last": add(125, (40,), (-20, 31)),
    "average": (AveragePool2D((25, 5), (25, 5), (0, 0, 0, 0)), [(25, 5, 19)]),
    "average_long": (AveragePool2D((2, 300), (2, 300), (0, 0, 0, 0)), [(2, 300, 9)]),
    "average_same": (AveragePool2D((3, 3), (2, 2), (1, 1, 1, 1)), [(7, 8, 10)]),
    "maximum": (MaxPool2D((2, 2), (2, 2), (0, 0, 0, 0), -50, 60), [(6, 8, 33)]),
    "maximum_same": (MaxPool2D((3, 3), (1, 1), (1, 1, 1, 1)), [(5, 6, 16)]),
    "mean": (GlobalAveragePool(fold_count(0.7, 300), 5, -3), [(15, 20, 12)]),
}


def random_case(index: int) -> OpCase:
    """Shape, kernel, stride and explicit padding at random."""
    random = np.random.default_rng([11, index])
    kernel = tuple(int(random.choice([1, 1, 2, 3, 3, 5])) for _ in range(2))
    shape = (*(int(random.integers(1, 14)) for _ in range(2)), int(random.integers(1, 34)))
    stride = tuple(int(random.choice([1, 1, 2, 3])) for _ in range(2))
    padding = tuple(int(random.integers(0, kernel[side // 2])) for side in range(4))
    if any(shape[axis] + padding[2 * axis] + padding[2 * axis + 1] < kernel[axis] for axis in (0, 1)):
        padding = tuple(kernel[side // 2] - 1 for side in range(4))
    bits, extreme, outputs = int(random.choice([8, 8, 4, 2])), bool(random.integers(2)), int(random.integers(1, 34))
    if index % 3 == 0:
        made = conv(200 + index, shape, outputs, kernel, stride, padding, bits, extreme)
    elif index % 3 == 1:
        made = depthwise(300 + index, shape, kernel, stride, padding, bits, extreme)
    else:
        made = dense(400 + index, int(random.integers(1, 200)), outputs, bits, bool(random.integers(2)), extreme)
    return between_copies(f"random{index}", *made)


CASES = [*(between_copies(name, *made) for name, made in NAMED.items()), *map(random_case, range(30))]
FEW = CASES[::5]


def emitter_of(case: OpCase) -> tuple[Emitter, Call]:
    """Of the op between the copies."""
    node = next(node for node in case.graph.nodes if node.name == "middle")
    call = Call(node, case.graph.input_tensors(node), case.graph.tensors[node.output])
    return select(call, EXTENSIONS), call


def test_the_cases_reach_every_kernel_and_none_is_left_to_another_core() -> None:
    kernels = {emitter.kernel(call) for emitter, call in map(emitter_of, CASES)}
    assert all(kernel.endswith("_mve") for kernel in kernels)
    variants = ("k1", "k2", "k3", "k4", "s1", "s2", "s3", "s4", "n")
    expected = {f"ec_conv2d_{variant}_{rounding}_mve" for variant in variants for rounding in ("any", "relu")}
    expected |= {f"ec_depthwise_{kind}_{rounding}_mve" for kind in ("pair", "g1", "g1s2", "g2", "g3", "g4") for rounding in ("any", "relu")}
    expected |= {f"ec_dense_{factors}_{rounding}_mve" for factors in ("channel", "tensor") for rounding in ("any", "relu")}
    expected |= {f"ec_{name}_s8_mve" for name in ("add", "average_pool2d", "max_pool2d", "global_average_pool")}
    assert kernels == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_promised_bytes_are_those_of_the_arrays(case: OpCase) -> None:
    emitter, call = emitter_of(case)
    assert emitter.array_bytes(call) == sum(array.size_bytes for array in emitter.arrays(call))


def test_structs_of_parameters_have_no_gaps(tmp_path: Path) -> None:
    """The core's compiler checks the bytes that the plan counts."""
    checks = {}
    for emitter, call in map(emitter_of, CASES):
        checks[emitter.struct(call)] = emitter.constant_bytes(call) - emitter.array_bytes(call)
    lines = [f"typedef char check_{name}[sizeof({name}) == {size} ? 1 : -1];\n" for name, size in checks.items()]
    (tmp_path / "sizes.c").write_text('#include "ec_kernels.h"\n' + "".join(lines))
    select_compiler(load_target(TARGET)).compile([tmp_path / "sizes.c"], [data_dir("firmware_export") / "c" / "kernels"], tmp_path)


@pytest.mark.parametrize("bits", [4, 2])
def test_packed_weights_take_their_share_of_flash(bits: int) -> None:
    rows = np.random.default_rng(0).integers(*LIMITS[bits], (8, 64))
    assert weight_blocks(rows, 4, bits).nbytes * 8 == weight_blocks(rows, 4, 8).nbytes * bits


@pytest.mark.parametrize(("taps", "filled_up"), [(8, 16), (16, 16), (17, 24), (24, 24), (25, 32), (40, 40), (118, 120), (137, 144)])
def test_pixels_are_filled_up_to_half_a_vector_but_not_to_one_alone(taps: int, filled_up: int) -> None:
    emitter, call = emitter_of(between_copies("filled", *conv(1, (2, 2, taps), 8)))
    (weights, _) = emitter.arrays(call)
    assert weights.size_bytes == 8 * filled_up
    values = weights.values.view(np.int8)
    assert np.array_equal(np.sort(values[values != 0]), np.sort(call.op.weights[call.op.weights != 0]))


def test_what_the_kernels_cannot_do_goes_to_another_one() -> None:
    """Factors above 1/2, dilation, groups, more than 65,535 rows, biases of more than 27 bits."""
    op, (shape,) = conv(1, (6, 6, 8), 8, (3, 3))
    bias = np.where(np.arange(8) == 1, 2**26, op.bias)  # type: ignore[attr-defined]
    for other, size in ((dataclasses.replace(op, requant=Requant.from_real(1.7)), shape),
                        (dataclasses.replace(op, dilation=(2, 2), padding=(2, 2, 2, 2)), shape),
                        (dataclasses.replace(op, weights=op.weights[..., :4], groups=2), shape),  # type: ignore[attr-defined]
                        (op, (2**16, 1, 8)), (dataclasses.replace(op, bias=bias), shape)):
        emitter, call = emitter_of(between_copies("other", other, [size]))
        assert not emitter.kernel(call).endswith("_mve")
        assert EMIT[call.kind].supports(call)


@pytest.mark.parametrize("made", [conv(1, (3, 3, 8), 4), depthwise(60, (3, 3, 8)), dense(100, 8, 8)], ids=["conv", "depthwise", "dense"])
def test_biases_of_27_bits(made: tuple[Op, list[tuple[int, ...]]]) -> None:
    """The greatest and the smallest one that share a word with a shift, and the next ones, which another kernel takes."""
    op, shapes = made
    op = dataclasses.replace(op, weights=np.zeros_like(op.weights))  # type: ignore[attr-defined]
    for bias, fits in ((2**26 - 1, True), (-2**26, True), (2**26, False), (-2**26 - 1, False)):
        given = np.where(np.arange(len(op.bias)) == 1, bias, op.bias)  # type: ignore[attr-defined]
        emitter, call = emitter_of(between_copies("bias", dataclasses.replace(op, bias=given), shapes))
        assert emitter.kernel(call).endswith("_mve") == fits


def host_with_helium() -> Target:
    """The host as a target that chooses the Helium kernels: it compiles their plain C twins."""
    return dataclasses.replace(load_target("host"), extensions=EXTENSIONS)


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    artifacts = [(case.graph, lower(case.graph, host_with_helium(), case.inputs)) for case in CASES]
    program = build(tmp_path_factory.mktemp("mve"), artifacts)
    results = run(program, [case.graph for case in CASES], [case.inputs for case in CASES])
    return {case.name: result for case, result in zip(CASES, results, strict=True)}


def test_twins_equal_the_reference(on_host: Outputs) -> None:
    for case in CASES:
        check(case, on_host)


def require_emulation(cc: str) -> None:
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    if cc == "gcc":
        require_tool("arm-gcc", shutil.which("arm-none-eabi-gcc") is not None)


@pytest.fixture(scope="module", params=["zig", "gcc"])
def on_core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[OpCase], Outputs]:
    """All cases built by zig, some by gcc."""
    require_emulation(request.param)
    cases = [*CASES, *(case for cases in OP_CASES.values() for case in cases)] if request.param == "zig" else FEW
    return cases, run_cases(cases, TARGET, "qemu", request.param, tmp_path_factory.mktemp(request.param))


def test_kernels_on_the_core_equal_the_reference(on_core: tuple[list[OpCase], Outputs]) -> None:
    for case in on_core[0]:
        check(case, on_core[1])


def test_outputs_take_over_their_inputs_memory() -> None:
    """A depthwise layer and a 1x1 with no more outputs than inputs work in place, a 3x3 keeps little more than one row apart."""
    target = load_target(TARGET)
    for name, extra in (("pair_kws", 0), ("half", 0), ("points_4", 0), ("points_narrow", 9 * 9 * 2), ("rows", 3 * 11 * 16)):
        case = next(case for case in CASES if case.name == name)
        layers = plan(case.graph, target).layers
        scratch = max(layer.scratch_bytes for layer in layers)
        largest = max(case.graph.tensors[tensor].size for tensor in ("a0", "b"))
        assert plan(case.graph, target).memory.arena_bytes <= largest + extra + scratch + 16, name


def test_instructions_per_mac(tmp_path: Path) -> None:
    """Whole layers, with requantization, loops and copies, stay below what a prototype of these kernels needed."""
    require_emulation("zig")
    relu = {"output_zero_point": -128, "activation_min": -128, "activation_max": 127}
    goals = {"points_64": (conv(4, (25, 5, 64), 64), 0.152), "rows_32": (conv(20, (16, 16, 32), 32, (3, 3)), 0.129),
             "first": (conv(40, (49, 10, 1), 64, (10, 4), (2, 2)), 0.235), "depthwise": (depthwise(60, (24, 24, 32)), 0.6),
             "dense": (dense(101, 640, 128), 0.15)}
    for name, ((op, shapes), goal) in goals.items():
        op = dataclasses.replace(op, **relu)
        source = Tensor("x", shapes[0], 0.05, op.input_zero_point)  # type: ignore[attr-defined]
        result = Tensor("y", op.infer_shape(*shapes), 0.1, -128)
        graph = QuantizedGraph(name, {"x": source, "y": result}, (Node(name, op, ("x",), "y"),), ("x",), ("y",))
        lower(graph, load_target(TARGET)).write(tmp_path / name)
        measured = bench(tmp_path / name, samples=1)
        assert measured.matches_reference
        assert measured.instructions is not None and measured.instructions <= goal * graph.total_macs, name
