"""Layers in bands of rows: the same bytes in less RAM, and what is said when a limit is out of reach."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from arena_executor import random_inputs, run_decisions, run_in_arena
from graph_cases import ZERO_POINT, Builder, random_network
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shared_models import MODELS, shared_graph

from edgecompress.errors import BudgetError
from edgecompress.hw.target import load_target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.reference import run_all
from edgecompress.lower import lower, plan
from edgecompress.lower.c.planning import Decisions, decide
from edgecompress.lower.c.table import select
from edgecompress.lower.options import LowerOptions
from edgecompress.lower.passes import optimize
from edgecompress.lower.passes.bands import find_stretches, plan_bands, recomputed_macs, split_stretch

HOST, M4 = load_target("host"), load_target("cortex-m4")


def _image_network(seed: int) -> QuantizedGraph:
    """Layers that work by rows, with residual blocks, then a head."""
    b = Builder(seed)
    pick = b.random.integers
    x = b.input(int(pick(7, 34)), int(pick(4, 9)), int(pick(1, 4)))
    for _ in range(int(pick(2, 6))):
        kind, height = int(pick(0, 8)), b.shape(x)[0]
        if kind == 0:
            x = b.sum(x, b.conv(b.depthwise(x), b.shape(x)[2], 1))
        elif kind == 1 and height > 5:
            x = b.add((MaxPool2D, AveragePool2D)[int(pick(0, 2))]((3, 2), (2, 1), (1, 0, 0, 1)), x)
        elif kind == 2:
            x = b.add(Pad((int(pick(0, 3)), int(pick(0, 3)), 1, 0), ZERO_POINT), x)
        elif kind == 3 and height > 8:
            out, channels = int(pick(1, 6)), b.shape(x)[2]
            weights = b.random.integers(-127, 128, (out, 3, 1, channels))
            x = b.add(Conv2D(weights, b.random.integers(-500, 500, out), b.factors(out, 3 * channels), ZERO_POINT, ZERO_POINT, (int(pick(1, 4)), 1),
                             (2, 1), (int(pick(0, 4)), int(pick(0, 3)), 0, 0)), x)
        elif kind < 6:
            x = b.conv(x, int(pick(1, 9)), int(pick(0, 3)) * 2 + 1, int(pick(1, 3)))
        else:
            x = b.depthwise(x)
    return b.graph(f"image {seed}", b.head(x, 3))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.integers(2, 40), st.booleans())
def test_bands_compute_the_same_bytes(seed: int, which: int, count: int, keep: bool) -> None:
    graph = _image_network(seed)
    stretches = find_stretches(graph)
    assume(stretches)
    stretch = stretches[which % len(stretches)]
    bands = plan_bands(graph, stretch, min(count, graph.tensors[stretch.result].shape[0]), keep)
    assume(bands is not None)
    split = split_stretch(graph, stretch, bands)
    inputs = random_inputs(graph, 2, seed)
    np.testing.assert_array_equal(run_all(split, inputs)[graph.outputs[0]], run_all(graph, inputs)[graph.outputs[0]])
    if keep:
        assert recomputed_macs(graph, stretch, bands) <= 0
        for name in graph.tensors:  # every row is computed once
            rows = [band[name] for band in bands if name in band and name != stretch.source]
            assert all(later.new >= earlier.end or later.new == later.end for earlier, later in pairwise(rows))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["caller", "arena"]), st.floats(0.3, 0.99), st.sampled_from(["host", "cortex-m4"]))
def test_a_limit_is_kept_or_refused(seed: int, io: str, share: float, target: str) -> None:
    graph = _image_network(seed)
    whole = plan(graph, load_target(target), LowerOptions(io=io)).memory.arena_bytes
    options = LowerOptions(io=io, ram_bytes=max(int(share * whole), 1))
    try:
        memory = plan(graph, load_target(target), options).memory
    except BudgetError as error:
        assert error.details[0].startswith("largest layer: '")
        return
    assert memory.arena_bytes <= options.ram_bytes < whole
    inputs = random_inputs(graph, 1, seed)
    np.testing.assert_array_equal(run_in_arena(graph, inputs, options, target)[graph.outputs[0]], run_all(graph, inputs)[graph.outputs[0]][0])


def _wide_network() -> QuantizedGraph:
    """An image that grows before it shrinks: what bands are for."""
    b = Builder(11)
    x = b.conv(b.conv(b.input(48, 24, 3), 16, 3), 16, 3)
    x = b.sum(b.conv(b.depthwise(x), 16, 1), x)
    return b.graph("wide", b.head(b.conv(b.conv(x, 16, 3, 2), 8, 3, 2), 4))


def test_rows_that_are_kept_are_not_computed_again() -> None:
    graph = _wide_network()
    whole = plan(graph, HOST).memory.arena_bytes
    artifact = lower(graph, HOST, options=LowerOptions(ram_bytes=whole // 3))
    assert artifact.plan.memory.arena_bytes <= whole // 3
    assert artifact.manifest["recomputed_macs"] == 0 and artifact.plan.macs == graph.total_macs
    assert artifact.graph_hash == graph.hash and artifact.manifest["ram_limit_bytes"] == whole // 3
    assert {"ec_concat_s8", "ec_rearrange_s8"}.isdisjoint(artifact.plan.kernels)  # joints and views need no code


def test_bands_share_weights_and_parameters() -> None:
    graph = _wide_network()
    before, after = lower(graph, HOST), lower(graph, HOST, options=LowerOptions(ram_bytes=plan(graph, HOST).memory.arena_bytes // 3))
    calls = len(after.plan.layers) - len(before.plan.layers)
    assert calls > 20 and after.plan.constant_bytes - before.plan.constant_bytes < 100 * 5 * len(before.plan.layers)
    weights = sum(content.decode().count("_weights[") for name, content in after.files.items() if name.endswith("_weights.c"))
    assert weights == sum(node.op.kind in ("conv2d", "depthwise_conv2d", "dense") for node in graph.nodes)


def test_a_limit_out_of_reach_names_what_is_in_the_way() -> None:
    b = Builder(1)
    graph = b.graph("wall", b.head(b.conv(b.input(3, 3, 8), 8, 3), 4))
    with pytest.raises(BudgetError) as caught:
        plan(graph, HOST, LowerOptions(ram_bytes=40))
    assert "'wall' needs" in caught.value.message and "above the limit of 40 B" in caught.value.message
    reachable = int(str(caught.value.details[1]).split("at least ")[1].split(" bytes")[0])
    assert plan(graph, HOST, LowerOptions(ram_bytes=reachable)).memory.arena_bytes == reachable
    b = Builder(1)
    vector = b.graph("vector", b.dense(b.dense(b.input(50), 60), 4))
    with pytest.raises(BudgetError, match="no stretch of its layers can be split"):
        plan(vector, HOST, LowerOptions(ram_bytes=40))


def _winograd_layers(decisions: Decisions) -> set[str]:
    return {call.node.name.split(" rows ")[0] for call, emitter in zip(decisions.calls, decisions.emitters, strict=True)
            if "winograd" in emitter.kernel(call)}


def test_fast_kernels_give_way_only_where_bands_do_not_suffice() -> None:
    graph = _wide_network()
    whole = decide(graph, M4, LowerOptions())
    assert whole.plan.fitted == () and _winograd_layers(whole) == {"conv2d_1"}
    half = decide(graph, M4, LowerOptions(ram_bytes=whole.plan.memory.arena_bytes // 2))
    assert len(half.plan.fitted) == 1 and "bands" in half.plan.fitted[0] and _winograd_layers(half) == {"conv2d_1"}
    fourth = decide(graph, M4, LowerOptions(ram_bytes=whole.plan.memory.arena_bytes // 4))
    assert fourth.plan.memory.arena_bytes <= whole.plan.memory.arena_bytes // 4
    assert "less scratch memory" in fourth.plan.fitted[1] and "conv2d_1 rows" in fourth.plan.fitted[1] and not _winograd_layers(fourth)
    assert fourth.plan.macs == graph.total_macs
    inputs = random_inputs(graph, 1)
    expected = run_all(graph, inputs)
    for decisions in (half, fourth):
        for output, values in run_decisions(decisions, inputs).items():
            np.testing.assert_array_equal(values, expected[output][0])


def test_only_the_layer_in_the_way_gives_way() -> None:
    graph = shared_graph("pretrainedResnet_quant")
    whole = decide(graph, M4, LowerOptions(io="arena"))
    limited = decide(graph, M4, LowerOptions(io="arena", ram_bytes=26_000))
    assert limited.plan.memory.arena_bytes <= 26_000 and limited.plan.macs == graph.total_macs
    assert _winograd_layers(whole) - _winograd_layers(limited) == {"conv_2d_9"} and limited.plan.fitted[-1].endswith("calls: conv_2d_9")
    for call, fast in zip(whole.calls, whole.emitters, strict=True):
        assert select(call, M4.extensions, frugal=True).scratch_bytes(call) <= fast.scratch_bytes(call)


def test_a_model_of_one_row_fits_by_its_kernels_alone() -> None:
    b = Builder(13)
    x = b.input(1, 3, 64)
    for _ in range(2):
        x = b.add(DepthwiseConv2D(b.random.integers(-127, 128, (1, 1, 64)), np.zeros(64), b.factors(64, 1), ZERO_POINT, ZERO_POINT), x)
    graph, core = b.graph("row", b.head(x, 3)), load_target("cortex-m55")
    whole = plan(graph, core)
    limited = plan(graph, core, LowerOptions(ram_bytes=whole.memory.arena_bytes - 1))
    assert limited.memory.arena_bytes < whole.memory.arena_bytes and len(limited.layers) == len(whole.layers)
    assert len(limited.fitted) == 1 and "less scratch memory" in limited.fitted[0]


def test_a_limit_that_is_kept_anyway_changes_nothing() -> None:
    graph = _wide_network()
    assert plan(graph, HOST, LowerOptions(ram_bytes=10**6)) == plan(graph, HOST, LowerOptions())


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("io", ["caller", "arena"])
def test_shipped_models_are_planned_optimally(name: str, io: str, target: str) -> None:
    memory = plan(shared_graph(name), load_target(target), LowerOptions(io=io)).memory
    assert memory.arena_bytes <= 1.02 * memory.lower_bound_bytes


@pytest.mark.parametrize(("name", "limit"), [("vww_96_int8", 20_000), ("mcunet_vww", 45_000), ("pretrainedResnet_quant", 30_000)])
def test_shipped_models_fit_less_ram(name: str, limit: int) -> None:
    graph = shared_graph(name)
    decisions = decide(graph, M4, LowerOptions(ram_bytes=limit))
    assert plan(graph, M4).memory.arena_bytes > limit >= decisions.plan.memory.arena_bytes
    inputs = random_inputs(graph, 1)
    expected = run_all(graph, inputs)
    for output, values in run_decisions(decisions, inputs).items():
        np.testing.assert_array_equal(values, expected[output][0])


@pytest.mark.parametrize("io", ["caller", "arena"])
@pytest.mark.parametrize("seed", [6, 58, 75, *range(300, 308)])
def test_a_limit_that_a_refusal_names_is_kept(seed: int, io: str) -> None:
    graph, target = optimize(random_network(seed)), load_target("cortex-m55")
    with pytest.raises(BudgetError) as refusal:
        decide(graph, target, LowerOptions(io=io, ram_bytes=8))
    named = re.search(r"at least (\d+) bytes", " ".join(refusal.value.details))
    assert named is not None
    assert decide(graph, target, LowerOptions(io=io, ram_bytes=int(named[1]))).plan.memory.arena_bytes <= int(named[1])
