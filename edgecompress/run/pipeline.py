"""`search`: zero-shot study, hypervolume selection, training of the few, choice, proof on the test part, report."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from edgecompress import __version__
from edgecompress.bench import check_tools, run_frames
from edgecompress.bench.profiling import kernel_version
from edgecompress.data.dataset import load_dataset
from edgecompress.data.parts import Dataset
from edgecompress.errors import BudgetError, ConfigError, DeviceError, TrainingError
from edgecompress.hw.budget import Budget
from edgecompress.hw.estimate import Cost, applies
from edgecompress.hw.profile import HardwareProfile, load_profile
from edgecompress.hw.target import Target, load_target
from edgecompress.ir import reference, serialize
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.processes import default_workers
from edgecompress.run.candidate import CandidateResult, finished_result, process_candidate
from edgecompress.run.config import SearchConfig
from edgecompress.run.directory import RunDirectory
from edgecompress.run.files import read_json, write_json
from edgecompress.search.objective import Problem, Score
from edgecompress.search.pareto import non_dominated
from edgecompress.search.pareto import select as hypervolume_subset
from edgecompress.search.space import SPACE, Candidate, build
from edgecompress.search.study import Study, Trial, worker_pool
from edgecompress.units import format_bytes, format_duration


class Progress(Protocol):
    """Where the pipeline says how far it is."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def step(self, done: int) -> None:
        """`done` steps of the stage are finished."""

    def say(self, text: str) -> None:
        """One line for people."""


@dataclass(frozen=True)
class Outcome:
    """The chosen model and what is known of it; `summary` is what --format json prints."""

    summary: Mapping[str, Any]
    run: Path
    within_budget: bool


def search(config: SearchConfig, output: Path, resume: bool, progress: Progress) -> Outcome:
    """Runs or resumes a whole search. Raises ConfigError, DataError, BudgetError or DeviceError; finished work stays in `output`."""
    target = load_target(config.target)
    budget = config.budget(target)
    check_settings(config, target)
    data = load_dataset(config.data, seed=config.seed)
    problem = make_problem(config, target, budget, data)
    names = tuple(name for name in config.families.replace(" ", "").split(",") if name)
    space = SPACE.restricted(names) if names else SPACE
    provenance = {"tool_version": __version__, "data_hash": data.hash, "python": platform.python_version(), "torch": torch.__version__,
                  "target_hash": _fingerprint(target), "profile_hash": _fingerprint(problem.profile), "kernel_version": kernel_version(target)}
    with RunDirectory.open(output, config, provenance, resume) as run:
        _say_what_matters(data, problem, progress)
        workers = config.workers or default_workers()
        trials = _study(run, config, space, problem, workers, progress)
        chosen_few = select(trials, config.top_k, problem.budget)
        results = _train(run, chosen_few, config, data, target, workers, progress)
        best = choose(results, budget)
        summary = _prove(run, best, config, data, target, budget, progress)
        _write_document(run, config, data, problem, trials, chosen_few, results, summary, provenance)
        return Outcome(summary, output, within(best, budget))


def check_settings(config: SearchConfig, target: Target) -> None:
    """What would fail after the training fails here: tools and names. Raises ConfigError or ToolMissingError."""
    from edgecompress.compress.quantize.config import QuantizeConfig

    if target.family == "host":
        raise ConfigError(f"target '{target.name}' cannot be searched for: this machine counts neither instructions nor flash and RAM, so no limit "
                          "can be held; search for a core, then 'edgecompress lower RUN/candidates/ID --target host'")
    QuantizeConfig(range_method=config.range_method)
    check_tools(target, config.cc or None, config.emulator or None)


def _fingerprint(value: Any) -> str:
    """Hash of a dataclass: a target or profile that was edited is another one, whatever its name."""
    return hashlib.sha256(json.dumps(asdict(value), sort_keys=True).encode()).hexdigest()[:16]


def _say_what_matters(data: Dataset, problem: Problem, progress: Progress) -> None:
    for note in data.notes:
        progress.say(f"note: {note}")
    if problem.profile.kernel_version != kernel_version(problem.target):
        progress.say(f"note: profile '{problem.profile.name}' was made with other kernels than this version's, its estimates may be off; "
                     f"'edgecompress profile --target {problem.target.name}' makes a new one")


def _profile(config: SearchConfig, target: Target) -> HardwareProfile:
    """The search's profile; a missing one or another target's is told with the command that makes the right one."""
    make = f"'edgecompress profile --target {config.target}' makes it (some minutes)"
    try:
        profile = load_profile(config.profile or target.profile)
    except ConfigError as error:
        if config.profile:
            raise
        raise ConfigError(f"target '{target.name}' has no usable latency profile yet: {error.message}", make) from None
    if not applies(profile, target):
        raise ConfigError(f"profile '{profile.name}' was made for {profile.target}, not for {target.name}; "
                          "name an own profile in the target's file or give --profile", make)
    return profile


