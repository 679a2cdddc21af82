"""The work of training: tasks for an evaluator's processes. Weights come and go as bytes, so any machine can go on with what another began."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.data.parts import TrainingData
from edgecompress.ir import serialize
from edgecompress.run.candidate import graph_metadata, input_range, load_weights, short_name
from edgecompress.run.config import SearchConfig
from edgecompress.search.evaluator import Answer
from edgecompress.search.objective import Problem
from edgecompress.search.space import Candidate, Space

if TYPE_CHECKING:
    from torch import nn

    from edgecompress.compress.training import TrainConfig, TrainResult
    from edgecompress.ir.graph import QuantizedGraph

Payload = Mapping[str, Any]
Files = Mapping[str, bytes]

PRUNING_SHARE = 0.65  # of the time of a candidate that is pruned: the dense network's training
CALIBRATION_SECONDS = 0.0


@dataclass(frozen=True, eq=False)
class Context:
    """What all tasks of a search share."""

    problem: Problem
    data: TrainingData
    config: SearchConfig


def train_seed(config: SearchConfig, candidate: Candidate) -> int:
    """Seed of a candidate's training, the same whichever machine trains it."""
    return (config.seed * 1_000_003 + int(candidate.id[:8], 16)) % (2**31)


def make_recipe(data: TrainingData, config: SearchConfig, share: float, seconds: float) -> TrainConfig:
    """The data's recipe: `seconds` of CPU time if any, else `share` of its epochs."""
    from edgecompress.compress.recipes import recipe

    found = recipe(data.kind, data.name, data.input_shape, len(data.train))
    epochs = config.epochs or found.epochs
    return replace(found, input_range=input_range(data), epochs=max(1, round(epochs * share)), seconds=seconds)


def weights_of(module: nn.Module) -> bytes:
    """The module's state as torch saves it."""
    import torch

    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    return buffer.getvalue()


def _with_weights(module: nn.Module, content: bytes) -> nn.Module:
    with tempfile.TemporaryDirectory(prefix="edgecompress-") as folder:
        path = Path(folder) / "model.pt"
        path.write_bytes(content)
        load_weights(module, path)
    return module


def rung_task(context: Context, payload: Payload, files: Files) -> Answer:
    """Trains a candidate at its pruned widths for a share of a full training. Payload: candidate, share, seconds; file model.pt: go on from it.

    The accuracy is that of the quantized network where weights have fewer than 8 bits, which cost accuracy of their own.
    """
    import torch

    from edgecompress.compress.finetune import train

    candidate, data, config = Candidate.from_json(payload["candidate"]), context.data, context.config
    space, seed = context.problem.make_space(), train_seed(config, candidate)
    torch.manual_seed(seed)
    module = _built(candidate, context, space)
    recipe = make_recipe(data, config, payload["share"], payload["seconds"])
    if "model.pt" in files:
        module = _with_weights(module, files["model.pt"])
        recipe = replace(recipe, learning_rate=recipe.learning_rate / 2)
        seed += payload["rung"]
    result = train(module, data.train, data.validation, recipe, seed)
    values = {"accuracy": _quantized_accuracy(result, candidate, context, space), "accuracy_float": result.accuracy, "epochs": len(result.history),
              "loss": result.best.validation_loss, "seconds": result.seconds}
    return Answer(values, {"model.pt": weights_of(result.module)})


def _built(candidate: Candidate, context: Context, space: Space, dense: bool = False) -> nn.Module:
    from edgecompress.search.space import build

    return build(candidate, context.data.input_shape, len(context.data.classes), dense=dense, space=space)


def _quantized_accuracy(result: TrainResult, candidate: Candidate, context: Context, space: Space) -> float:
    from edgecompress.compress.quantize.evaluate import accuracy_int8
    from edgecompress.search.space import weight_bits

    if all(bits == 8 for bits in weight_bits(candidate, result.module, space).values()):
        return result.accuracy
    graph, _, _ = _quantize(result.module, candidate, context, space)
    return accuracy_int8(graph, context.data.validation.x, context.data.validation.y)


