"""One candidate from choices to a benched artifact: train, prune, fine-tune, quantize, lower, run on the core.

Every stage's product is a file in the candidate's folder; a stage whose file is there is not done again, so a killed
run repeats at most the stage it was in.
"""

from __future__ import annotations

import io
import pickle
import shutil
import time
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.bench import bench
from edgecompress.bench.measurement import Measurement
from edgecompress.data.parts import TrainingData
from edgecompress.errors import ConfigError, DataError, ModelError
from edgecompress.hw.target import Target
from edgecompress.ir import serialize
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.artifact import read_manifest
from edgecompress.run.config import SearchConfig
from edgecompress.run.files import read_json, write_atomic, write_json
from edgecompress.search.space import Candidate

if TYPE_CHECKING:
    from torch import nn

    from edgecompress.frontend.float_graph import FloatGraph


@dataclass(frozen=True)
class CandidateResult:
    """What is known of a trained candidate. Accuracies are on the validation part; the test part is for the chosen one alone."""

    id: str
    accuracy_float: float
    accuracy_pruned_float: float
    accuracy_int8: float
    parameters: int
    macs: int
    constant_bytes: int
    train_seconds: float
    layers_sqnr: tuple[dict[str, Any], ...]
    measurement: Measurement

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "measurement": self.measurement.to_document()}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> CandidateResult:
        """Inverse of to_json."""
        measurement = Measurement.from_document(document["measurement"])
        return cls(**{**document, "layers_sqnr": tuple(document["layers_sqnr"]), "measurement": measurement})


def graph_metadata(data: TrainingData) -> dict[str, Any]:
    """What a deployed model must say about its inputs and outputs."""
    return {"classes": list(data.classes), "data": data.name, "data_hash": data.hash, "normalization": asdict(data.normalization)}


def short_name(spec: str) -> str:
    """A data set's name for symbols and titles: "../photos/cats.npz?x=a" becomes "cats"."""
    return Path(spec.partition("?")[0]).stem or "model"


def input_range(data: TrainingData) -> tuple[float, float]:
    """The range of the device's int8 input, from the training part."""
    from edgecompress.compress.quantize.input_range import choose_input_range

    return choose_input_range(data.train.x, data.normalization.raw_dtype, data.kind)


def process_candidate(candidate: Candidate, data: TrainingData, target: Target, config: SearchConfig, folder: Path) -> CandidateResult:
    """All stages of one candidate, resumable. `data` holds no test sample by its type."""
    import torch

    torch.set_num_threads(1)
    known = finished_result(folder)
    if known is not None:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(folder)
    write_atomic(folder / "candidate.json", candidate.to_json() + "\n")
    module, training = _trained(candidate, data, config, folder)
    graph, floats = _quantized(module, candidate, data, config, folder)
    artifact = _lowered(graph, target, data, config, folder)
    measurement = bench(artifact, cc=config.cc or None, emulator=config.emulator or None, samples=config.samples,
                        target=target)
    write_json(folder / "measurement.json", measurement.to_document())
    result = _judge(candidate, graph, floats, data, training, measurement)
    write_json(folder / "result.json", result.to_json())
    return result


def finished_result(folder: Path) -> CandidateResult | None:
    """The result of a candidate whose stages are all done and whose files are all there, else None. Raises ConfigError for a damaged one."""
    path = folder / "result.json"
    if not path.exists() or not _intact(folder):
        return None
    document = read_json(path)
    try:
        return CandidateResult.from_json(document)
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise ConfigError(f"'{path}' is damaged ({type(error).__name__}: {error}); delete it and run again with --resume") from None


def _intact(folder: Path) -> bool:
    """Whether all that a finished candidate must have is there; what is missing is made again, not complained about."""
    return all((folder / name).is_file() for name in ("candidate.json", "model.pt", "graph.json", "graph.npz")) and _whole(folder / "artifact")


def _whole(artifact: Path) -> bool:
    try:
        read_manifest(artifact)
    except (ConfigError, ModelError):
        return False
    return True


def _clear_leftovers(folder: Path) -> None:
    """What a killed process left behind: half-written files, and an artifact that somebody took files from."""
    for path in folder.glob("*.partial"):
        path.unlink()
    for path in folder.glob(".artifact-*"):
        shutil.rmtree(path)
    if (folder / "artifact").is_dir() and not _whole(folder / "artifact"):
        shutil.rmtree(folder / "artifact")


