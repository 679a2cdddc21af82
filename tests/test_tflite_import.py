"""The TFLite importer on third-party models: int8 models give tflite-micro's bytes, float models its numbers, the rest one sentence."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tools import require_tool

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.tflite import OPERATORS, load_tflite
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.reference import run_all

AVAILABLE = find_spec("tflite_micro") is not None
if AVAILABLE:
    from tflite_files import interpret, without_compressed_weights

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
INTEGER = (
    "mlperf_tiny/ad01_int8", "mlperf_tiny/kws_ref_model", "mlperf_tiny/pretrainedResnet_quant", "mlperf_tiny/str_ww_ref_model",
    "mlperf_tiny/vww_96_int8", "models/tflite/mcunet_vww", "models/tflite/tflm_hello_world_int8", "models/tflite/tflm_micro_speech_quantized",
    "models/tflite/tflm_person_detect",
)
FLOAT = (
    "mlperf_tiny/ad01_fp32", "mlperf_tiny/kws_ref_model_float32", "mlperf_tiny/pretrainedResnet", "mlperf_tiny/vww_96_float",
    "models/tflite/tflm_hello_world_float", "models/tflite/mediapipe_face_detection_short_range",
)
REFUSED = {  # what the sentence must name
    "models/tflite/basic_pitch_nmp": ("operator 160 (SUM)", "model_1/cq_t2010v2_1/Sum", "outside the model"),
}
SAMPLES = 4


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> bytes:
    require_tool("shared-data", SHARED.is_dir())
    require_tool("tflite-micro", AVAILABLE)
    return (SHARED / f"{request.param}.tflite").read_bytes()


def samples(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """All low, all high, two random: int8 [4, *shape]."""
    x = np.random.default_rng(seed).integers(-128, 128, (SAMPLES, *shape)).astype(np.int8)
    x[0], x[1] = -128, 127
    return x


def as_file_type(x: np.ndarray, graph: QuantizedGraph, name: str) -> np.ndarray:
    """int8 as the file's input wants it: itself, or the real numbers where a QUANTIZE was dropped."""
    ends = {end["now"] for end in graph.metadata["tflite"].get("dropped_ends", ())}
    return graph.tensors[name].dequantize(x) if name in ends else x


@pytest.mark.parametrize("shared", INTEGER, indirect=True)
def test_int8_models_give_the_bytes_of_tflite_micro(shared: bytes) -> None:
    started = time.perf_counter()
    graph = load_tflite(shared, "model")
    assert time.perf_counter() - started < 1.0
    assert isinstance(graph, QuantizedGraph)
    x = {name: samples(graph.tensors[name].shape, seed) for seed, name in enumerate(graph.inputs)}
    expected = interpret(shared, [[as_file_type(x[name][sample], graph, name) for name in graph.inputs] for sample in range(SAMPLES)])
    actual = run_all(graph, x)
    for position, name in enumerate(graph.outputs):
        for sample in range(SAMPLES):
            mine = as_file_type(actual[name][sample], graph, name)
            np.testing.assert_array_equal(mine.reshape(expected[sample][position].shape), expected[sample][position])
    assert len({values.tobytes() for values in actual[graph.outputs[0]]}) > 1, "the model says the same for every input"


