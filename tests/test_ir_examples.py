"""One small graph for every op in OPS, used by the tests of `ir/`, and what must hold for each of them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from edgecompress.errors import ModelError
from edgecompress.ir import reference
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import FIELD_TYPES, Op, Shape
from edgecompress.ir.ops import OPS
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.batch_matmul import BatchMatmul
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.delay_line import DelayLine
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.lstm import Lstm
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.svdf import Svdf
from edgecompress.ir.ops.table import Table
from edgecompress.ir.ops.transpose import Transpose
from edgecompress.ir.requant import Requant


def weights(*shape: int, high: int = 127) -> np.ndarray:
    """Fixed pseudo-random weights in [-high, high]."""
    return np.random.default_rng(shape).integers(-high, high + 1, shape).astype(np.int8)


def bias(channels: int) -> np.ndarray:
    """Fixed pseudo-random int32 biases."""
    return np.random.default_rng(channels).integers(-500, 500, channels).astype(np.int32)


def small_factors(channels: int) -> Requant:
    """One factor a channel, about 1/500."""
    return Requant.from_real(np.linspace(0.001, 0.004, channels))


EXAMPLES: dict[str, tuple[Op, tuple[Shape, ...]]] = {
    "conv2d": (Conv2D(weights(4, 3, 2, 2), bias(4), small_factors(4), -3, 5, (2, 1), (1, 2), (1, 0, 2, 1), 2, -100, 120), ((6, 5, 4),)),
    "depthwise_conv2d": (DepthwiseConv2D(weights(3, 2, 4, high=7), bias(4), small_factors(4), 9, -8, (1, 2), (2, 1), (0, 1, 1, 0), weight_bits=4),
                         ((6, 5, 2),)),
    "dense": (Dense(weights(3, 10, high=1), bias(3), Requant.from_real(0.02), -128, 1, weight_bits=2), ((10,),)),
    "add": (Add.from_scales((0.02, 3), (0.05, -4), (0.06, 5), -90, 90), ((3, 2, 2), (3, 2, 2))),
    "mul": (Mul(Requant.from_real(0.01), 3, -4, 5), ((3, 2, 2), (1, 1, 2))),
    "average_pool2d": (AveragePool2D((3, 2), (2, 1), (1, 1, 0, 1)), ((5, 4, 2),)),
    "max_pool2d": (MaxPool2D((3, 2), (2, 1), (1, 1, 0, 1), -50, 100), ((5, 4, 2),)),
    "global_average_pool": (GlobalAveragePool(fold_count(1.3, 20), -7, 3), ((5, 4, 2),)),
    "pad": (Pad((1, 2, 0, 3), -128), ((2, 3, 2),)),
    "concat": (Concat(1, Requant.from_real([1.0, 0.5]), (4, -9), 4), ((2, 1, 3), (2, 2, 3))),
    "reshape": (Reshape((2, 6)), ((2, 2, 3),)),
    "softmax": (Softmax.from_scale(0.07), ((2, 5),)),
    "resize_nearest": (ResizeNearest((5, 2)), ((2, 3, 2),)),
    "table": (Table.from_function("hardswish", 0.05, -3, 0.04, -100), ((2, 3, 2),)),
    "requantize": (Requantize(Requant.from_real(0.3), 7, -9), ((4, 3),)),
    "slice": (Slice((1, 4), (2, 3), (1, -2)), ((4, 6),)),
    "transpose": (Transpose((2, 0, 1)), ((2, 3, 4),)),
    "delay_line": (DelayLine(weights(3, 1, 2)), ((2, 1, 2),)),
    "lstm": (Lstm(weights(4, 3, 5), weights(4, 3, 3), np.stack([bias(3)] * 4), *[Requant.from_real([0.2, 0.3, 0.4, 0.5])] * 2, Requant.from_real(2**-23), -7, 3,
                  -12, 30000), ((2, 5),)),
    "svdf": (Svdf(weights(6, 5), weights(6, 4), bias(3), Requant.from_real(0.5), Requant.from_real(1e-5), -7, 3, 2), ((5,),)),
    "batch_matmul": (BatchMatmul(Requant.from_real(0.01), 3, -4, 5, 1, 0, -100, 90), ((2, 3, 4), (2, 3, 5))),
}


def field_names(op: Op) -> list[str]:
    """Names of an op's attributes."""
    return [field.name for field in fields(op)]


def example_graph(kind: str) -> QuantizedGraph:
    """A graph of one node."""
    op, shapes = EXAMPLES[kind]
    inputs = tuple(f"in{position}" for position in range(len(shapes)))
    tensors = {name: Tensor(name, shape, 0.05, 3) for name, shape in zip(inputs, shapes, strict=True)}
    tensors["out"] = Tensor("out", op.infer_shape(*shapes), 0.1, -5)
    return QuantizedGraph(f"only_{kind}", tensors, (Node("only", op, inputs, "out"),), inputs, ("out",), {"classes": ["a", "b"]})


