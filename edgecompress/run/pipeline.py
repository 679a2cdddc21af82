"""`search`: zero-shot study, hypervolume selection, training of the few, choice, proof on the test part, report."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgecompress import __version__
from edgecompress.bench import run_frames
from edgecompress.bench.measurement import Measurement
from edgecompress.bench.profiling import kernel_version
from edgecompress.data.dataset import load_dataset
from edgecompress.data.parts import Dataset
from edgecompress.errors import BudgetError, ConfigError, DeviceError
from edgecompress.hw.budget import Budget
from edgecompress.hw.estimate import Cost, energy
from edgecompress.hw.profile import HardwareProfile
from edgecompress.ir import reference, serialize
from edgecompress.processes import default_workers, process_pool
from edgecompress.run.candidate import CandidateResult, finish_candidate, finished_result
from edgecompress.run.config import SearchConfig
from edgecompress.run.directory import FREE_KEYS, RunDirectory
from edgecompress.run.files import read_json, write_json
from edgecompress.run.problem import Progress, known_proxies, make_devices, make_problem, make_spec, names_of
from edgecompress.run.race import Course, Race, screened_rows, train_teacher
from edgecompress.run.trainer import Context
from edgecompress.search.evaluator import Evaluator, one_thread
from edgecompress.search.evaluators import make_evaluator
from edgecompress.search.neighbourhood import distinct
from edgecompress.search.objective import Device, Problem, Score, violations
from edgecompress.search.shared_storage import redact
from edgecompress.search.shared_table import Display
from edgecompress.search.space import Candidate, Space, build
from edgecompress.search.study import Study, StudySettings, Trial
from edgecompress.search.teacher import own_of
from edgecompress.units import format_bytes, format_duration


@dataclass(frozen=True)
class Outcome:
    """The chosen model and what is known of it; `summary` is what --format json prints."""

    summary: Mapping[str, Any]
    run: Path
    within_budget: bool


def search(config: SearchConfig, output: Path, resume: bool, progress: Progress) -> Outcome:
    """Runs or resumes a whole search. Raises ConfigError, DataError, BudgetError or DeviceError; finished work stays in `output`."""
    devices = make_devices(config)
    data = load_dataset(config.data, seed=config.seed)
    recorded = recorded_proxies(output) if resume else None
    problem = make_problem(config, data, devices, known_proxies(config, data, devices, progress.say) if recorded is None else recorded)
    space = problem.make_space()
    provenance = _provenance(problem, data)
    workers = config.workers or default_workers()
    # workers and other machines need no password
    context = Context(problem, data.without_test(), replace(config, storage=redact(config.storage)), config.minutes * 60)
    with RunDirectory.open(output, replace(config, storage=redact(config.storage)), provenance, resume) as run, \
            make_evaluator(context, workers=workers, folder=run.path / "shared", identity=_identity(config, problem, provenance), storage=config.storage,
                           study=config.study, ray=config.ray, display=_display(problem), say=progress.say) as evaluator:
        _say_what_matters(data, problem, progress)
        files = train_teacher(run, config, evaluator, progress) if problem.space.model else {}
        study = _study(run, config, space, problem, files)
        trials = _scored(study, config, problem, evaluator, progress)

        def score_more(candidates: Sequence[Candidate]) -> list[Trial]:
            progress.stage("neighbours", len(candidates))
            return study.score_also(evaluator, candidates, config.trials, lambda done, _: progress.step(done))

        race = Race(run, config, evaluator, Course(space, score_more, files, context.seconds), progress)
        winners = race.winners(feasible(trials, problem.budget))
        results = _finish(run, winners, config, data, devices, workers, progress)
        best = choose(results, devices)
        summary = _prove(run, best, config, data, devices, progress)
        _write_document(run, config, data, problem, study.trials(), winners, race, results, summary, provenance)
        return Outcome(summary, output, within(best, devices))


def recorded_proxies(output: Path) -> tuple[str, ...] | None:
    """The proxies of the run that is resumed, None for a new one: a calibration made since then must not change it."""
    recorded = output / "provenance.json"
    found = read_json(recorded) if recorded.exists() else None
    if found is not None and not isinstance(found, dict):
        raise ConfigError(f"'{recorded}' is damaged; choose another --output")
    return None if found is None else names_of(str(found.get("proxies", "")))


def _provenance(problem: Problem, data: Dataset) -> dict[str, str]:
    """What a resumed run must find as it was: version, data, devices and an own model's weights."""
    kernels = ",".join(kernel_version(device.target) for device in problem.devices)
    provenance = {"tool_version": __version__, "data_hash": data.hash, "python": platform.python_version(), "torch": torch.__version__,
                  "target_hash": ",".join(_fingerprint(device.target) for device in problem.devices),
                  "profile_hash": ",".join(_fingerprint(device.profile) for device in problem.devices), "kernel_version": kernels,
                  "proxies": ",".join(problem.proxies)}
    if problem.space.model:
        provenance["model_hash"] = own_of(problem).hash
    if own_families := problem.space.sources():
        provenance["families_hash"] = hashlib.sha256(b"\0".join(own_families)).hexdigest()[:16]
    return provenance


