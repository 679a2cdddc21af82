"""The table of third-party models on emulated Cortex-M cores: instructions, cycles, RAM, flash, exactness, beside the peers' figures.

    python benchmarks/mcu_models.py [--shared ../shared/data] [--models kws,resnet] [--cores cortex-m4,cortex-m7] [--layers]

Every model is imported from its .tflite, lowered with --io arena, compiled and run afresh. Outputs are compared byte for byte with the
tflite-micro interpreter on real inputs (Speech Commands features, patches of scikit-learn's photographs, a ToyADMOS spectrogram).
"M cycles, flash of an STM32L4R5" adds the waits of that chip's flash at 120 MHz (bench/flash_wait.py), where MLPerf Tiny's figures were
measured; beside it X-CUBE-AI 10.2's figure, published by MLCommons.
RAM is everything the firmware needs for an inference: arena with input and output in it, other data, the deepest stack. Flash is code and
constants without the bench harness. "weights" are the model's own weights (one byte) and biases (four). kB are 1,000 bytes.
Peers' figures: docs/peers.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecompress.bench import bench
from edgecompress.bench.measurement import Measurement
from edgecompress.frontend.model_file import load_model
from edgecompress.hw.target import load_target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower import lower
from edgecompress.lower.options import LowerOptions

SAMPLES = 5
KILO = 1000.0


@dataclass(frozen=True)
class Goal:
    """What the issue asks of a model. Instructions and cycles in millions, sizes in kB; None: no goal."""

    m4: float
    m55: float
    m4_cycles: float | None
    ram: float
    flash: float | None
    flash_over_weights: float | None


@dataclass(frozen=True)
class Model:
    """A file, where its inputs come from, goals, and TFLM with CMSIS-NN: core -> (million instructions, flash kB, RAM kB)."""

    file: str
    inputs: Callable[[Path, QuantizedGraph], np.ndarray]
    goal: Goal | None
    peer: dict[str, tuple[float, float, float]]
    x_cube_ai: float | None = None  # million cycles on an STM32L4R5, measured by ST


def speech_features(shared: Path, graph: QuantizedGraph) -> np.ndarray:
    """MLPerf Tiny MFCC features of test clips."""
    with np.load(shared / "audio/speech_commands12_features.npz") as arrays:
        clips = arrays["mfcc_f16"][:: len(arrays["mfcc_f16"]) // SAMPLES][:SAMPLES].astype(np.float32)
    tensor = graph.tensors[graph.inputs[0]]
    return tensor.quantize(clips.reshape(-1, *tensor.shape))


def photographs(_shared: Path, graph: QuantizedGraph) -> np.ndarray:
    """Square patches of scikit-learn's two photographs, scaled to the input; bytes 0 to 255 become -128 to 127."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    shape = graph.tensors[graph.inputs[0]].shape
    patches = []
    for index in range(SAMPLES):
        image = load_sample_images().images[index % 2]
        top, left = 30 * index, 90 * index
        patch = Image.fromarray(image[top: top + 240, left: left + 240]).resize((shape[1], shape[0]))
        pixels = np.asarray(patch, dtype=np.int16)
        patches.append((pixels if shape[2] == 3 else pixels.mean(axis=2, keepdims=True)) - 128)
    return np.stack(patches).astype(np.int8)


def spectrogram(shared: Path, graph: QuantizedGraph) -> np.ndarray:
    """Windows of the machine sound that MLPerf Tiny's anomaly detection is shown."""
    values = np.fromfile(shared / "mlperf_tiny/ad01_normal_id_01_00000000_hist_librosa.bin", dtype=np.float32)
    tensor = graph.tensors[graph.inputs[0]]
    windows = np.stack([values[start * 128: start * 128 + tensor.size] for start in range(0, SAMPLES * 7, 7)])
    return tensor.quantize(windows)


