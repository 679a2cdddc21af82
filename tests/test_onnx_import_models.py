"""Third-party ONNX models: those that convert agree with onnxruntime and quantize; the others end in one sentence that helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tools import require_tool

from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.onnx import load_onnx
from edgecompress.frontend.passes import prepare
from edgecompress.ir.reference import run_all

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_cases import compare_float, graph_input, onnxruntime_outputs, rng, to_graph_order

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "models" / "onnx"
CONVERT: dict[str, tuple[int, ...] | None] = {"ultraface_slim_320": None, "ppocr_mobile_v2_cls": (3, 48, 192), "dnsmos_model_v8": None}


def read(name: str) -> bytes:
    """A shared model file."""
    require_tool("shared-data", SHARED.is_dir())
    return (SHARED / f"{name}.onnx").read_bytes()


@pytest.mark.parametrize("name", CONVERT)
def test_models_agree_with_onnxruntime_and_quantize(name: str) -> None:
    data = read(name)
    graph = load_onnx(data, name, CONVERT[name])
    assert isinstance(graph, FloatGraph)
    x = rng(0).uniform(-1, 1, graph.metadata["origin"]["input"]["shape"]).astype(np.float32)
    compare_float(graph, data, x, 1e-5)
    samples = np.concatenate([graph_input(graph, x), graph_input(graph, np.tanh(2 * x))])
    quantized = quantize(graph, samples, QuantizeConfig(range_method="minmax", bias_correction=False))
    codes = run_all(quantized, {quantized.inputs[0]: quantized.tensors[quantized.inputs[0]].quantize(samples[:1])})
    entries = graph.metadata["origin"]["outputs"]
    expected = onnxruntime_outputs(data, x, [entry["name"] for entry in entries])
    for output, entry, values in zip(quantized.outputs, entries, expected, strict=True):
        wanted = to_graph_order(values, entry["axes"], quantized.tensors[output].shape)
        error = quantized.tensors[output].dequantize(codes[output]) - wanted
        assert np.sqrt(np.square(error).mean() / np.square(wanted).mean()) < 0.03, output
    assert quantized.metadata["origin"] == graph.metadata["origin"]


def test_a_detector_without_its_box_arithmetic() -> None:
    graph = load_onnx(read("ultraface_slim_320"), "ultraface", outputs=["scores", "375"])
    assert len(graph.outputs) == 2 and not {"slice", "unary"} & {node.kind for node in prepare(graph).nodes}
    assert [graph.shapes[name] for name in graph.outputs] == [(4420, 2), (4420, 4)]


@pytest.mark.parametrize(("name", "input_shape", "match"), [
    ("ppocr_mobile_v2_cls", None, r"axes 2, 3 open; give all sizes without the batch, as --input-shape 3x96x96"),
    ("ppocr_mobile_v2_cls", (1, 48, 192), "does not fit input 'x'"),
    ("silero_vad_16k_op15", None, r"2 inputs \('state' .* of Shape '.*', 'sr' .* of Mul '.*'\); one is supported"),
    ("basic_pitch_nmp", None, "^Equal 'model_1/normalized_log_1/.*end the graph before it with --outputs"),
])
def test_sentences_name_what_is_in_the_way(name: str, input_shape: tuple[int, ...] | None, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        load_onnx(read(name), name, input_shape)
