"""A network with attention by every way in: torch, ONNX in float, and what onnxruntime's quantizer makes of it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.float_run import run_float
from edgecompress.frontend.onnx import load_onnx
from edgecompress.frontend.passes import prepare
from edgecompress.frontend.torch_import import from_torch
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.reference import run
from edgecompress.search.space import SPACE, Candidate, build

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_cases import onnxruntime_outputs

SHAPE = (12, 10, 2)


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    choices = {knob.name: knob.choices[0] for knob in SPACE.knobs("attention")}
    torch.manual_seed(1)
    made = build(Candidate({"family": "attention", **choices, "heads": 2, "tokens": 36}), SHAPE, 4)
    with torch.no_grad():
        for _ in range(20):
            made.train()(torch.randn(32, SHAPE[2], *SHAPE[:2]))
    return made.eval()


@pytest.fixture(scope="module")
def path(module: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("onnx") / "attention.onnx"
    torch.onnx.export(module, torch.zeros(1, SHAPE[2], *SHAPE[:2]), str(target), opset_version=13, dynamo=False, input_names=["x"], output_names=["y"])
    return target


def samples(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE)).astype(np.float32)


def to_file(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


@pytest.mark.filterwarnings("ignore")
def test_onnx_and_torch_become_the_same_network(module: torch.nn.Module, path: Path) -> None:
    graph, x = load_onnx(path.read_bytes(), "case"), samples(5, 0)
    assert isinstance(graph, FloatGraph)
    with torch.no_grad():
        expected = module(torch.from_numpy(to_file(x))).numpy()
    np.testing.assert_allclose(run_float(graph, x), expected, atol=1e-4)
    kinds = [sorted(node.kind for node in prepare(one).nodes if node.kind != "reshape") for one in (graph, from_torch(module, SHAPE))]
    assert kinds[0] == kinds[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("style", ["QDQ", "QOperator"])
def test_what_onnxruntime_quantized_stays_near_its_own_results(path: Path, tmp_path: Path, style: str) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(samples(24, 1))

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self.rest, None)
            return None if sample is None else {"x": to_file(sample[None])}

    logging.getLogger().setLevel(logging.ERROR)
    target = tmp_path / "quantized.onnx"
    quantize_static(str(path), str(target), Reader(), quant_format=QuantFormat[style], weight_type=QuantType.QInt8, activation_type=QuantType.QInt8)
    data = target.read_bytes()
    graph, x = load_onnx(data, "case"), samples(20, 2)
    assert isinstance(graph, QuantizedGraph)
    assert sum(node.op.kind == "batch_matmul" for node in graph.nodes) == 2
    output = graph.tensors[graph.outputs[0]]
    ours = output.dequantize(run(graph, graph.tensors[graph.inputs[0]].quantize(x)))
    theirs = np.concatenate([onnxruntime_outputs(data, to_file(sample[None]), ["y"])[0] for sample in x])
    assert np.abs(ours - theirs).max() <= 8 * output.scale
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
