"""ONNX float models: every operator agrees with onnxruntime, before and after the passes, and quantizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.quantize.structure import quantize_structure
from edgecompress.errors import ModelError
from edgecompress.frontend.onnx import load_onnx
from edgecompress.frontend.passes import prepare, prepare_float
from edgecompress.ir.reference import run_all

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_cases import Node, check_float, compare_float, floats, graph_input, model, onnxruntime_outputs, rng

IMAGE = (1, 4, 8, 6)


def one(operator: str, attributes: dict[str, Any] | None = None, *constants: np.ndarray) -> tuple[list[Node], dict[str, np.ndarray]]:
    """A node that reads x and constants."""
    names = [f"c{index}" for index in range(len(constants))]
    return [(operator, ["x", *names], "y", attributes or {})], dict(zip(names, constants, strict=True))


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((8, 4, 3, 3), IMAGE, {"pads": [1, 1, 1, 1]}),
    "strided, uneven pads": ((8, 4, 3, 2), IMAGE, {"strides": [2, 1], "pads": [0, 1, 2, 0]}),
    "dilated": ((8, 4, 3, 3), IMAGE, {"dilations": [2, 1]}),
    "grouped": ((8, 2, 3, 3), IMAGE, {"group": 2}),
    "depthwise": ((4, 1, 3, 3), IMAGE, {"group": 4, "pads": [1, 1, 1, 1]}),
    "depth multiplier": ((8, 1, 3, 3), IMAGE, {"group": 4}),
    "same upper": ((8, 4, 3, 3), IMAGE, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((8, 4, 3, 4), IMAGE, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((8, 4, 3, 3), IMAGE, {"auto_pad": "VALID"}),
    "1-D": ((8, 4, 5), (1, 4, 20), {"pads": [2, 1], "strides": [2], "dilations": [2]}),
    "1-D depthwise": ((4, 1, 5), (1, 4, 20), {"group": 4}),
    "one channel": ((3, 1, 3, 3), (1, 1, 8, 6), {}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions(case: str, bias: bool) -> None:
    weights, shape, attributes = CONVOLUTIONS[case]
    nodes, constants = one("Conv", attributes, floats(*weights), *([floats(weights[0], seed=2)] if bias else []))
    graph = check_float(model(nodes, shape, constants), shape)
    assert len(prepare(graph).nodes) == 1, "channels-first becomes channels-last without moving anything"


def test_an_image_reaches_a_dense_layer_with_its_weights_in_memory_order() -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {"pads": [1, 1, 1, 1]}), ("Relu", ["a"], "b", {}), ("Flatten", ["b"], "c", {}),
                         ("Gemm", ["c", "v", "u"], "d", {"transB": 1, "alpha": 0.5, "beta": 2.0}), ("MatMul", ["d", "m"], "e", {}),
                         ("Add", ["e", "n"], "y", {})]
    constants = {"w": floats(3, 4, 3, 3), "v": floats(7, 144), "u": floats(7), "m": floats(7, 5), "n": floats(5)}
    graph = check_float(model(nodes, IMAGE, constants), IMAGE)
    assert [node.kind for node in prepare(graph).nodes] == ["conv2d", "reshape", "dense", "dense"]


@pytest.mark.parametrize("attributes", [{"transA": 1}, {"transB": 1, "transA": 1}, {}])
def test_products_with_several_rows(attributes: dict[str, int]) -> None:
    rows = (5, 3) if attributes.get("transA") else (3, 5)
    weights = (4, 5) if attributes.get("transB") else (5, 4)
    nodes, constants = one("Gemm", attributes, floats(*weights), floats(4))
    check_float(model(nodes, rows, constants), rows)


def test_matrix_products_of_higher_rank_and_from_the_left() -> None:
    nodes, constants = one("MatMul", {}, floats(6, 5))
    check_float(model(nodes, (1, 3, 4, 6), constants), (1, 3, 4, 6))
    nodes = [("MatMul", ["w", "x"], "y", {})]
    check_float(model(nodes, (1, 3, 4, 6), {"w": floats(5, 4)}), (1, 3, 4, 6))
    nodes = [("Transpose", ["x"], "t", {"perm": [0, 2, 1]}), ("MatMul", ["t", "w"], "y", {})]
    check_float(model(nodes, (1, 6, 7), {"w": floats(6, 5)}), (1, 6, 7))


ATTENTION = [("Reshape", ["x", "split"], "s", {}), ("Transpose", ["s"], "q", {"perm": [0, 2, 1, 3]}), ("Transpose", ["s"], "k", {"perm": [0, 2, 3, 1]}),
             ("MatMul", ["q", "k"], "scores", {}), ("Mul", ["scores", "factor"], "scaled", {}), ("Softmax", ["scaled"], "weights", {"axis": -1}),
             ("MatMul", ["weights", "q"], "mixed", {}), ("Transpose", ["mixed"], "back", {"perm": [0, 2, 1, 3]}), ("Reshape", ["back", "whole"], "y", {})]


def test_attention() -> None:
    """Two heads; the factor between product and softmax becomes part of the product."""
    constants = {"split": np.array([1, 6, 2, 4]), "whole": np.array([1, 6, 8]), "factor": np.float32(0.5)}
    graph = check_float(model(ATTENTION, (1, 6, 8), constants), (1, 6, 8))
    kinds = [node.kind for node in prepare(graph).nodes if node.kind != "reshape"]
    assert kinds == ["transpose", "batch_matmul", "softmax", "batch_matmul", "transpose"]
    (factor, one) = (node.attributes["factor"] for node in prepare(graph).nodes if node.kind == "batch_matmul")
    assert (factor, one) == (0.5, 1.0)


@pytest.mark.parametrize(("shape", "nodes", "words"), [
    ((2, 3, 4), [("ReduceMean", ["x"], "m", {"axes": [0], "keepdims": 1}), ("MatMul", ["x", "m"], "y", {})], "must be equal"),
    ((1, 3, 4), [("MatMul", ["x", "x"], "y", {})], "inner sizes"),
])
def test_products_that_do_not_fit(shape: tuple[int, ...], nodes: list[Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_float(model(nodes, shape, {}), shape)


UNARY: dict[str, dict[str, Any]] = {
    "Relu": {}, "LeakyRelu": {"alpha": 0.2}, "Elu": {"alpha": 0.7}, "Selu": {}, "Celu": {"alpha": 1.5}, "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "HardSwish": {}, "Sigmoid": {}, "Tanh": {}, "Softplus": {}, "Softsign": {}, "ThresholdedRelu": {"alpha": 0.5}, "Erf": {}, "Abs": {}, "Exp": {},
    "Sin": {},
    "Cos": {}, "Sign": {}, "Floor": {}, "Ceil": {}, "Round": {}, "Neg": {}, "Identity": {}, "Dropout": {}, "Reciprocal": {}, "Sqrt": {}, "Log": {},
    "Mish": {}, "Gelu": {}, "Gelu tanh": {"approximate": "tanh"},
}


@pytest.mark.parametrize("operator", UNARY)
@pytest.mark.parametrize("shape", [(1, 12), (1, 3, 4, 5)])
def test_functions_of_one_number(operator: str, shape: tuple[int, ...]) -> None:
    name = operator.split()[0]
    nodes, _ = one(name, UNARY[operator])
    nodes = [("Add", ["x", "zero"], "a", {}), (name, ["a"], "y", UNARY[operator])]
    positive = name in ("Reciprocal", "Sqrt", "Log")
    opset = 20 if name in ("Gelu", "Mish") else 17
    check_float(model(nodes, shape, {"zero": np.float32(0.0)}, opset=opset), shape, low=0.2 if positive else -3.0)


@pytest.mark.parametrize(("operator", "domain"), [("Gelu", "com.microsoft"), ("QuickGelu", "com.microsoft")])
def test_functions_of_onnxruntimes_domain(operator: str, domain: str) -> None:
    check_float(model([(f"{domain}::{operator}", ["x"], "y", {})], (1, 12), domains=[domain]), (1, 12))


@pytest.mark.parametrize("exponent", [2.0, 0.5, 3.0, -1.0])
def test_powers(exponent: float) -> None:
    nodes, constants = one("Pow", {}, np.array(exponent, np.float32))
    check_float(model(nodes, (1, 12), constants), (1, 12), low=0.3)


PATTERNS: dict[str, tuple[list[Node], dict[str, Any], str | None]] = {
    "hardswish of paddle": ([("Add", ["a", "three"], "b", {}), ("Clip", ["b", "zero", "six"], "c", {}), ("Mul", ["a", "c"], "d", {}),
                             ("Div", ["d", "six"], "y", {})],
                            {"three": 3.0, "zero": 0.0, "six": 6.0}, "hardswish"),
    "gelu with erf": ([("Div", ["a", "root"], "b", {}), ("Erf", ["b"], "c", {}), ("Add", ["c", "one"], "d", {}), ("Mul", ["a", "d"], "e", {}),
                       ("Mul", ["e", "half"], "y", {})], {"root": 2 ** 0.5, "one": 1.0, "half": 0.5}, "gelu"),
    "silu": ([("Sigmoid", ["a"], "b", {}), ("Mul", ["a", "b"], "y", {})], {}, "silu"),
    "mish": ([("Softplus", ["a"], "b", {}), ("Tanh", ["b"], "c", {}), ("Mul", ["a", "c"], "y", {})], {}, None),
    "silu by division": ([("Neg", ["a"], "b", {}), ("Exp", ["b"], "c", {}), ("Add", ["c", "one"], "d", {}),
                          ("Div", ["a", "d"], "y", {})], {"one": 1.0}, "silu"),
    "x + relu(x)": ([("Relu", ["a"], "b", {}), ("Sub", ["a", "b"], "y", {})], {}, None),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_written_out_functions_become_one_node(pattern: str) -> None:
    nodes, numbers, function = PATTERNS[pattern]
    first: list[Node] = [("Conv", ["x", "w"], "a", {})]
    constants = {"w": floats(5, 4, 1, 1), **{name: np.array(value, np.float32) for name, value in numbers.items()}}
    graph = prepare(check_float(model(first + nodes, IMAGE, constants), IMAGE, tolerance=1e-4))
    assert [node.kind for node in graph.nodes] == ["conv2d", "unary"]
    assert graph.nodes[1].attributes["function"] == (function or "expression")


def test_a_hard_sigmoid_by_hand_needs_no_node() -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {}), ("Mul", ["a", "sixth"], "b", {}), ("Add", ["b", "half"], "c", {}),
                         ("Clip", ["c", "zero", "one"], "y", {})]
    numbers = {"sixth": 1 / 6, "half": 0.5, "zero": 0.0, "one": 1.0}
    data = model(nodes, IMAGE, {"w": floats(5, 4, 1, 1), **{name: np.array(value, np.float32) for name, value in numbers.items()}})
    assert [node.kind for node in prepare(check_float(data, IMAGE)).nodes] == ["conv2d"], "an affine step and a clamp are part of the layer"


def test_a_shared_part_of_a_pattern_stays_for_its_other_reader() -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {}), ("Sigmoid", ["a"], "b", {}), ("Mul", ["a", "b"], "c", {}), ("Conv", ["b", "v"], "d", {}),
                         ("Add", ["c", "d"], "y", {})]
    graph = check_float(model(nodes, IMAGE, {"w": floats(4, 4, 1, 1), "v": floats(4, 4, 1, 1)}), IMAGE)
    assert [node.kind for node in prepare(graph).nodes] == ["conv2d", "unary", "mul", "conv2d", "add"]


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 17, 21])
def test_clip_in_every_operator_set(opset: int) -> None:
    if opset < 11:
        nodes, constants = one("Clip", {"min": -0.5, "max": 1.5})
    else:
        nodes, constants = one("Clip", {}, np.array(-0.5, np.float32), np.array(1.5, np.float32))
    nodes = [("Add", ["x", "x"], "a", {}), (nodes[0][0], ["a", *nodes[0][1][1:]], "y", nodes[0][3])]
    check_float(model(nodes, (1, 12), constants, opset=opset), (1, 12))


def test_clip_with_one_bound_and_min_max() -> None:
    low = np.array(-0.5, np.float32)
    check_float(model([("Clip", ["x", "", "c"], "y", {})], (1, 12), {"c": low}), (1, 12))
    check_float(model([("Max", ["x", "c"], "y", {})], (1, 12), {"c": low}), (1, 12))
    check_float(model([("Min", ["c", "x"], "y", {})], (1, 12), {"c": low}), (1, 12))


CONSTANTS = [(), (1,), (4, 1, 1), (1, 4, 1, 1), (6,), (8, 6), (4, 8, 6), (1, 1, 8, 1), (4, 8, 1)]


@pytest.mark.parametrize("shape", CONSTANTS)
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("first", [True, False])
def test_constants_beside_tensors(operator: str, shape: tuple[int, ...], first: bool) -> None:
    constant = np.abs(floats(*shape)) + np.float32(0.5)
    for wrapped in (False, True):
        nodes: list[Node] = [("Conv", ["x", "w"], "a", {})] if wrapped else [("Relu", ["x"], "r", {}), ("Add", ["r", "one"], "a", {})]
        positive = operator == "Div" and first and wrapped  # a convolution's result comes near 0
        nodes += [("Abs", ["a"], "p", {}), ("Add", ["p", "one"], "q", {})] if positive else []
        nodes.append((operator, ["c", nodes[-1][2]] if first else [str(nodes[-1][2]), "c"], "y", {}))
        constants = {"c": constant, "w": floats(4, 4, 1, 1), "one": np.float32(1.0)}
        check_float(model(nodes, IMAGE, constants), IMAGE)


@pytest.mark.parametrize("other", [(1, 4, 8, 6), (1, 4, 1, 1), (1, 4, 1, 6), (1, 1, 8, 6), (1, 1, 1, 1)])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
def test_two_tensors(operator: str, other: tuple[int, ...]) -> None:
    axes = [axis for axis, (size, full) in enumerate(zip(other, IMAGE, strict=True)) if size != full]
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {}), ("Sigmoid", ["x"], "s", {})]
    nodes += [("ReduceMax", ["s"], "b", {"axes": axes})] if axes else [("Identity", ["s"], "b", {})]
    for order in (["a", "b"], ["b", "a"]):
        check_float(model([*nodes, (operator, order, "y", {})], IMAGE, {"w": floats(4, 4, 1, 1)}), IMAGE)


def test_squeeze_and_excite_stays_small() -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {}), ("GlobalAveragePool", ["a"], "b", {}), ("Conv", ["b", "v"], "c", {}),
                         ("HardSigmoid", ["c"], "d", {}),
                         ("Mul", ["a", "d"], "y", {})]
    graph = check_float(model(nodes, IMAGE, {"w": floats(5, 4, 3, 3), "v": floats(5, 5, 1, 1)}), IMAGE)
    assert [node.kind for node in prepare(graph).nodes] == ["conv2d", "global_average_pool", "conv2d", "unary", "mul"]


@pytest.mark.parametrize("slopes", [(1,), (4, 1, 1)])
def test_prelu(slopes: tuple[int, ...]) -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {}), ("PRelu", ["a", "s"], "y", {})]
    check_float(model(nodes, IMAGE, {"w": floats(4, 4, 1, 1), "s": floats(*slopes)}), IMAGE)


@pytest.mark.parametrize("shape", [IMAGE, (1, 4, 9), (1, 4)])
def test_batch_normalization(shape: tuple[int, ...]) -> None:
    statistics = [floats(4), floats(4, seed=2), floats(4, seed=3), np.abs(floats(4, seed=4)) + 0.1]
    nodes, constants = one("BatchNormalization", {"epsilon": 1e-3}, *statistics)
    check_float(model(nodes, shape, constants), shape)


def test_batch_normalization_after_a_flatten_and_before_a_layer() -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {}), ("Flatten", ["a"], "b", {}), ("BatchNormalization", ["b", "s", "o", "m", "v"], "y", {})]
    constants = {"w": floats(2, 4, 1, 1), "s": floats(96), "o": floats(96, seed=2), "m": floats(96, seed=3), "v": np.abs(floats(96, seed=4)) + 0.1}
    check_float(model(nodes, IMAGE, constants), IMAGE)


POOLS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "max": ("MaxPool", IMAGE, {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    "max 1-D": ("MaxPool", (1, 4, 15), {"kernel_shape": [3], "strides": [2]}),
    "max ceil": ("MaxPool", (1, 4, 8, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max ceil, last window outside": ("MaxPool", (1, 4, 5, 5), {"kernel_shape": [1, 2], "strides": [3, 3], "pads": [0, 1, 0, 1], "ceil_mode": 1}),
    "average": ("AveragePool", IMAGE, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "average, padding counts": ("AveragePool", IMAGE, {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1], "count_include_pad": 1, "strides": [2, 2]}),
    "average same": ("AveragePool", IMAGE, {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "average ceil": ("AveragePool", (1, 4, 8, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "global average": ("GlobalAveragePool", IMAGE, {}),
    "global average 1-D": ("GlobalAveragePool", (1, 4, 15), {}),
    "global max": ("GlobalMaxPool", IMAGE, {}),
}


@pytest.mark.parametrize("case", POOLS)
def test_pools(case: str) -> None:
    operator, shape, attributes = POOLS[case]
    check_float(model([(operator, ["x"], "y", attributes)], shape, opset=19 if operator == "AveragePool" else 17), shape)


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("axes", [[2, 3], [-1], [1], [2], [1, 2, 3], [0], None, [1, 3]])
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions(operator: str, axes: list[int] | None, keep: int) -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {})]
    for opset in (11, 18):
        constants = {"w": floats(5, 4, 1, 1)}
        as_input = opset == 18 or operator == "ReduceSum"
        version = 13 if operator == "ReduceSum" and opset == 11 else opset
        attributes: dict[str, Any] = {"keepdims": keep}
        if axes is not None and as_input:
            constants["axes"] = np.array(axes)
        elif axes is not None:
            attributes["axes"] = axes
        inputs = ["a", "axes"] if "axes" in constants else ["a"]
        check_float(model([*nodes, (operator, inputs, "y", attributes)], IMAGE, constants, opset=version), IMAGE, tolerance=5e-5)


PADS: dict[str, tuple[tuple[int, ...], list[int], str]] = {
    "image": (IMAGE, [0, 0, 1, 2, 0, 0, 0, 3], "constant"),
    "channels, as a cheap shortcut does": (IMAGE, [0, 2, 0, 0, 0, 1, 0, 0], "constant"),
    "features": ((1, 12), [0, 3, 0, 1], "constant"),
    "sequence": ((1, 4, 9), [0, 0, 2, 0, 0, 1], "constant"),
    "all axes": (IMAGE, [0, 1, 1, 1, 0, 1, 1, 1], "constant"),
    "reflect": (IMAGE, [0, 0, 2, 0, 0, 0, 1, 3], "reflect"),
    "edge": ((1, 4, 9), [0, 0, 2, 0, 0, 1], "edge"),
}


@pytest.mark.parametrize("case", PADS)
@pytest.mark.parametrize("opset", [9, 11, 18])
def test_pads(case: str, opset: int) -> None:
    shape, amounts, mode = PADS[case]
    nodes: list[Node] = [("Mul", ["x", "two"], "a", {})]
    constants: dict[str, np.ndarray] = {"two": np.float32(2.0)}
    value = 0.75 if mode == "constant" else 0.0
    if opset < 11:
        nodes.append(("Pad", ["a"], "y", {"pads": amounts, "mode": mode, "value": value}))
    else:
        constants.update(pads=np.array(amounts), value=np.float32(value))
        nodes.append(("Pad", ["a", "pads", "value"], "y", {"mode": mode}))
    check_float(model(nodes, shape, constants, opset=opset), shape)


def test_padding_of_named_axes() -> None:
    constants = {"pads": np.array([1, 0, 2, 3]), "axes": np.array([-1, 2])}
    check_float(model([("Pad", ["x", "pads", "", "axes"], "y", {})], IMAGE, constants, opset=18), IMAGE)


@pytest.mark.parametrize(("shape", "axis", "opset"), [((1, 12), 1, 13), ((1, 12), -1, 11), ((1, 5, 12), 2, 13), ((1, 5, 12), 1, 13), (IMAGE, 1, 13),
                                                      (IMAGE, 3, 17), (IMAGE, 1, 11), ((1, 5, 12), 2, 9)])
def test_softmax(shape: tuple[int, ...], axis: int, opset: int) -> None:
    check_float(model([("Relu", ["x"], "a", {}), ("Softmax", ["a"], "y", {"axis": axis})], shape, opset=opset), shape)


@pytest.mark.parametrize("attributes", [{"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, {},
                                        {"coordinate_transformation_mode": "pytorch_half_pixel"}])
def test_resize_by_whole_factors(attributes: dict[str, str]) -> None:
    nodes: list[Node] = [("Resize", ["x", "", "s"], "y", attributes)]
    check_float(model(nodes, IMAGE, {"s": np.array([1, 1, 2, 3], np.float32)}), IMAGE)
    nodes = [("Resize", ["x", "", "", "s"], "y", attributes)]
    check_float(model(nodes, IMAGE, {"s": np.array([1, 4, 16, 12])}), IMAGE)


def test_upsample_and_old_resize() -> None:
    scales = {"s": np.array([1, 1, 2, 2], np.float32)}
    check_float(model([("Upsample", ["x", "s"], "y", {})], IMAGE, scales, opset=9), IMAGE)
    check_float(model([("Resize", ["x", "s"], "y", {})], IMAGE, scales, opset=10), IMAGE)


VIEWS: dict[str, tuple[tuple[int, ...], list[Node], dict[str, Any]]] = {
    "reshape": ((1, 4, 6), [("Reshape", ["x", "s"], "y", {})], {"s": [0, 3, -1]}),
    "flatten of an image": (IMAGE, [("Conv", ["x", "w"], "a", {}), ("Flatten", ["a"], "y", {})], {}),
    "transpose of an image": (IMAGE, [("Conv", ["x", "w"], "a", {}), ("Transpose", ["a"], "y", {"perm": [0, 2, 3, 1]})], {}),
    "heads of a detector": (IMAGE, [("Conv", ["x", "w"], "a", {}), ("Transpose", ["a"], "b", {"perm": [0, 2, 3, 1]}),
                                    ("Reshape", ["b", "s"], "y", {})],
                            {"s": [1, -1, 2]}),
    "channels shuffled": (IMAGE, [("Conv", ["x", "w"], "a", {}), ("Reshape", ["a", "s"], "b", {}),
                                  ("Transpose", ["b"], "c", {"perm": [0, 2, 1, 3, 4]}),
                                  ("Reshape", ["c", "t"], "d", {}), ("Conv", ["d", "w"], "y", {})], {"s": [1, 2, 2, 8, 6], "t": [1, 4, 8, 6]}),
    "an image of a tensor that is channels last": ((1, 8, 6, 4), [("Transpose", ["x"], "a", {"perm": [0, 3, 1, 2]}),
                                                                  ("Conv", ["a", "w"], "y", {})], {}),
    "squeeze and unsqueeze": ((1, 12), [("Unsqueeze", ["x", "s"], "a", {}), ("Squeeze", ["a", "t"], "y", {})], {"s": [1, 3], "t": [1]}),
    "unsqueeze to an image": ((1, 8, 6), [("Unsqueeze", ["x", "s"], "a", {}), ("Conv", ["a", "w1"], "y", {})], {"s": [1]}),
    "depth to space": ((1, 8, 3, 5), [("Conv", ["x", "w8"], "a", {}), ("DepthToSpace", ["a"], "y", {"blocksize": 2})], {}),
    "depth to space, columns first": ((1, 8, 3, 5), [("Conv", ["x", "w8"], "a", {}),
                                                     ("DepthToSpace", ["a"], "y", {"blocksize": 2, "mode": "CRD"})], {}),
    "space to depth": (IMAGE, [("Conv", ["x", "w"], "a", {}), ("SpaceToDepth", ["a"], "y", {"blocksize": 2})], {}),
    "slice": (IMAGE, [("Conv", ["x", "w"], "a", {}),
                      ("Slice", ["a", "b", "e", "ax", "st"], "y", {})], {"b": [1, -5, 5], "e": [3, 2**62, -100],
                                                                                                        "ax": [1, 2, 3], "st": [1, 2, -2]}),
    "slice of a flattened image": (IMAGE, [("Conv", ["x", "w"], "a", {}), ("Flatten", ["a"], "c", {}), ("Slice", ["c", "b", "e", "ax"], "y", {})],
                                   {"b": [7], "e": [100], "ax": [1]}),
    "gather one": (IMAGE, [("Gather", ["x", "i"], "y", {"axis": 2})], {"i": 3}),
    "gather the last": (IMAGE, [("Gather", ["x", "i"], "y", {"axis": 1})], {"i": -1}),
    "gather some": (IMAGE, [("Gather", ["x", "i"], "y", {"axis": 1})], {"i": [2, 0, 3]}),
    "gather evenly": (IMAGE, [("Gather", ["x", "i"], "y", {"axis": 3})], {"i": [5, 3, 1]}),
    "expand to the same": ((1, 4, 6), [("Relu", ["x"], "a", {}), ("Expand", ["a", "s"], "y", {})], {"s": [1, 1, 6]}),
    "concat of images": (IMAGE, [("Conv", ["x", "w"], "a", {}), ("Relu", ["x"], "b", {}), ("Concat", ["a", "b"], "y", {"axis": 1})], {}),
    "concat in height": (IMAGE, [("Conv", ["x", "w"], "a", {}), ("Relu", ["x"], "b", {}), ("Concat", ["a", "b"], "y", {"axis": -2})], {}),
    "concat of features": ((1, 12), [("Relu", ["x"], "a", {}), ("Concat", ["a", "x"], "y", {"axis": 1})], {}),
    "concat of sequences": ((1, 4, 9), [("Relu", ["x"], "a", {}), ("Concat", ["a", "x"], "y", {"axis": 1})], {}),
    "cast": ((1, 12), [("Cast", ["x"], "a", {"to": 1}), ("Relu", ["a"], "y", {})], {}),
    "sum": ((1, 12), [("Relu", ["x"], "a", {}), ("Sum", ["x", "a", "x"], "y", {})], {}),
}


@pytest.mark.parametrize("case", VIEWS)
def test_views(case: str) -> None:
    shape, nodes, numbers = VIEWS[case]
    constants = {"w": floats(4, 4, 1, 1), "w1": floats(3, 1, 3, 3), "w8": floats(8, 8, 1, 1)}
    constants.update({name: np.array(value) for name, value in numbers.items()})
    used = {name for node in nodes for name in node[1]}
    check_float(model(nodes, shape, {name: array for name, array in constants.items() if name in used}), shape)


@pytest.mark.parametrize(("shape", "axis", "sizes", "opset"), [(IMAGE, 1, [1, 3], 13), (IMAGE, 1, [1, 3], 11), ((1, 4, 9), 2, [4, 5], 13),
                                                               ((1, 12), -1, None, 13)])
def test_splits_give_several_outputs(shape: tuple[int, ...], axis: int, sizes: list[int] | None, opset: int) -> None:
    attributes: dict[str, Any] = {"axis": axis}
    constants = {"s": np.array(sizes)} if sizes and opset >= 13 else {}
    if sizes and opset < 13:
        attributes["split"] = sizes
    nodes: list[Node] = [("Relu", ["x"], "a", {}), ("Split", ["a", *constants], ["p", "q"], attributes), ("Sigmoid", ["q"], "r", {})]
    graph = check_float(model(nodes, shape, constants, outputs=("p", "r"), opset=opset), shape)
    assert len(graph.outputs) == 2
    x = rng(3).uniform(-2, 2, (8, *graph.shapes[graph.input])).astype(np.float32)
    quantized = quantize(graph, x)
    assert quantized.outputs == prepare(graph).outputs
    assert quantize_structure(graph).outputs == quantized.outputs


def test_shape_arithmetic_is_computed_now() -> None:
    """What torch's exporter writes for x.view(x.size(0), -1, x.size(2) // 2): and sizes left open by the file."""
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {}), ("Shape", ["a"], "s", {}), ("Gather", ["s", "zero"], "n", {"axis": 0}),
                         ("Gather", ["s", "two"], "h", {"axis": 0}),
                         ("Div", ["h", "two"], "half", {}), ("Unsqueeze", ["n"], "n1", {"axes": [0]}), ("Unsqueeze", ["half"], "h1", {"axes": [0]}),
                         ("Constant", [], "m1", {"value_ints": [-1]}), ("Concat", ["n1", "m1", "h1"], "target", {"axis": 0}),
                         ("Cast", ["target"], "t", {"to": 7}),
                         ("Reshape", ["a", "t"], "y", {})]
    constants = {"w": floats(4, 4, 1, 1), "zero": np.array(0), "two": np.array(2)}
    data = model(nodes, ("N", 4, "height", "width"), constants, opset=12)
    check_float(data, IMAGE, input_shape=(4, 8, 6))