def final_task(context: Context, payload: Payload, files: Files) -> Answer:
    """Trains a candidate to the end and quantizes it. Payload: candidate, seconds; file model.pt: weights of its last rung.

    Answers with the files model.pt, graph.json and graph.npz, and the values of training.json.
    """
    import torch

    from edgecompress.compress.quantize.evaluate import accuracy_float, accuracy_int8
    from edgecompress.compress.quantize.sqnr import layer_sqnr

    started = time.perf_counter()
    candidate, data = Candidate.from_json(payload["candidate"]), context.data
    space = context.problem.make_space()
    torch.manual_seed(train_seed(context.config, candidate))
    dense_accuracy, module = _fully_trained(candidate, context, space, payload, files)
    module.eval()
    graph, floats, steps = _quantize(module, candidate, context, space)
    values = {
        "accuracy_dense": dense_accuracy,
        "accuracy_pruned": accuracy_float(floats, data.validation),
        "accuracy_int8": accuracy_int8(graph, data.validation.x, data.validation.y),
        "layers_sqnr": [asdict(row) for row in layer_sqnr(floats, graph, data.validation.x[:64])],
        "quantization": steps,
        "seconds": time.perf_counter() - started,
    }
    with tempfile.TemporaryDirectory(prefix="edgecompress-") as folder:
        serialize.save(graph, Path(folder) / "graph.json")
        stored = {name: (Path(folder) / name).read_bytes() for name in ("graph.json", "graph.npz")}
    return Answer(values, {"model.pt": weights_of(module), **stored})


def _fully_trained(candidate: Candidate, context: Context, space: Space, payload: Payload, files: Files) -> tuple[float, nn.Module]:
    """(accuracy before pruning, trained module at the candidate's widths)."""
    from edgecompress.compress.finetune import train
    from edgecompress.compress.prune.structured import prune

    data, config, seed = context.data, context.config, train_seed(context.config, candidate)
    recipe = make_recipe(data, config, 1.0, payload["seconds"])
    ratio = float(candidate.choices.get("prune", 0.0))
    if ratio == 0 or "model.pt" in files:
        module = _built(candidate, context, space)
        if "model.pt" in files:
            module = _with_weights(module, files["model.pt"])
        result = train(module, data.train, data.validation, recipe, seed + 7)
        return result.accuracy, result.module
    seconds = payload["seconds"]
    first = train(_built(candidate, context, space, dense=True), data.train, data.validation, replace(recipe, seconds=PRUNING_SHARE * seconds), seed)
    smaller = prune(first.module, data.input_shape, ratio, round_to=space.width_multiple)
    tuning = replace(recipe.for_finetuning(), seconds=(1 - PRUNING_SHARE) * seconds)
    second = train(smaller, data.train, data.validation, tuning, seed + 1, teacher=first.module)
    return first.accuracy, second.module


def _quantize(module: nn.Module, candidate: Candidate, context: Context, space: Space) -> tuple[QuantizedGraph, Any, list[dict[str, Any]]]:
    """(integer graph, float graph, steps taken)."""
    from edgecompress.compress.quantize.static import QuantizeConfig, quantize
    from edgecompress.frontend.torch_import import from_torch
    from edgecompress.search.space import weight_bits

    data, config = context.data, context.config
    floats = from_torch(module, data.input_shape, name=short_name(data.name))
    chosen = np.random.default_rng(config.seed).permutation(len(data.train.y))[: config.calibration]
    settings = QuantizeConfig(range_method=config.range_method, bias_correction=config.bias_correction,
                              weight_bits=weight_bits(candidate, module, space), input_range=input_range(data), metadata=graph_metadata(data))
    return quantize(floats, data.train.x[np.sort(chosen)], settings), floats, []
