"""Shapes, costs and the checks that a graph makes about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_ir_examples import EXAMPLES, bias, chain_graph, example_graph, small_factors, weights

from edgecompress.errors import ModelError
from edgecompress.ir import reference
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Shape, frozen_array
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest, float32_positions, source_positions
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.packing import WEIGHT_RANGE, check_weight_range, pack_rows, packed_row_bytes, unpack_rows
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import output_size, resolve_padding, same_padding, valid_taps

HALF = Requant.from_real(0.5)
TWO = Requant.from_real([0.5, 0.5])


def conv(**changes: Any) -> Conv2D:
    """A 2-channel 3x3 convolution of 3 channels, with changes."""
    return Conv2D(**{"weights": weights(2, 3, 3, 3), "bias": bias(2), "requant": TWO, "input_zero_point": 0, "output_zero_point": 0, **changes})


def depthwise(**changes: Any) -> DepthwiseConv2D:
    """A 3x3 depthwise convolution of 4 channels, with changes."""
    values = {"weights": weights(3, 3, 4), "bias": bias(4), "requant": HALF, "input_zero_point": 0, "output_zero_point": 0}
    return DepthwiseConv2D(**{**values, **changes})


def dense(**changes: Any) -> Dense:
    """A 10 to 2 dense layer, with changes."""
    return Dense(**{"weights": weights(2, 10), "bias": bias(2), "requant": TWO, "input_zero_point": 0, "output_zero_point": 0, **changes})


BAD_OPS: list[tuple[Callable[[], object], str]] = [
    (lambda: conv(weights=weights(2, 3, 3)), r"\[out, height, width, in\]"),
    (lambda: conv(weights=np.zeros((2, 0, 3, 3))), r"\[out, height, width, in\]"),
    (lambda: conv(weights=np.full((2, 3, 3, 3), 200)), "fit int8"),
    (lambda: conv(bias=bias(3)), "bias has shape"),
    (lambda: conv(bias=np.array([2**31, 0])), "fit int32"),
    (lambda: conv(bias=np.array([2**31 - 1, 0])), "overflow its int32 accumulator"),
    (lambda: conv(requant=Requant.from_real([0.5] * 3)), "3 rescaling factors for 2"),
    (lambda: conv(groups=3), "split into 3 groups"),
    (lambda: conv(groups=0), "split into 0 groups"),
    (lambda: conv(stride=(0, 1)), "at least 1"),
    (lambda: conv(dilation=(1, 0)), "at least 1"),
    (lambda: conv(padding=(0, 0, -1, 0)), "at least 0"),
    (lambda: conv(stride=(1, 2**20)), "at most 32767"),
    (lambda: conv(weight_bits=4), r"4-bit weights must lie in \[-7, 7\]"),
    (lambda: conv(weight_bits=3), "3 bits are not supported"),
    (lambda: conv(input_zero_point=128), "zero point 128"),
    (lambda: conv(output_zero_point=-129), "zero point -129"),
    (lambda: conv(activation_min=5, activation_max=4), "activation range"),
    (lambda: depthwise(weights=weights(1, 3, 3, 4)), r"\[height, width, channels\]"),
    (lambda: depthwise(stride=(1, 0)), "at least 1"),
    (lambda: dense(weights=weights(10)), r"\[out, in\]"),
    (lambda: Add(Requant.from_real(1.0), HALF, HALF, 0, 0, 0), "below 1"),
    (lambda: Add(TWO, HALF, HALF, 0, 0, 0), "one rescaling factor"),
    (lambda: Add.from_scales((1e9, 0), (1.0, 0), (1.0, 0)), "output scale of 1.0"),
    (lambda: Mul(TWO, 0, 0, 0), "one rescaling factor"),
    (lambda: AveragePool2D((2, 0), (1, 1)), "at least 1"),
    (lambda: AveragePool2D((2, 2), (1, 1), (2, 0, 0, 0)), "smaller than its window"),
    (lambda: MaxPool2D((3, 1), (1, 1), (0, 0, 0, 1)), "smaller than its window"),
    (lambda: GlobalAveragePool(TWO, 0, 0), "one rescaling factor"),
    (lambda: Pad((1, 1, 1, -1), 0), "four numbers"),
    (lambda: Pad((1, 1, 1, 1), 300), "zero point 300"),
    (lambda: Concat(0, TWO, (0,), 0), "one zero point an input"),
    (lambda: Reshape((2, 0)), "at least 1"),
    (lambda: Reshape(()), "at least one size"),
    (lambda: ResizeNearest((0, 3)), "numbers from 1"),
    (lambda: Softmax.from_scale(2.0**-27), "above 2"),
    (lambda: Softmax.from_scale(float("nan")), "input scale of nan"),
    (lambda: Softmax(Requant.from_real(0.1), 0), "at least 1"),
    (lambda: Softmax(Requant.from_real(2.0**27), -124), "does not fit"),
    (lambda: Softmax(Requant.from_real(2.0), 1), "must not be positive"),
    (lambda: Table(np.zeros(255)), "256 entries"),
    (lambda: Table.from_function("sin", 1.0, 0, 1.0, 0), "known: abs"),
    (lambda: Requantize(TWO, 0, 0), "one rescaling factor"),
]


@pytest.mark.parametrize(("make", "words"), BAD_OPS)
def test_attributes_that_make_no_sense(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        make()


BAD_SHAPES: list[tuple[str, tuple[Shape, ...], str]] = [
    ("conv2d", ((6, 5),), "height, width, channels"),
    ("conv2d", ((6, 5, 3),), "has 3 channels, the weights want 4"),
    ("conv2d", ((1, 1, 4),), "does not fit"),
    ("depthwise_conv2d", ((6, 5, 3),), "not a multiple"),
    ("depthwise_conv2d", ((2, 5, 2),), "does not fit"),
    ("dense", ((2, 5),), "put a reshape before it"),
    ("dense", ((11,),), "shape"),
    ("add", ((3, 2, 2), (3, 2, 1)), "different shapes"),
    ("mul", ((3, 2, 2), (1, 1, 1)), "cannot be multiplied"),
    ("mul", ((1, 1, 2), (3, 2, 2)), "cannot be multiplied"),
    ("average_pool2d", ((10,),), "height, width, channels"),
    ("max_pool2d", ((2, 2),), "height, width, channels"),
    ("global_average_pool", ((4096, 4096, 1),), "overflow its int32 accumulator"),
    ("global_average_pool", ((16,),), "height, width, channels"),
    ("pad", ((16,),), "height, width, channels"),
    ("concat", ((2, 1, 3), (3, 2, 3)), "cannot be joined"),
    ("concat", ((2, 1, 3), (2, 1)), "cannot be joined"),
    ("concat", ((5,), (5,)), "axis 1 is outside"),
    ("concat", ((2, 1, 3),), "takes 2 inputs"),
    ("reshape", ((13,),), "cannot take the shape"),
    ("softmax", ((4096,),), "at most 4095"),
    ("resize_nearest", ((4,),), "height, width, channels"),
    ("slice", ((4,),), "a slice of 2 axes does not fit"),
    ("slice", ((4, 4),), "leaves an input of shape"),
    ("slice", ((2, 6),), "leaves an input of shape"),
    ("transpose", ((2, 3),), "a transposition of 3 axes does not fit"),
    ("delay_line", ((2, 1, 3),), "does not continue a state"),
    ("delay_line", ((2, 2),), "does not continue a state"),
    ("lstm", ((5,),), r"shape \(time, 5\)"),
    ("lstm", ((2, 4),), r"shape \(time, 5\)"),
    ("svdf", ((2, 5),), r"shape \(5,\)"),
    ("batch_matmul", ((3,), (3,)), "no pairs of matrices"),
    ("batch_matmul", ((2, 3, 4), (3, 3, 5)), "no pairs of matrices"),
    ("batch_matmul", ((2, 3, 4), (3, 5)), "no pairs of matrices"),
    ("batch_matmul", ((3, 4), (4, 3)), "cannot be multiplied"),
    ("batch_matmul", ((33026, 1), (33026, 1)), "at most 33025"),
]


@pytest.mark.parametrize(("kind", "shapes", "words"), BAD_SHAPES)
def test_shapes_that_do_not_fit(kind: str, shapes: tuple[Shape, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        EXAMPLES[kind][0].infer_shape(*shapes)


def test_every_shape_rule_is_tried() -> None:
    assert {kind for kind, _, _ in BAD_SHAPES} | {"table", "requantize"} == EXAMPLES.keys()


def test_costs_by_hand() -> None:
    # 3x3x3 weights for each of 2 channels, output 4 x 4 -> 4 * 4 * 2 * 27 = 864
    layer = conv()
    assert (layer.infer_shape((6, 6, 3)), layer.macs((6, 6, 3)), layer.parameters) == ((4, 4, 2), 864, 56)
    # per channel: 27 bytes of weights, 4 of bias, 4 of multiplier, 1 of shift
    assert layer.constant_bytes == 2 * (27 + 4 + 4 + 1)
    # 27 weights of 4 bits are 13.5 bytes, of 2 bits 6.75: rows start on a byte
    assert conv(weights=weights(2, 3, 3, 3, high=7), weight_bits=4).constant_bytes == 2 * (14 + 9)
    assert conv(weights=weights(2, 3, 3, 3, high=1), weight_bits=2).constant_bytes == 2 * (7 + 9)
    # two groups halve the work of an output: 4 x 4 outputs, 4 channels, 3 * 3 * 2 taps
    grouped = conv(weights=weights(4, 3, 3, 2), bias=bias(4), requant=HALF, groups=2)
    assert grouped.macs((6, 6, 4)) == 4 * 4 * 4 * 18
    assert (depthwise().macs((6, 6, 4)), depthwise().parameters) == (4 * 4 * 4 * 9, 40)
    assert depthwise().constant_bytes == 9 * 4 + 4 * 9
    assert depthwise(weights=weights(3, 3, 4, high=7), weight_bits=4).constant_bytes == 9 * 2 + 4 * 9
    assert (dense().macs((10,)), dense().parameters, dense().constant_bytes) == (20, 22, 2 * (10 + 9))
    assert EXAMPLES["table"][0].constant_bytes == 256
    assert EXAMPLES["add"][0].macs((3, 2, 2), (3, 2, 2)) == 0
    graph = chain_graph()
    assert graph.total_macs == EXAMPLES["conv2d"][0].macs((6, 5, 4)) == sum(graph.macs(node) for node in graph.nodes)
    assert graph.parameters == EXAMPLES["conv2d"][0].parameters
    assert graph.weight_bytes == EXAMPLES["conv2d"][0].constant_bytes + 256
    assert graph.tensors["in"].size == 120


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 5), st.integers(1, 3))
def test_same_and_valid_padding(size: int, kernel: int, stride: int, dilation: int) -> None:
    square = {"size": (size, size), "kernel": (kernel, kernel), "stride": (stride, stride), "dilation": (dilation, dilation)}
    padding = same_padding(**square)
    reach = (kernel - 1) * dilation + 1
    assert output_size(padding=padding, **square) == (-(-size // stride),) * 2  # SAME is ceil(size / stride)
    assert 0 <= padding[1] - padding[0] <= 1 and padding[0] + padding[1] < reach
    assert resolve_padding("same", **square) == padding
    assert resolve_padding("valid", **square) == (0, 0, 0, 0)
    assert resolve_padding((1, 2, 3, 4), **square) == (1, 2, 3, 4)
    if size >= reach:
        assert output_size(padding=(0, 0, 0, 0), **square) == (-(-(size - reach + 1) // stride),) * 2  # TFLite's formula for VALID
    brute = sum(0 <= row * stride - padding[0] + tap * dilation < size for row in range(-(-size // stride)) for tap in range(kernel))
    assert valid_taps(padding=padding, **square) == brute**2


@pytest.mark.parametrize("padding", ["SAME", (1, 1), None, (1, 1, 1, "1"), 3])
def test_unknown_paddings(padding: Any) -> None:
    with pytest.raises(ModelError, match="'same', 'valid' or"):
        resolve_padding(padding, (4, 4), (2, 2), (1, 1))


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 4, 2]), st.integers(1, 6), st.integers(1, 20))
def test_packing_round_trip(seed: int, bits: int, rows: int, length: int) -> None:
    low, high = WEIGHT_RANGE[bits]
    values = np.random.default_rng(seed).integers(low, high + 1, (rows, length)).astype(np.int8)
    packed = pack_rows(values, bits)
    assert packed.dtype == np.uint8 and packed.shape == (rows, packed_row_bytes(length, bits))
    assert np.array_equal(unpack_rows(packed, length, bits), values)


def test_packing_by_hand() -> None:
    assert pack_rows(np.array([[1, -2, 7]], dtype=np.int8), 4).tolist() == [[0xE1, 0x07]]  # low nibble first, -2 is 0xE
    assert pack_rows(np.array([[1, -1, 0, 1, -1]], dtype=np.int8), 2).tolist() == [[0b01001101, 0b11]]
    assert pack_rows(np.array([[-128, 127]], dtype=np.int8), 8).tolist() == [[128, 127]]
    check_weight_range(np.array([-128]), 8)  # files from elsewhere may use it


def test_resize_refuses_what_float32_would_round_elsewhere() -> None:
    refused = [(s, t) for s in range(1, 129) for t in range(1, 129) if (source_positions(s, t) != float32_positions(s, t)).any()]
    assert len(refused) == 193 and (26, 22) in refused
    assert not [pair for pair in refused if pair[1] in (pair[0] * 2, pair[0] * 3, pair[0] * 4, pair[0] // 2)]
    with pytest.raises(ModelError, match="from 26 to 22 rows"):
        ResizeNearest((22, 5)).infer_shape((26, 5, 1))


def test_frozen_arrays_hold_exactly_what_they_were_given() -> None:
    assert frozen_array(np.array([1.0, -2.0]), np.int8).tolist() == [1, -2]
    for wrong in ([1.5], [128], [np.nan], [np.inf], ["x"], [2**70], [[1], [2, 3]]):
        with pytest.raises(ModelError, match="int8"):
            frozen_array(wrong, np.int8)  # type: ignore[arg-type]
    assert frozen_array(np.zeros((2, 3), dtype=np.int32, order="F"), np.int32).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(("changes", "words"), [
    ({"name": 3}, "expected a text"), ({"shape": ()}, "1 to 6 sizes"), ({"shape": (1,) * 7}, "1 to 6 sizes"), ({"shape": (0, 3)}, "at least 1"),
    ({"shape": (-2, -3)}, "at least 1"), ({"shape": (2**16, 2**16)}, "below 2"), ({"shape": (True, 3)}, "expected an integer"),
    ({"shape": "35"}, "integers"), ({"shape": (2.0,)}, "expected an integer"), ({"scale": 0.0}, "positive"), ({"scale": -1.0}, "positive"),
    ({"scale": float("nan")}, "positive"), ({"scale": float("inf")}, "positive"), ({"scale": 1e-300}, "float32"), ({"scale": "1"}, "not a number"),
    ({"scale": True}, "not a number"), ({"zero_point": 128}, "int8"), ({"zero_point": 1.0}, "expected an integer"),
])
def test_tensors_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Tensor(**{"name": "t", "shape": (2, 3), "scale": 0.1, "zero_point": 0, **changes})


def rename(graph: QuantizedGraph, **changes: Any) -> QuantizedGraph:
    """The graph with some fields replaced."""
    return replace(graph, **changes)


BAD_GRAPHS: list[tuple[Callable[[QuantizedGraph], object], str]] = [
    (lambda g: rename(g, inputs=()), "at least one input"),
    (lambda g: rename(g, outputs=()), "at least one input and one output"),
    (lambda g: rename(g, inputs=("in", "in")), "two inputs of the name 'in'"),
    (lambda g: rename(g, outputs=(g.outputs[0],) * 2), "two outputs"),
    (lambda g: rename(g, inputs="in"), "lists of names"),
    (lambda g: rename(g, outputs=("nowhere",)), "no such tensor"),
    (lambda g: rename(g, name=None), "expected a text"),
    (lambda g: rename(g, nodes=(*g.nodes, g.nodes[-1])), "two nodes of the name"),
    (lambda g: rename(g, nodes=(*g.nodes, replace(g.nodes[-1], name="again"))), "is written already"),
    (lambda g: rename(g, nodes=g.nodes[::-1]), "before anything writes it"),
    (lambda g: rename(g, nodes=g.nodes[:-1]), "nothing writes output"),
    (lambda g: rename(g, nodes=(replace(g.nodes[0], inputs=("ghost",)), *g.nodes[1:])), "uses tensor 'ghost'"),
    (lambda g: rename(g, nodes=(replace(g.nodes[0], inputs=(g.outputs[0],)), *g.nodes[1:])), "before anything writes it"),  # a cycle
    (lambda g: rename(g, tensors={**g.tensors, "in": Tensor("in", (6, 5, 8), 0.1, 0)}), r"node 'do_conv2d' \(conv2d\): input has 8 channels"),
    (lambda g: rename(g, tensors={**g.tensors, g.outputs[0]: Tensor(g.outputs[0], (9,), 0.1, 0)}), "makes shape"),
    (lambda g: rename(g, tensors={**g.tensors, "alias": g.tensors["in"]}), "under the name 'alias'"),
    (lambda g: Node("n", "conv2d", ("in",), "out"), "needs an op"),  # type: ignore[arg-type]
    (lambda g: Node("n", EXAMPLES["pad"][0], "in", "out"), "list of inputs"),  # type: ignore[arg-type]
    (lambda g: Node(None, EXAMPLES["pad"][0], ("in",), "out"), "expected a text"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "words"), BAD_GRAPHS)
def test_graphs_that_make_no_sense(make: Callable[[QuantizedGraph], object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        make(chain_graph())


def test_a_graph_cannot_be_changed() -> None:
    graph = chain_graph()
    with pytest.raises(TypeError):
        graph.tensors["in"] = graph.tensors["in"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        graph.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        graph.nodes[0].op.weights[0] = 1  # type: ignore[attr-defined]


def test_running_a_graph() -> None:
    graph = chain_graph()
    x = np.random.default_rng(0).integers(-128, 128, (7, 6, 5, 4)).astype(np.int8)
    everything = reference.run_all(graph, {"in": x})
    assert everything.keys() == graph.tensors.keys()
    for size in (1, 3, 64):
        assert np.array_equal(reference.run(graph, x, batch_size=size), everything[graph.outputs[0]])
    assert reference.run(graph, x[:0]).shape == (0, *graph.tensors[graph.outputs[0]].shape)


def test_wrong_inputs_are_named() -> None:
    graph = chain_graph()
    x = np.zeros((1, 6, 5, 4), dtype=np.int8)
    with pytest.raises(ModelError, match="input 'in' is missing"):
        reference.run_all(graph, {"out": x})
    for wrong in (x.astype(np.int32), x[0], x[:, :3], np.int8(3)):
        with pytest.raises(ModelError, match=r"must be int8 \[batch, 6, 5, 4\]"):
            reference.run_all(graph, {"in": wrong})
    with pytest.raises(ModelError, match="use run_all"):
        reference.run(example_graph("add"), x)
    assert small_factors(1).real[0] == pytest.approx(0.001)