def make_problem(config: SearchConfig, target: Target, budget: Budget, data: Dataset) -> Problem:
    """The search's view: training inputs for the proxies, shapes, limits. No validation or test sample."""
    profile = _profile(config, target)
    order = np.random.default_rng(config.seed).permutation(len(data.train.y))[:32]
    return Problem(data.input_shape, len(data.classes), target, profile, budget, np.ascontiguousarray(data.train.x[np.sort(order)]), config.seed)


def _study(run: RunDirectory, config: SearchConfig, space: Any, problem: Problem, workers: int, progress: Progress) -> list[Trial]:
    study = Study(run.study_log, space, config.seed, config.population)
    progress.stage("search", config.trials)
    trials = study.run(problem, config.trials, workers, lambda done, _: progress.step(done))
    reasons = study.failures()
    if not trials:
        raise ConfigError(f"none of the {config.trials} candidates could be scored for {problem.target.name}", *reasons[:1])
    if reasons:
        progress.say(f"note: {len(reasons)} of {config.trials} candidates could not be scored, for example: {reasons[0]}")
    return trials


def select(trials: Sequence[Trial], count: int, budget: Budget) -> list[Trial]:
    """At most `count` feasible candidates of the Pareto front, by hypervolume over (naswot, MACs, latency).

    Raises BudgetError naming the smallest need that the search found when nothing is feasible.
    """
    unique = list({trial.candidate.id: trial for trial in reversed(trials)}.values())[::-1]
    feasible = [trial for trial in unique if trial.score.feasible]
    if not feasible:
        raise _nothing_fits(unique, budget)
    points = np.array([[-t.score.naswot, -float(t.score.macs), t.score.latency_s] for t in feasible])
    front = non_dominated(points)
    picked = hypervolume_subset(points[front], count)
    return [feasible[front[index]] for index in picked]


def _nothing_fits(trials: Sequence[Trial], budget: Budget) -> BudgetError:
    def smallest(name: str) -> Score:
        return min((t.score for t in trials), key=lambda s: float(getattr(s, name)))

    nearest = min((t.score for t in trials), key=lambda s: max(s.violations.values()))
    return BudgetError(
        f"none of the {len(trials)} candidates meets the budget ({budget.describe()})",
        f"the nearest needs latency {format_duration(nearest.latency_s)}, RAM {format_bytes(nearest.ram_bytes)}, "
        f"flash {format_bytes(nearest.flash_bytes)}, {nearest.macs} MACs",
        f"smallest found one by one: latency {format_duration(smallest('latency_s').latency_s)}, "
        f"RAM {format_bytes(smallest('ram_bytes').ram_bytes)}, flash {format_bytes(smallest('flash_bytes').flash_bytes)}, "
        f"{smallest('macs').macs} MACs",
        "raise the budget to that, or search longer with --trials",
    )


def _train(run: RunDirectory, trials: Sequence[Trial], config: SearchConfig, data: Dataset, target: Target, workers: int,
           progress: Progress) -> list[CandidateResult]:
    progress.stage("train", len(trials))
    known = [finished_result(run.candidate(trial.candidate.id)) for trial in trials]
    results = {result.id: result for result in known if result is not None}
    missing = [trial.candidate for trial in trials if trial.candidate.id not in results]
    progress.step(len(results))
    if missing:
        results |= _train_missing(run, missing, config, data, target, workers, len(results), progress)
    return [results[t.candidate.id] for t in trials if t.candidate.id in results]


def _train_missing(run: RunDirectory, candidates: Sequence[Candidate], config: SearchConfig, data: Dataset, target: Target, workers: int,
                   finished: int, progress: Progress) -> dict[str, CandidateResult]:
    results: dict[str, CandidateResult] = {}
    failures: list[TrainingError] = []
    training = data.without_test()
    with worker_pool(min(workers, len(candidates))) as pool:
        futures = {pool.submit(process_candidate, candidate, training, target, config, run.candidate(candidate.id)): candidate
                   for candidate in candidates}
        for done, future in enumerate(as_completed(futures), start=1):
            try:
                result = future.result()
            except BrokenProcessPool:
                raise DeviceError("a training process was killed (out of memory?); run again with --resume and fewer --workers") from None
            except TrainingError as error:
                # one network that does not train says nothing about the others
                failures.append(error)
                progress.say(f"{futures[future].id} is left out: {error.message}")
                continue
            results[result.id] = result
            progress.step(finished + done)
            progress.say(f"{result.id}: {100 * result.accuracy_int8:.1f} % int8 on validation, {result.measurement.instructions} instructions, "
                         f"{format_bytes(measured_cost(result).ram_bytes)} RAM, {format_bytes(measured_cost(result).flash_bytes)} flash")
    if failures and not results and not finished:
        raise failures[0]
    return results


def measured_cost(result: CandidateResult) -> Cost:
    """The measurement in the budget's terms."""
    seen = result.measurement
    assert seen.ram_bytes is not None and seen.flash_bytes is not None  # only cores are searched for, and their emulators see both
    return Cost(seen.latency_s, seen.ram_bytes, seen.flash_bytes, result.macs, seen.arena_bytes, ())


