"""Quantized models against their float originals: random nets, awkward layers, and a small CNN trained on digits."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from edgecompress.compress.quantize.evaluate import accuracy, predict_float, predict_int8
from edgecompress.compress.quantize.ranges import METHODS
from edgecompress.compress.quantize.sqnr import LIMIT_DB, decibel, layer_sqnr
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.quantize.structure import quantize_structure
from edgecompress.errors import ConfigError, DataError, ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.float_run import run_float
from edgecompress.frontend.torch_import import from_torch
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.reference import run
from edgecompress.ir.serialize import canonical_bytes


def int8_output(graph: QuantizedGraph, x: np.ndarray) -> np.ndarray:
    return graph.tensors[graph.outputs[0]].dequantize(run(graph, graph.tensors[graph.inputs[0]].quantize(x)))


def output_db(graph: FloatGraph, quantized: QuantizedGraph, x: np.ndarray) -> float:
    real = run_float(graph, x).astype(np.float64)
    return decibel(float((real**2).sum()), float(((int8_output(quantized, x) - real) ** 2).sum()))


ACTIVATIONS = [nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.Identity, lambda: nn.Hardtanh(-0.4, 0.9)]


class Net(nn.Module):
    """A random mixture of every composite the quantizer must handle."""

    def __init__(self, draw: Any, channels: int) -> None:
        super().__init__()
        widths = st.sampled_from([4, 6, 8])
        self.steps = nn.ModuleList()
        self.kinds: list[str] = []
        for _ in range(draw(st.integers(1, 4))):
            kind = draw(st.sampled_from(["conv", "depthwise", "residual", "excite", "concat", "pool", "average", "pad", "norm", "up"]))
            out = draw(widths)
            activation = draw(st.sampled_from(ACTIVATIONS))()
            self.kinds.append(kind)
            if kind == "conv":
                kernel, stride = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
                layer = nn.Sequential(nn.Conv2d(channels, out, kernel, stride, 1), nn.BatchNorm2d(out), activation)
                channels = out
            elif kind == "depthwise":
                layer = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, groups=channels), activation)
            elif kind == "residual":
                layer = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels))
            elif kind == "excite":
                layer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Hardsigmoid())
            elif kind == "concat":
                layer = nn.Sequential(nn.Conv2d(channels, out, 1), activation)
                channels += out
            else:
                layer = {"pool": nn.MaxPool2d(3, 2, 1), "average": nn.AvgPool2d(2, 1), "pad": nn.ConstantPad2d(1, 0.25),
                         "norm": nn.BatchNorm2d(channels), "up": nn.Upsample(scale_factor=2)}[kind]
            self.steps.append(layer)
        self.head = nn.Linear(channels, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kind, layer in zip(self.kinds, self.steps, strict=True):
            y = layer(x)
            x = torch.relu(x + y) if kind == "residual" else x * y if kind == "excite" else torch.cat([x, y], 1) if kind == "concat" else y
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(0, 1000), st.sampled_from(sorted(METHODS)))
def test_random_nets_stay_close_to_float(data: st.DataObject, seed: int, method: str) -> None:
    torch.manual_seed(seed)
    net = Net(data.draw, 3)
    x = np.random.default_rng(seed).standard_normal((24, 12, 11, 3)).astype(np.float32)
    graph = from_torch(net, (12, 11, 3))
    quantized = quantize(graph, x, QuantizeConfig(range_method=method))
    assert output_db(graph, quantized, x) > 15.0
    assert [(n.name, n.op.kind, n.inputs, n.output) for n in quantize_structure(graph).nodes] == [
        (n.name, n.op.kind, n.inputs, n.output) for n in quantized.nodes]


def quantized_sequential(*layers: nn.Module, shape: tuple[int, ...] = (6, 6, 4), **config: Any) -> tuple[FloatGraph, QuantizedGraph, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((16, *shape)).astype(np.float32)
    graph = from_torch(nn.Sequential(*layers).eval(), shape)
    return graph, quantize(graph, x, QuantizeConfig(**config)), x


def test_parameters_are_shared_fixed_and_bounded_as_the_ops_define() -> None:
    _, quantized, _ = quantized_sequential(nn.Conv2d(4, 4, 1), nn.ReLU6(), nn.MaxPool2d(2), nn.ZeroPad2d(1), nn.AvgPool2d(2), nn.Sigmoid(),
                                           nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1), range_method="minmax")
    by_kind = {node.op.kind: node for node in quantized.nodes}
    tensors = quantized.tensors
    conv = tensors[by_kind["conv2d"].output]
    assert conv.zero_point == -128 and by_kind["conv2d"].op.activation_min == -128
    for kind in ("max_pool2d", "pad", "average_pool2d"):
        out = tensors[by_kind[kind].output]
        assert (out.scale, out.zero_point) == (conv.scale, conv.zero_point)
    assert by_kind["pad"].op.value == -128
    assert (tensors[by_kind["table"].output].scale, tensors[by_kind["table"].output].zero_point) == (1 / 256, -128)
    assert (tensors[quantized.outputs[0]].scale, tensors[quantized.outputs[0]].zero_point) == (1 / 256, -128)
    assert all(tensor.scale == float(np.float32(tensor.scale)) for tensor in tensors.values())


def test_metadata_is_kept_and_json() -> None:
    _, quantized, _ = quantized_sequential(nn.Conv2d(4, 2, 1), metadata={"classes": ["a", "b"]}, weight_bits={"0": 4})
    assert quantized.metadata["classes"] == ["a", "b"]
    assert json.loads(json.dumps(dict(quantized.metadata)))["quantization"]["weight_bits"] == {"0": 4}
    assert quantized.nodes[0].op.weight_bits == 4


def test_dead_channels_and_constant_outputs() -> None:
    conv, dead = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 3, 1)
    with torch.no_grad():
        conv.weight[1:3] = 0.0
        conv.bias[1] = 2.0
        dead.weight.zero_()
        dead.bias.copy_(torch.tensor([0.5, -1.0, 0.0]))
    graph, quantized, x = quantized_sequential(conv, dead)
    np.testing.assert_allclose(int8_output(quantized, x), run_float(graph, x), atol=0.01)
    with torch.no_grad():
        dead.bias.zero_()
    graph, quantized, x = quantized_sequential(conv, dead)
    assert not int8_output(quantized, x).any()


def test_bias_that_dwarfs_its_weights_stays_right() -> None:
    conv = nn.Conv2d(4, 2, 1)
    with torch.no_grad():
        conv.weight[0] *= 1e-12
        conv.bias.copy_(torch.tensor([5.0, 1.0]))
    graph, quantized, x = quantized_sequential(conv)
    np.testing.assert_allclose(int8_output(quantized, x), run_float(graph, x), atol=0.05)
    assert "bias so large" in quantized.metadata["quantization"]["notes"][0]


def test_cancelling_sums_do_not_overflow() -> None:
    class Cancel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return (y + -1.0 * y) * 1e-7

    x = np.random.default_rng(0).standard_normal((4, 6, 6, 4)).astype(np.float32)
    quantized = quantize(from_torch(Cancel(), (6, 6, 4)), x)
    assert np.abs(int8_output(quantized, x)).max() < 1e-4


def test_unusable_input_is_refused() -> None:
    graph = from_torch(nn.Sequential(nn.Conv2d(4, 2, 1)), (6, 6, 4))
    x = np.zeros((2, 6, 6, 4), np.float32)
    for bad, message in ((x[:0], "at least one sample"), (x[..., :3], r"shape \(n, 6, 6, 4\)"), (x.astype(np.uint8), "must be float"),
                         (np.full_like(x, np.nan), "NaN")):
        with pytest.raises(DataError, match=message):
            quantize(graph, bad)
    with pytest.raises(ConfigError, match="unknown layer 'conv'"):
        quantize(graph, x, QuantizeConfig(weight_bits={"conv": 4}))
    huge = from_torch(nn.Sequential(nn.Conv2d(4, 2, 1), nn.Conv2d(2, 2, 1)), (6, 6, 4))
    for node in huge.nodes:
        node.attributes["weights"].setflags(write=True)
        node.attributes["weights"][:] = 1e30
    with pytest.raises(ModelError, match="becomes NaN or infinite"):
        quantize(huge, x + 1e10)


def test_same_input_same_bytes() -> None:
    graph, first, x = quantized_sequential(nn.Conv2d(4, 4, 3), nn.SiLU(), nn.Conv2d(4, 2, 1))
    assert canonical_bytes(first) == canonical_bytes(quantize(graph, x))


@pytest.mark.parametrize("bits", [8, {"conv": 4, "fc": 2}])
def test_structure_plans_like_the_real_graph(bits: Any) -> None:
    lower = pytest.importorskip("edgecompress.lower")
    if not hasattr(lower, "plan"):
        pytest.skip("edgecompress.lower has no plan")
    from edgecompress.hw.target import load_target

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.dw, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Linear(16, 5)
            self.gate = nn.Conv2d(8, 8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.conv(x))
            y = F.hardswish(self.dw(x)) + x
            y = y * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))
            return F.softmax(self.fc(torch.cat([x, F.max_pool2d(y, 3, 1, 1)], 1).mean((2, 3))), 1)

    graph = from_torch(Mixed(), (10, 12, 3))
    x = np.random.default_rng(0).standard_normal((8, 10, 12, 3)).astype(np.float32)
    target = load_target("cortex-m7")
    structure, real = (lower.plan(g, target) for g in (quantize_structure(graph, bits), quantize(graph, x, QuantizeConfig(weight_bits=bits))))
    assert structure.memory.arena_bytes == real.memory.arena_bytes
    assert structure.constant_bytes == real.constant_bytes
    for planned, found in zip(structure.layers, real.layers, strict=True):
        assert (planned.node, planned.kernel, planned.scratch_bytes, planned.macs) == (found.node, found.kernel, found.scratch_bytes, found.macs)
        if bits == 8:  # with fewer bits a rescaling factor can be large enough for a slower loop, which only calibration knows
            assert dict(planned.features) == dict(found.features)


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Hardswish(), nn.Conv2d(16, 24, 1), nn.ReLU())
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(self.depthwise(x + self.body(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def digits() -> tuple[FloatGraph, np.ndarray, np.ndarray, np.ndarray]:
    """(trained graph, calibration images, test images, test labels)"""
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = (images[order] / 16.0).reshape(-1, 8, 8, 1).astype(np.float32), labels[order]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, train_x, train_y = Digits(), torch.from_numpy(x[:1200]).permute(0, 3, 1, 2), torch.from_numpy(y[:1200])
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(10):
        for batch in torch.randperm(1200).split(50):
            optimizer.zero_grad()
            F.cross_entropy(net(train_x[batch]), train_y[batch]).backward()
            optimizer.step()
    torch.set_num_threads(threads)
    return from_torch(net, (8, 8, 1)), x[:256], x[1200:], y[1200:]


Trained = tuple[FloatGraph, np.ndarray, np.ndarray, np.ndarray]


def test_digits_keep_their_accuracy(digits: Trained) -> None:
    graph, calibration, x, y = digits
    in_float = accuracy(predict_float(graph, x), y)
    assert in_float > 0.95
    assert accuracy(predict_int8(quantize(graph, calibration), x), y) >= in_float - 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bias_correction", [False, True])
def test_every_range_method_keeps_accuracy(digits: Trained, method: str, bias_correction: bool) -> None:
    graph, calibration, x, y = digits
    quantized = quantize(graph, calibration, QuantizeConfig(range_method=method, bias_correction=bias_correction))
    assert accuracy(predict_int8(quantized, x), y) >= accuracy(predict_float(graph, x), y) - 0.015


def test_bias_correction_removes_mean_error_at_four_bits(digits: Trained) -> None:
    graph, calibration, x, _ = digits
    real = run_float(graph, x)
    means = {}
    for correct in (False, True):
        quantized = quantize(graph, calibration, QuantizeConfig(weight_bits=4, bias_correction=correct))
        means[correct] = np.abs((int8_output(quantized, x) - real).mean(axis=0)).mean()
    assert means[True] < 0.5 * means[False]


def test_fewer_bits_add_noise(digits: Trained) -> None:
    graph, calibration, x, _ = digits
    db = [output_db(graph, quantize(graph, calibration, QuantizeConfig(weight_bits=bits)), x) for bits in (8, 4, 2)]
    assert db[0] > db[1] + 6 and db[1] > db[2] + 6


def test_sqnr_points_at_the_damaged_layer(digits: Trained) -> None:
    graph, calibration, x, _ = digits
    quantized = quantize(graph, calibration, QuantizeConfig(weight_bits={"body.0": 2}))
    rows = layer_sqnr(graph, quantized, x[:64], batch_size=24)
    assert [row.node for row in rows] == [node.name for node in quantized.nodes]
    worst = sorted(rows, key=lambda row: row.local_db)
    assert worst[0].node == "body.0" and worst[0].weight_bits == 2 and worst[0].local_db < worst[1].local_db - 5
    good = layer_sqnr(graph, quantize(graph, calibration), x[:64])
    assert min(row.local_db for row in good) > 25
    assert good[-1].cumulative_db > rows[-1].cumulative_db + 5
    assert all(math.isfinite(row.cumulative_db) and row.weight_min <= row.weight_max for row in rows if row.weight_bits)
    with pytest.raises(ModelError, match="was not quantized from"):
        layer_sqnr(from_torch(nn.Sequential(nn.Conv2d(1, 1, 1)), (8, 8, 1)), quantized, x[:4])


def test_decibel_is_finite() -> None:
    assert decibel(1.0, 0.0) == LIMIT_DB and decibel(0.0, 1.0) == -LIMIT_DB and decibel(100.0, 1.0) == pytest.approx(20.0)
