"""What each architecture family is made of, on every kind of input, down to integer C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from host_build import build as build_program
from host_build import run as run_program
from torch import nn

from edgecompress.compress.quantize.static import quantize
from edgecompress.compress.quantize.structure import quantize_structure
from edgecompress.frontend.float_run import run_float
from edgecompress.frontend.passes import prepare
from edgecompress.frontend.torch_import import from_torch
from edgecompress.hw.target import load_target
from edgecompress.ir.reference import run
from edgecompress.lower import lower, plan
from edgecompress.search.families.blocks import fit_stem_kernel, fit_stride, stage_widths
from edgecompress.search.families.tokens import fit_patch, token_stem
from edgecompress.search.space import FAMILIES, SPACE, Candidate, build, random_candidate

SHAPES = [(8, 8, 1), (28, 28, 1), (96, 96, 3), (49, 10, 1), (128, 9, 1), (2048, 1, 2), (1, 1, 1)]


def candidate(family: str, **change: object) -> Candidate:
    """The middle choice of every knob but those that are named; not pruned, 8 bits."""
    choices = {knob.name: knob.choices[len(knob.choices) // 2] for knob in SPACE.knobs(family)}
    return Candidate({"family": family, **choices, "prune": 0.0, "bits": 8, **change})  # type: ignore[dict-item]


def kinds(wanted: Candidate, shape: tuple[int, int, int] = (16, 16, 3)) -> list[str]:
    """Kinds of nodes that are left to run; the functions of unary ones."""
    graph = prepare(from_torch(build(wanted, shape, 5).eval(), shape))
    return [str(node.attributes.get("function", node.kind)) for node in graph.nodes if node.kind != "reshape"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_input_becomes_a_plan(family: str) -> None:
    """As the search sees candidates: traced, quantized in structure, planned."""
    rng, target = np.random.default_rng(5), load_target("cortex-m7")
    for shape in SHAPES:
        chosen = random_candidate(rng, SPACE.restricted((family,)))
        graph = quantize_structure(from_torch(build(chosen, shape, 3).eval(), shape))
        assert graph.tensors[graph.outputs[0]].shape == (3,)
        assert plan(graph, target).layers


@pytest.mark.parametrize("family", FAMILIES)
def test_families_reach_from_a_few_thousand_parameters_to_hundreds_of_thousands(family: str) -> None:
    ends = [candidate(family, **{knob.name: knob.choices[end] for knob in FAMILIES[family].knobs}) for end in (0, -1)]
    smallest, largest = (sum(parameter.numel() for parameter in build(one, (32, 32, 3), 10).parameters()) for one in ends)
    assert smallest < 5000 and 200_000 < largest < 2_000_000


def test_squeeze_and_excite_is_a_mean_two_convolutions_a_table_and_a_product() -> None:
    without = kinds(candidate("inverted_residual", squeeze=0, stages=1, depth=1, head_factor=1))
    assert without == ["conv2d", "conv2d", "depthwise_conv2d", "conv2d", "add", "global_average_pool", "dense"]
    gated = kinds(candidate("inverted_residual", squeeze=4, stages=1, depth=1, head_factor=1))
    assert gated == ["conv2d", "conv2d", "depthwise_conv2d", "global_average_pool", "conv2d", "conv2d", "sigmoid", "mul", "conv2d", "add",
                     "global_average_pool", "dense"]


def test_plain_networks_halve_the_resolution_by_stride_or_by_pooling() -> None:
    choices = {"stages": 3, "depth": 1, "stem_stride": 1}
    assert kinds(candidate("plain", downsampling="stride", **choices)) == ["conv2d"] * 3 + ["global_average_pool", "dense"]
    assert kinds(candidate("plain", downsampling="pool", **choices)) == ["conv2d"] + ["max_pool2d", "conv2d"] * 2 + ["global_average_pool", "dense"]


def test_a_mixer_transposes_twice_a_block_and_convolves() -> None:
    block = ["transpose", "conv2d", "conv2d", "transpose", "add", "conv2d", "conv2d", "add"]
    assert kinds(candidate("mixer", depth=2, tokens=16)) == ["conv2d", *block, *block, "global_average_pool", "dense"]


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_needs_no_node_for_its_factor_and_one_head_no_transpose(heads: int) -> None:
    found = kinds(candidate("attention", depth=1, heads=heads, tokens=16))
    attention = ["conv2d", "conv2d", "conv2d", "batch_matmul", "softmax", "batch_matmul", "conv2d", "add"]
    assert [kind for kind in found if kind != "transpose"] == ["conv2d", "depthwise_conv2d", "add", *attention, "conv2d", "conv2d", "add",
                                                              "global_average_pool", "dense"]
    assert found.count("transpose") == (0 if heads == 1 else 4)


def test_tokens_are_few_and_patches_no_larger_than_needed() -> None:
    for shape in SHAPES:
        for tokens in (16, 36, 64):
            patch = fit_patch(shape[:2], tokens)
            stem, grid = token_stem(shape, 16, tokens, "relu", lambda width: width)
            assert stem(torch.zeros(2, shape[2], *shape[:2])).shape == (2, 16, *grid)
            assert grid[0] * grid[1] <= tokens
            assert patch == (1, 1) or 4 * grid[0] * grid[1] > tokens / 2, "one halving less would have been too many"


@pytest.mark.parametrize(("stride", "size", "expected"), [
    (4, (8, 9), (4, 4)), (4, (7, 4), (2, 2)), (4, (3, 1), (1, 1)), (2, (4, 3), (2, 1)), (1, (1, 100), (1, 1)),
])
def test_strides_leave_two_positions(stride: int, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_stride(stride, size) == expected


def test_first_kernels_reach_beyond_their_stride_and_growth_ends() -> None:
    assert fit_stem_kernel(3, (4, 2), (32, 32)) == (5, 3)
    assert fit_stem_kernel(5, (1, 1), (2, 32)) == (3, 5)
    assert stage_widths(24, 2.0, 4, 96) == [24, 48, 96, 96]


def trained_like(module: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """The module with statistics of batch normalisation as training leaves them."""
    torch.manual_seed(3)
    with torch.no_grad():
        for _ in range(20):
            module.train()(torch.randn(32, shape[2], *shape[:2]))
    return module.eval()


@pytest.mark.parametrize("wanted", [
    candidate("inverted_residual", squeeze=4, stages=2, depth=2, width=8), candidate("plain", downsampling="pool", width=8),
    candidate("mixer", tokens=16, depth=2, width=16), candidate("attention", tokens=16, depth=2, heads=2, width=16),
    candidate("attention", tokens=36, depth=1, heads=1, width=24, prune=0.5),
], ids=lambda one: f"{one.family}{one.choices.get('heads', '')}")
def test_int8_networks_keep_their_answers_and_their_c_equals_the_reference(wanted: Candidate, tmp_path: Path) -> None:
    shape = (12, 12, 1)
    graph = from_torch(trained_like(build(wanted, shape, 5), shape), shape, name="net")
    x = np.random.default_rng(1).standard_normal((64, *shape)).astype(np.float32)
    integers = quantize(graph, x)
    source, output = integers.tensors[integers.inputs[0]], integers.tensors[integers.outputs[0]]
    codes = source.quantize(x)
    got = (run(integers, codes).astype(np.float64) - output.zero_point) * output.scale
    expected = run_float(graph, x)
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.95
    vectors = {integers.inputs[0]: codes[:4]}
    program = build_program(tmp_path, [(integers, lower(integers, load_target("host"), vectors))])
    outputs = run_program(program, [integers], [vectors])[0]
    np.testing.assert_array_equal(outputs[integers.outputs[0]], run(integers, codes[:4]))
