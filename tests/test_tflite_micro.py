"""Rung 1 of the ladder: the numpy reference equals the tflite-micro interpreter, byte for byte, op by op.

Every case goes the way of an importer: float32 scales as a file holds them, multipliers derived from them in double.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np
import pytest
from tools import require_tool

from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.ir.op import Shape
from edgecompress.ir.ops import OPS
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.reference import run_all
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import same_padding

AVAILABLE = find_spec("tflite_micro") is not None
if AVAILABLE:
    import tflite_writer
    from tflite_cases import MAKERS, Case, make_global_average_pool
    from tflite_micro import runtime

CASES = 80  # random graphs an op
SAMPLES = 4  # inputs a graph: all low, all high, two random


@pytest.fixture(autouse=True)
def _interpreter() -> None:
    require_tool("tflite-micro", AVAILABLE)


def interpret(graph: QuantizedGraph, inputs: Mapping[str, np.ndarray], weight_scales: Mapping[str, np.ndarray], keep_dims: bool = True) -> np.ndarray:
    """The interpreter's answer, sample by sample."""
    content = tflite_writer.tflite_bytes(graph, weight_scales, keep_dims)
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=400_000)
    results = []
    for sample in range(SAMPLES):
        for position, name in enumerate(graph.inputs):
            interpreter.set_input(inputs[name][sample : sample + 1], position)
        interpreter.invoke()
        results.append(np.array(interpreter.get_output(0)))
    return np.concatenate(results)


def extremes(rng: np.random.Generator, graph: QuantizedGraph) -> dict[str, np.ndarray]:
    """All-low, all-high and random inputs."""
    inputs = {}
    for name in graph.inputs:
        x = rng.integers(-128, 128, (SAMPLES, *graph.tensors[name].shape)).astype(np.int8)
        x[0], x[1] = -128, 127
        inputs[name] = x
    return inputs


def check(case: Case, graph: QuantizedGraph, keep_dims: bool = True) -> np.ndarray:
    """Asserts equality on extremes and random inputs; returns the bytes."""
    inputs = extremes(case.rng, graph)
    expected = interpret(graph, inputs, case.weight_scales, keep_dims)
    actual = run_all(graph, inputs)[graph.outputs[0]]
    assert actual.dtype == np.int8
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)
    return actual


@pytest.mark.parametrize("kind", OPS)
def test_reference_equals_tflite_micro(kind: str) -> None:
    distinct: set[int] = set()
    for position, make in enumerate(MAKERS[kind]):
        for seed in range(CASES):
            case = Case(np.random.default_rng([seed, position, *kind.encode()]))
            distinct |= set(check(case, make(case)).ravel().tolist())
    assert len(distinct) > 100, "the cases were too tame: most outputs were saturated"


def test_mean_without_kept_dimensions_is_the_same() -> None:
    for seed in range(CASES):
        case = Case(np.random.default_rng(seed))
        check(case, make_global_average_pool(case), keep_dims=False)


@pytest.mark.parametrize("exponent", range(17, 24))
def test_add_of_scales_far_apart(exponent: int) -> None:
    """Odd sums are ties at twice the scale; how the tiny operand breaks them shows that inputs move up by 20 bits and no other number."""
    case = Case(np.random.default_rng(exponent))
    for name, scale in (("a", 1.0), ("b", 2.0**-exponent), ("y", 2.0)):
        case.tensor(name, (30, 30, 3), scale, 0)
    case.add(Add.from_scales((1.0, 0), (2.0**-exponent, 0), (2.0, 0)), ("a", "b"), "y")
    check(case, case.graph(("a", "b")))


def test_softmax_of_many_rows() -> None:
    """Enough values that one bit in the exponential or the reciprocal would show."""
    for scale in (0.004, 0.01, 0.03, 0.05, 0.08, 0.11, 0.2, 0.4):
        case = Case(np.random.default_rng(int(scale * 1000)))
        case.tensor("a", (1500, 10), float(np.float32(scale)))
        case.tensor("y", (1500, 10), 1 / 256, -128)
        case.add(Softmax.from_scale(case.tensors["a"].scale), ("a",), "y")
        check(case, case.graph())


@pytest.mark.parametrize("depth", [256, 300, 511])
def test_softmax_of_many_equal_inputs(depth: int) -> None:
    """The largest sums that tflite-micro takes: from 512 on its shift would pass 31 and it stops the process."""
    for scale in (2.0**-20, 0.01, 1.0):
        case = Case(np.random.default_rng(depth))
        case.tensor("a", (depth,), float(np.float32(scale)))
        case.tensor("y", (depth,), 1 / 256, -128)
        case.add(Softmax.from_scale(case.tensors["a"].scale), ("a",), "y")
        check(case, case.graph())


