"""`compress`: one given model made smaller for a device: prune, recover, quantize, lower; before and after in the same units."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress import __version__
from edgecompress.data.dataset import load_dataset
from edgecompress.data.parts import Dataset, Samples, TrainingData
from edgecompress.errors import ConfigError, ModelError, unknown_name
from edgecompress.hw.target import Target, load_target
from edgecompress.ir import serialize
from edgecompress.run.candidate import graph_metadata, input_range, short_name
from edgecompress.run.compress_files import (
    DOCUMENT,
    FORMAT,
    check_free,
    class_numbers,
    load_source,
    load_weights_file,
    new_folder,
    restrict,
    save_module,
)
from edgecompress.run.files import write_json

if TYPE_CHECKING:
    from torch import nn

    from edgecompress.compress.training import TrainConfig
    from edgecompress.frontend.float_graph import FloatGraph
    from edgecompress.ir.graph import QuantizedGraph

METHODS = ("uniform", "global", "nni-l1", "nni-l2", "nni-fpgm")
RECOVERIES = ("none", "closed-form", "finetune", "both")
DATA_IMPORTANCES = ("activation", "elimination")  # of compress/prune/selection.py, beside those of importance.py
Say = Callable[[str], None]


@dataclass(frozen=True)
class CompressConfig:
    """What to do with one model. Exactly one of `ratio`, `auto` and `masks` says what goes. Raises ConfigError for settings that contradict each other."""

    model: str
    data: str
    target: str = "cortex-m7"
    method: str = "uniform"
    ratio: float | Mapping[str, float] | None = None
    auto: bool = False
    max_drop: float = 1.0  # percentage points of accuracy on validation that `auto` may lose before any training
    masks: Path | None = None  # a file of NNI's masks
    importance: str = ""  # "": elimination where layers are solved for, else taylor
    schedule: str = "one-shot"
    epochs: int = 0  # of fine-tuning; 0: by the data's recipe
    recover: str = ""  # "": both, closed-form alone with `classes`
    classes: str = ""  # names or numbers with commas between; "": all
    weights: Path | None = None
    train: bool = False  # trains the model before anything else
    seed: int = 0
    calibration: int = 512  # training samples for closed forms and activation ranges

    def __post_init__(self) -> None:
        from edgecompress.compress.prune.schedules import SCHEDULES

        for what, value, known in (("pruning method", self.method, METHODS), ("schedule", self.schedule, SCHEDULES),
                                   ("recovery", self.recovery, RECOVERIES)):
            if value not in known:
                raise unknown_name(what, value, known)
        if sum((self.ratio is not None, self.auto, self.masks is not None)) != 1:
            raise ConfigError("say what to prune with exactly one of --ratio (how much), --auto (as much as --max-drop allows) and --masks (a file of NNI)")
        for ratio in self.ratio.values() if isinstance(self.ratio, Mapping) else () if self.ratio is None else (self.ratio,):
            if not 0 <= ratio < 1:  # not a number is refused here too
                raise ConfigError(f"a pruning ratio of {ratio:g} was asked for with --ratio; it must be at least 0 and below 1")
        if self.schedule == "agp" and (self.auto or self.masks is not None or self.method.startswith("nni")):
            raise ConfigError("the schedule 'agp' reaches a given ratio; give --ratio with --prune uniform or global, or take the schedule one-shot")
        if self.schedule == "agp" and self.recovery not in ("finetune", "both"):
            raise ConfigError(f"the schedule 'agp' prunes during fine-tuning, which --recover {self.recovery} leaves out; use --recover finetune")
        if isinstance(self.ratio, Mapping) and self.method != "uniform":
            raise ConfigError(f"a ratio for each group goes with --prune uniform, not with {self.method}")
        if not 0 <= self.max_drop < 100:
            raise ConfigError(f"--max-drop {self.max_drop:g} is out of range; allowed are 0 to 100 percentage points, 100 excluded")
        for name, low, high in (("epochs", 0, 100_000), ("seed", 0, 2**31 - 1), ("calibration", 8, 1_000_000)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"--{name} {getattr(self, name)} is out of range; allowed are {low} to {high}")
        self._check_importance()

    def _check_importance(self) -> None:
        from edgecompress.compress.prune.importance import IMPORTANCES

        known = (*IMPORTANCES, *DATA_IMPORTANCES)
        if self.scores not in known:
            raise unknown_name("importance", self.scores, known)
        if self.scores in DATA_IMPORTANCES and (self.method != "uniform" or self.auto or self.schedule == "agp"):
            raise ConfigError(f"importance '{self.scores}' compares the channels of one group only, once; it goes with --prune uniform in one shot",
                              f"try: --importance taylor, or one of {', '.join(IMPORTANCES)}")

    @property
    def recovery(self) -> str:
        """The recovery that `recover` stands for."""
        return self.recover or ("closed-form" if self.classes else "both")

    @property
    def solves(self) -> bool:
        """Whether weights are solved for in closed form. (AGP has no moment for it: the network is in training all the time.)"""
        return self.recovery in ("closed-form", "both") and self.schedule == "one-shot"

    @property
    def scores(self) -> str:
        """The importance that `importance` stands for."""
        one_by_one = self.method == "uniform" and not self.auto and self.schedule == "one-shot"
        return self.importance or ("elimination" if one_by_one and self.solves else "taylor")


@dataclass(frozen=True)
class Figures:
    """One model in numbers. Accuracies are 0 to 1; latency, RAM and flash are predictions, None without a profile for the target."""

    channels: int
    parameters: int
    macs: int
    validation_float: float
    validation_int8: float
    test_float: float
    test_int8: float
    latency_s: float | None
    ram_bytes: int
    flash_bytes: int


@dataclass(frozen=True)
class CompressOutcome:
    """`document` is compress.json; `fits` whether the target's memory holds the result."""

    before: Figures
    after: Figures
    document: Mapping[str, Any]
    fits: bool


