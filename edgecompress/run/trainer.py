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
from edgecompress.errors import BudgetError
from edgecompress.ir import serialize
from edgecompress.run.candidate import graph_metadata, input_range, load_weights, short_name
from edgecompress.run.config import SearchConfig
from edgecompress.search.evaluator import Answer
from edgecompress.search.objective import Device, Problem, violations
from edgecompress.search.objective import costs as costs_of
from edgecompress.search.space import Candidate, Space
from edgecompress.search.teacher import TEACHER, own_of, settled, teacher_of

if TYPE_CHECKING:
    from torch import nn

    from edgecompress.compress.quantize.config import QuantizeConfig
    from edgecompress.compress.quantize.fallback import QuantizationOutcome
    from edgecompress.compress.training import TrainConfig, TrainResult
    from edgecompress.ir.graph import QuantizedGraph

Payload = Mapping[str, Any]
Files = Mapping[str, bytes]

PRUNING_SHARE = 0.65  # of the time of a candidate that is pruned: the dense network's training
FEW_BITS_QAT, QAT = 0.15, 0.05  # of the time of a candidate, kept for training with the integers in the loop: with weights below 8 bits, with 8
PRUNING_SAMPLES = 256  # training samples from which pruned layers are solved for
SPEED_BATCHES = 8
TAUGHT_BYTES = 128 * 2**20
SQNR_SAMPLES = 64  # of the validation part
SETTLING = 128  # training samples that repair the statistics of a compressed own model before it is trained
TRAINED = 0.2  # of the way from guessing to always right: a model that is not as far has not been trained on this data


@dataclass(frozen=True, eq=False)
class Context:
    """What all tasks of a search share. `seconds` of CPU time are for all trainings together; 0: trainings are measured in epochs."""

    problem: Problem
    data: TrainingData
    config: SearchConfig
    seconds: float


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
    """Trains a candidate at its pruned widths for a while. Payload: candidate, rung, seconds or else epochs or else share of a full training; file
    model.pt: go on from it.

    The accuracy is that of the quantized network where weights have fewer than 8 bits, which cost accuracy of their own.
    """
    import torch

    from edgecompress.compress.finetune import train

    candidate, data, config = Candidate.from_json(payload["candidate"]), context.data, context.config
    space, seed = context.problem.make_space(), train_seed(config, candidate)
    torch.manual_seed(seed)
    teacher = teacher_of(context.problem, files)
    module = _built(candidate, context, space)
    recipe = make_recipe(data, config, payload["share"], 0.0)
    recipe = replace(recipe, epochs=payload.get("epochs", recipe.epochs), seconds=payload.get("seconds", 0.0))
    if teacher is not None:
        recipe = replace(recipe.for_finetuning(), epochs=recipe.epochs)
    if "model.pt" in files:
        module = _with_weights(module, files["model.pt"])
        recipe = replace(recipe, learning_rate=recipe.learning_rate / 2)
        seed += payload["rung"]
    started = time.process_time()
    result = train(module, data.train, data.validation, recipe, seed, teacher=teacher)
    values = {"accuracy": _quantized_accuracy(result, candidate, context, space), "accuracy_float": result.accuracy, "epochs": len(result.history),
              "loss": result.best.validation_loss, "seconds": time.process_time() - started}
    return Answer(values, {"model.pt": weights_of(result.module)})


def _built(candidate: Candidate, context: Context, space: Space, dense: bool = False) -> nn.Module:
    from edgecompress.compress.batches import to_tensor
    from edgecompress.compress.quantize.fallback import calibration_samples
    from edgecompress.search.space import build

    if context.problem.space.model:
        return settled(context.problem, candidate, to_tensor(calibration_samples(context.data, SETTLING, context.config.seed)))
    return build(candidate, context.data.input_shape, len(context.data.classes), dense=dense, space=space)


def _quantized_accuracy(result: TrainResult, candidate: Candidate, context: Context, space: Space) -> float:
    if not _has_few_bits(candidate, result.module, space):
        return result.accuracy
    from edgecompress.compress.quantize.evaluate import accuracy_int8
    from edgecompress.compress.quantize.fallback import calibration_samples
    from edgecompress.compress.quantize.static import quantize
    from edgecompress.frontend.torch_import import from_torch

    settings = replace(_settings(candidate, result.module, context, space), rounding="adaptive")
    samples = calibration_samples(context.data, context.config.calibration, context.config.seed)
    graph = quantize(from_torch(result.module, context.data.input_shape), samples, settings)
    return accuracy_int8(graph, context.data.validation.x, context.data.validation.y)