def test_a_residual_network_equals_tflite_micro() -> None:
    """A chain: strided convolution, convolution, residual add, mean, reshape, dense, requantize, softmax."""
    case = Case(np.random.default_rng(7))
    x = case.tensor("a", (9, 8, 3), float(np.float32(0.02)), -3)

    def layer(kind: type[Conv2D] | type[Dense], source: Tensor, name: str, shape: Shape, out_shape: Shape, zero_point: int, *rest: object) -> Tensor:
        weights = case.rng.integers(-127, 128, shape).astype(np.int8)
        fan_in = weights[0].size
        # weights of about 1 / sqrt(fan-in), so that every tensor keeps a useful range
        scales = (case.rng.uniform(0.5, 1.5, shape[0]) / (64 * np.sqrt(fan_in))).astype(np.float32)
        out = case.tensor(name, out_shape, source.scale, zero_point)
        case.weight_scales[f"node_{name}"] = scales
        bias = case.rng.integers(-2000, 2000, shape[0]).astype(np.int32)
        requant = Requant.from_real(source.scale * scales.astype(np.float64) / out.scale)
        case.add(kind(weights, bias, requant, source.zero_point, zero_point, *rest), (source.name,), name)  # type: ignore[arg-type]
        return out

    first = layer(Conv2D, x, "first", (8, 3, 3, 3), (5, 4, 8), -128, (2, 2), (1, 1), same_padding((9, 8), (3, 3), (2, 2)))
    second = layer(Conv2D, first, "second", (8, 3, 3, 8), (5, 4, 8), -20, (1, 1), (1, 1), (1, 1, 1, 1))
    total = case.tensor("total", first.shape, float(np.float32(0.03)), 5)
    case.add(Add.from_scales((first.scale, -128), (second.scale, -20), (total.scale, 5)), ("first", "second"), "total")
    mean = case.tensor("mean", (1, 1, 8), float(np.float32(0.01)), -7)
    case.add(GlobalAveragePool(fold_count(total.scale / mean.scale, 20), 5, -7), ("total",), "mean")
    flat = case.tensor("flat", (8,), mean.scale, -7)
    case.add(Reshape((8,)), ("mean",), "flat")
    logits = layer(Dense, flat, "logits", (10, 8), (10,), 11)
    soft = case.tensor("soft", (10,), 0.0625, 30)
    case.add(Requantize(Requant.from_real(logits.scale / soft.scale), 11, 30), ("logits",), "soft")
    case.tensor("y", (10,), 1 / 256, -128)
    case.add(Softmax.from_scale(soft.scale), ("soft",), "y")
    assert len(np.unique(check(case, case.graph()))) > 10


BUILTIN_UNARY = {  # tflite-micro's own arithmetic, and the quantization it demands of the output
    "LOGISTIC": ("sigmoid", (1 / 256, -128)), "TANH": ("tanh", (1 / 128, 0)), "HARD_SWISH": ("hardswish", None), "ELU": ("elu", None),
}


@pytest.mark.parametrize("builtin", BUILTIN_UNARY)
def test_tables_are_within_one_step_of_builtin_activations(builtin: str) -> None:
    """LOGISTIC, TANH and HARD_SWISH run in fixed point, ELU from a float32 table: not the same arithmetic, nearly the same bytes."""
    function, quantization = BUILTIN_UNARY[builtin]
    differences = []
    for seed in range(40):
        case = Case(np.random.default_rng(seed))
        a = case.tensor("a", (256,), case.scale(0.005, 0.3))
        y = case.tensor("y", (256,), *(quantization or (case.scale(0.005, 0.3), None)))
        op = Table.from_function(function, a.scale, a.zero_point, y.scale, y.zero_point)
        case.add(op, ("a",), "y")
        got = _builtin_unary(case.graph(), builtin, np.arange(-128, 128).astype(np.int8)[None])
        differences.append(np.abs(got.astype(np.int64) - op.table))
    assert np.max(differences) <= 1
    assert np.mean(differences) < 0.003


def _builtin_unary(graph: QuantizedGraph, name: str, x: np.ndarray) -> np.ndarray:
    writer = tflite_writer.Writer(graph, {})
    writer.activation("a")
    writer.operator(getattr(tflite_writer.Builtin, name), [writer.activation("a")], [writer.activation("y")])
    content = writer.pack()
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=100_000)
    interpreter.set_input(x[:1], 0)
    interpreter.invoke()
    return np.array(interpreter.get_output(0))[0]