def within(result: CandidateResult, budget: Budget) -> bool:
    """Whether the *measured* model is inside the budget and equals its definition."""
    return result.measurement.matches_reference is True and budget.allows(measured_cost(result))


def choose(results: Sequence[CandidateResult], budget: Budget) -> CandidateResult:
    """Best int8 validation accuracy among those inside the budget; on a tie the faster; if none is inside, the nearest."""
    inside = [result for result in results if within(result, budget)]
    if inside:
        return min(inside, key=lambda r: (-r.accuracy_int8, r.measurement.latency_s, r.id))
    return min(results, key=lambda r: (r.measurement.matches_reference is not True, max(budget.violations(measured_cost(r)).values()), r.id))


def _prove(run: RunDirectory, best: CandidateResult, config: SearchConfig, data: Dataset, target: Target, budget: Budget,
           progress: Progress) -> dict[str, Any]:
    """Test accuracy of the chosen model: float, the integer reference, and the emulated core itself."""
    from edgecompress.compress.quantize.evaluate import confusion_matrix

    folder = run.candidate(best.id)
    progress.stage("prove", 2)
    graph = serialize.load(folder / "graph.json")
    x = graph.tensors[graph.inputs[0]].quantize(data.test.x)
    predicted = reference.run(graph, x)
    progress.step(1)
    count = min(config.test_samples, len(x))
    on_core = run_frames(folder / "artifact", x[:count], cc=config.cc or None, emulator=config.emulator or None, target=target)
    progress.step(2)
    labels = data.test.y
    classes = predicted.reshape(len(x), -1).argmax(axis=1)
    core_classes = on_core.reshape(count, -1).argmax(axis=1)
    seen = best.measurement
    summary = {
        "chosen": best.id,
        "target": target.name,
        "data": data.name,
        "seed": config.seed,
        "accuracy_float": _test_accuracy_float(folder, data, graph),
        "accuracy_int8": float((classes == labels).mean()),
        "accuracy_on_core": float((core_classes == labels[:count]).mean()),
        "test_samples": len(x),
        "test_samples_on_core": count,
        "on_core_mismatches": int((on_core.reshape(count, -1) != predicted[:count].reshape(count, -1)).any(axis=1).sum()),
        "latency_s": seen.latency_s,
        "latency_basis": seen.latency_basis,
        "instructions": seen.instructions,
        "ram_bytes": measured_cost(best).ram_bytes,
        "flash_bytes": measured_cost(best).flash_bytes,
        "stack_bytes": seen.stack_bytes,
        "parameters": best.parameters,
        "macs": best.macs,
        "matches_reference": seen.matches_reference,
        "within_budget": within(best, budget),
        "budget": asdict(budget),
        "artifact": str(folder / "artifact"),
        "confusion": confusion_matrix(classes, labels, len(data.classes)).tolist(),
    }
    write_json(run.path / "summary.json", summary)
    return summary


def _test_accuracy_float(folder: Path, data: Dataset, graph: QuantizedGraph) -> float:
    from edgecompress.compress.quantize.evaluate import accuracy_float
    from edgecompress.frontend.torch_import import from_torch
    from edgecompress.run.candidate import load_weights

    candidate = Candidate.from_json((folder / "candidate.json").read_text())
    module = build(candidate, data.input_shape, len(data.classes))
    load_weights(module, folder / "model.pt")
    return accuracy_float(from_torch(module.eval(), data.input_shape), data.test)


def _write_document(run: RunDirectory, config: SearchConfig, data: Dataset, problem: Problem, trials: Sequence[Trial], chosen_few: Sequence[Trial],
            results: Sequence[CandidateResult], summary: Mapping[str, Any], provenance: Mapping[str, str]) -> None:
    picked = {trial.candidate.id for trial in chosen_few}
    document = {
        "summary": dict(summary),
        "config": asdict(config),
        "provenance": dict(provenance),
        "data": {"name": data.name, "kind": data.kind, "source": data.source, "hash": data.hash, "classes": list(data.classes),
                 "input_shape": list(data.input_shape), "normalization": asdict(data.normalization),
                 "samples": {"train": len(data.train.y), "validation": len(data.validation.y), "test": len(data.test.y)}},
        "profile": {"name": problem.profile.name, "source": problem.profile.source, "date": problem.profile.date, "runner": problem.profile.runner,
                    "compiler": problem.profile.compiler, "fit_error": asdict(problem.profile.fit_error)},
        "trials": [{"number": t.number, "id": t.candidate.id, "choices": dict(t.candidate.choices), "picked": t.candidate.id in picked,
                    **t.score.to_json()} for t in trials],
        "trained": [result.to_json() for result in results],
        "manifest": read_json(run.candidate(summary["chosen"]) / "artifact" / "manifest.json"),
    }
    write_json(run.path / "report.json", document)
