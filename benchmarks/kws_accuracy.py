"""Accuracy of MLPerf Tiny's keyword model on all 4,890 Speech Commands test clips: our C on an emulated core against the tflite-micro interpreter.

    python benchmarks/kws_accuracy.py [--shared ../shared/data] [--target cortex-m4] [--clips 4890]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from mcu_models import interpreter_outputs

from edgecompress.bench.runner import run_frames
from edgecompress.frontend.model_file import load_model
from edgecompress.hw.target import load_target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower import lower

MODEL, FEATURES = "mlperf_tiny/kws_ref_model.tflite", "audio/speech_commands12_features.npz"


def main() -> None:
    """Prints both accuracies and how many outputs differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--target", default="cortex-m4")
    parser.add_argument("--clips", type=int, default=4890)
    arguments = parser.parse_args()
    graph = load_model(arguments.shared / MODEL)
    assert isinstance(graph, QuantizedGraph)
    tensor = graph.tensors[graph.inputs[0]]
    with np.load(arguments.shared / FEATURES) as arrays:
        inputs = tensor.quantize(arrays["mfcc_f16"][: arguments.clips].astype(np.float32).reshape(-1, *tensor.shape))
        labels = arrays["labels"][: arguments.clips]
    target = load_target(arguments.target)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        lower(graph, target, vectors=inputs[:5], vectors_source="test clips").write(Path(temporary) / "kws")
        ours = run_frames(Path(temporary) / "kws", inputs, timeout_s=600)
    middle = time.perf_counter()
    theirs = interpreter_outputs(arguments.shared / MODEL, graph, inputs)
    for name, outputs, seconds in ((f"our C on {target.core} (emulated)", ours, middle - started),
                                   ("tflite-micro interpreter", theirs, time.perf_counter() - middle)):
        print(f"{name:34} {100 * np.mean(outputs.reshape(len(labels), -1).argmax(axis=1) == labels):.2f} % of {len(labels)} clips ({seconds:.0f} s)")
    print(f"clips whose output bytes differ: {int((ours != theirs).reshape(len(labels), -1).any(axis=1).sum())}")


if __name__ == "__main__":
    main()