def _seed(config: SearchConfig, candidate: Candidate) -> int:
    return (config.seed * 1_000_003 + int(candidate.id[:8], 16)) % (2**31)


def _trained(candidate: Candidate, data: TrainingData, config: SearchConfig, folder: Path) -> tuple[nn.Module, dict[str, float]]:
    """The trained, pruned and fine-tuned module; `model.pt` holds its weights."""
    import torch

    from edgecompress.compress.finetune import train
    from edgecompress.compress.prune.structured import prune
    from edgecompress.compress.recipes import recipe as recipe_for
    from edgecompress.search.space import build

    ratio = float(candidate["prune"])
    if (folder / "training.json").exists() and (folder / "model.pt").exists():
        module = build(candidate, data.input_shape, len(data.classes))
        load_weights(module, folder / "model.pt")
        return module.eval(), read_json(folder / "training.json")
    started = time.perf_counter()
    seed = _seed(config, candidate)
    torch.manual_seed(seed)
    recipe = recipe_for(data.kind, data.name, data.input_shape, len(data.train))
    recipe = replace(recipe, input_range=input_range(data), epochs=config.epochs or recipe.epochs)
    first = train(build(candidate, data.input_shape, len(data.classes), dense=True), data.train, data.validation, recipe, seed)
    module, accuracy = first.module, first.accuracy
    if ratio > 0:
        smaller = prune(first.module, data.input_shape, ratio)
        second = train(smaller, data.train, data.validation, recipe.for_finetuning(), seed + 1, teacher=first.module)
        module, accuracy = second.module, second.accuracy
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    write_atomic(folder / "model.pt", buffer.getvalue())
    training = {"accuracy_dense": first.accuracy, "accuracy_pruned": accuracy, "seconds": time.perf_counter() - started}
    write_json(folder / "training.json", training)
    return module.eval(), training


def load_weights(module: nn.Module, path: Path) -> None:
    import torch

    try:
        module.load_state_dict(torch.load(path, weights_only=True))
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ModelError(f"the weights in '{path}' are damaged ({type(error).__name__}); delete the folder '{path.parent}' and resume") from None


def _quantized(module: nn.Module, candidate: Candidate, data: TrainingData, config: SearchConfig, folder: Path) -> tuple[QuantizedGraph, FloatGraph]:
    from edgecompress.compress.quantize.static import QuantizeConfig, quantize
    from edgecompress.frontend.torch_import import from_torch
    from edgecompress.search.space import weight_bits

    floats = from_torch(module, data.input_shape, name=short_name(data.name))
    chosen = np.random.default_rng(config.seed).permutation(len(data.train.y))[: config.calibration]
    settings = QuantizeConfig(range_method=config.range_method, bias_correction=config.bias_correction, weight_bits=weight_bits(candidate, module),
                              input_range=input_range(data),
                              metadata=graph_metadata(data))
    graph = quantize(floats, data.train.x[np.sort(chosen)], settings)
    serialize.save(graph, folder / "graph.json")
    return graph, floats


def _lowered(graph: QuantizedGraph, target: Target, data: TrainingData, config: SearchConfig, folder: Path) -> Path:
    from edgecompress.lower import lower

    count = min(max(config.samples, 10), len(data.validation.y))
    vectors = graph.tensors[graph.inputs[0]].quantize(data.validation.x[:count])
    artifact = lower(graph, target, vectors=vectors, vectors_source=f"{count} validation samples of {data.name}")
    artifact.write(folder / "artifact", overwrite=True)
    return folder / "artifact"


def _judge(candidate: Candidate, graph: QuantizedGraph, floats: FloatGraph, data: TrainingData, training: dict[str, float],
           measurement: Measurement) -> CandidateResult:
    from edgecompress.compress.quantize.evaluate import accuracy_float, accuracy_int8
    from edgecompress.compress.quantize.sqnr import layer_sqnr

    sqnr = tuple(asdict(row) for row in layer_sqnr(floats, graph, data.validation.x[:64]))
    return CandidateResult(
        id=candidate.id,
        accuracy_float=training["accuracy_dense"],
        accuracy_pruned_float=accuracy_float(floats, data.validation),
        accuracy_int8=accuracy_int8(graph, data.validation.x, data.validation.y),
        parameters=graph.parameters,
        macs=graph.total_macs,
        constant_bytes=graph.weight_bytes,
        train_seconds=training["seconds"],
        layers_sqnr=sqnr,
        measurement=measurement,
    )
