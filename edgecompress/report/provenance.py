"""Where the figures come from, how to get them again, and what was not done."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import PurePosixPath

from edgecompress.report.document import Report
from edgecompress.report.headline import is_emulated, where
from edgecompress.report.text import Figure, count, plural
from edgecompress.run.config import SearchConfig

ALWAYS = ("target", "data", "seed")  # said even when they are the defaults


def facts(report: Report) -> tuple[tuple[str, Figure], ...]:
    """Name and value of everything that the figures depend on."""
    summary, data, profile, manifest = report.summary, report.data, report.profile, report.manifest
    seen = report.chosen_trained.measurement if report.chosen_trained else None
    rows: list[tuple[str, str | None]] = [
        ("data set", f"{data.name} ({data.source})" if data.source else data.name),
        ("data hash (SHA-256)", data.hash),
        ("samples", ", ".join(f"{name} {count(data.samples[name])}" for name in _ordered(data.samples)) or None),
        ("seed", None if summary.seed is None else str(summary.seed)),
        ("target", summary.target),
        ("latency profile", None if profile is None else f"{profile.name}: {profile.source or 'source not recorded'}, {profile.date or 'no date'}"),
        ("profile made with", None if profile is None else ", ".join(part for part in (profile.runner, profile.compiler) if part) or None),
        ("graph hash (SHA-256)", manifest.graph_hash if manifest else None),
        ("compiler", seen.compiler if seen else None),
        ("ran on", where(report)),
        ("emulator", seen.emulator if seen else None),
        ("edgecompress", report.provenance.get("tool_version") or (manifest.tool_version if manifest else None)),
        ("Python", report.provenance.get("python")),
    ]
    return tuple((name, Figure("not recorded", False) if text is None else Figure(text)) for name, text in rows)


def _ordered(samples: Iterable[str]) -> list[str]:
    known = ("train", "validation", "test")
    return sorted(samples, key=lambda name: known.index(name) if name in known else len(known))


def commands(report: Report) -> tuple[str, ...]:
    """Command lines that make this run again and bench the artifact; flags only where the setting is not the default."""
    defaults = asdict(SearchConfig())
    words = ["edgecompress", "search"]
    for key, value in sorted(report.config.items(), key=lambda item: (item[0] not in ALWAYS, item[0])):
        if value == defaults.get(key) and key not in ALWAYS:
            continue
        flag = key.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", shlex.quote(str(value))]
    bench = f"edgecompress bench {shlex.quote(artifact_path(report))}"
    return " ".join([*words, "--output", "runs/again"]), bench


def artifact_path(report: Report) -> str:
    """The artifact's folder as seen from the run folder, which may have moved."""
    return str(PurePosixPath("candidates") / report.summary.chosen / "artifact")


def not_done(report: Report) -> tuple[str, ...]:
    """What a reader might take for done and is not."""
    summary, lines = report.summary, []
    if is_emulated(report) or where(report) in (None, "host"):
        place = f"it ran in {where(report)}" if where(report) else "no run is recorded"
        lines.append(f"Not run on a board: {place}. Latency, energy and interrupts on the real device are unknown.")
    if summary.test_samples and summary.test_samples_on_core and summary.test_samples_on_core < summary.test_samples:
        left = summary.test_samples - summary.test_samples_on_core
        lines.append(f"Not run on the core: {count(left)} of {plural(summary.test_samples, 'test sample')}; "
                     "their int8 results come from the integer reference, which the core equalled elsewhere."
                     if summary.on_core_mismatches == 0 else
                     f"Not run on the core: {count(left)} of {plural(summary.test_samples, 'test sample')}.")
    if not summary.test_samples_on_core:
        lines.append("Not run on the core: the test part.")
    if summary.accuracy_int8 is None:
        lines.append("Not run: int8 accuracy on the test part.")
    if report.trials:
        distinct = {trial.id for trial in report.trials}
        untrained = len(distinct - {result.id for result in report.trained})
        lines.append(f"Not trained: {count(untrained)} of the {count(len(distinct))} distinct candidates; their latency, RAM and flash are estimates "
                     "and their accuracy is unknown.")
    lines.append("Not measured: energy.")
    return tuple(lines)
