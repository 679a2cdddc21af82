"""FloatGraph to a trainable module and back: the same function, whole networks and every kind of node."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tools import require_tool

from edgecompress.compress.prune.structured import channel_groups, prune
from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import SHAPE_RULES, FloatGraph, FloatGraphBuilder
from edgecompress.frontend.float_run import run_float
from edgecompress.frontend.model_file import load_model
from edgecompress.frontend.to_torch import layer_name, to_torch
from edgecompress.frontend.torch_import import from_torch

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
STEPS = (("add", 0, 3.0), ("maximum", 1, 0.0), ("minimum", 2, 6.0), ("mul", 0, 3), ("mul", 4, 1 / 6))
Build = Callable[[FloatGraphBuilder, str], str]


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(scale=0.5, size=shape).astype(np.float32)


def conv(b: FloatGraphBuilder, x: str, name: str = "conv", channels: int = 6, **options: object) -> str:
    settings = {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1), "groups": 1, **options}
    inputs = b.shapes[x][2] // int(str(settings["groups"]))
    return b.add("conv2d", name, x, weights=weights(channels, 3, 3, inputs), bias=weights(channels), **settings)


def flat(b: FloatGraphBuilder, x: str, name: str = "flat") -> str:
    return b.add("reshape", name, x, shape=(int(np.prod(b.shapes[x])),))


def dense(b: FloatGraphBuilder, x: str, features: int = 5) -> str:
    return b.add("dense", "scores", x, weights=weights(features, b.shapes[x][0]), bias=weights(features))


def pool(b: FloatGraphBuilder, x: str, kind: str, padding: tuple[int, int, int, int]) -> str:
    return b.add(kind, "pool", x, kernel=(3, 3), stride=(2, 1), padding=padding)


def depthwise(b: FloatGraphBuilder, x: str, multiplier: int) -> str:
    channels = b.shapes[x][2] * multiplier
    return b.add("depthwise_conv2d", "wide", x, weights=weights(3, 2, channels), bias=weights(channels), stride=(1, 2), dilation=(2, 1),
                 padding=(0, 1, 1, 0), clamp=(0.0, 6.0))


def norm(b: FloatGraphBuilder, x: str, size: int) -> str:
    return b.add("batch_norm", "norm", x, scale=weights(size), offset=weights(size + 1)[1:])


def gate(b: FloatGraphBuilder, x: str) -> str:
    return b.add("mul", "gated", x, b.add("unary", "gate", b.add("global_average_pool", "mean", x), function="hardsigmoid"))


def product(b: FloatGraphBuilder, x: str) -> str:
    rows = b.add("reshape", "rows", x, shape=(35, 6))
    return b.add("batch_matmul", "product", rows, rows, transpose_left=True, transpose_right=False, factor=0.5, clamp=(-3.0, 4.0))


# x is the first convolution's result (7, 5, 6); (build, whether from_torch reads all of it)
CASES: dict[str, tuple[Build, bool]] = {
    "conv2d with uneven padding": (lambda b, x: conv(b, x, "next", stride=(2, 2), padding=(0, 1, 1, 0), clamp=(0.0, np.inf)), True),
    "conv2d in groups": (lambda b, x: conv(b, x, "next", 4, groups=2, dilation=(2, 1), clamp=(-1.0, 1.5)), True),
    "depthwise_conv2d": (lambda b, x: depthwise(b, x, 1), True),
    "depthwise_conv2d, two a channel": (lambda b, x: depthwise(b, x, 2), True),
    "dense behind a flatten": (lambda b, x: dense(b, flat(b, x)), True),
    "dense behind a flatten and functions": (lambda b, x: dense(b, b.add("clamp", "cut", b.add("unary", "bent", flat(b, x), function="tanh"), low=-0.5,
                                                                         high=0.5)), True),
    "batch_norm of an image": (lambda b, x: norm(b, b.add("clamp", "relu", x, low=0.0, high=np.inf), 6), True),
    "batch_norm of features": (lambda b, x: dense(b, norm(b, b.add("clamp", "relu", flat(b, x), low=0.0, high=np.inf), 210)), True),
    "batch_norm of rows": (lambda b, x: norm(b, b.add("clamp", "relu", b.add("reshape", "rows", x, shape=(35, 6)), low=0.0, high=np.inf), 6), False),
    "batch_norm alike for all": (lambda b, x: b.add("batch_norm", "sixth", b.add("max_pool2d", "p", x, kernel=(2, 2), stride=(1, 1), padding=(0,) * 4),
                                                    scale=np.full(6, 1 / 6, np.float32), offset=np.full(6, 0.5, np.float32)), True),
    "add": (lambda b, x: b.add("add", "sum", x, conv(b, x, "other"), clamp=(-np.inf, 2.0)), True),
    "add of flattened": (lambda b, x: dense(b, b.add("add", "sum", flat(b, x, "f1"), flat(b, conv(b, x, "other"), "f2"))), True),
    "add of flattened and not": (lambda b, x: b.add("add", "sum", flat(b, x), dense(b, flat(b, x, "again"), 210)), False),
    "mul": (lambda b, x: gate(b, x), True),
    "average_pool2d": (lambda b, x: pool(b, x, "average_pool2d", (1, 1, 1, 1)), True),
    "average_pool2d of all": (lambda b, x: b.add("average_pool2d", "mean", x, kernel=(7, 5), stride=(1, 1), padding=(0, 0, 0, 0)), True),
    "max_pool2d": (lambda b, x: pool(b, x, "max_pool2d", (1, 1, 0, 0)), True),
    "max_pool2d with uneven padding": (lambda b, x: pool(b, x, "max_pool2d", (0, 1, 1, 0)), True),
    "global_average_pool": (lambda b, x: b.add("global_average_pool", "mean", x, clamp=(0.0, np.inf)), True),
    "pad": (lambda b, x: b.add("pad", "frame", x, padding=(1, 0, 2, 1), value=0.25), True),
    "concat of channels": (lambda b, x: b.add("concat", "joined", x, conv(b, x, "other"), axis=2), True),
    "concat of rows": (lambda b, x: b.add("concat", "joined", x, conv(b, x, "other"), axis=0), True),
    "concat of features": (lambda b, x: b.add("concat", "joined", flat(b, x, "f1"), flat(b, x, "f2"), axis=0), False),
    "reshape and back": (lambda b, x: conv(b, b.add("reshape", "back", flat(b, x), shape=(7, 5, 6)), "next"), True),
    "reshape of pixels": (lambda b, x: conv(b, b.add("reshape", "other", x, shape=(5, 7, 6)), "next"), True),
    "reshape of all": (lambda b, x: conv(b, b.add("reshape", "other", x, shape=(10, 7, 3)), "next"), True),
    "transpose": (lambda b, x: conv(b, b.add("transpose", "turned", x, permutation=(1, 0, 2)), "next"), True),
    "slice": (lambda b, x: conv(b, b.add("slice", "part", x, begin=(6, 1, 0), size=(4, 3, 2), step=(-2, 1, 3)), "next"), False),
    "softmax": (lambda b, x: b.add("softmax", "shares", x), True),
    "resize_nearest": (lambda b, x: b.add("resize_nearest", "larger", x, size=(14, 15)), True),
    "unary": (lambda b, x: b.add("unary", "bent", x, function="silu"), True),
    "unary without a module": (lambda b, x: b.add("unary", "bent", x, function="square"), True),
    "unary hard-swish in steps": (lambda b, x: b.add("unary", "bent", x, function="expression", steps=STEPS), True),
    "unary exponential": (lambda b, x: b.add("unary", "bent", x, function="expression", steps=(("exp", 0),)), False),
    "clamp": (lambda b, x: b.add("clamp", "cut", b.add("max_pool2d", "p", x, kernel=(2, 2), stride=(1, 1), padding=(0,) * 4), low=-0.5, high=np.inf), True),
    "batch_matmul": (product, False),
}


def case_graph(name: str) -> FloatGraph:
    b = FloatGraphBuilder(name, (7, 5, 3))
    return b.build(CASES[name][0](b, conv(b, b.input, "first")))


def run_module(module: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """The module's result in the graph's order of axes."""
    tensor = torch.from_numpy(x)
    with torch.no_grad():
        result = module(tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor)
    return np.ascontiguousarray((result.permute(0, 2, 3, 1) if result.ndim == 4 else result).numpy())


def samples(graph: FloatGraph, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *graph.shapes[graph.input])).astype(np.float32)


def check_round_trip(graph: FloatGraph, module: torch.nn.Module) -> None:
    x = samples(graph)
    back, expected = from_torch(module, graph.shapes[graph.input]), run_float(graph, x)
    np.testing.assert_allclose(run_float(back, x).reshape(expected.shape), expected, atol=1e-5 * (1 + np.abs(expected).max()))


def test_cases_cover_all_kinds() -> None:
    covered = {node.kind for name in CASES for node in case_graph(name).nodes}
    assert covered == SHAPE_RULES.keys() - {"quantize"}


@pytest.mark.parametrize("name", CASES)
def test_module_computes_what_the_graph_does(name: str) -> None:
    graph = case_graph(name)
    module = to_torch(graph)
    expected = run_float(graph, samples(graph))
    np.testing.assert_allclose(run_module(module, samples(graph)), expected, atol=1e-5 * (1 + np.abs(expected).max()))
    assert not module.training


@pytest.mark.parametrize("name", [name for name, (_, readable) in CASES.items() if readable])
def test_round_trip(name: str) -> None:
    graph = case_graph(name)
    check_round_trip(graph, to_torch(graph))


@pytest.mark.parametrize("name", ["dense behind a flatten", "mul", "batch_norm of an image", "concat of channels", "depthwise_conv2d"])
def test_pruned_module_still_fits_together(name: str) -> None:
    b = FloatGraphBuilder(name, (7, 5, 3))
    x = CASES[name][0](b, conv(b, b.input, "first"))
    graph = b.build(x if b.shapes[x] == (5,) else dense(b, flat(b, b.add("global_average_pool", "means", x), "last")))
    module = to_torch(graph)
    smaller = prune(module, (7, 5, 3), 0.5, round_to=2)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in module.parameters())
    assert run_float(from_torch(smaller, (7, 5, 3)), samples(graph)).shape == (3, 5)


def test_pruning_takes_the_features_of_the_channels_behind_a_flatten() -> None:
    """The last layer's columns must be those of the channels that stay: dead channels go without a trace."""
    b = FloatGraphBuilder("flatten", (7, 5, 3))
    first = weights(8, 3, 3, 3)
    first[[1, 3, 4, 6]] = 0.0
    bias = np.where(np.any(first != 0, axis=(1, 2, 3)), 0.1, 0.0).astype(np.float32)
    x = b.add("conv2d", "first", b.input, weights=first, bias=bias, stride=(1, 1), dilation=(1, 1), padding=(1, 1, 1, 1), groups=1, clamp=(0.0, np.inf))
    graph = b.build(dense(b, flat(b, x)))
    smaller = prune(to_torch(graph), (7, 5, 3), 0.5)
    np.testing.assert_allclose(run_module(smaller, samples(graph)), run_float(graph, samples(graph)), atol=1e-5)