def _identity(config: SearchConfig, problem: Problem, provenance: Mapping[str, str]) -> dict[str, str]:
    """What machines that share a study must agree on."""
    from edgecompress.search.shared_identity import code_identity

    # machines may keep data, targets and models in different places: their hashes count, not their paths
    elsewhere = (*FREE_KEYS, "cc", "emulator", "on", "data", "target", "also", "profile", "model")
    settings = {f"setting {key}": str(value) for key, value in asdict(config).items() if key not in elsewhere}
    settings |= {f"limits of {device.target.name}": device.budget.describe() for device in problem.devices}
    shared = {key: value for key, value in provenance.items() if key not in ("python", "torch", "tool_version")}
    return {**code_identity(), **shared, **settings}


def _objective_names(problem: Problem) -> tuple[str, ...]:
    return (*(f"minus {name}" for name in (*problem.proxies, "macs")), "latency pressure")


def _display(problem: Problem) -> Display:
    """How scored candidates look in Optuna's tools."""
    def figures(values: Mapping[str, Any]) -> tuple[Sequence[float], Mapping[str, float]]:
        found = Score(**values)
        return found.objectives, found.violations

    return Display(_objective_names(problem), figures)


def _fingerprint(value: Any) -> str:
    """Hash of a dataclass: a target or profile that was edited is another one, whatever its name."""
    return hashlib.sha256(json.dumps(asdict(value), sort_keys=True).encode()).hexdigest()[:16]


def _say_what_matters(data: Dataset, problem: Problem, progress: Progress) -> None:
    for note in data.notes:
        progress.say(f"note: {note}")
    if problem.profile.kernel_version != kernel_version(problem.target):
        progress.say(f"note: profile '{problem.profile.name}' was made with other kernels than this version's, its estimates may be off; "
                     f"'edgecompress profile --target {problem.target.name}' makes a new one")