def wake_word(shared: Path, graph: QuantizedGraph) -> np.ndarray:
    """The first spectrograms of MLPerf Tiny's calibration samples."""
    with np.load(shared / "mlperf_tiny/sww_calibration_samples.npz") as arrays:
        values = next(array for array in arrays.values() if array.ndim >= 3)
    tensor = graph.tensors[graph.inputs[0]]
    return tensor.quantize(values[:SAMPLES].reshape(-1, *tensor.shape).astype(np.float32))


MODELS: dict[str, Model] = {
    "kws_ref_model": Model("mlperf_tiny/kws_ref_model.tflite", speech_features, Goal(3.2, 0.75, 4.2, 12.0, None, 14.0),
                           {"cortex-m4": (7.85, 141, 24.7), "cortex-m7": (7.76, 142, 24.7), "cortex-m33": (7.80, 142, 24.7),
                            "cortex-m55": (1.79, 132, 29.4)}, 5.2),
    "pretrainedResnet_quant": Model("mlperf_tiny/pretrainedResnet_quant.tflite", photographs, Goal(12.0, 2.2, 15.0, 50.0, None, 14.0),
                                    {"cortex-m4": (29.9, 185, 56.9), "cortex-m7": (29.9, 185, 56.8), "cortex-m55": (4.81, 175, 56.9)}, 19.9),
    "vww_96_int8": Model("mlperf_tiny/vww_96_int8.tflite", photographs, Goal(6.3, 1.7, 8.5, 55.0, 150.0, None),
                         {"cortex-m4": (24.7, 421, 102.6), "cortex-m7": (24.5, 421, 102.6), "cortex-m55": (6.43, 412, 102.8)}, 10.7),
    "ad01_int8": Model("mlperf_tiny/ad01_int8.tflite", spectrogram, Goal(0.29, 0.056, 0.42, 2.0, None, 8.0),
                       {"cortex-m4": (0.582, 309, 3.8), "cortex-m55": (0.150, 304, 10.7)}, 0.57),
    "mcunet_vww": Model("models/tflite/mcunet_vww.tflite", photographs, Goal(16.0, 4.5, None, 90.0, None, 20.0),
                        {"cortex-m4": (49.4, 722, 221.7), "cortex-m55": (12.0, 708, 221.9)}),
    "str_ww_ref_model": Model("mlperf_tiny/str_ww_ref_model.tflite", wake_word, None, {"cortex-m4": (2.23, 159, 18.4)}),
    "tflm_person_detect": Model("models/tflite/tflm_person_detect.tflite", photographs, None, {"cortex-m4": (23.5, 374, 84.3)}),
}
CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")


def weight_kilobytes(graph: QuantizedGraph) -> float:
    """Weights, one byte each, and biases, four bytes each, of the model as shipped."""
    return sum(node.op.weights.size + 4 * node.op.bias.size for node in graph.nodes if hasattr(node.op, "weights")) / KILO  # type: ignore[attr-defined]


