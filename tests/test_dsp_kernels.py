"""Convolution and dense kernels of the DSP extension: random layers at the edges of what they allow, equal to the reference on emulated
cores (assembly) and on the host (the portable bodies, sanitized)."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from host_build import build, compiler, run
from op_cases import Quantization, case, conv2d, dense
from test_conformance_cores import OpCase, Outputs, check, run_cases
from tools import require_tool

from edgecompress.bench.runner import bench
from edgecompress.hw.target import Target, load_target
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import rescale_to_int8
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.table import Table
from edgecompress.ir.reference import run_all
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import Padding
from edgecompress.lower import lower, plan
from edgecompress.lower.c.dsp_staircase import SUM_BITS, short_rescaling
from edgecompress.lower.c.emitter import Call
from edgecompress.lower.c.table import select

LIMIT = {8: 127, 4: 7, 2: 1}
BITS = (8, 4, 2)
ZERO_POINTS = (-128, 127, 0, 5, -77)


def _weights(random: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Uniform, at both ends, all at one end, or nearly all zero."""
    limit = LIMIT[bits]
    kind = random.integers(5)
    if kind == 0:
        return random.choice([-limit, limit], shape)
    if kind == 1:
        return np.full(shape, random.choice([-limit, limit]))
    if kind == 2:
        return random.integers(-limit, limit + 1, shape) * (random.random(shape) < 0.1)
    return random.integers(-limit, limit + 1, shape)


def _requant(random: np.random.Generator, channels: int, taps: int, bits: int) -> Requant:
    """Factors that spread sums over the int8 range, some far away from that, some zero."""
    real = random.uniform(0.2, 2.0, channels) * 60 / (75 * LIMIT[bits] * 0.6 * taps**0.5 + 1)
    odd = random.random(channels)
    real = np.where(odd < 0.06, 2.0 ** -random.integers(20, 45, channels), np.where(odd > 0.97, 0.0, real))
    return Requant.from_real(np.minimum(real, 0.49))


def _range(random: np.random.Generator, zero_point: int) -> tuple[int, int]:
    """Whole, a ReLU, a ReLU with an end, or anything."""
    kind = random.integers(4)
    if kind == 0:
        return -128, 127
    if kind == 1:
        return zero_point, 127
    low, high = sorted(int(value) for value in random.integers(-128, 128, 2))
    return (max(low, zero_point) if kind == 2 else low), max(high, zero_point)


def _quantizations(random: np.random.Generator) -> tuple[Quantization, Quantization]:
    return (0.05, int(random.choice(ZERO_POINTS))), (0.1, int(random.choice(ZERO_POINTS)))


def random_convolution(seed: int, bits: int) -> OpCase:
    """A convolution of one group with any kernel, stride, vertical dilation and padding."""
    random = np.random.default_rng([seed, bits])
    pointwise = random.random() < 0.35
    channels = int(random.choice([1, 2, 3, 4, 5, 8, 12, 16, 20]))
    out = int(random.choice([1, 2, 3, 4, 5, 8, 10, 12]))
    kernel = (1, 1) if pointwise else (int(random.integers(1, 6)), int(random.integers(1, 6)))
    if random.random() < 0.15:
        channels, kernel = 3, (3, 3)
    stride = (int(random.integers(1, 4)), int(random.integers(1, 4))) if random.random() < 0.6 else (1, 1)
    dilation = (int(random.integers(1, 3)), 1)
    reach = ((kernel[0] - 1) * dilation[0] + 1, kernel[1])
    shape = (reach[0] + int(random.integers(0, 6)), reach[1] + int(random.integers(0, 8)), channels)
    padding: Padding = (0, 0, 0, 0)
    if random.random() < 0.6:
        padding = (int(random.integers(0, 3)), int(random.integers(0, 3)), int(random.integers(0, 3)), int(random.integers(0, 3)))
    source, output = _quantizations(random)
    taps = kernel[0] * kernel[1] * channels
    op = Conv2D(_weights(random, (out, *kernel, channels), bits), random.integers(-3000, 3001, out), _requant(random, out, taps, bits), source[1],
                output[1], stride, dilation, padding, 1, *_range(random, output[1]), bits)
    return case(f"random{seed}_{bits}", op, [(shape, source)], output)


