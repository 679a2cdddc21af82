"""Every int8 operator of the TFLite importer, with its options, against the bytes of the tflite-micro interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import pytest
from tools import require_tool

from edgecompress.errors import ModelError
from edgecompress.frontend.tflite import OPERATORS, load_tflite
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.reference import run_all

AVAILABLE = find_spec("tflite_micro") is not None
if AVAILABLE:
    from tflite_files import File, interpret
    from tflite_writer import schema

SAMPLES = 4
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
IMAGE = (1, 7, 6, 4)


@pytest.fixture(autouse=True)
def _interpreter() -> None:
    require_tool("tflite-micro", AVAILABLE)


def loaded(data: bytes) -> QuantizedGraph:
    graph = load_tflite(data, "model")
    assert isinstance(graph, QuantizedGraph)
    return graph


def check(data: bytes, seed: int = 0) -> QuantizedGraph:
    """Asserts that our graph computes tflite-micro's bytes on all-low, all-high and random inputs, and that it is not always the same answer."""
    graph = loaded(data)
    generator = np.random.default_rng(seed)
    x = {name: generator.integers(-128, 128, (SAMPLES, *graph.tensors[name].shape)).astype(np.int8) for name in graph.inputs}
    for values in x.values():
        values[0], values[1] = -128, 127
    expected = interpret(data, [[x[name][sample] for name in graph.inputs] for sample in range(SAMPLES)])
    actual = run_all(graph, x)
    for position, name in enumerate(graph.outputs):
        for sample in range(SAMPLES):
            np.testing.assert_array_equal(actual[name][sample].reshape(expected[sample][position].shape), expected[sample][position])
    assert len({values.tobytes() for values in actual[graph.outputs[0]]}) > 1
    return graph


def refused(data: bytes, *parts: str) -> None:
    """Asserts one sentence that holds all of `parts`."""
    with pytest.raises(ModelError) as caught:
        load_tflite(data, "model")
    assert "\n" not in caught.value.message
    for part in parts:
        assert part in caught.value.message


def activation(name: str) -> int:
    return int(getattr(schema.ActivationFunctionType, name))


def weights(file: File, generator: np.random.Generator, shape: Sequence[int], axis: int, per_channel: bool, bias: bool,
            source_scale: float) -> list[int]:
    """Indices of weights (with some -128) and bias."""
    channels = shape[axis]
    scales = generator.uniform(0.002, 0.01, channels if per_channel else 1).astype(np.float32)
    values = file.constant(generator.integers(-128, 128, shape).astype(np.int8), scale=scales, dimension=axis)
    if not bias:
        return [values]
    return [values, file.constant(generator.integers(-3000, 3000, channels).astype(np.int32), scale=np.float32(source_scale) * scales)]


