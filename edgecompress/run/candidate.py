"""A trained candidate's folder, and its last stages: lower, run on the core.

Every stage's product is a file in the candidate's folder; a stage whose file is there is not done again, so a killed
run repeats at most the stage it was in.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
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
from edgecompress.run.files import read_json, write_json
from edgecompress.search.objective import Device
from edgecompress.search.space import Candidate

if TYPE_CHECKING:
    from torch import nn

TRAINED_FILES = ("model.pt", "graph.json", "graph.npz", "training.json")


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
    also: Mapping[str, Measurement]  # on the further devices
    quantization: tuple[dict[str, Any], ...]  # steps that were tried, with the accuracy after each
    weight_bits: Mapping[str, int]  # stored bits of each layer's weights, which may be others than the candidate asked for

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        also = {name: seen.to_document() for name, seen in self.also.items()}
        return {**asdict(replace(self, also={})), "measurement": self.measurement.to_document(), "also": also}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> CandidateResult:
        """Inverse of to_json."""
        changed = {"layers_sqnr": tuple(document["layers_sqnr"]), "quantization": tuple(document["quantization"]),
                   "measurement": Measurement.from_document(document["measurement"]),
                   "also": {name: Measurement.from_document(seen) for name, seen in document["also"].items()}}
        return cls(**{**document, **changed})


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


def finish_candidate(candidate: Candidate, data: TrainingData, devices: Sequence[Device], config: SearchConfig, folder: Path) -> CandidateResult:
    """Lowers and runs a trained and quantized candidate (see `trainer.final_task`) on every device, resumable. `data` holds no test sample by its type."""
    _clear_leftovers(folder)
    known = finished_result(folder)
    if known is not None:
        return known
    graph = serialize.load(folder / "graph.json")
    measurements = []
    for index, device in enumerate(devices):
        artifact = _lowered(graph, device, data, config, folder / artifact_name(device.target, index))
        first = index == 0
        measurements.append(bench(artifact, on=(config.on or None) if first else None, cc=config.cc or None,
                                  emulator=(config.emulator or None) if first else None, samples=config.samples, target=device.target))
    write_json(folder / "measurement.json", measurements[0].to_document())
    training = _training(folder)
    result = CandidateResult(
        id=candidate.id,
        accuracy_float=training["accuracy_dense"],
        accuracy_pruned_float=training["accuracy_pruned"],
        accuracy_int8=training["accuracy_int8"],
        parameters=graph.parameters,
        macs=graph.total_macs,
        constant_bytes=graph.weight_bytes,
        train_seconds=training["seconds"],
        layers_sqnr=tuple(training["layers_sqnr"]),
        measurement=measurements[0],
        also={device.target.name: seen for device, seen in zip(devices[1:], measurements[1:], strict=True)},
        quantization=tuple(training["quantization"]),
        weight_bits=training["weight_bits"],
    )
    write_json(folder / "result.json", result.to_json())
    return result


def _training(folder: Path) -> dict[str, Any]:
    path = folder / "training.json"
    found = read_json(path)
    needed = {"accuracy_dense", "accuracy_pruned", "accuracy_int8", "layers_sqnr", "quantization", "weight_bits", "seconds"}
    if not isinstance(found, dict) or not needed <= found.keys():
        raise ConfigError(f"'{path}' is damaged; delete the folder '{folder}' and run again with --resume")
    return found


def artifact_name(target: Target, index: int) -> str:
    """Folder of the artifact for a device: "artifact" for the first, "artifact-NAME" for further ones."""
    return "artifact" if index == 0 else f"artifact-{target.name}"


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
    return trained(folder) and (folder / "measurement.json").is_file() and all(_whole(artifact) for artifact in _artifacts(folder))


def trained(folder: Path) -> bool:
    """Whether the candidate's training and quantization are done and their files there."""
    return all((folder / name).is_file() for name in (*TRAINED_FILES, "candidate.json"))


def _artifacts(folder: Path) -> list[Path]:
    """Artifact folders; the first device's in any case."""
    return [folder / "artifact", *sorted(folder.glob("artifact-*"))]


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
    for artifact in _artifacts(folder):
        if artifact.is_dir() and not _whole(artifact):
            shutil.rmtree(artifact)


def load_weights(module: nn.Module, path: Path) -> None:
    import torch

    try:
        module.load_state_dict(torch.load(path, weights_only=True))
    except Exception as error:  # torch's readers raise whatever the damaged bytes lead them to
        raise ModelError(f"the weights in '{path}' are damaged ({type(error).__name__}); delete the folder '{path.parent}' and resume") from None


def _lowered(graph: QuantizedGraph, device: Device, data: TrainingData, config: SearchConfig, folder: Path) -> Path:
    from edgecompress.lower import lower

    count = min(max(config.samples, 10), len(data.validation.y))
    chosen = np.random.default_rng(config.seed).permutation(len(data.validation.y))[:count]
    vectors = graph.tensors[graph.inputs[0]].quantize(data.validation.x[chosen])
    lower(graph, device.target, vectors=vectors, vectors_source=f"{count} validation samples of {data.name}").write(folder, overwrite=True)
    return folder