def random_winograd(seed: int) -> OpCase:
    """A 3x3 convolution of a shape that Winograd's algorithm takes: widths and input channels in eights, even output channels."""
    random = np.random.default_rng([seed, 5])
    channels, out, sides = int(random.choice([8, 16, 24, 32])), int(random.choice([2, 4, 6, 10])), random.integers(0, 2, 2)
    width, rows = int(random.choice([8, 16, 24, 40])), int(random.integers(3, 14))
    shape = (rows, width + 2 - int(sides.sum()), channels)
    padding: Padding = (int(random.integers(0, 3)), int(random.integers(0, 3)), int(sides[0]), int(sides[1]))
    source, output = _quantizations(random)
    weights = _weights(random, (out, 3, 3, channels), 8)
    if seed % 3 == 0:
        weights[0] = -128
    op = Conv2D(weights, random.integers(-3000, 3001, out), _requant(random, out, 9 * channels, 8), source[1], output[1], (1, 1), (1, 1), padding, 1,
                *_range(random, output[1]))
    return case(f"winograd{seed}", op, [(shape, source)], output)


def random_dense(seed: int, bits: int) -> OpCase:
    """A dense layer of any size."""
    random = np.random.default_rng([seed, bits, 1])
    inputs, outputs = int(random.integers(1, 150)), int(random.integers(1, 20))
    source, output = _quantizations(random)
    op = Dense(_weights(random, (outputs, inputs), bits), random.integers(-3000, 3001, outputs), _requant(random, outputs, inputs, bits), source[1],
               output[1], *_range(random, output[1]), bits)
    return case(f"random{seed}_{bits}", op, [((inputs,), source)], output)


def rescaling(seed: int, kind: str, bits: int) -> OpCase:
    """Sums that are the bias plus a small input, near and at ties of the rescaling, for every shift."""
    random = np.random.default_rng([seed, bits, 2])
    outputs = 96
    shift = random.integers(1, 24, outputs)
    multiplier = random.choice([2**30, 2**31 - 1, 0], outputs, p=[0.4, 0.1, 0.5])
    multiplier = np.where(multiplier == 0, random.integers(2**30, 2**31, outputs), multiplier)
    steps = random.integers(-140, 141, outputs) + 0.5  # output steps away from the zero point: the middle between two outputs
    bias = np.clip(np.rint(steps * 2.0**shift * 2.0**31 / multiplier), -(2**21), 2**21) + random.integers(-1, 2, outputs)
    zero_point = int(random.choice(ZERO_POINTS))
    requant = Requant(tuple(multiplier.tolist()), tuple((-shift).tolist()))
    weights = np.where(random.random((outputs, 8)) < 0.5, 1, 0)
    activation = (zero_point, 127) if seed % 2 else (-128, 127)
    source, output = (0.05, 0), (0.1, zero_point)
    if kind == "dense":
        op: Conv2D | Dense = Dense(weights, bias.astype(np.int64), requant, 0, zero_point, *activation, bits)
        return case(f"rescaling{seed}_{bits}", op, [((8,), source)], output)
    op = Conv2D(weights.reshape(outputs, 1, 1, 8), bias.astype(np.int64), requant, 0, zero_point, activation_min=activation[0],
                activation_max=activation[1], weight_bits=bits)
    return case(f"rescaling{seed}_{bits}", op, [((3, 3, 8), source)], output)