def speed_task(context: Context, payload: Payload, files: Files) -> Answer:
    """CPU seconds that an epoch of a candidate takes, from SPEED_BATCHES batches, and the epochs of a full training."""
    from edgecompress.compress.batches import steps_per_epoch
    from edgecompress.compress.finetune import train

    candidate, data = Candidate.from_json(payload["candidate"]), context.data
    teacher_of(context.problem, files)
    stamps: list[float] = []

    def enough() -> bool:
        stamps.append(time.process_time())
        return len(stamps) > SPEED_BATCHES

    recipe = make_recipe(data, context.config, 1.0, 0.0)
    train(_built(candidate, context, context.problem.make_space()), data.train, data.validation, recipe, 0, stop=enough)
    batch = (stamps[-1] - stamps[0]) / max(len(stamps) - 1, 1)
    return Answer({"epoch_seconds": max(batch * steps_per_epoch(recipe, len(data.train)), 1e-3), "epochs": recipe.epochs})


def final_task(context: Context, payload: Payload, files: Files) -> Answer:
    """Trains a candidate to the end and quantizes it. Payload: candidate, seconds if they end it, teacher (a candidate) if it is to learn from one;
    files model.pt: weights of its last rung, wider.pt: the teacher's.

    Answers with the files model.pt, graph.json and graph.npz, and the values of training.json.
    """
    import torch

    from edgecompress.compress.quantize.sqnr import layer_sqnr

    started = time.perf_counter()
    candidate, data = Candidate.from_json(payload["candidate"]), context.data
    space = context.problem.make_space()
    torch.manual_seed(train_seed(context.config, candidate))
    dense_accuracy, module = _fully_trained(candidate, context, space, payload, files)
    outcome = _quantize(module.eval(), candidate, context, space, payload.get("seconds", 0.0))
    judged = np.random.default_rng(context.config.seed).permutation(len(data.validation.y))[:SQNR_SAMPLES]
    values = {
        "accuracy_dense": dense_accuracy,
        "accuracy_pruned": outcome.accuracy_float,
        "accuracy_int8": outcome.accuracy_int8,
        "layers_sqnr": [asdict(row) for row in layer_sqnr(outcome.floats, outcome.graph, data.validation.x[judged])],
        "weight_bits": {node.name: node.op.weight_bits for node in outcome.graph.nodes if hasattr(node.op, "weight_bits")},
        "quantization": [asdict(step) for step in outcome.steps],
        "seconds": time.perf_counter() - started,
    }
    with tempfile.TemporaryDirectory(prefix="edgecompress-") as folder:
        serialize.save(outcome.graph, Path(folder) / "graph.json")
        stored = {name: (Path(folder) / name).read_bytes() for name in ("graph.json", "graph.npz")}
    return Answer(values, {"model.pt": weights_of(module), **stored})


def _fully_trained(candidate: Candidate, context: Context, space: Space, payload: Payload, files: Files) -> tuple[float, nn.Module]:
    """(accuracy before pruning, trained module at the candidate's widths)."""
    from edgecompress.compress.finetune import evaluate, train
    from edgecompress.compress.prune.recover import recover
    from edgecompress.compress.prune.structured import prune_channels
    from edgecompress.compress.quantize.fallback import calibration_samples

    data, config, seed = context.data, context.config, train_seed(context.config, candidate)
    teacher = teacher_of(context.problem, files)
    module = _built(candidate, context, space)
    seconds = payload.get("seconds", 0.0) * (1 - (FEW_BITS_QAT if _has_few_bits(candidate, module, space) else QAT))
    recipe = make_recipe(data, config, 1.0, seconds)
    if teacher is not None:
        recipe = replace(recipe.for_finetuning(), seconds=seconds)
    ratio = float(candidate.choices.get("prune", 0.0))
    if ratio == 0 or teacher is not None or "model.pt" in files:
        if "model.pt" in files:
            module = _with_weights(module, files["model.pt"])
        taught_by = _wider(payload, files, context, space) if teacher is None else teacher
        result = train(module, data.train, data.validation, replace(recipe, taught_bytes=TAUGHT_BYTES), seed + 7, teacher=taught_by)
        before = result.accuracy if teacher is None else evaluate(teacher, data.validation)[0]
        return before, result.module
    first = train(_built(candidate, context, space, dense=True), data.train, data.validation, replace(recipe, seconds=PRUNING_SHARE * seconds), seed)
    # by magnitude: choosing channels by elimination is better and takes longer than the training that it saves
    cut = prune_channels(first.module, data.input_shape, ratio, round_to=space.width_multiple)
    smaller = recover(first.module, cut, calibration_samples(data, PRUNING_SAMPLES, config.seed))
    tuning = replace(recipe.for_finetuning(), seconds=(1 - PRUNING_SHARE) * seconds)
    second = train(smaller.module, data.train, data.validation, tuning, seed + 1, teacher=first.module)
    return first.accuracy, second.module