@pytest.mark.parametrize("shared", FLOAT, indirect=True)
def test_float_models_agree_with_tflite_micro_and_quantize(shared: bytes) -> None:
    from edgecompress.compress.quantize.static import quantize
    from edgecompress.frontend.float_run import run_tensors

    started = time.perf_counter()
    graph = load_tflite(shared, "model")
    assert time.perf_counter() - started < 1.0
    assert isinstance(graph, FloatGraph)
    x = np.random.default_rng(0).normal(0, 1, (SAMPLES, *graph.shapes[graph.input])).astype(np.float32)
    expected = interpret(without_compressed_weights(shared), [[one] for one in x], arena=16_000_000)
    actual = run_tensors(graph, x, graph.outputs)
    for position, name in enumerate(graph.outputs):
        for sample in range(SAMPLES):
            wanted = expected[sample][position]
            largest = max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(actual[name][sample].reshape(wanted.shape), wanted, rtol=2e-4, atol=2e-5 * largest)
    integer = quantize(graph, x)
    codes = run_all(integer, {integer.inputs[0]: integer.tensors[integer.inputs[0]].quantize(x)})
    for float_name, name in zip(graph.outputs, integer.outputs, strict=True):
        spread = float(np.ptp(actual[float_name]))
        error = np.abs(integer.tensors[name].dequantize(codes[name]) - actual[float_name]).mean()
        assert error < 0.1 * spread + 0.02


@pytest.mark.parametrize("shared", REFUSED, indirect=True)
def test_what_cannot_be_converted_is_named_in_one_sentence(shared: bytes, request: pytest.FixtureRequest) -> None:
    with pytest.raises(ModelError) as caught:
        load_tflite(shared, "model")
    assert "\n" not in caught.value.message
    for part in REFUSED[request.node.callspec.params["shared"]]:
        assert part in caught.value.message


def test_every_shared_file_converts_or_ends_in_one_sentence() -> None:
    require_tool("shared-data", SHARED.is_dir())
    files = sorted([*SHARED.glob("mlperf_tiny/*.tflite"), *SHARED.glob("models/tflite/*.tflite")])
    assert len(files) >= 20
    for path in files:
        started = time.perf_counter()
        try:
            graph = load_tflite(path.read_bytes(), path.stem)
        except ModelError as error:
            assert "\n" not in error.message
            assert "operator " in error.message
            assert "(" in error.message
        else:
            assert graph.metadata["tflite"]["source_format"] == "tflite"
        assert time.perf_counter() - started < 1.0, path.name


@pytest.mark.parametrize("shared", ["models/tflite/mcunet_vww"], indirect=True)
def test_dropped_ends_are_in_the_metadata(shared: bytes) -> None:
    graph = load_tflite(shared, "model")
    first, last = graph.metadata["tflite"]["dropped_ends"]
    assert (first["side"], first["type"], first["operator"]) == ("input", "float32", "QUANTIZE 0")
    assert (last["side"], last["type"], last["operator"]) == ("output", "float32", "DEQUANTIZE 62")
    assert first["now"] in graph.inputs
    assert last["now"] in graph.outputs


@pytest.mark.parametrize("shared", ["mlperf_tiny/kws_ref_model"], indirect=True)
def test_a_model_can_end_at_another_tensor(shared: bytes) -> None:
    whole = load_tflite(shared, "model")
    middle = whole.nodes[3].output
    graph = load_tflite(shared, "model", outputs=[middle])
    assert graph.outputs == (middle,)
    assert len(graph.nodes) == 4
    x = samples(graph.tensors[graph.inputs[0]].shape)
    np.testing.assert_array_equal(run_all(graph, {graph.inputs[0]: x})[middle], run_all(whole, {whole.inputs[0]: x})[middle])
    with pytest.raises(ModelError, match="computes no tensor 'nowhere' to end at"):
        load_tflite(shared, "model", outputs=["nowhere"])


@pytest.mark.parametrize("shared", ["mlperf_tiny/ad01_int8"], indirect=True)
def test_the_same_file_gives_the_same_graph(shared: bytes) -> None:
    assert load_tflite(shared, "model").hash == load_tflite(shared, "model").hash


def test_operators_are_known_to_the_schema_and_described() -> None:
    from edgecompress.frontend.tflite.vocabulary import OPERATOR_NAMES

    assert set(OPERATORS) <= set(OPERATOR_NAMES)
    for name, support in OPERATORS.items():
        assert support.int8 or support.float32 or support.note, name
        assert "\n" not in support.note + support.help