def interpreter_outputs(path: Path, graph: QuantizedGraph, inputs: np.ndarray) -> np.ndarray:
    """The tflite-micro interpreter's int8 outputs; float ends are quantized as the graph's own tensors say."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(path.read_bytes())
    source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    details = interpreter.get_input_details(0)
    outputs = []
    for sample in inputs:
        value = source.dequantize(sample) if details["dtype"] == np.float32 else sample
        interpreter.set_input(value.reshape(details["shape"]), 0)
        interpreter.invoke()
        result = interpreter.get_output(0)
        outputs.append(target.quantize(result) if result.dtype == np.float32 else result)
    return np.stack(outputs).reshape(len(inputs), *target.shape)


def measure(name: str, core: str, shared: Path) -> tuple[Measurement, Measurement | None, QuantizedGraph, bool, float]:
    """(measurement, the same on an STM32L4R5, graph as shipped, equal to tflite-micro, seconds of import and lowering)."""
    model = MODELS[name]
    graph = load_model(shared / model.file)
    assert isinstance(graph, QuantizedGraph)
    inputs = model.inputs(shared, graph)
    started = time.perf_counter()
    graph = load_model(shared / model.file)
    assert isinstance(graph, QuantizedGraph)
    artifact = lower(graph, load_target(core), vectors=inputs, vectors_source="real inputs", options=LowerOptions(io="arena"))
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as temporary:
        artifact.write(Path(temporary) / name)
        seen = bench(Path(temporary) / name, samples=SAMPLES)
        waiting = bench(Path(temporary) / name, samples=1, target=load_target("stm32l4r5")) if core == "cortex-m4" else None
        with np.load(Path(temporary) / name / "vectors.npz") as vectors:
            exact = np.array_equal(vectors["outputs"], interpreter_outputs(shared / model.file, graph, inputs))
    return seen, waiting, graph, bool(exact and seen.matches_reference), seconds


def _against(value: float, goal: float | None) -> str:
    return f"{value:.3g}" if goal is None else f"{value:.3g} ({'met' if value <= goal else 'MISSED'}: {goal:g})"


def _with_waits(seen: Measurement | None, x_cube_ai: float | None) -> str:
    if seen is None or seen.estimated_cycles is None or seen.flash_wait_cycles is None:
        return "-"
    cycles = (seen.estimated_cycles + seen.flash_wait_cycles) / 1e6
    return f"{cycles:.3g}" + (f" (X-CUBE-AI: {x_cube_ai:g})" if x_cube_ai else "")


def row(name: str, core: str, seen: Measurement, waiting: Measurement | None, graph: QuantizedGraph, exact: bool, seconds: float) -> list[str]:
    """One line of the table."""
    model, weights = MODELS[name], weight_kilobytes(graph)
    assert seen.instructions is not None and seen.flash_bytes is not None and seen.ram_bytes is not None
    goal, peer = model.goal, model.peer.get(core)
    instructions, flash, ram = seen.instructions / 1e6, seen.flash_bytes / KILO, seen.ram_bytes / KILO
    flash_goal = goal and (goal.flash or weights + (goal.flash_over_weights or 0))
    wanted = goal and (goal.m55 if core == "cortex-m55" else goal.m4)
    cycles = "-" if seen.estimated_cycles is None else _against(seen.estimated_cycles / 1e6, goal.m4_cycles if goal and core == "cortex-m4" else None)
    words = "-" if seen.memory_words is None else f"{seen.memory_words / 1e6:.3g}"
    ratio = "-" if peer is None else " / ".join(f"{ours / theirs:.2f}" for ours, theirs in zip((instructions, flash, ram), peer, strict=True))
    return [name, core, _against(instructions, wanted), cycles, _with_waits(waiting, model.x_cube_ai), words,
            _against(ram, goal and goal.ram), _against(flash, flash_goal),
            f"{weights:.1f}", ratio, "yes" if exact else "NO", f"{seconds:.1f}"]


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--cores", default=",".join(CORES))
    parser.add_argument("--layers", action="store_true", help="print each layer's instructions, cycles and memory words as well")
    parser.add_argument("--json", type=Path, help="write all measurements here too")
    arguments = parser.parse_args()
    print("| model | core | M instructions (goal) | M cycles, estimated (goal) | M cycles, flash of an STM32L4R5 | "
          "M memory words | RAM kB (goal) | flash kB (goal) | weights kB | "
          "instructions / flash / RAM relative to TFLM + CMSIS-NN | equals tflite-micro | import and lower, s |")
    print("|" + "---|" * 12)
    documents = {}
    for name in arguments.models.split(","):
        for core in arguments.cores.split(","):
            seen, waiting, graph, exact, seconds = measure(name, core, arguments.shared)
            documents[f"{name} {core}"] = {**seen.to_document(), "equals_tflite_micro": exact}
            print("| " + " | ".join(row(name, core, seen, waiting, graph, exact, seconds)) + " |", flush=True)
            for layer in seen.layers if arguments.layers else ():
                counts = (layer.instructions, layer.estimated_cycles or 0, layer.memory_words or 0)
                print(f"    {layer.node[-40:]:40} {layer.kernel:36}", *(f"{count:>10}" for count in counts))
    if arguments.json:
        arguments.json.write_text(json.dumps(documents, indent=1) + "\n")


if __name__ == "__main__":
    main()
