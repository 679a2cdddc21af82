"""The pruning stage of `compress`: from its settings to a smaller module, by ratio, by policy or by masks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.data.parts import Samples, TrainingData
from edgecompress.errors import ConfigError
from edgecompress.hw.target import Target

if TYPE_CHECKING:
    from torch import nn

    from edgecompress.compress.prune.groups import Pruned
    from edgecompress.compress.prune.recover import Recovered
    from edgecompress.compress.training import TrainConfig, TrainResult
    from edgecompress.run.compress import CompressConfig

POLICY_CALIBRATION = 256  # samples of the recovery that runs before each of the policy's evaluations
POLICY_ROWS = 4_096


def one_shot(module: nn.Module, data: TrainingData, target: Target, config: CompressConfig) -> tuple[nn.Module, dict[str, Any]]:
    """(the pruned module, its layers solved for if the settings say so, what to write about it)."""
    from edgecompress.compress.prune.recover import recover
    from edgecompress.compress.prune.selection import SELECTIONS
    from edgecompress.compress.prune.sequential import prune_and_recover
    from edgecompress.run.compress import calibration_inputs

    x = calibration_inputs(data, config)
    report: dict[str, Any] = {}
    if config.ratio is not None and config.scores in SELECTIONS and config.solves:
        pruned, recovered = prune_and_recover(module, data.input_shape, config.ratio, x, round_to=target.width_multiple, selection=config.scores,
                                              seed=config.seed)
        return recovered.module, {"widths": dict(pruned.widths), "recovered": _rows(recovered)}
    if config.auto:
        pruned, report = _by_policy(module, data, target, config, x)
    elif config.masks is not None or config.method.startswith("nni"):
        pruned, report = _by_masks(module, data, config)
    else:
        pruned = _by_ratio(module, data, target, config, x)
    report["widths"] = dict(pruned.widths)
    if not config.solves or not pruned.layers:
        return pruned.module, report
    recovered = recover(module, pruned, x, seed=config.seed)
    return recovered.module, {**report, "recovered": _rows(recovered)}


def _rows(recovered: Recovered) -> list[dict[str, Any]]:
    rows = [asdict(layer) for layer in recovered.layers]
    return [{**row, "ridge": row["ridge"] if math.isfinite(row["ridge"]) else None} for row in rows]  # JSON has no infinity


def gradual(module: nn.Module, data: TrainingData, target: Target, config: CompressConfig, recipe: TrainConfig) -> TrainResult:
    """AGP: pruned during the fine-tuning."""
    from edgecompress.compress.prune.schedules import train_while_pruning

    assert config.ratio is not None
    return train_while_pruning(module, data.input_shape, config.ratio, data.train, data.validation, recipe, config.seed + 1, importance=config.scores,
                               round_to=target.width_multiple, ranking="global" if config.method == "global" else "local", teacher=module)


def _by_ratio(module: nn.Module, data: TrainingData, target: Target, config: CompressConfig, x: np.ndarray) -> Pruned:
    from edgecompress.compress.prune.groups import TracedModule
    from edgecompress.compress.prune.schedules import gradient_batch
    from edgecompress.compress.prune.selection import SELECTIONS, select
    from edgecompress.compress.prune.structured import prune_channels
    from edgecompress.compress.prune.widths import kept_width

    assert config.ratio is not None
    if config.scores not in SELECTIONS:
        return prune_channels(module, data.input_shape, config.ratio, round_to=target.width_multiple, importance=config.scores,
                              batch=gradient_batch(data.train, config.seed), ranking="global" if config.method == "global" else "local")
    traced = TracedModule(module, data.input_shape)
    ratios = config.ratio if isinstance(config.ratio, Mapping) else dict.fromkeys(traced.groups, config.ratio)
    traced.check_names(ratios)
    widths = {name: kept_width(traced.width(name), ratio, target.width_multiple) for name, ratio in ratios.items()}
    return traced.cut(select(traced, x, widths, selection=config.scores, seed=config.seed))


def _by_policy(module: nn.Module, data: TrainingData, target: Target, config: CompressConfig, x: np.ndarray) -> tuple[Pruned, dict[str, Any]]:
    from edgecompress.compress.finetune import evaluate
    from edgecompress.compress.prune.policy import largest_first
    from edgecompress.compress.prune.recover import recover
    from edgecompress.compress.prune.schedules import gradient_batch

    choose, held_out = _halves(data.validation, config.seed)
    few = x[:POLICY_CALIBRATION]
    repair = (lambda whole, pruned: recover(whole, pruned, few, rows=POLICY_ROWS, seed=config.seed).module) if config.solves else None
    found = largest_first(module, data.input_shape, lambda one: evaluate(one, choose)[0], lambda one: evaluate(one, held_out)[0],
                          max_drop=config.max_drop / 100, round_to=target.width_multiple, importance=config.scores,
                          batch=gradient_batch(data.train, config.seed), repair=repair)
    report = {"evaluations": found.evaluations, "policy": [asdict(verdict) for verdict in found.verdicts], "lowered": list(found.lowered),
              "policy_accuracy": list(found.accuracy), "policy_held_out": list(found.held_out), "policy_samples": [len(choose), len(held_out)]}
    return found.pruned, report


def _halves(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Two random halves: one to choose by, one that the choice has not seen."""
    if len(samples) < 20:
        raise ConfigError(f"the validation part has {len(samples)} samples; --auto needs at least 20, half to choose by and half to check with")
    order = np.random.default_rng(seed).permutation(len(samples))
    first, second = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    return Samples(samples.x[first], samples.y[first]), Samples(samples.x[second], samples.y[second])


def _by_masks(module: nn.Module, data: TrainingData, config: CompressConfig) -> tuple[Pruned, dict[str, Any]]:
    from edgecompress.compress.prune.nni_masks import make_masks, masks_to_module, read_masks

    if config.masks is not None:
        masks = read_masks(config.masks)
    else:
        assert isinstance(config.ratio, int | float)
        masks = make_masks(module, data.input_shape, config.method.removeprefix("nni-"), config.ratio)
    found = masks_to_module(module, masks, data.input_shape)
    return found.pruned, {"masked": found.masked, "removed": found.removed, "stayed": found.stayed}
