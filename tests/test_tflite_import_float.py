"""Every float operator of the TFLite importer against the float kernels of the tflite-micro interpreter, or numpy where it has none."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from math import erf

import numpy as np
import pytest
from tools import require_tool

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.float_run import run_tensors
from edgecompress.frontend.tflite import OPERATORS, load_tflite

AVAILABLE = find_spec("tflite_micro") is not None
if AVAILABLE:
    from tflite_files import File, interpret
    from tflite_writer import schema

SAMPLES = 3
IMAGE = (1, 7, 6, 4)
Function = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(autouse=True)
def _interpreter() -> None:
    require_tool("tflite-micro", AVAILABLE)


def check(data: bytes, expected: Function | None = None, low: float = -2.0, high: float = 2.0) -> FloatGraph:
    """Asserts that the outputs agree with tflite-micro's, or with `expected` (of x with its batch)."""
    graph = load_tflite(data, "model")
    assert isinstance(graph, FloatGraph)
    x = np.random.default_rng(0).uniform(low, high, (SAMPLES, *graph.shapes[graph.input])).astype(np.float32)
    actual = run_tensors(graph, x, graph.outputs)
    for position, name in enumerate(graph.outputs):
        for sample in range(SAMPLES):
            one = x[sample : sample + 1]
            wanted = interpret(data, [[one]])[0][position] if expected is None else expected(one)
            assert np.ptp(wanted) > 0
            np.testing.assert_allclose(actual[name][sample].reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
    return graph


def one(builtin: str, source: tuple[int, ...], output: tuple[int, ...], *constants: np.ndarray, **options: object) -> bytes:
    """One operator on a float input with constants behind it."""
    file = File()
    x = file.input(source, "float32")
    y = file.tensor(output, "float32", name="the output")
    file.operator(builtin, [x, *(file.constant(values) for values in constants)], y, **options)
    return file.data(y)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize("fused", [0, 1, 2, 3])
@pytest.mark.parametrize("same", [True, False])
def test_layers(fused: int, same: bool) -> None:
    out = (4, 3) if same else (3, 2)
    options = {"padding": int(not same), "strideH": 2, "strideW": 2, "fusedActivationFunction": fused}
    check(one("CONV_2D", IMAGE, (1, *out, 5), random(5, 3, 3, 4), random(5), **options))
    check(one("DEPTHWISE_CONV_2D", IMAGE, (1, *out, 8), random(1, 3, 3, 8), random(8), depthMultiplier=2, **options))
    check(one("FULLY_CONNECTED", IMAGE, (1, 5), random(5, 168), random(5), fusedActivationFunction=fused))
    check(one("FULLY_CONNECTED", (1, 7, 24), (1, 7, 5), random(5, 24), keepNumDims=True, fusedActivationFunction=fused))
    for pool in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        check(one(pool, IMAGE, (1, *out, 4), filterHeight=3, filterWidth=3, **options), high=0.7 if fused == 2 else 2.0)


def test_grouped_convolution_without_bias() -> None:
    weights = random(6, 1, 1, 2)

    def expected(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[..., :2] @ weights[:3, 0, 0].T, x[..., 2:] @ weights[3:, 0, 0].T], axis=-1)

    check(one("CONV_2D", IMAGE, (1, 7, 6, 6), weights, padding=1, strideH=1, strideW=1), expected)


def test_weights_may_be_float16_or_int8() -> None:
    """mediapipe's files keep float16 behind DEQUANTIZE, dynamic-range files int8 with one scale a channel."""
    weights = random(5, 168).astype(np.float16)
    file = File()
    x, half = file.input(IMAGE, "float32"), file.constant(weights)
    full, y = file.tensor((5, 168), "float32"), file.tensor((1, 5), "float32")
    file.operator("DEQUANTIZE", [half], full)
    file.operator("FULLY_CONNECTED", [x, full], y)
    graph = check(file.data(y), lambda x: x.reshape(1, -1) @ weights.astype(np.float32).T)
    assert "float16" in graph.metadata["tflite"]["weights_stored_as"]

    codes, scales = np.random.default_rng(0).integers(-127, 128, (5, 168)).astype(np.int8), np.linspace(0.001, 0.01, 5).astype(np.float32)
    file = File()
    x, w = file.input(IMAGE, "float32"), file.constant(codes, scale=scales)
    y = file.tensor((1, 5), "float32")
    file.operator("FULLY_CONNECTED", [x, w], y)
    check(file.data(y), lambda x: x.reshape(1, -1) @ (codes * scales[:, None]).T)


