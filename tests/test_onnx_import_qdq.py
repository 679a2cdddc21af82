"""Models that onnxruntime.quantization wrote: scales and zero points kept, every layer within one step of onnxruntime on the same inputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgecompress.errors import ModelError
from edgecompress.frontend.onnx import load_onnx
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.reference import run

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx_cases import CONSTANTS, CONV, Node, floats, graph_input, model, onnxruntime_outputs, quantize_nodes, rng, to_graph_order

SHAPE = (1, 3, 20, 16)


class Network(nn.Module):
    """Everything that quantizers treat differently: fused and separate activations, sums, joins, pools, a mean, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise, self.point = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 12, 1)
        self.norm, self.second, self.gate = nn.BatchNorm2d(12), nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 12, 1)
        self.pool, self.largest, self.head = nn.AvgPool2d(2), nn.MaxPool2d(2), nn.Linear(24, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(self.point(nn.functional.relu6(self.depthwise(x)))))
        y = self.second(x)
        x = x + nn.functional.leaky_relu(y, 0.1)
        x = x * torch.sigmoid(self.gate(x.mean([2, 3], keepdim=True)))
        x = torch.cat([self.pool(x), self.largest(nn.functional.hardswish(x))], 1)
        return torch.softmax(self.head(x.mean([2, 3])), 1)


def exported(directory: Path) -> Path:
    """The network as torch's exporter writes it, with a little structure in its weights."""
    torch.manual_seed(3)
    path = directory / "float.onnx"
    torch.onnx.export(Network().eval(), torch.zeros(SHAPE), str(path), opset_version=13, dynamo=False, input_names=["x"], output_names=["y"])
    return path


