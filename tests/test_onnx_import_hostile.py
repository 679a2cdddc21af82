"""Broken and hostile ONNX files: one ModelError each, quickly, and nothing is read or made that a file only names."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecompress.errors import EdgecompressError, ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.onnx import load_onnx
from edgecompress.frontend.onnx.model import MAX_NODES
from edgecompress.frontend.onnx.operators import HANDLED, OPERATORS, REFUSED
from edgecompress.frontend.passes import prepare

pytest.importorskip("onnx")

import onnx
from onnx_cases import CONSTANTS, CONV, Node, floats, model, quantize_nodes

IMAGE = (1, 4, 8, 6)
SECONDS = 10.0  # the promise; here on a loaded machine, so it is far from what it takes


def chain(operator: str, count: int, *more: str, attributes: Callable[[int], dict[str, Any]] = lambda index: {}) -> list[Node]:
    """count nodes one after the other, from x to y."""
    names = ["x", *(f"v{index}" for index in range(1, count)), "y"]
    return [(operator, [names[index], *more], names[index + 1], attributes(index)) for index in range(count)]


def changed(change: Callable[[Any], None], nodes: list[Node] | None = None, **constants: np.ndarray) -> bytes:
    """A small model after a change to its protobuf."""
    constants = constants or {"w": floats(3, 4, 3, 3)}
    proto = onnx.ModelProto.FromString(model(nodes or [("Conv", ["x", "w"], "y", {})], IMAGE, constants))
    change(proto)
    return bytes(proto.SerializeToString())


def refuse(data: bytes, match: str, **options: Any) -> None:
    """Asserts one short sentence."""
    start = time.monotonic()
    with pytest.raises(ModelError, match=match) as caught:
        load_onnx(data, "hostile", **options)
    assert time.monotonic() - start < SECONDS
    assert "\n" not in caught.value.message and len(caught.value.message) < 600


def external(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def test_external_data_is_never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("builtins.open", lambda *arguments, **_: opened.append(arguments))
    refuse(changed(external), "never opened")
    assert not opened


def attribute(name: str, **fields: Any) -> Callable[[Any], None]:
    """Sets an attribute of the first node."""
    def change(proto: Any) -> None:
        kept = [entry for entry in proto.graph.node[0].attribute if entry.name != name]
        del proto.graph.node[0].attribute[:]
        proto.graph.node[0].attribute.extend([*kept, onnx.helper.make_attribute(name, **fields)])

    return change


def first_initializer(**fields: Any) -> Callable[[Any], None]:
    """Sets fields of the first initializer."""
    def change(proto: Any) -> None:
        for name, value in fields.items():
            if name == "dims":
                del proto.graph.initializer[0].dims[:]
                proto.graph.initializer[0].dims.extend(value)
            else:
                setattr(proto.graph.initializer[0], name, value)

    return change


def rename(field: str, value: str) -> Callable[[Any], None]:
    def change(proto: Any) -> None:
        if field == "input":
            proto.graph.node[0].input[1] = value
        else:
            setattr(proto.graph.node[0], field, value)

    return change


def second_input(proto: Any) -> None:
    proto.graph.ClearField("initializer")
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [3, 4, 3, 3]))


CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "too few bytes": (first_initializer(raw_data=b"123"), r"needs 432 bytes, the file has 3"),
    "huge shape": (first_initializer(dims=[2**40, 2**40]), "must not be negative, with a product"),
    "negative shape": (first_initializer(dims=[-3, 4, 3, 3]), "must not be negative"),
    "strings for weights": (first_initializer(data_type=8), "data type 8"),
    "unknown type": (first_initializer(data_type=99), "data type 99"),
    "not a number": (first_initializer(raw_data=np.full((3, 4, 3, 3), np.nan, np.float32).tobytes()), "not finite"),
    "an input from nowhere": (rename("input", "nothing"), "nothing before it writes"),
    "a cycle": (rename("input", "y"), "nothing before it writes"),
    "an unknown operator": (rename("op_type", "Konv"), r"^Konv 'y': is not supported \(nearest: Conv\)"),
    "a foreign domain": (rename("domain", "evil"), "is not an operator of ONNX"),
    "a name with line ends": (rename("op_type", "A'\n\";system(1)//"), "is not supported"),
    "groups that do not divide": (attribute("group", value=3), "in 3 groups"),
    "no groups": (attribute("group", value=0), "in 0 groups"),
    "strides of 0": (attribute("strides", value=[0, 1]), "at least 1"),
    "huge strides": (attribute("strides", value=[2**62, 1]), "at most"),
    "three strides": (attribute("strides", value=[1, 1, 1]), "3 entries where 2"),
    "an attribute of another type": (attribute("strides", value=1.5), "wrong type"),
    "negative pads": (attribute("pads", value=[-1, 0, 0, 0]), "negative"),
    "dilations beyond the image": (attribute("dilations", value=[100, 1]), "does not fit"),
    "an unknown auto_pad": (attribute("auto_pad", value="SOME\nTHING"), "auto_pad"),
    "no operator set": (lambda proto: proto.ClearField("opset_import"), "operator set"),
    "an operator set of the future": (lambda proto: setattr(proto.opset_import[0], "version", 99), "operator set 99"),
    "no nodes": (lambda proto: proto.graph.ClearField("node"), "not an ONNX model"),
    "two writers": (lambda proto: proto.graph.node.append(proto.graph.node[0]), "another node writes too"),
    "two inputs": (second_input, "2 inputs"),
    "an output that nothing makes": (lambda proto: setattr(proto.graph.output[0], "name", "z"), "no node of the model makes"),
    "an input without a shape": (lambda proto: proto.graph.input[0].type.tensor_type.ClearField("shape"), "no shape in the file"),
    "a batch of 4": (lambda proto: setattr(proto.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 4), "batch of 4"),
    "a strange input type": (lambda proto: setattr(proto.graph.input[0].type.tensor_type, "elem_type", 8), "data type 8"),
    "a huge input": (lambda proto: setattr(proto.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 2**62), "elements"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_damaged_models(case: str) -> None:
    change, match = CHANGES[case]
    refuse(changed(change), match)


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"GIF89a", b"\x3a\xff\xff\xff\xff\x0f", b"\x0a" * 1000,
                                  b"\x3a\xc0\x84\x3d" + b"\x0a\x00" * 500_000])
def test_garbage(data: bytes) -> None:
    refuse(data, "not an ONNX model|damaged|at most")


def test_names_that_are_not_text() -> None:
    refuse(model([("Conv", ["x", "QQQQ"], "y", {})], IMAGE, {"QQQQ": floats(3, 4, 3, 3)}).replace(b"QQQQ", b"Q\xff\xfeQ"), "UTF-8")


LARGE: dict[str, tuple[list[Node], tuple[int, ...], dict[str, np.ndarray]]] = {
    "zeros by the terabyte": ([("ConstantOfShape", ["s"], "c", {}), ("Add", ["x", "c"], "y", {})], (1, 4), {"s": np.array([2**20, 2**20])}),
    "many zeros": ([("ConstantOfShape", ["s"], f"c{i}", {}) for i in range(500)] + [("Sum", ["x", *(f"c{i}" for i in range(500))], "y", {})], (1, 4),
                   {"s": np.array([2**20])}),
    "doubling": ([("Concat", [f"k{i}"] * 64, f"k{i + 1}", {"axis": 0}) for i in range(9)] + [("Add", ["x", "k9"], "y", {})], (1, 4),
                 {"k0": floats(64)}),
    "a long range": ([("Range", ["a", "b", "c"], "d", {}), ("Add", ["x", "d"], "y", {})], (1, 4),
                     {"a": np.float32(0), "b": np.float32(1e30), "c": np.float32(1e-30)}),
    "tiles": ([("Tile", ["c", "s"], "d", {}), ("Add", ["x", "d"], "y", {})], (1, 4), {"c": floats(4), "s": np.array([2**40])}),
    "expansion": ([("Expand", ["c", "s"], "d", {}), ("Add", ["x", "d"], "y", {})], (1, 4), {"c": floats(1), "s": np.array([2**20, 2**20])}),
    "one weight in many layers": (chain("MatMul", 5000, "w"), (1, 400), {"w": floats(400, 400)}),
    "one constant in many sums": (chain("Add", 5000, "w"), (1, 100_000), {"w": floats(100_000)}),
    "pads": (chain("Pad", 50, "p"), IMAGE, {"p": np.array([0, 0, 30000, 30000, 0, 0, 1, 1])}),
    "a resize": ([("Resize", ["x", "", "s"], "y", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})], IMAGE,
                 {"s": np.array([1, 1, 1e18, 1e18], np.float32)}),
    "gathers": (chain("Gather", 2000, "i", attributes=lambda index: {"axis": 3}), (1, 1, 1, 64), {"i": np.random.default_rng(0).permutation(64)}),
    "a pool": ([("MaxPool", ["x"], "y", {"kernel_shape": [2**62, 1], "pads": [2**62, 0, 2**62, 0]})], IMAGE, {}),
}


@pytest.mark.parametrize("case", LARGE)
def test_small_files_that_ask_for_much(case: str) -> None:
    nodes, shape, constants = LARGE[case]
    refuse(model(nodes, shape, constants), "refused|elements|possible|too large|at most")


@pytest.mark.parametrize("operator", ["Relu", "Sigmoid", "Erf", "Identity"])
def test_long_chains_take_seconds(operator: str) -> None:
    data = model([*chain(operator, 4000)[:-1], ("Tanh", ["v3999"], "y", {})], IMAGE)
    start = time.monotonic()
    graph = load_onnx(data, "chain")
    assert isinstance(graph, FloatGraph)
    prepare(graph)
    assert time.monotonic() - start < SECONDS
    refuse(model(chain(operator, MAX_NODES + 1), IMAGE), "nodes; at most")


def test_doubling_sums_do_not_explode() -> None:
    nodes: list[Node] = [("Mul", [name, name], result, {}) for _, (name, *_), result, _ in chain("Mul", 3000)]  # type: ignore[misc]
    graph = load_onnx(model(nodes, (1, 4)), "double")
    assert isinstance(graph, FloatGraph)
    assert len(prepare(graph).nodes) < 300


@pytest.mark.parametrize("name", ["", "a\nb", "'; int main(void) {", "../../x", "\u202e\x00", "x" * 100_000, "input", "y:2"])
def test_names_are_only_data(name: str) -> None:
    nodes: list[Node] = [("Conv", ["x", f"{name}w"], f"{name}c", {}), ("Split", [f"{name}c"], [f"{name}p", f"{name}q"], {"axis": 1}),
                         ("Concat", [f"{name}q", f"{name}p"], f"{name}y", {"axis": 1})]
    graph = load_onnx(model(nodes, IMAGE, {f"{name}w": floats(4, 4, 1, 1)}, outputs=(f"{name}y",)), "names")
    assert isinstance(graph, FloatGraph)
    assert graph.output == f"{name}y"
    refuse(model([("NoSuch", ["x"], f"{name}y", {})], IMAGE, outputs=(f"{name}y",)), "NoSuch")


def test_outputs_that_are_not_there() -> None:
    data = model([("Relu", ["x"], "hidden", {}), ("Relu", ["hidden"], "y", {})], IMAGE)
    refuse(data, r"'hiden'; did you mean 'hidden'\?", outputs=["hiden"])
    refuse(data, "0 outputs", outputs=[])
    refuse(model([("Identity", ["x"], "y", {})], IMAGE), "computes nothing")
    refuse(model([("Relu", ["c"], "y", {})], IMAGE, {"c": floats(4)}), "do not depend on any input")


@pytest.mark.parametrize("operator", REFUSED)
def test_operators_that_cannot_be_expressed_say_what_would_help(operator: str) -> None:
    refuse(model([("Relu", ["x"], "a", {}), (operator, ["a"], "y", {})], IMAGE), rf"^{operator} 'y': .*(supported; |supported; end)\w+")


def test_the_table_says_what_is_supported() -> None:
    for name, support in OPERATORS.items():
        assert support.handler is not None or support.fold is not None, name
        assert "\n" not in support.note and (support.float32 or support.qdq)
    assert not set(REFUSED) & set(OPERATORS) and set(HANDLED) <= set(OPERATORS)


SEEDS = [model([("Conv", ["x", "w"], "a", {"pads": [1, 1, 1, 1]}), ("Relu", ["a"], "b", {}), ("Flatten", ["b"], "c", {}),
                ("Gemm", ["c", "v"], "d", {"transB": 1}), ("Softmax", ["d"], "y", {})], IMAGE, {"w": floats(2, 4, 3, 3), "v": floats(3, 96)}),
         model([("Shape", ["x"], "s", {}), ("Gather", ["s", "i"], "h", {}), ("Unsqueeze", ["h", "z"], "u", {}),
                ("Concat", ["u", "m"], "t", {"axis": 0}),
                ("Transpose", ["x"], "p", {"perm": [0, 2, 3, 1]}), ("Reshape", ["p", "t"], "y", {})], IMAGE,
               {"i": np.array(0), "z": np.array([0]), "m": np.array([-1])}),
         model([*quantize_nodes("xd", "x"), *CONV, *quantize_nodes("y", "c")], (1, 3, 20, 16), CONSTANTS)]


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(SEEDS) - 1), st.integers(0, 2**32 - 1))
def test_mutated_bytes_end_in_a_graph_or_a_sentence(seed: int, chance: int) -> None:
    generator = random.Random(chance)
    data = bytearray(SEEDS[seed])
    for _ in range(generator.choice([1, 1, 3, 10])):
        place = generator.randrange(len(data))
        action = generator.randrange(3)
        if action == 0:
            data[place] = generator.randrange(256)
        elif action == 1:
            del data[place : place + generator.choice([1, 4, 20])]
        else:
            data[place:place] = data[generator.randrange(len(data)):][:generator.choice([1, 8])]
        if not data:
            break
    try:
        load_onnx(bytes(data), "mutated")
    except EdgecompressError as error:
        assert "\n" not in error.message