@dataclass(frozen=True, eq=False)
class _Model:
    """A module with its integer graph."""

    module: nn.Module
    graph: QuantizedGraph
    channels: int
    validation_float: float
    validation_int8: float


def compress(config: CompressConfig, output: Path, overwrite: bool = False, say: Say = lambda text: None) -> CompressOutcome:
    """Compresses a model into the new folder `output`: model.pt, model.onnx, graph.json, artifact/ and compress.json.

    The test part of the data is read once, when both models are finished. Raises ConfigError, DataError, ModelError, ToolMissingError.
    """
    import torch

    torch.set_num_threads(1)
    target = load_target(config.target)
    check_free(output, overwrite)  # before minutes of work
    data = load_dataset(config.data, seed=config.seed)
    for note in data.notes:
        say(f"note: {note}")
    module, data = _prepared(config, data, say)
    training = data.without_test()
    before = _model(module, training, config)
    say(f"before: {100 * before.validation_float:.2f} % float, {100 * before.validation_int8:.2f} % int8 on validation")
    if not before.channels:
        raise ModelError("the model has no channels that can go: all of them are its outputs, or belong to grouped convolutions")
    if before.validation_float < 1.5 / len(data.classes):
        say("note: the model is about as good as guessing; give its trained weights with --weights, or train it with --train")
    small, report = _smaller(before, training, target, config, say)
    after = _model(small, training, config)
    with new_folder(output, overwrite) as folder:
        figures = [_figures(model, data, target) for model in (before, after)]
        fits, document = _write(after, folder, data, target, config, {"before": asdict(figures[0]), "after": asdict(figures[1]), **report})
    return CompressOutcome(figures[0], figures[1], document, fits)


def _prepared(config: CompressConfig, data: Dataset, say: Say) -> tuple[nn.Module, Dataset]:
    """The module to compress, trained if asked for, with the head and the data of the classes asked for."""
    from edgecompress.compress.finetune import train
    from edgecompress.compress.prune.class_specific import cut_head

    module, data = load_source(config.model, data)
    numbers = class_numbers(config.classes, data.classes) if config.classes else ()
    if config.weights is not None:
        load_weights_file(module, config.weights)
    if config.train:
        result = train(module, data.train, data.validation, _recipe(data.without_test(), config), config.seed)
        say(f"trained in {result.seconds:.0f} s: {100 * result.accuracy:.2f} % on validation")
        module = result.module
    if numbers:
        module, _ = cut_head(module, data.input_shape, numbers)
        data = restrict(data, numbers)
    return module, data


def _recipe(data: TrainingData, config: CompressConfig) -> TrainConfig:
    from edgecompress.compress.recipes import recipe

    return replace(recipe(data.kind, data.name, data.input_shape, len(data.train)), input_range=input_range(data))


def _model(module: nn.Module, data: TrainingData, config: CompressConfig) -> _Model:
    from edgecompress.compress.finetune import evaluate
    from edgecompress.compress.prune.groups import channel_groups
    from edgecompress.compress.quantize.evaluate import accuracy_int8
    from edgecompress.compress.quantize.static import QuantizeConfig, quantize
    from edgecompress.frontend.torch_import import from_torch

    floats = from_torch(module, data.input_shape, name=short_name(data.name))
    bits = _stored_bits(Path(config.model), floats)
    settings = QuantizeConfig(input_range=input_range(data), metadata=graph_metadata(data), weight_bits=bits, rounding="adaptive" if bits else "nearest")
    graph = quantize(floats, calibration_inputs(data, config), settings)
    channels = sum(group.channels for group in channel_groups(module, data.input_shape))
    return _Model(module, graph, channels, evaluate(module, data.validation)[0], accuracy_int8(graph, data.validation.x, data.validation.y))