def test_initializers_may_stand_among_the_inputs() -> None:
    import onnx

    nodes, constants = one("Conv", {}, floats(3, 4, 1, 1))
    proto = onnx.ModelProto.FromString(model(nodes, IMAGE, constants))
    proto.graph.input.insert(0, onnx.helper.make_tensor_value_info("c0", 1, [3, 4, 1, 1]))
    graph = load_onnx(proto.SerializeToString(), "case")
    assert graph.input == "x"


def test_outputs_cut_the_graph() -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {}), ("Relu", ["a"], "b", {}), ("NonMaxSuppression", ["b"], "c", {}), ("If", ["c"], "y", {})]
    data = model(nodes, IMAGE, {"w": floats(3, 4, 1, 1)})
    graph = load_onnx(data, "case", outputs=["b"])
    assert graph.outputs == ("b",) and [node.kind for node in prepare(graph).nodes] == ["conv2d"]


def test_the_smallest_network_quantizes_close_to_onnxruntime() -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "a", {"pads": [1, 1, 1, 1], "strides": [2, 2]}), ("HardSwish", ["a"], "b", {}),
                         ("GlobalAveragePool", ["b"], "c", {}),
                         ("Flatten", ["c"], "d", {}), ("Gemm", ["d", "v", "u"], "e", {"transB": 1}), ("Softmax", ["e"], "y", {"axis": 1})]
    data = model(nodes, IMAGE, {"w": floats(16, 4, 3, 3), "v": floats(5, 16), "u": floats(5)})
    graph = load_onnx(data, "case")
    samples = rng(1).uniform(-2, 2, (64, *IMAGE[1:])).astype(np.float32)
    x = np.concatenate([graph_input(graph, sample[None]) for sample in samples])
    quantized = quantize(graph, x, QuantizeConfig(range_method="minmax"))
    codes = run_all(quantized, {quantized.inputs[0]: quantized.tensors[quantized.inputs[0]].quantize(x)})[quantized.outputs[0]]
    real = quantized.tensors[quantized.outputs[0]].dequantize(codes)
    expected = np.concatenate([onnxruntime_outputs(data, sample[None])[0] for sample in samples])
    assert np.abs(real.reshape(expected.shape) - expected).max() < 0.06
    assert (real.reshape(expected.shape).argmax(1) == expected.argmax(1)).mean() > 0.9
    compare_float(graph, data, samples[:1], 2e-5)


@pytest.mark.parametrize("operator", ["LeakyRelu", "HardSigmoid", "ThresholdedRelu"])
def test_backends_that_compute_in_float_get_known_kinds_where_they_can(operator: str) -> None:
    """Parametrised functions become sums, products and clamps there; a step that is none of these stays an expression."""
    graph = check_float(model([(operator, ["x"], "y", UNARY[operator])], IMAGE), IMAGE)
    expressions = [node for node in prepare_float(graph).nodes if node.attributes.get("function") == "expression"]
    assert len(expressions) == (1 if operator == "ThresholdedRelu" else 0)