def test_a_trained_module_goes_back_with_the_same_layer_names() -> None:
    torch.manual_seed(0)
    source = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(36, 3)).eval()
    graph = from_torch(source, (5, 5, 2))
    module = to_torch(graph)
    assert {"0", "4"} == {name for name, layer in module.named_modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)}
    x = torch.randn(2, 2, 5, 5)
    torch.testing.assert_close(module(x), source(x), atol=1e-5, rtol=0)
    module(x).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(twin(x), module(x), atol=0, rtol=0)


def test_names_of_files_become_names_of_layers() -> None:
    assert layer_name("stage1.conv") == "stage1.conv"
    assert layer_name("/features/features.0/Conv_output_0") == "features_features_0_Conv_output_0"
    assert layer_name('x"); import os') == "x_import_os"
    assert layer_name("!?") == "layer"
    b = FloatGraphBuilder("names", (7, 5, 3))
    graph = b.build(conv(b, conv(b, conv(b, conv(b, b.input, "a.b"), "a/b"), "a"), "train", 3))
    module = to_torch(graph)
    check_round_trip(graph, module)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in module.modules()) == 4


def test_samples_of_another_shape() -> None:
    b = FloatGraphBuilder("features", (12,))
    graph = b.build(dense(b, b.input))
    module = to_torch(graph, (2, 3, 2))
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(run_module(module, x), run_float(graph, x.reshape(4, 12)), atol=1e-6)
    with pytest.raises(ModelError, match=r"takes samples of shape \(7, 5, 3\), the data has \(3, 7, 5\)"):
        to_torch(case_graph("mul"), (3, 7, 5))


