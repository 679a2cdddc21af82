"""Graph passes: every output byte stays, and what can go goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from float_cases import float_inputs, functions_graph
from graph_cases import SCALE, ZERO_POINT, Builder, random_network
from host_build import build, run
from pass_cases import rich_network

from edgecompress.hw.target import load_target
from edgecompress.ir.float_ops import FloatConcat, FloatPad
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.delay_line import DelayLine
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.table import Table
from edgecompress.ir.reference import run_all
from edgecompress.ir.requant import Requant
from edgecompress.lower import lower
from edgecompress.lower.passes import optimize
from edgecompress.lower.passes.channels import constant_channels
from edgecompress.lower.vectors import check_same_outputs


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


def test_slices_of_slices_are_one() -> None:
    b = Builder(18)
    x = b.conv(b.input(7, 6, 4), 8, 1)
    y = b.add(Slice((6, 1, 2), (4, 5, 5), (-2, 1, 1)), x)
    y = b.add(Slice((3, 4, 0), (2, 3, 3), (-2, -2, 2)), y)
    y = b.add(Slice((1, 0, 1), (1, 3, 2), (2**31 - 1, 1, 1)), y)
    small = check_same(b.graph("slices", b.add(Slice((0, 0, 0), (1, 3, 2), (2**31 - 1, 1, 1)), y), b.add(Slice((0, 0, 0), (1, 3, 2), (1, 1, 1)), x)))
    assert kinds(small) == ["conv2d", "slice", "slice"]
    assert (small.nodes[1].op.begin, small.nodes[1].op.size, small.nodes[1].op.step) == ((4, 5, 4), (1, 3, 2), (1, -2, 2))
    b = Builder(18)  # one that is read elsewhere too would be moved twice
    x = b.add(Slice((0, 0, 1), (5, 5, 2), (1, 1, 1)), b.conv(b.input(5, 5, 4), 4, 1))
    small = check_same(b.graph("read twice", b.conv(b.add(Slice((1, 1, 0), (3, 3, 2), (1, 1, 1)), x), 2, 1), b.depthwise(x)))
    assert [small.tensors[node.inputs[0]].shape for node in small.nodes if node.op.kind == "slice"] == [(5, 5, 4), (5, 5, 2)]


def _apart(begins: list[int], sizes: list[int], factors: tuple[float, float, float], output: bool = False) -> QuantizedGraph:
    """Slices along the channels of a concatenation of 3, 5 and 2 channels."""
    b = Builder(19)
    source = b.input(4, 3, 2)
    parts = [b.conv(source, channels, 1) for channels in (3, 5, 2)]
    scales = Requant(*zip(*((2**30, 1) if factor == 1 else (round(factor * 2**31), 0) for factor in factors), strict=True))
    x = b.add(Concat(2, scales, (ZERO_POINT,) * 3, ZERO_POINT), *parts)
    slices = [b.add(Slice((0, 1, begin), (4, 2, size), (1, 1, 1)) if factors == (1, 1, 1) else Slice((0, 0, begin), (4, 3, size), (1, 1, 1)), x)
              for begin, size in zip(begins, sizes, strict=True)]
    return b.graph("apart", *(b.conv(part, 2, 1) for part in slices), *([x] if output else []))


def test_a_concatenation_that_is_only_taken_apart_goes() -> None:
    small = check_same(_apart([0, 4, 8], [3, 2, 1], (1, 1, 1)))
    assert kinds(small) == ["conv2d"] * 3 + ["slice"] * 3 + ["conv2d"] * 3
    assert [small.tensors[node.inputs[0]].shape[2] for node in small.nodes[3:6]] == [3, 5, 2]
    small = check_same(_apart([0, 3, 8, 9], [3, 5, 1, 1], (0.75, 0.9, 1)))  # whole parts are rescaled
    assert kinds(small) == ["conv2d"] * 3 + ["requantize"] * 2 + ["slice"] * 2 + ["conv2d"] * 4
    for graph in (_apart([0, 2], [3, 2], (1, 1, 1)), _apart([0, 3], [3, 4], (0.75, 0.9, 1)), _apart([0], [3], (1, 1, 1), output=True)):
        assert kinds(check_same(graph)).count("concat") == 1  # across two parts; a part of a rescaled part; handed out


def test_what_is_computed_twice_is_computed_once() -> None:
    b = Builder(20)
    x = b.input(4, 4, 3)
    op = Pad((1, 0, 0, 1), 5)
    y, z = b.add(op, x), b.add(Pad((1, 0, 0, 1), 5), x)
    y, z = b.add(MaxPool2D((2, 2), (1, 1)), y), b.add(MaxPool2D((2, 2), (1, 1)), z)
    total = b.add(Add.from_scales((SCALE, ZERO_POINT), (SCALE, ZERO_POINT), (SCALE, ZERO_POINT)), y, z)
    assert kinds(check_same(b.graph("twice", total))) == ["pad", "max_pool2d", "add"]
    assert kinds(check_same(b.graph("handed out", y, z))) == ["pad", "max_pool2d", "max_pool2d"]
    b = Builder(20)
    x = b.input(4, 4, 3)
    total = b.add(Add.from_scales((SCALE, ZERO_POINT), (SCALE, ZERO_POINT), (SCALE, ZERO_POINT)), b.add(op, x), b.add(Pad((1, 0, 0, 1), 6), x))
    assert kinds(check_same(b.graph("different", total))) == ["pad", "pad", "add"]


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("channels", [1, 2, 5, 8])
def test_a_depthwise_layer_of_one_channel_is_a_convolution(channels: int, bits: int) -> None:
    def network(inputs: int) -> QuantizedGraph:
        b = Builder(16)
        limit = {8: 127, 4: 7, 2: 1}[bits]
        weights, count = b.random.integers(1, limit + 1, (3, 2, inputs * channels)), inputs * channels
        op = DepthwiseConv2D(weights, b.random.integers(-500, 500, count), b.factors(count, 6), ZERO_POINT, ZERO_POINT, stride=(2, 1),
                             dilation=(1, 2), padding=(2, 1, 0, 1), activation_min=-100, activation_max=90, weight_bits=bits)
        return b.graph("one", b.add(op, b.input(9, 7, inputs)))

    small = check_same(network(1))
    (op,) = (node.op for node in small.nodes)
    assert op.kind == "conv2d" and op.weights.shape == (channels, 3, 2, 1) and op.weight_bits == bits
    assert small.metadata["passes"] == ["made 1 depthwise convolution(s) of one input channel ordinary"]
    assert kinds(check_same(network(2))) == ["depthwise_conv2d"]


def test_a_depthwise_layer_that_dead_channels_leave_one_channel_is_a_convolution() -> None:
    b = Builder(17)
    x = b.conv(b.input(4, 4, 2), 3, 1)
    x = b.add(DepthwiseConv2D(b.random.integers(1, 128, (4, 4, 6)), np.zeros(6), b.factors(6, 16), ZERO_POINT, ZERO_POINT), x)
    small = check_same(_kill_rows(b.graph("left", b.conv(x, 4, 1)), 0, [0, 2], 0))
    assert kinds(small)[:3] == ["conv2d", "reshape", "dense"]  # whose window is the whole image


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("seed", range(0, 150, 10))
def test_outputs_of_graphs_of_all_ops_stay(seed: int, stateful: bool) -> None:
    for one in range(seed, seed + 10):
        small = check_same(rich_network(one, stateful), seed=one)
        assert optimize(small) is small


def test_c_of_optimised_graphs_equals_the_reference_of_the_given_ones(tmp_path: Path) -> None:
    graphs = [rich_network(seed, stateful=seed % 2 == 0) for seed in range(200, 216)]
    inputs = []
    for seed, graph in enumerate(graphs):
        generator = np.random.default_rng(seed)
        inputs.append({name: generator.integers(-128, 128, (3, *graph.tensors[name].shape), dtype=np.int8) for name in graph.inputs})
    target = load_target("host")
    small = [optimize(graph) for graph in graphs]
    program = build(tmp_path, [(graph, lower(graph, target, values)) for graph, values in zip(small, inputs, strict=True)])
    for graph, values, result in zip(graphs, inputs, run(program, small, inputs), strict=True):
        expected = run_all(graph, values)
        for name in graph.outputs:
            np.testing.assert_array_equal(result[name], expected[name], err_msg=f"{graph.name} {name}")


def test_states_are_neither_merged_nor_dropped() -> None:
    b = Builder(9)
    x = b.input(2, 3, 4)
    line = DelayLine(np.full((1, 3, 4), ZERO_POINT))
    same = [b.add(line, x), b.add(line, x)]  # equal, and yet two
    inside = b.add(line, b.add(Reshape((2, 3, 4)), b.add(Reshape((24,)), x)))
    unread = b.add(line, x)
    small = check_same(b.graph("states", b.add(Concat(0, Requant((2**30,) * 3, (1,) * 3), (ZERO_POINT,) * 3, ZERO_POINT), *same, inside)))
    assert kinds(small).count("delay_line") == 3 and unread not in small.tensors


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_packed_weights_stay_packed(bits: int) -> None:
    b = Builder(10)
    weights = np.ones((6, 1, 1, 4), np.int8)
    weights[2:4] = 0
    x = b.add(Conv2D(weights, np.zeros(6), b.factors(6, 1), ZERO_POINT, ZERO_POINT, weight_bits=bits), b.input(3, 2, 4))
    x = b.add(Conv2D(np.ones((5, 3, 2, 6)), np.zeros(5), b.factors(5, 6), ZERO_POINT, ZERO_POINT, weight_bits=bits), x)
    small = check_same(b.graph("packed", x))
    assert kinds(small) == ["conv2d", "reshape", "dense", "reshape"]
    assert [node.op.weight_bits for node in small.nodes if hasattr(node.op, "weight_bits")] == [bits, bits]
    assert small.nodes[0].op.weights.shape == (4, 1, 1, 4) and small.nodes[2].op.weights.shape == (5, 24)


def test_an_input_channel_stays_until_all_its_copies_are_dead() -> None:
    def network(dead: list[int]) -> QuantizedGraph:
        b = Builder(11)
        weights = b.random.integers(1, 128, (3, 3, 6))
        weights[:, :, dead] = 0
        x = b.conv(b.input(4, 4, 2), 3, 1)
        x = b.add(DepthwiseConv2D(weights, np.zeros(6), b.factors(6, 9), ZERO_POINT, ZERO_POINT, padding=(1, 1, 1, 1)), x)
        return b.graph("copies", b.conv(x, 4, 3))

    assert check_same(network([2])).nodes[0].op.weights.shape[0] == 3
    assert [node.op.weights.shape for node in check_same(network([2, 3])).nodes] == [(2, 1, 1, 2), (3, 3, 4), (4, 3, 3, 4)]


def test_groups_keep_their_channels() -> None:
    b = Builder(12)
    x = b.conv(b.input(4, 4, 2), 4, 1)
    weights = np.zeros((4, 1, 1, 2), np.int8)
    grouped = b.add(Conv2D(weights, np.zeros(4), b.factors(4, 2), ZERO_POINT, ZERO_POINT, groups=2), x)
    small = check_same(_kill_rows(b.graph("groups", b.conv(grouped, 3, 1)), 0, [1], 0))
    assert small.nodes[0].op.weights.shape[0] == 4 and small.nodes[1].op.weights.shape == (4, 1, 1, 2)


def test_the_largest_bias_takes_a_folded_channel() -> None:
    for value, weight in ((127, 127), (127, -127), (-128, 127)):
        b = Builder(13)
        zero_point = -128 if value == 127 else 127
        dead = np.zeros((2, 1, 1, 2))
        dead[0] = 1
        bias, factors = np.array([0, 2**30 if value == 127 else -(2**30)]), Requant.from_real([0.1, 0.9])
        x = b.add(Conv2D(dead, bias, factors, ZERO_POINT, zero_point), b.input(2, 2, 2))
        reading = np.array([[[[3, weight]]]])
        limit = 2**31 - 1 - 255 * int(np.abs(reading).sum())
        for largest in (limit, -limit):
            op = Conv2D(reading, np.array([largest]), Requant.from_real(2.0**-26), zero_point, ZERO_POINT)
            b.nodes, b.tensors = b.nodes[:1], {name: b.tensors[name] for name in ("x0", x)}
            small = check_same(b.graph("limit", b.add(op, x)))
            assert small.nodes[-1].op.weights.shape[-1] == 1


def test_a_long_chain_of_functions_is_one_table() -> None:
    b = Builder(14)
    x = b.input(2, 2, 2)
    for _ in range(1200):
        x = b.add(Table.from_function("hardswish", SCALE, ZERO_POINT, SCALE, ZERO_POINT), x)
    assert kinds(check_same(b.graph("chain", x))) == ["table"]


@pytest.mark.parametrize("metadata", [{"passes": 5}, {"passes": "text"}, {"passes": [1, None]}, {"passes": {"a": 1}}, {"source_hash": [1]}])
def test_notes_of_others_do_no_harm(metadata: dict[str, object]) -> None:
    b = Builder(6)
    graph = b.graph("noted", b.depthwise(b.add(Reshape((4, 4, 2)), b.input(4, 4, 2))))
    small = optimize(replace(graph, metadata=metadata))
    assert small.metadata["passes"] == ["removed 1 node(s) that return their input"]
    assert lower(replace(graph, metadata=metadata), load_target("host")).manifest["passes"] == small.metadata["passes"]


def test_a_changed_output_never_leaves_the_house() -> None:
    b = Builder(15)
    graph = b.graph("changed", b.conv(b.input(3, 3, 2), 2, 1))
    node = graph.nodes[0]
    other = replace(graph, nodes=(replace(node, op=replace(node.op, bias=node.op.bias + 100)),))
    inputs = {"x0": np.zeros((2, 3, 3, 2), np.int8)}
    check_same_outputs(graph, replace(graph), inputs)
    with pytest.raises(AssertionError, match="a graph pass changed output 't0'"):
        check_same_outputs(graph, other, inputs)
    floats = functions_graph()
    check_same_outputs(floats, replace(floats), float_inputs(floats))  # NaN is the same as itself


def test_zeros_of_different_signs_are_not_equal() -> None:
    tensors = {name: Tensor(name, shape, 1.0, 0, "float32") for name, shape in (("x", (1, 1, 1)), ("p", (2, 1, 1)), ("q", (2, 1, 1)), ("y", (4, 1, 1)))}
    nodes = [Node(name, FloatPad((1, 0, 0, 0), np.array([zero], np.float32)), ("x",), name) for name, zero in (("p", 0.0), ("q", -0.0))]
    graph = QuantizedGraph("zeros", tensors, (*nodes, Node("y", FloatConcat(0), ("p", "q"), "y")), ("x",), ("y",))
    inputs = {"x": np.ones((1, 1, 1, 1), np.float32)}
    assert run_all(optimize(graph), inputs)["y"].tobytes() == run_all(graph, inputs)["y"].tobytes()
