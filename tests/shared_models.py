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
MODELS = {name: SHARED / folder / f"{name}.tflite" for folder, names in {
    "mlperf_tiny": ("kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8", "str_ww_ref_model"),
    "models/tflite": ("mcunet_vww", "tflm_person_detect", "mww_okay_nabu_v2", "mww_vad"),
}.items() for name in names}


@cache
def shared_graph(name: str) -> QuantizedGraph:
    """The model after the passes; a float one as int8 without calibration. Skips the test where the folder is missing."""
    require_tool("shared-data", MODELS[name].is_file())
    graph = load_model(MODELS[name])
    return optimize(quantize_uncalibrated(graph) if isinstance(graph, FloatGraph) else graph)