def _chain_layer(random: np.random.Generator, shape: tuple[int, ...], bits: int) -> Conv2D:
    kernel = int(random.choice([1, 1, 3, 3, 5]))
    stride = int(random.choice([1, 1, 2])) if min(shape[:2]) > 4 else 1
    out = int(random.choice([shape[2], shape[2] // 2 + 2, shape[2] * 2, 8]))
    pad = kernel // 2 if random.random() < 0.7 or min(shape[:2]) < kernel + 2 else 0
    return Conv2D(_weights(random, (out, kernel, kernel, shape[2]), bits), random.integers(-500, 501, out),
                  _requant(random, out, kernel * kernel * shape[2], bits), 3, 3, (stride, stride), (1, 1), (pad, pad, pad, pad), 1, -128, 127, bits)


def chain(seed: int, bits: int) -> OpCase:
    """Five convolutions in a row, whose tensors the planner lets overlap as far as the emitters allow."""
    random = np.random.default_rng([seed, bits, 3])
    shape: tuple[int, ...] = (int(random.integers(5, 12)), int(random.integers(4, 12)), int(random.choice([4, 8, 3])))
    tensors, nodes = [Tensor("t0", shape, 0.05, 3)], []
    for index in range(5):
        op = _chain_layer(random, shape, bits)
        shape = op.infer_shape(shape)
        tensors.append(Tensor(f"t{index + 1}", shape, 0.05, 3))
        nodes.append(Node(f"conv{index}", op, (f"t{index}",), f"t{index + 1}"))
    graph = QuantizedGraph(f"chain{seed}_{bits}", {tensor.name: tensor for tensor in tensors}, tuple(nodes), ("t0",), ("t5",))
    return OpCase(graph.name, graph, {"t0": random.integers(-128, 128, (3, *tensors[0].shape), dtype=np.int8)})


def odd_addresses(bits: int) -> OpCase:
    """A convolution and a dense layer whose inputs and outputs the bench lays at odd addresses."""
    random = np.random.default_rng([bits, 4])
    small, image, vector = Tensor("x0", (3,), 0.05, 0), Tensor("x1", (5, 6, 8), 0.05, 3), Tensor("x2", (25,), 0.05, 3)
    conv = Conv2D(_weights(random, (7, 3, 3, 8), bits), random.integers(-500, 501, 7), _requant(random, 7, 72, bits), 3, 3, weight_bits=bits)
    dense = Dense(_weights(random, (5, 25), bits), random.integers(-500, 501, 5), _requant(random, 5, 25, bits), 3, 3, weight_bits=bits)
    tensors = [small, image, vector, Tensor("y0", (3,), 0.05, 0), Tensor("y1", (3, 4, 7), 0.05, 3), Tensor("y2", (5,), 0.05, 3)]
    nodes = (Node("table", Table(np.arange(-128, 128)), ("x0",), "y0"), Node("conv", conv, ("x1",), "y1"), Node("dense", dense, ("x2",), "y2"))
    graph = QuantizedGraph(f"odd_addresses{bits}", {t.name: t for t in tensors}, nodes, ("x0", "x1", "x2"), ("y0", "y1", "y2"))
    return OpCase(graph.name, graph, {t.name: random.integers(-128, 128, (2, *t.shape), dtype=np.int8) for t in tensors[:3]})


def refused() -> list[OpCase]:
    """Layers whose weights or factors the kernels cannot hold, which the portable ones do."""
    requant, low = Requant.from_real([0.002] * 4), np.full((4, 1, 1, 8), -128)
    long = np.full((4, 1, 1, 1024), 127)
    ops = {"pair_below_16_bits": (Conv2D(low, np.zeros(4, np.int64), requant, 0, 0), (4, 4, 8)),
           "sum_beyond_23_bits": (Conv2D(long, np.zeros(4, np.int64), requant, 0, 0), (2, 2, 1024)),
           "no_shift": (Conv2D(low[:, :, :, :4] + 1, np.zeros(4, np.int64), Requant.from_real([0.6] * 4), 0, 0), (4, 4, 4)),
           "large_bias": (Conv2D(low + 1, np.full(4, 2**30), requant, 0, 0), (4, 4, 8)),
           "groups": (Conv2D(low[:, :, :, :4], np.zeros(4, np.int64), requant, 0, 0, groups=2), (4, 4, 8)),
           "wide_dilation": (Conv2D(np.full((4, 1, 2, 8), 9), np.zeros(4, np.int64), requant, 0, 0, dilation=(1, 2)), (4, 4, 8))}
    return [case(name, op, [(shape, (0.05, 0))], (0.1, 0)) for name, (op, shape) in ops.items()]


REFUSED = refused()
CASES = [
    *REFUSED,
    *(random_convolution(seed, bits) for bits in BITS for seed in range(24)),
    *(random_winograd(seed) for seed in range(14)),
    *(random_dense(seed, bits) for bits in BITS for seed in range(8)),
    *(rescaling(seed, kind, bits) for bits in BITS for kind in ("dense", "conv") for seed in range(4)),
    *(chain(seed, bits) for bits in BITS for seed in range(6)),
    *(odd_addresses(bits) for bits in BITS),
]
FEW = CASES[::4]


def host_with_dsp() -> Target:
    """The host, with the kernels of the extension chosen: their portable bodies run."""
    return dataclasses.replace(load_target("host"), extensions=("dsp",))


@pytest.fixture(scope="module")
def on_core(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """All cases on a Cortex-M4, built by zig."""
    return run_cases(CASES, "cortex-m4", "unicorn", "zig", tmp_path_factory.mktemp("core"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_assembly_equals_the_reference(case: OpCase, on_core: Outputs) -> None:
    check(case, on_core)


@pytest.fixture(scope="module", params=["cortex-m7", "cortex-m33"])
def in_qemu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Some cases on other cores, built by gcc and run by qemu."""
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    require_tool("arm-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    return run_cases(FEW, request.param, "qemu", "gcc", tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_gcc_and_qemu_agree(case: OpCase, in_qemu: Outputs) -> None:
    check(case, in_qemu)


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """All cases through the portable bodies in one sanitized program."""
    target = host_with_dsp()
    artifacts = [(case.graph, lower(case.graph, target, case.inputs)) for case in CASES]
    program = build(tmp_path_factory.mktemp("host"), artifacts)
    results = run(program, [case.graph for case in CASES], [case.inputs for case in CASES])
    return {case.name: result for case, result in zip(CASES, results, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_portable_bodies_equal_the_reference(case: OpCase, on_host: Outputs) -> None:
    check(case, on_host)


OVERLAPPING_MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <string.h>
%(includes)s
static int8_t memory[1 << 16];
typedef struct { int (*run)(const int8_t *, int8_t *); int distance, inputs, outputs, samples; } model;
static const model models[] = {
%(rows)s
};
/* The output begins `distance` bytes before the input, the least that the emitter allows. */
int main(int argc, char **argv)
{
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    size_t m;
    (void)argc;
    for (m = 0; m < sizeof models / sizeof models[0]; ++m) {
        const model *p = &models[m];
        int sample;
        for (sample = 0; sample < p->samples; ++sample) {
            if (fread(memory + p->distance, 1, (size_t)p->inputs, in) != (size_t)p->inputs) return 1;
            if (p->run(memory + p->distance, memory) != 0) return 2;
            fwrite(memory, 1, (size_t)p->outputs, out);
        }
    }
    return fclose(out);
}
"""


def test_outputs_may_begin_as_close_as_the_emitters_say(tmp_path: Path) -> None:
    target, includes, rows, kept = host_with_dsp(), "", [], []
    for one in (item for item in CASES if len(item.graph.nodes) == 1 and item not in REFUSED):
        artifact, output = lower(one.graph, target, one.inputs), one.graph.tensors[one.graph.outputs[0]]
        call = Call(one.graph.nodes[0], one.graph.input_tensors(one.graph.nodes[0]), output)
        emitter = select(call, target.extensions)
        if "dsp" not in emitter.extensions:
            continue
        kept.append((one, artifact))
        for name, content in artifact.files.items():
            if name.endswith((".c", ".h")):
                (tmp_path / name).write_bytes(content)
        includes += f'#undef EC_LAYER_DONE\n#include "{artifact.name}.c"\n#include "{artifact.name}_weights.c"\n'
        rows.append(f"    {{{artifact.name}_run, {emitter.overlaps(call)[0]}, {call.inputs[0].size}, {output.size}, {len(one.inputs['x'])}}},")
    (tmp_path / "overlapping.c").write_text(OVERLAPPING_MAIN % {"includes": includes, "rows": "\n".join(rows)})
    kernels = sorted({name for _, artifact in kept for name in artifact.files if name.startswith("ec_") and name.endswith(".c")})
    command = [*compiler(), "-I", str(tmp_path), *(str(tmp_path / name) for name in (*kernels, "overlapping.c")), "-o", str(tmp_path / "program")]
    subprocess.run(command, check=True, cwd=tmp_path)
    (tmp_path / "inputs.bin").write_bytes(b"".join(one.inputs["x"].tobytes() for one, _ in kept))
    subprocess.run([str(tmp_path / "program"), str(tmp_path / "inputs.bin"), str(tmp_path / "outputs.bin")], check=True)
    expected = b"".join(run_all(one.graph, one.inputs)[one.graph.outputs[0]].tobytes() for one, _ in kept)
    assert (tmp_path / "outputs.bin").read_bytes() == expected


def _kernel(case: OpCase) -> str:
    (layer,) = plan(case.graph, load_target("cortex-m4")).layers
    return layer.kernel


def test_fast_kernels_take_what_they_can_hold() -> None:
    assert not [case.name for case in REFUSED if _kernel(case).endswith("_dsp")]
    assert all(_kernel(case) == "ec_conv2d_winograd_s8_dsp" for case in CASES if "winograd" in case.name)
    random = [case for case in CASES if "-random" in case.name]
    assert sum(_kernel(case).endswith("_dsp") for case in random) > 0.9 * len(random)  # the others have factors of 0.5 or more


@pytest.mark.parametrize(("rows", "kernel"), [(2**16 - 1, "ec_conv2d_s8_dsp"), (2**16, "ec_conv2d_s8")])
def test_parameters_of_16_bits(rows: int, kernel: str) -> None:
    """A layer that the struct of parameters cannot describe is left to the portable kernel."""
    assert _kernel(conv2d("tall", (rows, 1, 4), 4, (1, 1))) == kernel


def test_outputs_lie_over_inputs() -> None:
    """The planner lets tensors of the chains share bytes, so that the chains' outputs prove the distances that the emitters name."""
    target, overlapping = load_target("cortex-m4"), 0
    for one in (item for item in CASES if item.name.startswith("chain")):
        places = {placement.buffer.name: placement for placement in lower(one.graph, target, one.inputs).plan.memory.placements}
        for node in one.graph.nodes:
            if node.inputs[0] in places and node.output in places:
                source, output = places[node.inputs[0]], places[node.output]
                overlapping += source.offset < output.offset + output.buffer.size and output.offset < source.offset + source.buffer.size
    assert overlapping >= 15


@pytest.mark.parametrize("seed", range(8))
def test_short_rescaling_equals_the_reference_on_every_sum(seed: int) -> None:
    random = np.random.default_rng(seed)
    channels, taps, zero_point = 16, int(random.choice([8, 27, 64, 144])), int(random.choice([-128, -128, -100, 3]))
    weights = random.integers(-127, 128, (channels, taps)) * (random.random((channels, 1)) < 0.9)
    op = Dense(weights, random.integers(-5000, 5000, channels), _requant(random, channels, taps, 8), int(random.choice(ZERO_POINTS)), zero_point,
               zero_point)
    short = short_rescaling(op, op.weights)
    assert short is not None or taps == 144  # the more positions, the smaller the factors and the harder the task
    if short is None:
        return
    least = (np.minimum(weights, 0) * 127 - np.maximum(weights, 0) * 128).sum(axis=1)
    greatest = (np.maximum(weights, 0) * 127 - np.minimum(weights, 0) * 128).sum(axis=1)
    for channel in range(channels):
        sums = np.arange(least[channel], greatest[channel] + 1)
        bias, multiplier = (int(value) for value in short.constants[channel])
        t = bias + (sums << SUM_BITS)
        assert abs(t).max() < 2**31
        expected = rescale_to_int8(sums - op.input_zero_point * int(weights[channel].sum()) + int(op.bias[channel]),
                                   Requant((op.requant.multiplier[channel],), (op.requant.shift[channel],)), zero_point, zero_point)
        np.testing.assert_array_equal(np.clip((t * multiplier >> 32) >> (11, 15)[short.mode - 1], zero_point, 127), expected)


RELU = (0.1, -128)
GOALS = {  # instructions a multiply-accumulate, everything included
    "pointwise_64_64": (conv2d("pointwise_64_64", (25, 5, 64), 64, (1, 1), output=RELU), 0.85),
    "pointwise_16_32": (conv2d("pointwise_16_32", (24, 24, 16), 32, (1, 1), output=RELU), 1.13),
    "pointwise_8_16": (conv2d("pointwise_8_16", (24, 24, 8), 16, (1, 1), output=RELU), 1.60),
    "three_by_three_16": (conv2d("three_by_three_16", (16, 32, 16), 16, output=RELU), 0.66),
    "strided_16_32": (conv2d("strided_16_32", (32, 32, 16), 32, stride=(2, 2), output=RELU), 0.83),
    "kws_first": (conv2d("kws_first", (49, 10, 1), 64, (10, 4), (2, 2), output=RELU), 0.96),
    "rgb_first": (conv2d("rgb_first", (48, 48, 3), 8, (3, 3), (2, 2), output=RELU), 1.24),
    "dense_128": (dense("dense_128", 128, 128, output=RELU), 1.00),
    "int4_pointwise": (conv2d("int4_pointwise", (25, 5, 64), 64, (1, 1), bits=4, output=RELU), 0.94),
    "ternary_pointwise": (conv2d("ternary_pointwise", (25, 5, 64), 64, (1, 1), bits=2, output=RELU), 0.65),
}


@pytest.mark.parametrize("name", GOALS)
def test_instructions_stay_below_their_goal(name: str, tmp_path: Path) -> None:
    """Counts are exact and repeatable, so a kernel that gets slower is a failure."""
    (case, goal), target = GOALS[name], load_target("cortex-m4")
    lower(case.graph, target, {"x": case.inputs["x"][:1]}).write(tmp_path)
    measured = bench(tmp_path, cc="zig", emulator="unicorn")
    assert measured.matches_reference
    assert measured.layers[0].instructions / case.graph.macs(case.graph.nodes[0]) < goal