def chain_graph() -> QuantizedGraph:
    """Every one-input image op in a row, so that mutations meet a graph of some length."""
    shape: Shape = (6, 5, 4)
    tensors, nodes = {"in": Tensor("in", shape, 0.05, 3)}, []
    last = "in"
    for kind in ("conv2d", "requantize", "max_pool2d", "pad", "table", "resize_nearest", "average_pool2d", "global_average_pool"):
        op = EXAMPLES[kind][0]
        name = f"after_{kind}"
        tensors[name] = Tensor(name, op.infer_shape(tensors[last].shape), 0.1, -5)
        nodes.append(Node(f"do_{kind}", op, (last,), name))
        last = name
    return QuantizedGraph("chain", tensors, tuple(nodes), ("in",), (last,), {"origin": {"seed": 1}})


def test_there_is_an_example_for_every_op() -> None:
    assert EXAMPLES.keys() == OPS.keys()
    assert all(type(EXAMPLES[kind][0]) is OPS[kind] for kind in OPS)


@pytest.mark.parametrize("kind", OPS)
def test_every_op_keeps_the_contract_of_the_base(kind: str) -> None:
    op = OPS[kind]
    assert op.kind == kind
    assert op.infer_shape is not Op.infer_shape and op.reference is not Op.reference
    assert op.__doc__ and not op.__doc__.startswith(op.__name__ + "("), "a docstring must give the formula"
    assert all(field.type in FIELD_TYPES for field in fields(op))


@pytest.mark.parametrize("kind", OPS)
def test_reference_makes_int8_of_the_inferred_shape_and_leaves_its_input_alone(kind: str) -> None:
    graph = example_graph(kind)
    inputs = {name: np.random.default_rng(1).integers(-128, 128, (3, *graph.tensors[name].shape)).astype(np.int8) for name in graph.inputs}
    copies = {name: x.copy() for name, x in inputs.items()}
    result = reference.run_all(graph, inputs)["out"]
    assert result.dtype == np.int8 and result.shape == (3, *graph.tensors["out"].shape)
    assert all(np.array_equal(inputs[name], copies[name]) for name in inputs)
    one_by_one = np.concatenate([reference.run_all(graph, {name: x[i : i + 1] for name, x in inputs.items()})["out"] for i in range(3)])
    if graph.state_bytes:
        assert not np.array_equal(result, one_by_one), "samples are steps of one stream"
        for count in (1, 2):
            assert np.array_equal(result[:count], reference.run_all(graph, {name: x[:count] for name, x in inputs.items()})["out"])
    else:
        assert np.array_equal(result, one_by_one), "samples of a batch must not influence each other"
    assert reference.run_all(graph, {name: x[:0] for name, x in inputs.items()})["out"].shape == (0, *graph.tensors["out"].shape)


@pytest.mark.parametrize("kind", OPS)
def test_equality_of_ops_is_by_value(kind: str) -> None:
    op = EXAMPLES[kind][0]
    values = {name: getattr(op, name) for name in field_names(op)}
    assert type(op)(**values) == op
    assert op != EXAMPLES["pad" if kind != "pad" else "add"][0]
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            changed = value.copy()
            changed.flat[0] = 1 if changed.flat[0] == 0 else 0
            assert type(op)(**{**values, name: changed}) != op
            with pytest.raises(ValueError, match="read-only"):
                value.flat[0] = 1


NEVER = (None, {}, 1.5, True, (1.0, 2.0), ("a", "b"), ("a",) * 4)
WRONG: dict[str, tuple[object, ...]] = {
    "int": ("7", 2**31, -(2**40), (), (1,), [3], np.array([1, 2]), Requant((0,), (0,))),
    "str": (3, (), b"bytes"),
    "Pair": (3, "11", (), (1,), (1, 2, 3), (1, 2**31), (True, 1)),
    "Padding": (3, "1111", (), (1, 1), (1, 2, 3, 4, 5), (0, 0, 0, 2**40), (0, 0, 0, None)),
    "tuple[int, ...]": (3, "12", (2**31,), (None,)),
    "Requant": (3, "x", (2**30, 1), ((2**30,), (1,)), np.array([1])),
    "np.ndarray": (3, "x", (), np.array(["a", "b"]), np.full(3, np.nan), np.full((2, 2), 2**40), np.full((2, 2), 0.5), Requant((0,), (0,))),
}


@pytest.mark.parametrize("kind", OPS)
def test_wrong_types_end_in_a_sentence(kind: str) -> None:
    op = EXAMPLES[kind][0]
    values = {name: getattr(op, name) for name in field_names(op)}
    for field in fields(op):
        for wrong in (*NEVER, *WRONG[str(field.type)]):
            with pytest.raises(ModelError) as caught:
                type(op)(**{**values, field.name: wrong})
            assert len(caught.value.message) > 15


@pytest.mark.parametrize("kind", OPS)
def test_numpy_integers_and_lists_become_plain_python(kind: str) -> None:
    def loosen(value: object) -> object:
        if isinstance(value, tuple):
            return [np.int64(item) for item in value]
        return np.int32(value) if isinstance(value, int) else value

    op = EXAMPLES[kind][0]
    loose = type(op)(**{name: loosen(getattr(op, name)) for name in field_names(op)})
    assert loose == op
    assert all(type(getattr(loose, name)) is type(getattr(op, name)) for name in field_names(op))


@pytest.mark.parametrize("kind", OPS)
def test_wrong_numbers_of_inputs_are_refused(kind: str) -> None:
    op, shapes = EXAMPLES[kind]
    for wrong in ((), (*shapes, shapes[0])):
        with pytest.raises(ModelError, match="takes"):
            op.infer_shape(*wrong)