def _wider(payload: Payload, files: Files, context: Context, space: Space) -> nn.Module | None:
    """The trained network that teaches this candidate, if there is one."""
    if "teacher" not in payload:
        return None
    return _with_weights(_built(Candidate.from_json(payload["teacher"]), context, space), files["wider.pt"])


def _has_few_bits(candidate: Candidate, module: nn.Module, space: Space) -> bool:
    from edgecompress.search.space import weight_bits

    return min(weight_bits(candidate, module, space).values(), default=8) < 8


def _fits(graph: QuantizedGraph, devices: tuple[Device, ...]) -> bool:
    """Whether the estimate keeps every limit on every device: other bits are other kernels, which may need more RAM."""
    from edgecompress.lower.passes import optimize

    found = tuple(cost for _, cost in costs_of(optimize(graph), devices))
    return all(excess <= 0 for excess in violations(found, devices).values())


def teacher_task(context: Context, payload: Payload, files: Files) -> Answer:
    """The user's own model on the validation part; trained first, and then with the file teacher.pt, if it does no better than an untrained one."""
    from edgecompress.compress.finetune import evaluate, train

    data, config = context.data, context.config
    module = own_of(context.problem).module
    accuracy, _ = evaluate(module, data.validation)
    guessing = 1 / len(data.classes)
    if accuracy > guessing + TRAINED * (1 - guessing):
        return Answer({"accuracy": accuracy, "seconds": 0.0})
    result = train(module, data.train, data.validation, make_recipe(data, config, 1.0, context.seconds * payload["portion"]), config.seed)
    return Answer({"accuracy": result.accuracy, "seconds": result.seconds}, {TEACHER: weights_of(result.module)})


def _settings(candidate: Candidate, module: nn.Module, context: Context, space: Space) -> QuantizeConfig:
    from edgecompress.compress.quantize.config import QuantizeConfig
    from edgecompress.search.space import weight_bits

    data, config = context.data, context.config
    return QuantizeConfig(range_method=config.range_method, bias_correction=config.bias_correction, weight_bits=weight_bits(candidate, module, space),
                          input_range=input_range(data), metadata=graph_metadata(data))


def _quantize(module: nn.Module, candidate: Candidate, context: Context, space: Space, seconds: float) -> QuantizationOutcome:
    """The integer graph. A candidate with weights of fewer than 8 bits gets the bits, layer by layer, that do least damage within the first device's
    limits; whichever loses more than `max_drop` gets what `quantize_with_fallback` has."""
    from edgecompress.compress.quantize.assign import BitLimits
    from edgecompress.compress.quantize.fallback import quantize_with_fallback
    from edgecompress.compress.quantize.mixed import quantize_mixed
    from edgecompress.frontend.torch_import import from_torch
    from edgecompress.search.bit_costs import bit_costs

    data, config, device = context.data, context.config, context.problem.devices[0]
    floats = from_torch(module, data.input_shape, name=short_name(data.name))
    settings, few_bits = _settings(candidate, module, context, space), _has_few_bits(candidate, module, space)
    training = make_recipe(data, config, 1.0, (FEW_BITS_QAT if few_bits else QAT) * seconds)
    if few_bits:
        limits = BitLimits(device.budget.flash_bytes, device.budget.latency_s)
        costs = bit_costs(floats, device.target, device.profile)
        try:
            mixed = quantize_mixed(floats, data, settings, costs, limits, config.max_drop / 100, calibration=config.calibration, training=training,
                                   seed=config.seed).outcome
            if _fits(mixed.graph, context.problem.devices):
                return mixed
        except BudgetError:
            pass  # the candidate's own bits are nearest to the limits: its measurement will say by how much it misses them
        settings = replace(settings, rounding="adaptive")
    return quantize_with_fallback(floats, data, settings, config.max_drop / 100, calibration=config.calibration, training=training, seed=config.seed)