def test_what_cannot_be_trained_is_refused_by_name() -> None:
    b = FloatGraphBuilder("rounding", (7, 5, 3))
    with pytest.raises(ModelError, match=r"node 'codes' \(quantize\): rounds to int8 codes"):
        to_torch(b.build(b.add("quantize", "codes", conv(b, b.input), scale=0.1, zero_point=0)))
    with pytest.raises(ModelError, match=r"node 'pool' \(average_pool2d\): an average pool with padding"):
        b = FloatGraphBuilder("uneven", (7, 5, 3))
        to_torch(b.build(pool(b, b.input, "average_pool2d", (0, 1, 0, 1))))


@pytest.mark.parametrize("name", ["kws_ref_model_float32.tflite", "pretrainedResnet.tflite", "vww_96_float.tflite"])
def test_mlperf_tiny_models(name: str) -> None:
    path = SHARED / "mlperf_tiny" / name
    require_tool("shared-data", path.is_file())
    graph = load_model(path)
    assert isinstance(graph, FloatGraph)
    module = to_torch(graph)
    check_round_trip(graph, module)
    shape = graph.shapes[graph.input]
    assert len(channel_groups(module, shape)) >= 5
    smaller = prune(module, shape, 0.5)
    assert sum(p.numel() for p in smaller.parameters()) < 0.4 * sum(p.numel() for p in module.parameters())


def test_an_ocr_classifier_with_hard_swish_and_gates() -> None:
    path = SHARED / "models" / "onnx" / "ppocr_mobile_v2_cls.onnx"
    require_tool("shared-data", path.is_file())
    graph = load_model(path, (3, 48, 192))
    assert isinstance(graph, FloatGraph)
    check_round_trip(graph, to_torch(graph))