def inputs(count: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Calibration data."""
    generator = rng(seed)
    for _ in range(count):
        yield {"x": generator.standard_normal(SHAPE).astype(np.float32)}


def quantized_bytes(source: Path, directory: Path, **options: Any) -> bytes:
    """The model after onnxruntime's static quantization."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = inputs(16, 1)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    target = directory / "quantized.onnx"
    logging.getLogger().setLevel(logging.ERROR)
    quantize_static(str(source), str(target), Reader(), weight_type=QuantType.QInt8, **options)
    return target.read_bytes()


def check_layers(graph: QuantizedGraph, data: bytes, x: np.ndarray) -> int:
    """Runs node after node on onnxruntime's values of what it reads; at most one step of difference. Number of results compared."""
    names = [name for name in graph.tensors if any(name in node.output for node in onnx.ModelProto.FromString(data).graph.node)]
    real = dict(zip(names, onnxruntime_outputs(data, x, names), strict=True))
    codes = {graph.inputs[0]: graph.tensors[graph.inputs[0]].quantize(graph_input(graph, x))}
    compared = 0
    for node in graph.nodes:
        tensor, result = graph.tensors[node.output], node.op.reference(*(codes[name] for name in node.inputs))
        codes[node.output] = result
        if node.output in real:
            values = real[node.output]
            if values.dtype == np.uint8:
                values = values.astype(np.int16) - 128
            axes = [2, 3, 1] if values.ndim == 4 else [1]
            wanted = to_graph_order(values, axes, tensor.shape)
            wanted = tensor.quantize(wanted) if values.dtype.kind == "f" else wanted
            assert np.abs(result.astype(int) - wanted.astype(int)).max() <= 1, f"{node.name} ({node.op.kind})"
            codes[node.output], compared = wanted.astype(np.int8), compared + 1
    return compared


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("onnx"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("style", ["QDQ", "QOperator"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activations", ["QInt8", "QUInt8"])
def test_layers_are_within_one_step_and_classes_agree(source: Path, tmp_path: Path, style: str, per_channel: bool, activations: str) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType

    data = quantized_bytes(source, tmp_path, quant_format=QuantFormat[style], per_channel=per_channel, activation_type=QuantType[activations])
    graph = load_onnx(data, "case")
    assert isinstance(graph, QuantizedGraph)
    for sample in inputs(3, 2):
        assert check_layers(graph, data, sample["x"]) >= 12
    samples = [sample["x"] for sample in inputs(60, 3)]
    source_tensor = graph.tensors[graph.inputs[0]]
    ours = run(graph, source_tensor.quantize(np.concatenate([graph_input(graph, x) for x in samples])))
    output = graph.metadata["origin"]["outputs"][0]["name"]
    theirs = np.concatenate([onnxruntime_outputs(data, x, [output])[0] for x in samples]).reshape(ours.shape)
    step = graph.tensors[graph.outputs[0]].scale
    best = theirs.max(axis=1)
    chosen = theirs[np.arange(len(ours)), ours.argmax(axis=1)]
    assert (best - chosen <= 2.01 * step).all(), "another class only where onnxruntime's scores are equal to within two steps"
    assert np.abs(graph.tensors[graph.outputs[0]].dequantize(ours) - theirs).max() <= 4.01 * step


@pytest.mark.filterwarnings("ignore")
def test_every_parameter_of_the_file_is_kept(source: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType

    data = quantized_bytes(source, tmp_path, quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8)
    graph = load_onnx(data, "case")
    assert isinstance(graph, QuantizedGraph)
    proto = onnx.ModelProto.FromString(data).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.initializer}
    pairs = {(float(constants[node.input[1]]), int(constants[node.input[2]]) - 128) for node in proto.node if node.op_type == "QuantizeLinear"}
    kept = {(tensor.scale, tensor.zero_point) for tensor in graph.tensors.values()}
    assert pairs <= kept and len(kept - pairs) <= 2, "the fixed scale of softmax is added, and that of a table between two float operators"
    stored = {array.astype(np.int64).tobytes() for name, array in constants.items() if array.dtype == np.int32 and array.size > 1}
    layers = [node.op for node in graph.nodes if node.op.kind in ("conv2d", "depthwise_conv2d", "dense") and node.op.bias.any()]
    assert len(layers) == 6 and all(op.bias.astype(np.int64).tobytes() in stored for op in layers)


def test_weights_of_uint8_with_a_zero_point_of_128() -> None:
    shifted = {**CONSTANTS, "w": (CONSTANTS["w"].astype(np.int16) + 128).astype(np.uint8), "wz": np.uint8(128)}
    nodes = [*quantize_nodes("xd", "x"), *CONV, *quantize_nodes("y", "c")]
    same, other = load_onnx(model(nodes, SHAPE, CONSTANTS), "case"), load_onnx(model(nodes, SHAPE, shifted), "case")
    assert isinstance(same, QuantizedGraph) and isinstance(other, QuantizedGraph)
    assert same.hash == other.hash


@pytest.mark.parametrize("perm", [True, False])
def test_weights_quantized_in_the_graph_as_torch_writes_them(perm: bool) -> None:
    """Q and DQ behind float weights, and a transpose between them and the product."""
    nodes: list[Node] = [*quantize_nodes("xd", "x"), ("QuantizeLinear", ["v", "vs", "vz"], "vq", {"axis": 0}),
                         ("DequantizeLinear", ["vq", "vs", "vz"], "vd", {"axis": 0}), ("Transpose", ["vd"], "vt", {"perm": [1, 0]}),
                         ("MatMul", ["xd", "vt"], "c", {}), *quantize_nodes("y", "c")]
    if not perm:
        nodes[4:6] = [("Gemm", ["xd", "vd"], "c", {"transB": 1})]
    constants = {"s": np.float32(0.05), "z": np.int8(3), "v": floats(6, 12), "vs": np.full(6, 0.02, np.float32), "vz": np.zeros(6, np.int8)}
    data = model(nodes, (1, 12), constants)
    graph = load_onnx(data, "case")
    assert isinstance(graph, QuantizedGraph)
    assert np.array_equal(graph.nodes[0].op.weights, np.clip(np.rint(constants["v"] / 0.02), -128, 127))
    assert check_layers(graph, data, floats(1, 12)) == 1


def test_integer_inputs_and_outputs() -> None:
    nodes: list[Node] = [("DequantizeLinear", ["x", "s", "z"], "xd", {}), *CONV, ("QuantizeLinear", ["c", "s", "z"], "y", {})]
    graph = load_onnx(model(nodes, SHAPE, CONSTANTS, input_type=onnx.TensorProto.INT8), "case")
    assert isinstance(graph, QuantizedGraph)
    assert graph.tensors[graph.inputs[0]].scale == pytest.approx(0.05) and [node.op.kind for node in graph.nodes] == ["conv2d"]


def test_batch_norms_between_quantized_points_stay_exact() -> None:
    statistics = {"g": floats(4), "b": floats(4, seed=2), "m": floats(4, seed=3), "v": np.abs(floats(4, seed=4)) + 0.3, "s2": np.float32(0.2)}
    nodes: list[Node] = [*quantize_nodes("xd", "x"), *CONV, *quantize_nodes("cd", "c"), ("BatchNormalization", ["cd", "g", "b", "m", "v"], "n", {}),
                         ("QuantizeLinear", ["n", "s2", "z"], "q", {}), ("DequantizeLinear", ["q", "s2", "z"], "y", {})]
    data = model(nodes, SHAPE, {**CONSTANTS, **statistics})
    graph = load_onnx(data, "case")
    assert isinstance(graph, QuantizedGraph)
    assert [node.op.kind for node in graph.nodes] == ["conv2d", "depthwise_conv2d"]
    assert check_layers(graph, data, floats(*SHAPE)) == 2


def test_what_a_quantizer_left_in_float_is_named() -> None:
    nodes: list[Node] = [*quantize_nodes("xd", "x"), *CONV, *quantize_nodes("cd", "c"), ("GlobalAveragePool", ["cd"], "g", {}),
    ("Sqrt", ["g"], "r", {}),
                         *quantize_nodes("y", "r")]
    with pytest.raises(ModelError, match=r"'g' \(global_average_pool\) .* works in float"):
        load_onnx(model(nodes, SHAPE, CONSTANTS), "case")


@pytest.mark.parametrize(("change", "match"), [
    ({"s": np.float32(np.nan)}, "scales"), ({"s": np.float32(0)}, "scales"), ({"z": np.int16(3)}, "int16"), ({"wz": np.int8(5)}, "zero point"),
    ({"ws": np.full(3, 0.01, np.float32)}, "scales"), ({"s": np.full(2, 0.1, np.float32)}, "scales")])
def test_parameters_that_int8_cannot_hold(change: dict[str, np.ndarray], match: str) -> None:
    nodes = [*quantize_nodes("xd", "x"), *CONV, *quantize_nodes("y", "c")]
    constants = {**CONSTANTS, **change}
    if "wz" in change:
        constants["w"] = np.full((4, 3, 3, 3), -128, np.int8)
    with pytest.raises(ModelError, match=match):
        load_onnx(model(nodes, SHAPE, constants), "case")