def _study(run: RunDirectory, config: SearchConfig, space: Space, problem: Problem, files: Mapping[str, bytes]) -> Study:
    starts: Sequence[Candidate] = ()
    if problem.space.model:
        starts = [Candidate(choices) for choices in own_of(problem).starts()]
    elif config.sampler != "random":
        starts = space.designs()[:config.trials // 4]
    settings = StudySettings(config.sampler, config.population, config.seed, len(_objective_names(problem)))
    return Study(run.study_log, space, settings, starts, files)


def _scored(study: Study, config: SearchConfig, problem: Problem, evaluator: Evaluator, progress: Progress) -> list[Trial]:
    """The first `trials` candidates, without those that could not be scored."""
    progress.stage("search", config.trials)
    trials = [trial for trial in study.run(evaluator, config.trials, lambda done, _: progress.step(done)) if trial.number < config.trials]
    reasons = study.failures()
    if not trials:
        raise ConfigError(f"none of the {config.trials} candidates could be scored for {problem.target.name}", *reasons[:1])
    if reasons:
        progress.say(f"note: {len(reasons)} of {config.trials} candidates could not be scored, for example: {reasons[0]}")
    return trials


def feasible(trials: Sequence[Trial], budget: Budget) -> list[Trial]:
    """Those that keep every limit, each network once. Raises BudgetError naming the smallest need that the search found when there are none."""
    unique = distinct(trials)
    kept = [trial for trial in unique if trial.score.feasible]
    if not kept:
        raise _nothing_fits(unique, budget)
    return kept


def _nothing_fits(trials: Sequence[Trial], budget: Budget) -> BudgetError:
    def smallest(name: str) -> Score:
        return min((t.score for t in trials), key=lambda s: float(getattr(s, name)))

    nearest = min((t.score for t in trials), key=lambda s: max(s.violations.values()))
    missed = ", ".join(f"{name} by {100 * excess:.0f} %" for name, excess in sorted(nearest.violations.items()) if excess > 0)
    return BudgetError(
        f"none of the {len(trials)} candidates meets the budget ({budget.describe()})",
        f"the nearest needs latency {format_duration(nearest.latency_s)}, RAM {format_bytes(nearest.ram_bytes)}, "
        f"flash {format_bytes(nearest.flash_bytes)}, {nearest.macs} MACs; it misses {missed}",
        f"smallest found one by one: latency {format_duration(smallest('latency_s').latency_s)}, "
        f"RAM {format_bytes(smallest('ram_bytes').ram_bytes)}, flash {format_bytes(smallest('flash_bytes').flash_bytes)}, "
        f"{smallest('macs').macs} MACs",
        "raise the budget to that, or search longer with --trials",
    )


def _finish(run: RunDirectory, winners: Sequence[Trial], config: SearchConfig, data: Dataset, devices: tuple[Device, ...], workers: int,
            progress: Progress) -> list[CandidateResult]:
    """Lowers the trained candidates and runs them on their cores."""
    folders = {trial.candidate.id: run.candidate(trial.candidate.id) for trial in winners}
    known = {identity: found for identity, folder in folders.items() if (found := finished_result(folder)) is not None}
    missing = [trial.candidate for trial in winners if trial.candidate.id not in known]
    progress.stage("bench", len(winners))
    progress.step(len(known))
    if missing:
        training = data.without_test()
        # times of a processor that others use at the same time are no times
        timed = any(device.profile.unit == "seconds" for device in devices)
        with process_pool(1 if timed else min(workers, len(missing)), one_thread) as pool:
            futures = [pool.submit(finish_candidate, candidate, training, devices, config, folders[candidate.id]) for candidate in missing]
            for future in as_completed(futures):
                try:
                    result = future.result()
                except BrokenProcessPool:
                    raise DeviceError("a bench process was killed (out of memory?); run again with --resume and fewer --workers") from None
                known[result.id] = result
                progress.step(len(known))
                progress.say(f"{result.id}: {100 * result.accuracy_int8:.1f} % int8 on validation, {format_duration(result.measurement.latency_s)}, "
                             f"{format_bytes(measured_cost(result).ram_bytes)} RAM, {format_bytes(measured_cost(result).flash_bytes)} flash")
    return [known[trial.candidate.id] for trial in winners]


def measured_cost(result: CandidateResult) -> Cost:
    """The measurement on the first device in the budget's terms."""
    return _cost_of(result.measurement, result.macs)


def _cost_of(seen: Measurement, macs: int, profile: HardwareProfile | None = None) -> Cost:
    assert seen.ram_bytes is not None and seen.flash_bytes is not None  # only cores are searched for, and their emulators see both
    return Cost(seen.latency_s, seen.ram_bytes, seen.flash_bytes, macs, seen.arena_bytes, (),
                energy_j=None if profile is None else energy(seen.latency_s, profile))


def measured_violations(result: CandidateResult, devices: tuple[Device, ...]) -> dict[str, float]:
    """Relative excesses of the limits of all devices, as measured."""
    seen = [result.measurement, *(result.also[device.target.name] for device in devices[1:])]
    return violations(tuple(_cost_of(one, result.macs, device.profile) for one, device in zip(seen, devices, strict=True)), devices)


def exact(result: CandidateResult) -> bool:
    """Whether the outputs on every device equal the reference."""
    return all(seen.matches_reference is True for seen in (result.measurement, *result.also.values()))


def within(result: CandidateResult, devices: tuple[Device, ...]) -> bool:
    """Whether the *measured* model keeps every limit of every device and equals its definition."""
    return exact(result) and all(excess <= 0 for excess in measured_violations(result, devices).values())


def choose(results: Sequence[CandidateResult], devices: tuple[Device, ...]) -> CandidateResult:
    """Best int8 validation accuracy among those inside the limits; on a tie the faster; if none is inside, the nearest."""
    inside = [result for result in results if within(result, devices)]
    if inside:
        return min(inside, key=lambda r: (-r.accuracy_int8, r.measurement.latency_s, r.id))
    return min(results, key=lambda r: (not exact(r), max(measured_violations(r, devices).values()), r.id))


def _prove(run: RunDirectory, best: CandidateResult, config: SearchConfig, data: Dataset, devices: tuple[Device, ...],
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
    on_core = run_frames(folder / "artifact", x[:count], on=config.on or None, cc=config.cc or None, emulator=config.emulator or None,
                         target=devices[0].target)
    progress.step(2)
    labels, classes = data.test.y, predicted.reshape(len(x), -1).argmax(axis=1)
    core_classes = on_core.reshape(count, -1).argmax(axis=1)
    summary = {
        **_figures(best, devices),
        "data": data.name,
        "seed": config.seed,
        "accuracy_float": _test_accuracy_float(folder, data, config, devices),
        "accuracy_int8": float((classes == labels).mean()),
        "accuracy_on_core": float((core_classes == labels[:count]).mean()),
        "test_samples": len(x),
        "test_samples_on_core": count,
        "on_core_mismatches": int((on_core.reshape(count, -1) != predicted[:count].reshape(count, -1)).any(axis=1).sum()),
        "artifact": str(folder / "artifact"),
        "confusion": confusion_matrix(classes, labels, len(data.classes)).tolist(),
    }
    write_json(run.path / "summary.json", summary)
    return summary


def _figures(best: CandidateResult, devices: tuple[Device, ...]) -> dict[str, Any]:
    """What was measured of the chosen model, beside its limits."""
    seen, first = best.measurement, devices[0]
    return {
        "chosen": best.id,
        "target": first.target.name,
        "latency_s": seen.latency_s,
        "latency_basis": seen.latency_basis,
        "energy_j": energy(seen.latency_s, first.profile),
        "instructions": seen.instructions,
        "ram_bytes": seen.ram_bytes,
        "flash_bytes": seen.flash_bytes,
        "stack_bytes": seen.stack_bytes,
        "parameters": best.parameters,
        "macs": best.macs,
        "matches_reference": seen.matches_reference,
        "within_budget": within(best, devices),
        "budget": asdict(first.budget),
        "also": {device.target.name: _also_summary(best.also[device.target.name], device) for device in devices[1:]},
    }


def _also_summary(seen: Measurement, device: Device) -> dict[str, Any]:
    return {"latency_s": seen.latency_s, "latency_basis": seen.latency_basis, "ram_bytes": seen.ram_bytes, "flash_bytes": seen.flash_bytes,
            "matches_reference": seen.matches_reference, "budget": asdict(device.budget)}


def _test_accuracy_float(folder: Path, data: Dataset, config: SearchConfig, devices: tuple[Device, ...]) -> float:
    from edgecompress.compress.quantize.evaluate import accuracy_float
    from edgecompress.frontend.torch_import import from_torch
    from edgecompress.run.candidate import load_weights

    candidate = Candidate.from_json((folder / "candidate.json").read_text())
    module = build(candidate, data.input_shape, len(data.classes), space=make_spec(config, devices).make(data.input_shape, len(data.classes)))
    load_weights(module, folder / "model.pt")
    return accuracy_float(from_torch(module.eval(), data.input_shape), data.test)


def _write_document(run: RunDirectory, config: SearchConfig, data: Dataset, problem: Problem, trials: Sequence[Trial], winners: Sequence[Trial],
                    race: Race, results: Sequence[CandidateResult], summary: Mapping[str, Any], provenance: Mapping[str, str]) -> None:
    picked = {trial.candidate.id for trial in winners}
    document = {
        "summary": dict(summary),
        "config": {**asdict(config), "storage": redact(config.storage)},
        "provenance": dict(provenance),
        "data": {"name": data.name, "kind": data.kind, "source": data.source, "hash": data.hash, "classes": list(data.classes),
                 "input_shape": list(data.input_shape), "normalization": asdict(data.normalization),
                 "samples": {"train": len(data.train.y), "validation": len(data.validation.y), "test": len(data.test.y)}},
        "profile": {"name": problem.profile.name, "source": problem.profile.source, "date": problem.profile.date, "runner": problem.profile.runner,
                    "compiler": problem.profile.compiler, "fit_error": asdict(problem.profile.fit_error)},
        "trials": [{"number": t.number, "id": t.candidate.id, "choices": dict(t.candidate.choices), "picked": t.candidate.id in picked,
                    **t.score.to_json()} for t in trials],
        "screened": screened_rows(race.screened),
        "trained": [result.to_json() for result in results],
        "manifest": read_json(run.candidate(summary["chosen"]) / "artifact" / "manifest.json"),
    }
    write_json(run.path / "report.json", document)
