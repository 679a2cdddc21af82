"""Graph passes: every output byte stays, and what can go goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph_cases import SCALE, ZERO_POINT, Builder, random_network

from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.table import Table
from edgecompress.ir.reference import run_all
from edgecompress.ir.requant import Requant
from edgecompress.lower.passes import optimize
from edgecompress.lower.passes.channels import constant_channels


def check_same(graph: QuantizedGraph, samples: int = 6, seed: int = 0) -> QuantizedGraph:
    """The optimised graph, after comparing outputs on random and extreme inputs."""
    generator = np.random.default_rng(seed)
    inputs = {}
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        extreme = [np.full(shape, value) for value in (-128, 127, graph.tensors[name].zero_point)]
        inputs[name] = np.stack([*generator.integers(-128, 128, (samples, *shape)), *extreme]).astype(np.int8)
    small = optimize(graph)
    before, after = run_all(graph, inputs), run_all(small, inputs)
    for name in graph.outputs:
        np.testing.assert_array_equal(before[name], after[name])
        assert small.tensors[name] == graph.tensors[name]
    assert small.inputs == graph.inputs and small.outputs == graph.outputs
    return small


def kinds(graph: QuantizedGraph) -> list[str]:
    return [node.op.kind for node in graph.nodes]


def kill(graph: QuantizedGraph, generator: np.random.Generator, share: float) -> QuantizedGraph:
    """The graph with whole filters set to zero, some of which then hold the zero point and some another byte, and with columns that nothing reads."""
    nodes = []
    for node in graph.nodes:
        op = node.op
        if op.kind in ("conv2d", "dense", "depthwise_conv2d"):
            weights, bias = op.weights.copy(), op.bias.copy()
            axis = 2 if op.kind == "depthwise_conv2d" else 0
            dead = generator.random(weights.shape[axis]) < share
            weights[(slice(None),) * axis + (dead,)] = 0
            bias[dead & (generator.random(len(dead)) < 0.5)] = 0
            if op.kind != "depthwise_conv2d":
                weights[..., generator.random(weights.shape[-1]) < share / 2] = 0
            op = replace(op, weights=weights, bias=bias)
        nodes.append(replace(node, op=op))
    return replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize("seed", range(60))
def test_outputs_of_random_networks_stay(seed: int) -> None:
    graph = random_network(seed)
    check_same(graph, seed=seed)


@pytest.mark.parametrize("seed", range(100))
def test_outputs_stay_when_channels_die(seed: int) -> None:
    generator = np.random.default_rng(seed)
    graph = kill(random_network(seed), generator, float(generator.choice([0.2, 0.5, 0.9, 1.0])))
    small = check_same(graph, seed=seed)
    assert small.weight_bytes <= graph.weight_bytes


def test_a_graph_with_nothing_to_do_is_returned_itself() -> None:
    b = Builder(3)
    graph = b.graph("nothing", b.depthwise(b.conv(b.input(6, 6, 3), 4, 3)))
    assert optimize(graph) is graph


def _kill_rows(graph: QuantizedGraph, index: int, rows: list[int], bias: int) -> QuantizedGraph:
    node = graph.nodes[index]
    weights, biases = node.op.weights.copy(), node.op.bias.copy()
    weights[rows], biases[rows] = 0, bias
    return replace(graph, nodes=tuple(replace(n, op=replace(n.op, weights=weights, bias=biases)) if n is node else n for n in graph.nodes))


def test_channels_at_the_zero_point_go_through_padded_layers() -> None:
    b = Builder(1)
    graph = b.graph("dead", b.conv(b.depthwise(b.conv(b.input(6, 6, 3), 8, 3)), 4, 1))
    small = check_same(_kill_rows(graph, 0, [1, 4, 5], 0))
    assert [small.tensors[node.output].shape[2] for node in small.nodes] == [5, 5, 4]
    assert "removed 6 dead channels of layers with weights" in small.metadata["passes"]


def test_another_constant_stays_where_padding_would_show_it() -> None:
    b = Builder(1)
    graph = b.graph("alive", b.conv(b.conv(b.input(6, 6, 3), 8, 3), 4, 3))
    dead = _kill_rows(graph, 0, [2], 3000)
    assert constant_channels(dead)[dead.nodes[0].output].mask.tolist() == [c == 2 for c in range(8)]
    assert check_same(dead).tensors[dead.nodes[0].output].shape == (6, 6, 8)
    b = Builder(1)
    graph = b.graph("folded", b.conv(b.conv(b.input(6, 6, 3), 8, 3), 4, 1))  # without padding it goes into the bias
    dead = _kill_rows(graph, 0, [2], 3000)
    assert check_same(dead).tensors[dead.nodes[0].output].shape == (6, 6, 7)


def test_a_tensor_keeps_one_channel() -> None:
    b = Builder(1)
    graph = b.graph("all dead", b.conv(b.conv(b.input(6, 6, 3), 8, 3), 4, 1))
    assert check_same(_kill_rows(graph, 0, list(range(8)), 0)).tensors[graph.nodes[0].output].shape == (6, 6, 1)


def test_flat_elements_of_a_dead_channel_go() -> None:
    b = Builder(2)
    image = b.conv(b.input(4, 4, 2), 6, 3)
    graph = b.graph("flat", b.dense(b.add(Reshape((96,)), image), 5))
    small = check_same(_kill_rows(graph, 0, [0, 3], 4000))
    assert small.nodes[-1].op.weights.shape == (5, 64)


def test_pads_move_into_convolutions() -> None:
    b = Builder(4)
    padded = b.add(Pad((1, 2, 0, 3), ZERO_POINT), b.input(5, 6, 3))
    small = check_same(b.graph("pads", b.conv(padded, 4, 3), b.depthwise(padded)))
    assert kinds(small) == ["conv2d", "depthwise_conv2d"]
    b = Builder(4)  # padding with another byte cannot
    padded = b.add(Pad((1, 1, 1, 1), ZERO_POINT + 1), b.input(5, 6, 3))
    assert kinds(check_same(b.graph("pads", b.conv(padded, 4, 3)))) == ["pad", "conv2d"]
    b = Builder(4)  # and the graph may hand the padded image out
    padded = b.add(Pad((1, 1, 1, 1), ZERO_POINT), b.input(5, 6, 3))
    assert kinds(check_same(b.graph("pads", b.conv(padded, 4, 3), padded))) == ["pad", "conv2d"]


def test_clamps_and_chains_of_functions_join() -> None:
    codes = np.arange(-128, 128)
    b = Builder(5)
    clamp = Table(np.clip(codes, -20, 90).astype(np.int8), "relu")
    x = b.add(clamp, b.conv(b.input(5, 5, 2), 4, 3))
    x = b.add(Table.from_function("sigmoid", SCALE, ZERO_POINT, 1 / 256, -128), x)
    x = b.add(Requantize(Requant.from_real(0.1), -128, 5), x)
    x = b.add(Table.from_function("tanh", SCALE, 5, 1 / 128, 0), x)
    graph = b.graph("chain", b.add(MaxPool2D((2, 2), (1, 1)), x))
    assert kinds(check_same(graph)) == ["conv2d", "table", "max_pool2d"]
    b = Builder(5)
    conv = b.conv(b.input(5, 5, 2), 4, 3)
    small = check_same(b.graph("clamp", b.add(clamp, conv)))
    assert kinds(small) == ["conv2d"]
    assert (small.nodes[0].op.activation_min, small.nodes[0].op.activation_max) == (-20, 90)


def test_identities_and_reshapes_go() -> None:
    b = Builder(6)
    x = b.conv(b.input(4, 4, 2), 4, 3)
    x = b.add(Table(np.arange(-128, 128).astype(np.int8)), x)
    x = b.add(Requantize(Requant((2**30,), (1,)), 3, 3), x)
    x = b.add(Concat(0, Requant((2**30,), (1,)), (0,), 0), b.add(Reshape((4, 4, 4)), b.add(Reshape((16, 4)), x)))
    small = check_same(b.graph("identities", b.depthwise(x)))
    assert kinds(small) == ["conv2d", "depthwise_conv2d"]


def test_unread_nodes_go() -> None:
    b = Builder(7)
    x = b.conv(b.input(4, 4, 2), 4, 3)
    b.depthwise(b.depthwise(x))
    assert kinds(check_same(b.graph("unread", b.conv(x, 2, 1)))) == ["conv2d", "conv2d"]


def test_a_window_over_everything_is_dense() -> None:
    b = Builder(8)
    x = b.conv(b.input(5, 3, 4), 6, 3)
    weights = b.random.integers(-127, 128, (7, 5, 3, 6))
    x = b.add(Conv2D(weights, b.random.integers(-500, 500, 7), b.factors(7, 90), ZERO_POINT, ZERO_POINT), x)
    small = check_same(b.graph("window", b.add(Add.from_scales((SCALE, ZERO_POINT), (SCALE, ZERO_POINT), (SCALE, ZERO_POINT)), x, x)))
    assert kinds(small) == ["conv2d", "reshape", "dense", "reshape", "add"]