@pytest.mark.parametrize("builtin", ["ADD", "SUB", "MUL", "DIV"])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 1, 1, 4)], ids=str)
@pytest.mark.parametrize("fused", [0, 3])
def test_arithmetic_with_constants(builtin: str, shape: tuple[int, ...], fused: int) -> None:
    constant = np.full(shape, 1.7, np.float32) * (np.arange(1, 5, dtype=np.float32).reshape(shape) if shape and shape[-1] == 4 else 1)
    function = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide}[builtin]
    for swapped in (False, True):
        if swapped and builtin == "DIV":
            continue
        file = File()
        x, c, y = file.input(IMAGE, "float32"), file.constant(np.asarray(constant, np.float32)), file.tensor(IMAGE, "float32")
        file.operator(builtin, [c, x] if swapped else [x, c], y, fusedActivationFunction=fused)

        def expected(x: np.ndarray, swapped: bool = swapped) -> np.ndarray:
            result = function(constant, x) if swapped else function(x, constant)
            return np.clip(result, 0, 6) if fused else result

        check(file.data(y), expected)


@pytest.mark.parametrize("builtin", ["ADD", "SUB", "MUL"])
def test_arithmetic_of_two_tensors(builtin: str) -> None:
    file = File()
    x = file.input(IMAGE, "float32")
    square, y = file.tensor(IMAGE, "float32"), file.tensor(IMAGE, "float32")
    file.operator("SQUARE", [x], square)
    file.operator(builtin, [x, square], y, fusedActivationFunction=1)
    check(file.data(y))


def test_product_with_one_computed_value_a_channel() -> None:
    file = File()
    x = file.input(IMAGE, "float32")
    mean, y = file.tensor((1, 1, 1, 4), "float32"), file.tensor(IMAGE, "float32")
    file.operator("MEAN", [x, file.constant(np.array([1, 2], np.int32))], mean, keepDims=True)
    file.operator("MUL", [mean, x], y)
    check(file.data(y))


@pytest.mark.parametrize(("source", "axes", "output"), [
    (IMAGE, (1, 2), (1, 4)), (IMAGE, (1, 2), (1, 1, 1, 4)), (IMAGE, (3,), (1, 7, 6)), (IMAGE, (2,), (1, 7, 4)), ((1, 9, 3), (-2,), (1, 3)),
])
def test_means(source: tuple[int, ...], axes: tuple[int, ...], output: tuple[int, ...]) -> None:
    check(one("MEAN", source, output, np.array(axes, np.int32), keepDims=len(source) == len(output)))


UNARY: dict[str, tuple[Function, float, dict]] = {
    "LOGISTIC": (lambda x: 1 / (1 + np.exp(-x)), -4, {}),
    "TANH": (np.tanh, -4, {}),
    "ELU": (lambda x: np.where(x < 0, np.expm1(x), x), -4, {}),
    "HARD_SWISH": (lambda x: x * np.clip(x + 3, 0, 6) / 6, -4, {}),
    "ABS": (np.abs, -4, {}),
    "LEAKY_RELU": (lambda x: np.where(x < 0, 0.3 * x, x), -4, {"alpha": 0.3}),
    "RELU": (lambda x: np.maximum(x, 0), -4, {}),
    "RELU6": (lambda x: np.clip(x, 0, 6), -4, {}),
    "RELU_N1_TO_1": (lambda x: np.clip(x, -1, 1), -4, {}),
    "GELU": (lambda x: 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2))), -4, {}),
    "SQUARE": (np.square, -4, {}),
    "NEG": (np.negative, -4, {}),
    "EXP": (np.exp, -4, {}),
    "LOG": (np.log, 0.1, {}),
    "SQRT": (np.sqrt, 0.1, {}),
    "RSQRT": (lambda x: 1 / np.sqrt(x), 0.1, {}),
    "SIN": (np.sin, -4, {}),
    "COS": (np.cos, -4, {}),
    "SIGN": (np.sign, -4, {}),
    "FLOOR": (np.floor, -4, {}),
    "CEIL": (np.ceil, -4, {}),
    "ROUND": (np.rint, -4, {}),
}