def convolution(builtin: str, *, source: Sequence[int] = IMAGE, kernel: tuple[int, int] = (3, 2), channels: int = 6, stride: tuple[int, int] = (1, 1),
                dilation: tuple[int, int] = (1, 1), same: bool = True, fused: str = "NONE", per_channel: bool = True, bias: bool = True,
                groups: int = 1) -> bytes:
    """A file with one CONV_2D or DEPTHWISE_CONV_2D."""
    generator = np.random.default_rng(len(fused) + channels)
    file = File()
    x = file.input(source, scale=0.05, zero_point=-3)
    out = [-(-size // s) if same else (size - (k - 1) * d - 1) // s + 1 for size, k, s, d in zip(source[1:3], kernel, stride, dilation, strict=True)]
    y = file.tensor((1, *out, channels), scale=0.06, zero_point=5)
    depthwise = builtin == "DEPTHWISE_CONV_2D"
    shape = (1, *kernel, channels) if depthwise else (channels, *kernel, source[3] // groups)
    constants = weights(file, generator, shape, 3 if depthwise else 0, per_channel, bias, 0.05)
    more = {"depthMultiplier": channels // source[3]} if depthwise else {}
    file.operator(builtin, [x, *constants], y, padding=int(not same), strideH=stride[0], strideW=stride[1], dilationHFactor=dilation[0],
                  dilationWFactor=dilation[1], fusedActivationFunction=activation(fused), **more)
    return file.data(y)


@pytest.mark.parametrize("options", [
    {}, {"same": False}, {"stride": (2, 3)}, {"stride": (2, 2), "same": False}, {"dilation": (2, 2)}, {"dilation": (1, 2), "same": False},
    {"per_channel": False}, {"bias": False}, {"kernel": (1, 1)}, {"kernel": (7, 6), "same": False}, {"kernel": (5, 5), "stride": (3, 1)},
    *({"fused": name} for name in ACTIVATIONS[1:]),
], ids=str)
@pytest.mark.parametrize("builtin", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_convolutions(builtin: str, options: dict) -> None:
    check(convolution(builtin, channels=8, **options))


def test_grouped_convolution_and_depth_multiplier() -> None:
    graph = check(convolution("CONV_2D", groups=2, channels=6))
    assert graph.nodes[0].op.groups == 2
    check(convolution("DEPTHWISE_CONV_2D", source=(1, 9, 5, 1), channels=7))


def packed_int4(values: np.ndarray) -> np.ndarray:
    flat = np.append(values.reshape(-1), 0)[: -(-values.size // 2) * 2].astype(np.int16) & 15
    return (flat[::2] | flat[1::2] << 4).astype(np.uint8)


@pytest.mark.parametrize("lowest", [-7, -8])
@pytest.mark.parametrize("builtin", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_int4_weights_stay_int4_unless_they_hold_minus_eight(builtin: str, lowest: int) -> None:
    generator = np.random.default_rng(1)
    file = File()
    x = file.input((1, 5, 5, 3) if builtin != "FULLY_CONNECTED" else (1, 15), scale=0.05, zero_point=-3)
    shape = {"CONV_2D": (5, 3, 3, 3), "DEPTHWISE_CONV_2D": (1, 3, 3, 3), "FULLY_CONNECTED": (7, 15)}[builtin]
    values = generator.integers(lowest, 8, shape)
    values.reshape(-1)[0] = lowest
    axis = 3 if builtin == "DEPTHWISE_CONV_2D" else 0
    scales = generator.uniform(0.02, 0.05, shape[axis] if builtin != "FULLY_CONNECTED" else 1)
    w = file.constant(packed_int4(values), "int4", scale=scales, dimension=axis, shape=shape)
    y = file.tensor((1, 3, 3, shape[axis]) if builtin != "FULLY_CONNECTED" else (1, 7), scale=0.06, zero_point=5)
    spatial = {} if builtin == "FULLY_CONNECTED" else {"padding": 1, "strideH": 1, "strideW": 1}
    bias = file.constant(np.arange(shape[axis], dtype=np.int32) * 40, scale=np.float32(0.05) * scales.astype(np.float32))
    file.operator(builtin, [x, w, bias], y, version=4, **spatial, **({"depthMultiplier": 1} if axis == 3 else {}))
    graph = check(file.data(y))
    assert graph.nodes[0].op.weight_bits == (4 if lowest == -7 else 8)


@pytest.mark.parametrize(("source", "output", "per_channel", "bias", "fused"), [
    ((1, 12), (1, 5), False, True, "NONE"), ((1, 12), (1, 5), True, True, "RELU"), ((1, 12), (1, 5), False, False, "RELU6"),
    ((1, 3, 2, 2), (1, 5), False, True, "RELU_N1_TO_1"), ((1, 6, 12), (6, 5), False, True, "NONE"), ((1, 6, 12), (1, 6, 5), True, True, "RELU"),
    ((1, 2, 3, 12), (1, 2, 3, 5), False, True, "NONE"),
])
def test_fully_connected(source: tuple[int, ...], output: tuple[int, ...], per_channel: bool, bias: bool, fused: str) -> None:
    file = File()
    x = file.input(source, scale=0.05, zero_point=7)
    constants = weights(file, np.random.default_rng(3), (5, 12), 0, per_channel, bias, 0.05)
    y = file.tensor(output, scale=0.06, zero_point=-9)
    file.operator("FULLY_CONNECTED", [x, *constants], y, version=4, keepNumDims=len(output) == len(source), fusedActivationFunction=activation(fused))
    kinds = {node.op.kind for node in check(file.data(y)).nodes}
    assert ("dense" in kinds, "conv2d" in kinds) == (np.prod(source) == 12, np.prod(source) > 12)


def test_fully_connected_with_a_weight_zero_point() -> None:
    generator = np.random.default_rng(4)
    file = File()
    x = file.input((1, 12), scale=0.05, zero_point=7)
    w = file.constant(generator.integers(-100, 100, (5, 12)).astype(np.int8), scale=0.004, zero_point=11)
    y = file.tensor((1, 5), scale=0.06, zero_point=-9)
    file.operator("FULLY_CONNECTED", [x, w, -1], y, version=4)
    check(file.data(y))


@pytest.mark.parametrize("fused", ACTIVATIONS)
@pytest.mark.parametrize("builtin", ["ADD", "MUL"])
def test_sums_and_products_of_equal_shapes(builtin: str, fused: str) -> None:
    file = File()
    a, b = file.input(IMAGE, scale=0.05, zero_point=3), file.input(IMAGE, scale=0.02, zero_point=-90)
    y = file.tensor(IMAGE, scale=0.06, zero_point=-20)
    file.operator(builtin, [a, b], y, version=2, fusedActivationFunction=activation(fused))
    check(file.data(y))


@pytest.mark.parametrize("first", [False, True], ids=["constant second", "constant first"])
@pytest.mark.parametrize("number", [-128, 0, 77])
@pytest.mark.parametrize("builtin", ["ADD", "SUB", "MUL"])
def test_arithmetic_with_one_constant_number(builtin: str, number: int, first: bool) -> None:
    file = File()
    a = file.input((1, 8, 8, 4), scale=0.05, zero_point=3)
    b = file.constant(np.full((1,), number, np.int8), scale=0.031, zero_point=-5)
    y = file.tensor((1, 8, 8, 4), scale=0.07, zero_point=-20)
    file.operator(builtin, [b, a] if first else [a, b], y, version=2, fusedActivationFunction=activation("RELU6"))
    check(file.data(y))


def test_subtraction_over_many_scales() -> None:
    """The factors are float32 quotients there; in double one code in some thousands would differ."""
    generator = np.random.default_rng(0)
    for _ in range(60):
        scales = np.exp(generator.uniform(-6, 0, 3)).astype(np.float32)
        points = generator.integers(-128, 128, 3)
        file = File()
        a = file.input((1, 256), scale=scales[0], zero_point=points[0])
        b = file.constant(generator.integers(-128, 128, 1).astype(np.int8), scale=scales[1], zero_point=points[1])
        y = file.tensor((1, 256), scale=scales[2], zero_point=points[2])
        file.operator("SUB", [a, b], y, version=2)
        data = file.data(y)
        codes = np.arange(-128, 128).astype(np.int8)[None]
        graph = loaded(data)
        np.testing.assert_array_equal(run_all(graph, {graph.inputs[0]: codes})[graph.outputs[0]], interpret(data, [[codes]])[0][0])


@pytest.mark.parametrize("first", [False, True], ids=["image first", "image second"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (1, 1, 4), (1, 4), (4,)], ids=str)
@pytest.mark.parametrize("constant", [False, True], ids=["computed", "constant"])
def test_products_with_one_value_a_channel(shape: tuple[int, ...], constant: bool, first: bool) -> None:
    file = File()
    a = file.input((1, 5, 3, 4), scale=0.05, zero_point=3)
    b = file.constant(np.array([-128, -1, 50, 127], np.int8).reshape(shape), scale=0.02) if constant else file.input(shape, scale=0.02, zero_point=-90)
    y = file.tensor((1, 5, 3, 4), scale=0.02, zero_point=-20)
    file.operator("MUL", [b, a] if first else [a, b], y, version=2)
    check(file.data(y))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("fused", ["NONE", "RELU"])
@pytest.mark.parametrize(("window", "stride"), [((2, 2), (2, 2)), ((3, 2), (1, 2)), ((7, 6), (1, 1))])
@pytest.mark.parametrize("builtin", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pools(builtin: str, window: tuple[int, int], stride: tuple[int, int], fused: str, same: bool) -> None:
    file = File()
    x = file.input(IMAGE, scale=0.05, zero_point=-7)
    out = [-(-size // s) if same else (size - k) // s + 1 for size, k, s in zip(IMAGE[1:3], window, stride, strict=True)]
    y = file.tensor((1, *out, 4), scale=0.05, zero_point=-7)
    file.operator(builtin, [x], y, version=2, padding=int(not same), filterHeight=window[0], filterWidth=window[1], strideH=stride[0],
                  strideW=stride[1], fusedActivationFunction=activation(fused))
    check(file.data(y))


@pytest.mark.parametrize(("source", "axes", "output"), [
    ((1, 5, 6, 3), (1, 2), (1, 1, 1, 3)), ((1, 5, 6, 3), (1, 2), (1, 3)), ((1, 5, 6, 3), (2, 1), (1, 3)), ((1, 30, 3), (1,), (1, 3)),
    ((1, 5, 6, 3), (-3, -2), (1, 3)), ((1, 5, 1, 3), (1,), (1, 1, 3)), ((1, 3, 5, 6), (3,), (1, 3, 5)), ((1, 3, 5, 6), (2, 3), (1, 3)),
    ((1, 5, 6, 3), (2,), (1, 5, 3)), ((1, 12), (1,), (1, 1)), ((1, 5, 6, 3), (1, 2, 3), (1, 1, 1, 1)),
])
@pytest.mark.parametrize("rescaled", [False, True])
def test_means(source: tuple[int, ...], axes: tuple[int, ...], output: tuple[int, ...], rescaled: bool) -> None:
    file = File()
    x = file.input(source, scale=0.05, zero_point=-7)
    y = file.tensor(output, scale=0.031 if rescaled else 0.05, zero_point=4 if rescaled else -7)
    file.operator("MEAN", [x, file.constant(np.array(axes, np.int32))], y, version=2, keepDims=len(source) == len(output))
    check(file.data(y))


@pytest.mark.parametrize(("source", "amounts"), [
    ((1, 4, 3, 2), ((0, 0), (1, 2), (3, 0), (0, 0))), ((1, 4, 3, 2), ((0, 0), (0, 0), (0, 0), (1, 3))),
    ((1, 4, 3, 2), ((0, 0), (1, 0), (0, 1), (2, 0))), ((1, 5, 2), ((0, 0), (2, 1), (0, 0))), ((1, 6), ((0, 0), (2, 1))),
    ((1, 4, 3, 2), ((0, 0), (0, 0), (0, 0), (0, 0))),
])
@pytest.mark.parametrize("builtin", ["PAD", "PADV2"])
def test_constant_padding(builtin: str, source: tuple[int, ...], amounts: tuple[tuple[int, int], ...]) -> None:
    file = File()
    x = file.input(source, scale=0.05, zero_point=-7)
    y = file.tensor([size + sum(pair) for size, pair in zip(source, amounts, strict=True)], scale=0.05, zero_point=-7)
    more = [file.constant(np.array([33], np.int8), scale=0.05, zero_point=-7)] if builtin == "PADV2" else []
    file.operator(builtin, [x, file.constant(np.array(amounts, np.int32)), *more], y, version=2)
    check(file.data(y))


@pytest.mark.parametrize("mode", [0, 1], ids=["REFLECT", "SYMMETRIC"])
@pytest.mark.parametrize(("source", "amounts"), [
    ((1, 4, 5, 2), ((0, 0), (1, 2), (3, 0), (0, 0))), ((1, 4, 5, 3), ((0, 0), (0, 0), (0, 0), (1, 2))), ((1, 9), ((0, 0), (4, 8))),
])
def test_mirror_padding(source: tuple[int, ...], amounts: tuple[tuple[int, int], ...], mode: int) -> None:
    """tflite-micro has no arbiter for all ranks here, numpy's definition is the same."""
    file = File()
    x = file.input(source, scale=0.05, zero_point=-7)
    y = file.tensor([size + sum(pair) for size, pair in zip(source, amounts, strict=True)], scale=0.05, zero_point=-7)
    file.operator("MIRROR_PAD", [x, file.constant(np.array(amounts, np.int32))], y, mode=mode)
    graph = loaded(file.data(y))
    values = np.random.default_rng(0).integers(-128, 128, source).astype(np.int8)
    expected = np.pad(values, amounts, mode=("reflect", "symmetric")[mode])
    actual = run_all(graph, {graph.inputs[0]: values.reshape(1, *graph.tensors[graph.inputs[0]].shape)})[graph.outputs[0]]
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


@pytest.mark.parametrize(("builtin", "source", "target", "extra"), [
    ("RESHAPE", (1, 4, 3, 2), (1, 24), (-1, 24)), ("RESHAPE", (1, 24), (1, 2, 3, 4), (1, 2, 3, 4)), ("RESHAPE", (1, 4, 6), (4, 6), (4, 6)),
    ("SQUEEZE", (1, 4, 1, 6), (1, 4, 6), None), ("EXPAND_DIMS", (1, 4, 6), (1, 4, 1, 6), (2,)),
])
def test_reshapes(builtin: str, source: tuple[int, ...], target: tuple[int, ...], extra: tuple[int, ...] | None) -> None:
    file = File()
    x = file.input(source, scale=0.05, zero_point=-7)
    y = file.tensor(target, scale=0.05, zero_point=-7)
    inputs = [x] if extra is None else [x, file.constant(np.array(extra, np.int32))]
    file.operator(builtin, inputs, y, **({"squeezeDims": [2]} if builtin == "SQUEEZE" else {}))
    graph = check(file.data(y))
    assert all(node.op.kind == "reshape" for node in graph.nodes)


def test_a_shape_that_is_computed_from_fixed_shapes_is_folded() -> None:
    """SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE, as Keras writes flatten."""
    file = File()
    x = file.input((1, 4, 3, 2), scale=0.05, zero_point=-7)
    shape, batch, packed = file.tensor((4,), "int32"), file.tensor((), "int32"), file.tensor((2,), "int32")
    file.operator("SHAPE", [x], shape)
    ends = [file.constant(np.array([value], np.int32)) for value in (0, 1, 1)]
    file.operator("STRIDED_SLICE", [shape, *ends], batch, shrinkAxisMask=1)
    file.operator("PACK", [batch, file.constant(np.array(24, np.int32))], packed, valuesCount=2, axis=0)
    y = file.tensor((1, 24), scale=0.05, zero_point=-7)
    file.operator("RESHAPE", [x, packed], y)
    assert [node.op.kind for node in check(file.data(y)).nodes] == ["reshape"]


@pytest.mark.parametrize("shape", [(1, 10), (1, 3, 10), (1, 2, 3, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("beta", [1.0, 0.37])
def test_softmax(shape: tuple[int, ...], beta: float) -> None:
    file = File()
    x = file.input(shape, scale=0.1, zero_point=-7)
    y = file.tensor(shape, scale=1 / 256, zero_point=-128)
    file.operator("SOFTMAX", [x], y, version=2, beta=beta)
    if shape == (1, 1):
        assert loaded(file.data(y)).nodes[0].op.kind == "softmax"
    else:
        check(file.data(y))


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("leading", [(1,), (1, 3), (1, 1)], ids=str)
def test_batch_matmul(leading: tuple[int, ...], transposed: tuple[bool, bool]) -> None:
    """A tensor by a function of itself: one input."""
    file = File()
    x = file.input((*leading, 5, 5), scale=0.05, zero_point=-7)
    other = file.tensor((*leading, 5, 5), scale=1 / 256, zero_point=-128)
    y = file.tensor((*leading, 5, 5), scale=0.07, zero_point=9)
    file.operator("LOGISTIC", [x], other)
    file.operator("BATCH_MATMUL", [x, other], y, version=2, adjX=transposed[0], adjY=transposed[1])
    assert "batch_matmul" in [node.op.kind for node in check(file.data(y)).nodes]


def test_batch_matmul_with_other_axes_or_a_constant_is_refused() -> None:
    for shape, words in (((1, 1, 5, 5), "equal axes before the last two"), ((1, 3, 5, 5), "is a constant")):
        file = File()
        x = file.input((1, 3, 5, 5), scale=0.05, zero_point=-7)
        y = file.tensor((1, 3, 5, 5), scale=0.07, zero_point=9)
        file.operator("BATCH_MATMUL", [x, file.constant(np.ones(shape, np.int8), scale=0.1, zero_point=3)], y)
        with pytest.raises(ModelError, match=words):
            loaded(file.data(y))


UNARY: dict[str, tuple[float, int] | None] = {
    "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "ELU": None, "HARD_SWISH": None, "ABS": None, "LEAKY_RELU": None, "RELU": None,
}


@pytest.mark.parametrize("builtin", UNARY)
def test_unary_operators_over_many_scales(builtin: str) -> None:
    """Every code of 60 pairs of scales: one entry of a thousand would differ if a table came from the real function."""
    generator = np.random.default_rng(len(builtin))
    tried = 0
    for _ in range(60):
        (scale, out_scale), (point, out_point) = np.exp(generator.uniform(-7, 0, 2)).astype(np.float32), generator.integers(-128, 128, 2)
        file = File()
        x = file.input((1, 256), scale=scale, zero_point=point)
        y = file.tensor((1, 256), scale=(UNARY[builtin] or (out_scale,))[0], zero_point=(UNARY[builtin] or (0, out_point))[1])
        file.operator(builtin, [x], y, **({"alpha": float(generator.uniform(-0.5, 1.2))} if builtin == "LEAKY_RELU" else {}))
        codes = np.arange(-128, 128).astype(np.int8)[None]
        try:
            graph = loaded(file.data(y))
        except ModelError as error:
            assert builtin == "HARD_SWISH" and "output scale" in error.message  # tflite-micro refuses it as well
            continue
        np.testing.assert_array_equal(run_all(graph, {graph.inputs[0]: codes})[graph.outputs[0]], interpret(file.data(y), [[codes]])[0][0])
        tried += 1
    assert tried > 40


@pytest.mark.parametrize(("builtin", "low", "high"), [("RELU6", 0.0, 6.0), ("RELU_N1_TO_1", -1.0, 1.0)])
def test_clamps_as_operators(builtin: str, low: float, high: float) -> None:
    file = File()
    x, y = file.input((1, 256), scale=0.06, zero_point=-20), file.tensor((1, 256), scale=0.06, zero_point=-20)
    file.operator(builtin, [x], y)
    graph = loaded(file.data(y))
    codes = np.arange(-128, 128).astype(np.int8)[None]
    real = np.clip(graph.tensors[graph.inputs[0]].dequantize(codes), low, high)
    np.testing.assert_array_equal(run_all(graph, {graph.inputs[0]: codes})[graph.outputs[0]], graph.tensors[graph.outputs[0]].quantize(real))
    if builtin == "RELU6":
        np.testing.assert_array_equal(run_all(graph, {graph.inputs[0]: codes})[graph.outputs[0]], interpret(file.data(y), [[codes]])[0][0])


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -3])
def test_concatenation(axis: int) -> None:
    file = File()
    shapes = [[1, 3, 4, 5], [1, 3, 4, 5], [1, 3, 4, 5]]
    for position, shape in enumerate(shapes):
        shape[axis] += position
    inputs = [file.input(shape, scale=0.05, zero_point=-7) for shape in shapes]
    total = [1, 3, 4, 5]
    total[axis] = sum(shape[axis] for shape in shapes)
    y = file.tensor(total, scale=0.05, zero_point=-7)
    file.operator("CONCATENATION", inputs, y, version=2, axis=axis)
    check(file.data(y))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_pack(axis: int) -> None:
    file = File()
    inputs = [file.input((1, 3, 4), scale=0.05, zero_point=-7) for _ in range(3)]
    shape = list(np.stack([np.zeros((1, 3, 4))] * 3, axis=axis).shape)
    y = file.tensor(shape, scale=0.05, zero_point=-7)
    file.operator("PACK", inputs, y, version=2, axis=axis, valuesCount=3)
    check(file.data(y))


@pytest.mark.parametrize(("shape", "order"), [
    ((1, 4, 3, 2), (0, 2, 1, 3)), ((1, 4, 3, 2), (0, 3, 1, 2)), ((1, 4, 3, 2), (0, 3, 2, 1)), ((1, 4, 1, 3), (0, 2, 1, 3)), ((1, 4, 3), (0, 2, 1)),
    ((1, 4, 3), (1, 0, 2)), ((1, 4, 3), (2, 1, 0)),
])
def test_transposes(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    file = File()
    x = file.input(shape, scale=0.05, zero_point=-7)
    y = file.tensor([shape[axis] for axis in order], scale=0.05, zero_point=-7)
    file.operator("TRANSPOSE", [x, file.constant(np.array(order, np.int32))], y, version=2)
    graph = check(file.data(y))
    moves = [axis for axis in order if shape[axis] > 1]
    assert ("transpose" in {node.op.kind for node in graph.nodes}) == (moves != sorted(moves))


@pytest.mark.parametrize(("begin", "end", "step", "masks", "output"), [
    ((0, 1, 0, 0), (1, 5, 6, 4), (1, 1, 1, 1), {}, (1, 4, 6, 4)), ((0, 1, 0, 0), (1, 7, 6, 4), (1, 2, 3, 1), {}, (1, 3, 2, 4)),
    ((0, -3, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1), {"endMask": 15}, (1, 3, 6, 4)),
    ((0, 0, 0, 1), (1, 0, 0, 2), (1, 1, 1, 1), {"endMask": 6}, (1, 7, 6, 1)),
    ((0, 0, 5, 0), (1, 7, 0, 4), (1, 1, -2, 1), {}, (1, 7, 3, 4)), ((0, 2, 0, 0), (1, 3, 6, 4), (1, 1, 1, 1), {"shrinkAxisMask": 2}, (1, 6, 4)),
])
def test_strided_slices(begin: tuple[int, ...], end: tuple[int, ...], step: tuple[int, ...], masks: dict, output: tuple[int, ...]) -> None:
    file = File()
    x = file.input(IMAGE, scale=0.05, zero_point=-7)
    y = file.tensor(output, scale=0.05, zero_point=-7)
    file.operator("STRIDED_SLICE", [x, *(file.constant(np.array(values, np.int32)) for values in (begin, end, step))], y, version=2, **masks)
    check(file.data(y))


def test_resize_nearest() -> None:
    file = File()
    x = file.input((1, 3, 4, 2), scale=0.05, zero_point=-7)
    y = file.tensor((1, 6, 12, 2), scale=0.05, zero_point=-7)
    file.operator("RESIZE_NEAREST_NEIGHBOR", [x, file.constant(np.array([6, 12], np.int32))], y, version=2)
    check(file.data(y))


def body(file: File, x: int) -> int:
    """A RELU, so that a model with dropped ends has something in it."""
    y = file.tensor((1, 256), scale=0.03, zero_point=-20)
    return file.operator("RELU", [x], y)


def test_requantize_inside() -> None:
    file = File()
    x = file.input((1, 256), scale=0.05, zero_point=-7)
    y = file.tensor((1, 256), scale=0.03, zero_point=11)
    file.operator("QUANTIZE", [x], y, version=2)
    assert [node.op.kind for node in check(file.data(y)).nodes] == ["requantize"]


def test_float_ends_are_dropped() -> None:
    file = File()
    x, q, z = file.input((1, 256), "float32"), file.tensor((1, 256), scale=0.05, zero_point=-7), file.tensor((1, 256), "float32")
    file.operator("QUANTIZE", [x], q)
    file.operator("DEQUANTIZE", [body(file, q)], z, version=2)
    data = file.data(z)
    graph = loaded(data)
    codes = np.arange(-128, 128).astype(np.int8)[None]
    expected = interpret(data, [[graph.tensors[graph.inputs[0]].dequantize(codes)]])[0][0]
    actual = run_all(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
    np.testing.assert_array_equal(graph.tensors[graph.outputs[0]].dequantize(actual), expected)
    assert [end["side"] for end in graph.metadata["tflite"]["dropped_ends"]] == ["input", "output"]


@pytest.mark.parametrize(("scale", "zero_point", "shift"), [(0.05, 121, True), (0.05, 120, False), (0.06, 121, False)])
def test_uint8_ends_are_int8_with_the_zero_point_moved(scale: float, zero_point: int, shift: bool) -> None:
    file = File()
    x, q = file.input((1, 256), "uint8", scale, zero_point), file.tensor((1, 256), scale=0.05, zero_point=-7)
    z = file.tensor((1, 256), "uint8", 0.03 if shift else 0.031, 108)
    file.operator("QUANTIZE", [x], q)
    file.operator("QUANTIZE", [body(file, q)], z)
    data = file.data(z)
    graph = loaded(data)
    assert len(graph.nodes) == (1 if shift else 3)
    codes = np.arange(-128, 128).astype(np.int8)[None]
    expected = interpret(data, [[(codes.astype(np.int16) + 128).astype(np.uint8)]])[0][0]
    actual = run_all(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
    np.testing.assert_array_equal(actual.astype(np.int16) + 128, expected)
    assert graph.tensors[graph.inputs[0]].zero_point == zero_point - 128


def test_int16_input_is_dropped() -> None:
    file = File()
    x, q = file.input((1, 256), "int16", 0.001, 0), file.tensor((1, 256), scale=0.05, zero_point=-7)
    file.operator("QUANTIZE", [x], q)
    graph = loaded(file.data(body(file, q)))
    (end,) = graph.metadata["tflite"]["dropped_ends"]
    assert (end["side"], end["type"]) == ("input", "int16")
    assert graph.tensors[graph.inputs[0]].scale == np.float32(0.05)


def test_several_inputs_and_outputs() -> None:
    file = File()
    a, b = file.input(IMAGE, scale=0.05, zero_point=3), file.input(IMAGE, scale=0.02, zero_point=-90)
    total, product = file.tensor(IMAGE, scale=0.06, zero_point=-20), file.tensor(IMAGE, scale=0.01, zero_point=0)
    file.operator("ADD", [a, b], total, version=2)
    file.operator("MUL", [a, b], product, version=2)
    graph = check(file.data(product, total))
    assert len(graph.inputs) == len(graph.outputs) == 2


def test_operators_that_no_output_needs_are_left_out() -> None:
    file = File()
    x = file.input((1, 256), scale=0.05, zero_point=-7)
    file.operator("ABS", [x], file.tensor((1, 256), scale=0.05, zero_point=-7))
    assert len(check(file.data(body(file, x))).nodes) == 1


def one(builtin: str, source: tuple[int, ...], output: tuple[int, ...], *constants: np.ndarray, scale: float = 0.05, **options: object) -> bytes:
    """One operator on an int8 input with constants behind it."""
    file = File()
    x = file.input(source, scale=0.05, zero_point=-7)
    y = file.tensor(output, scale=scale, zero_point=-7, name="the output")
    file.operator(builtin, [x, *(file.constant(values, scale=0.02 if values.dtype == np.int8 else None) for values in constants)], y, **options)
    return file.data(y)


@pytest.mark.parametrize(("make", "parts"), [
    (lambda: one("SIN", (1, 4), (1, 4)), ("operator 0 (SIN)", "'the output'", "float32 models only")),
    (lambda: one("TOPK_V2", (1, 4), (1, 4)), ("operator 0 (TOPK_V2)", "not supported")),
    (lambda: one("CUSTOM", (1, 4), (1, 4)), ("operator 0 (CUSTOM", "builtin operators only")),
    (lambda: one("MAX_POOL_2D", (1, 4, 4, 1), (1, 2, 2, 1), scale=0.06, filterHeight=2, filterWidth=2, strideH=2, strideW=2), ("equal", "0.05")),
    (lambda: one("ADD", (1, 4), (1, 4), np.zeros(4, np.int8)), ("operator 0 (ADD)", "constant")),
    (lambda: one("ADD", (1, 4), (1, 4), np.zeros(1, np.int8), fusedActivationFunction=4), ("fused activation TANH", "NONE")),
    (lambda: one("PAD", (1, 4), (2, 4), np.array([[1, 0], [0, 0]], np.int32)), ("batch",)),
    (lambda: one("PAD", (1, 4), (1, 4), np.array([[0, 0], [-1, 1]], np.int32)), ("(0, 0, -1, 1)",)),
    (lambda: one("RESHAPE", (1, 4), (2, 4)), ("another number of elements",)),
    (lambda: one("CONCATENATION", (1, 4), (1, 4), axis=0), ("batch",)),
    (lambda: one("CONCATENATION", (1, 4), (1, 4), axis=7), ("axis 7",)),
    (lambda: one("SOFTMAX", (1, 4), (1, 4), beta=1.0), ("1/256",)),
    (lambda: one("RESIZE_NEAREST_NEIGHBOR", (1, 2, 2, 1), (1, 4, 4, 1), np.array([4, 4], np.int32), alignCorners=True), ("align_corners",)),
    (lambda: convolution("CONV_2D", source=(1, 5, 5, 5), groups=2), ("5",)),
    (lambda: convolution("CONV_2D", source=(3, 5, 5, 4)), ("batch of 3",)),
    (lambda: one("AVERAGE_POOL_2D", (1, 4, 4, 1), (1, 1, 1, 1), padding=1, filterHeight=5, filterWidth=5, strideH=1, strideW=1), ("does not fit",)),
])
def test_what_is_not_supported_ends_in_one_sentence(make: Callable[[], bytes], parts: tuple[str, ...]) -> None:
    refused(make(), *parts)


def test_every_int8_operator_is_tested_here_or_by_its_own_file() -> None:
    source = (__import__("pathlib").Path(__file__)).read_text()
    elsewhere = {"SLICE", "SPLIT", "SPLIT_V", "UNPACK", "UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF", "VAR_HANDLE", "CALL_ONCE", "READ_VARIABLE",
                 "ASSIGN_VARIABLE"}
    missing = [name for name, support in OPERATORS.items() if support.int8 and name not in elsewhere and f'"{name}"' not in source]
    assert not missing
