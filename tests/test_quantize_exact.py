"""The fast evaluator returns the reference's bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_quantize_static import Net
from torch import nn

from edgecompress.compress.quantize.exact import run_exact
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.errors import ModelError
from edgecompress.frontend.torch_import import from_torch
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.reference import run
from edgecompress.ir.requant import Requant


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(0, 1000), st.sampled_from([8, 4, 2]))
def test_random_graphs(data: st.DataObject, seed: int, bits: int) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Net(data.draw, 3)
    graph = quantize(from_torch(net, (12, 11, 3)), rng.standard_normal((8, 12, 11, 3)).astype(np.float32), QuantizeConfig(weight_bits=bits))
    x = rng.integers(-128, 128, (37, 12, 11, 3), dtype=np.int8)
    np.testing.assert_array_equal(run_exact(graph, x), run(graph, x))


def one_op(op: Op, shape: tuple[int, ...]) -> QuantizedGraph:
    tensors = {"x": Tensor("x", shape, 1.0, 0), "y": Tensor("y", op.infer_shape(shape), 1.0, 0)}
    return QuantizedGraph("g", tensors, (Node("op", op, ("x",), "y"),), ("x",), ("y",))


def random_layer(draw: Any, rng: np.random.Generator) -> tuple[Op, tuple[int, ...]]:
    """A layer with any shift, zero points, bounds and biases that the op allows: ties, cancellation and saturation included."""
    kind = draw(st.sampled_from(["conv", "grouped", "depthwise", "dense"]))
    channels, bits = draw(st.sampled_from([2, 4, 6])), draw(st.sampled_from([8, 4, 2]))
    limit = {8: 127, 4: 7, 2: 1}[bits]
    size, kernel = draw(st.integers(3, 6)), draw(st.sampled_from([1, 2, 3]))
    shape = {"conv": (channels, kernel, kernel, 4), "grouped": (channels, kernel, kernel, 2), "depthwise": (kernel, kernel, 4),
             "dense": (channels, draw(st.integers(1, 300)))}[kind]
    outputs = 4 if kind == "depthwise" else channels
    shifts = [draw(st.integers(-14, 2)) if draw(st.booleans()) else -draw(st.integers(3, 9)) for _ in range(outputs)]
    multipliers = [draw(st.sampled_from([0, 2**30, 2**31 - 1, int(rng.integers(2**30, 2**31))])) for _ in range(outputs)]
    low = draw(st.integers(-128, 100))
    bias = rng.integers(-(2 ** draw(st.integers(1, 24))), 2**10, outputs)
    common = (rng.integers(-limit, limit + 1, shape), bias, Requant(tuple(multipliers), tuple(shifts)), draw(st.integers(-128, 127)),
              draw(st.integers(-128, 127)))
    bounds = (low, draw(st.integers(low, 127)), bits)
    window = ((draw(st.integers(1, 2)), 1), (1, 1), draw(st.sampled_from([(0, 0, 0, 0), (1, 0, 0, 1)])))
    if kind == "dense":
        return Dense(*common, *bounds), (shape[1],)
    if kind == "depthwise":
        return DepthwiseConv2D(*common, *window, *bounds), (size, size, 4)
    return Conv2D(*common, *window, 2 if kind == "grouped" else 1, *bounds), (size, size, 4)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(0, 1000))
def test_layers_with_any_rescaling(data: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    op, shape = random_layer(data.draw, rng)
    graph = one_op(op, shape)
    x = rng.integers(-128, 128, (9, *shape), dtype=np.int8)
    np.testing.assert_array_equal(run_exact(graph, x), run(graph, x))


def test_every_tie_of_a_layer_is_rounded_as_the_reference_does() -> None:
    values = np.arange(-128, 128, dtype=np.int8)[:, None]
    for shift in (0, -1, -2, -7):
        for multiplier in (2**30, 2**30 + 1, 3 * 2**29):
            for bias in (-3, 0, 1, 12345):
                graph = one_op(Dense(np.array([[1], [-1], [5]]), np.full(3, bias), Requant((multiplier,) * 3, (shift, shift, -1)), 0, 0), (1,))
                np.testing.assert_array_equal(run_exact(graph, values), run(graph, values))


def test_empty_and_wrong_input() -> None:
    graph = quantize(from_torch(nn.Sequential(nn.Conv2d(4, 2, 1)), (6, 6, 4)), np.ones((2, 6, 6, 4), np.float32))
    assert run_exact(graph, np.zeros((0, 6, 6, 4), np.int8)).shape == (0, 6, 6, 2)
    with pytest.raises(ModelError, match="must be int8"):
        run_exact(graph, np.zeros((2, 6, 6, 3), np.int8))