@pytest.mark.parametrize("builtin", UNARY)
def test_unary_operators(builtin: str) -> None:
    function, low, options = UNARY[builtin]
    check(one(builtin, (1, 50), (1, 50), **options), function, low, 8.0)


def test_approximate_gelu_and_a_slope_above_one() -> None:
    check(one("GELU", (1, 50), (1, 50), approximate=True), lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), -4, 4)
    check(one("LEAKY_RELU", (1, 50), (1, 50), alpha=1.5), lambda x: np.where(x < 0, 1.5 * x, x), -4, 4)


@pytest.mark.parametrize(("builtin", "function"), [("MINIMUM", np.minimum), ("MAXIMUM", np.maximum)])
def test_bounds(builtin: str, function: Callable[[np.ndarray, float], np.ndarray]) -> None:
    check(one(builtin, (1, 50), (1, 50), np.array([0.5], np.float32)), lambda x: function(x, 0.5))


@pytest.mark.parametrize(("source", "amounts"), [
    ((1, 4, 5, 2), ((0, 0), (1, 2), (3, 0), (0, 0))), ((1, 4, 5, 3), ((0, 0), (0, 0), (0, 0), (1, 2))), ((1, 9), ((0, 0), (4, 8))),
    ((1, 4, 5, 3), ((0, 0), (1, 0), (0, 1), (2, 2))), ((1, 4, 3), ((0, 0), (0, 0), (0, 0))),
])
@pytest.mark.parametrize("builtin", ["PAD", "PADV2", "REFLECT", "SYMMETRIC"])
def test_padding(builtin: str, source: tuple[int, ...], amounts: tuple[tuple[int, int], ...]) -> None:
    output = tuple(size + sum(pair) for size, pair in zip(source, amounts, strict=True))
    table = np.array(amounts, np.int32)
    if builtin == "PAD":
        check(one("PAD", source, output, table), lambda x: np.pad(x, amounts))
    elif builtin == "PADV2":
        check(one("PADV2", source, output, table, np.array([1.5], np.float32)), lambda x: np.pad(x, amounts, constant_values=1.5))
    else:
        mode = ["REFLECT", "SYMMETRIC"].index(builtin)
        check(one("MIRROR_PAD", source, output, table, mode=mode), lambda x: np.pad(x, amounts, mode=builtin.lower()))


def test_moves() -> None:
    check(one("RESHAPE", IMAGE, (1, 168), np.array([1, 168], np.int32)))
    check(one("RESHAPE", IMAGE, (42, 4), np.array([42, 4], np.int32)), lambda x: x.reshape(42, 4))
    check(one("SQUEEZE", (1, 4, 1, 3), (1, 4, 3), squeezeDims=[2]))
    check(one("EXPAND_DIMS", (1, 4, 3), (1, 4, 1, 3), np.array([2], np.int32)))
    check(one("TRANSPOSE", IMAGE, (1, 4, 7, 6), np.array([0, 3, 1, 2], np.int32)))
    check(one("TRANSPOSE", (1, 4, 1, 3), (1, 1, 4, 3), np.array([0, 2, 1, 3], np.int32)))
    ends = [np.array(values, np.int32) for values in ((0, 1, 0, 0), (1, 6, 6, 4), (1, 2, 1, 1))]
    check(one("STRIDED_SLICE", IMAGE, (1, 3, 6, 4), *ends))
    ends = [np.array(values, np.int32) for values in ((0, 5, 0, 0), (1, 1, 6, 4), (1, -2, 1, 1))]
    check(one("STRIDED_SLICE", IMAGE, (1, 2, 6, 4), *ends), lambda x: x[:, 5:1:-2])
    check(one("RESIZE_NEAREST_NEIGHBOR", (1, 3, 4, 2), (1, 6, 12, 2), np.array([6, 12], np.int32)), lambda x: x.repeat(2, 1).repeat(3, 2))


def test_parts() -> None:
    check(one("SLICE", IMAGE, (1, 3, 6, 2), np.array([0, 2, 0, 1], np.int32), np.array([1, 3, -1, 2], np.int32)))
    for builtin in ("SPLIT", "SPLIT_V", "UNPACK"):
        file = File()
        x = file.input(IMAGE, "float32")
        shapes = {"SPLIT": [(1, 7, 3, 4)] * 2, "SPLIT_V": [(1, 7, 2, 4), (1, 7, 4, 4)], "UNPACK": [(1, 7, 4)] * 6}[builtin]
        outputs = [file.tensor(shape, "float32") for shape in shapes]
        axis, sizes = file.constant(np.array(2, np.int32)), file.constant(np.array([2, -1], np.int32))
        inputs = {"SPLIT": [axis, x], "SPLIT_V": [x, sizes, axis], "UNPACK": [x]}[builtin]
        file.operator(builtin, inputs, outputs, version=2, **{"UNPACK": {"axis": 2, "num": 6}}.get(builtin, {"numSplits": 2}))
        check(file.data(*outputs))