def _stored_bits(folder: Path, floats: FloatGraph) -> dict[str, int]:
    """Weight bits that the layers of a run's candidate have; {}: 8 for all."""
    if not (folder / "graph.json").is_file():
        return {}
    graph = serialize.load(folder / "graph.json")
    known = {node.name for node in floats.nodes}
    bits = {node.name: int(getattr(node.op, "weight_bits", 8)) for node in graph.nodes if node.name in known}
    return {name: width for name, width in bits.items() if width < 8}


def calibration_inputs(data: TrainingData, config: CompressConfig) -> np.ndarray:
    """Some training inputs, float32 [n, h, w, c]."""
    chosen = np.random.default_rng(config.seed).permutation(len(data.train))[: config.calibration]
    inputs: np.ndarray = data.train.x[np.sort(chosen)]
    return inputs


def _smaller(before: _Model, data: TrainingData, target: Target, config: CompressConfig, say: Say) -> tuple[nn.Module, dict[str, Any]]:
    """(the pruned and recovered module, what to write about it)."""
    from edgecompress.compress.finetune import evaluate, train
    from edgecompress.run.compress_prune import gradual, one_shot

    started = time.perf_counter()
    tuning = _recipe(data, config).for_finetuning()
    tuning = replace(tuning, epochs=config.epochs) if config.epochs else tuning
    if config.schedule == "agp":
        result = gradual(before.module, data, target, config, tuning)
        return result.module, {"epochs": len(result.history), "seconds": round(time.perf_counter() - started, 1)}
    module, report = one_shot(before.module, data, target, config)
    untrained = evaluate(module, data.validation)[0]
    say(f"pruned in {time.perf_counter() - started:.1f} s: {100 * untrained:.2f} % float on validation, without training")
    report = {**report, "validation_untrained": untrained, "epochs": 0}
    if config.recovery in ("finetune", "both"):
        result = train(module, data.train, data.validation, tuning, config.seed + 1, teacher=before.module)
        say(f"fine-tuned in {result.seconds:.0f} s: {100 * result.accuracy:.2f} % float on validation")
        if result.accuracy >= untrained:  # closed forms can be better than few epochs
            module, report["epochs"] = result.module, len(result.history)
        else:
            say("fine-tuning did not help; the weights from before it are kept")
    return module, {**report, "seconds": round(time.perf_counter() - started, 1)}


def _figures(model: _Model, data: Dataset, target: Target) -> Figures:
    from edgecompress.compress.finetune import evaluate
    from edgecompress.compress.quantize.evaluate import accuracy_int8
    from edgecompress.lower.inspection import Inspector

    seen = Inspector(model.graph).inspect(target)
    return Figures(model.channels, sum(parameter.numel() for parameter in model.module.parameters()), model.graph.total_macs,
                   model.validation_float, model.validation_int8, evaluate(model.module, data.test)[0],
                   accuracy_int8(model.graph, data.test.x, data.test.y), None if seen.cost is None else seen.cost.latency_s, seen.ram_bytes,
                   seen.flash_bytes)


def _write(model: _Model, folder: Path, data: Dataset, target: Target, config: CompressConfig,
           report: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    from edgecompress.ir import serialize
    from edgecompress.lower import lower
    from edgecompress.lower.inspection import Inspector

    seen = Inspector(model.graph).inspect(target)
    serialize.save(model.graph, folder / "graph.json")
    samples: Samples = data.validation
    count = min(16, len(samples))
    vectors = model.graph.tensors[model.graph.inputs[0]].quantize(samples.x[:count])
    lower(model.graph, target, vectors=vectors, vectors_source=f"{count} validation samples of {data.name}").write(folder / "artifact")
    note = save_module(model.module, data.input_shape, folder)
    settings = {key: str(value) if isinstance(value, Path) else dict(value) if isinstance(value, Mapping) else value
                for key, value in asdict(config).items()}
    document = {"format": FORMAT, "version": 1, "tool_version": __version__, "settings": {**settings, "recover": config.recovery, "importance": config.scores},
                "classes": list(data.classes), "data_hash": data.hash, "target": target.name, "round_to": target.width_multiple,
                "prediction": seen.profile_note, "misses": list(seen.misses), "onnx_note": note, "validation_samples": len(data.validation),
                "test_samples": len(data.test), **report}
    write_json(folder / DOCUMENT, document)
    return not seen.misses, document
