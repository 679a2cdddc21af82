"""Third-party models from the shared data folder, where it is mounted beside the checkout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tools import require_tool

from edgecompress.compress.quantize.structure import quantize_uncalibrated
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.model_file import load_model
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.passes import optimize

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MODELS = {name: SHARED / folder / f"{name}{suffix}" for (folder, suffix), names in {
    ("mlperf_tiny", ".tflite"): ("kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8", "str_ww_ref_model"),
    ("models/tflite", ".tflite"): (
        "mcunet_vww", "tflm_person_detect", "mww_okay_nabu_v2", "mww_vad", "tflm_hello_world_int8", "tflm_micro_speech_quantized",
        "tflm_keyword_scrambled", "tflm_dtln_noise_suppression", "tflm_trained_lstm_int8", "mediapipe_face_detection_short_range"),
    ("models/onnx", ".onnx"): ("dnsmos_model_v8", "ultraface_slim_320", "ppocr_mobile_v2_cls"),
}.items() for name in names}
INPUT_SHAPES = {"ppocr_mobile_v2_cls": (3, 48, 192)}


@cache
def shared_graph(name: str) -> QuantizedGraph:
    """The model after the passes; a float one as int8 without calibration. Skips the test where the folder is missing."""
    require_tool("shared-data", MODELS[name].is_file())
    graph = load_model(MODELS[name], input_shape=INPUT_SHAPES.get(name))
    return optimize(quantize_uncalibrated(graph) if isinstance(graph, FloatGraph) else graph)