def test_joins() -> None:
    for builtin, axis, shape in (("CONCATENATION", 3, (1, 7, 6, 8)), ("CONCATENATION", -3, (1, 14, 6, 4)), ("PACK", 1, (1, 2, 7, 6, 4)),
                                 ("PACK", -1, (1, 7, 6, 4, 2))):
        file = File()
        x = file.input(IMAGE, "float32")
        square, y = file.tensor(IMAGE, "float32"), file.tensor(shape, "float32")
        file.operator("SQUARE", [x], square)
        file.operator(builtin, [square, x], y, axis=axis, **({"valuesCount": 2} if builtin == "PACK" else {}))
        join = np.stack if builtin == "PACK" else np.concatenate
        check(file.data(y), lambda x, join=join, axis=axis: join([x * x, x], axis=axis))


@pytest.mark.parametrize("shape", [(1, 10), (1, 5, 10), (1, 3, 4, 10)], ids=str)
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_softmax(shape: tuple[int, ...], beta: float) -> None:
    check(one("SOFTMAX", shape, shape, beta=beta))


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 3, 4, 4)], ids=str)
def test_batch_matmul(shape: tuple[int, ...], transposed: tuple[bool, bool]) -> None:
    file = File()
    x = file.input(shape, "float32")
    square, y = file.tensor(shape, "float32"), file.tensor(shape, "float32")
    file.operator("SQUARE", [x], square)
    file.operator("BATCH_MATMUL", [x, square], y, adjX=transposed[0], adjY=transposed[1])

    def expected(x: np.ndarray) -> np.ndarray:
        left, right = (matrix.swapaxes(-1, -2) if flag else matrix for matrix, flag in zip((x, x * x), transposed, strict=True))
        return left @ right

    check(file.data(y), expected)


def test_several_outputs() -> None:
    file = File()
    x = file.input(IMAGE, "float32")
    a, b = file.tensor(IMAGE, "float32"), file.tensor(IMAGE, "float32")
    file.operator("TANH", [x], a)
    file.operator("LOGISTIC", [a], b)
    assert len(check(file.data(b, a)).outputs) == 2


@pytest.mark.parametrize(("make", "parts"), [
    (lambda: one("REDUCE_MAX", IMAGE, (1, 4)), ("operator 0 (REDUCE_MAX)", "'the output'", "outside the model")),
    (lambda: one("DIV", IMAGE, IMAGE, np.zeros(1, np.float32)), ("divides by a constant that is 0",)),
    (lambda: one("MUL", IMAGE, IMAGE, np.ones((7, 1, 1), np.float32)), ("one number, or one a channel",)),
    (lambda: one("FULLY_CONNECTED", IMAGE, (1, 5), np.full((5, 168), np.nan, np.float32)), ("NaN or infinite",)),
    (lambda: one("FULLY_CONNECTED", IMAGE, (1, 5), random(5, 160)), ("rows of 160",)),
    (lambda: one("MEAN", IMAGE, (1, 4), np.array([9], np.int32)), ("axis 9",)),
])
def test_what_is_not_supported_ends_in_one_sentence(make: Callable[[], bytes], parts: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        load_tflite(make(), "model")
    assert "\n" not in caught.value.message
    for part in parts:
        assert part in caught.value.message


def test_two_inputs_are_refused() -> None:
    file = File()
    a, b, y = file.input(IMAGE, "float32"), file.input(IMAGE, "float32"), file.tensor(IMAGE, "float32")
    file.operator("ADD", [a, b], y)
    with pytest.raises(ModelError, match="has 2 inputs; supported is one"):
        load_tflite(file.data(y), "model")


def test_every_float_operator_is_tested_here() -> None:
    source = (__import__("pathlib").Path(__file__)).read_text()
    assert not [name for name, support in OPERATORS.items() if support.float32 and f'"{name}"' not in source]
    assert schema.BuiltinOperator.ADD == 0
