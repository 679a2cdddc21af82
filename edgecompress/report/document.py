"""What `report.json` holds, checked and typed. Everything that a run may not have done is None, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompress.report.parts import Data, Manifest, Measurement, Profile, data_of, manifest_of, measurement_of, profile_of
from edgecompress.report.reader import Reader
from edgecompress.run.files import read_json


@dataclass(frozen=True)
class Limits:
    """The budget of the run, in seconds and bytes."""

    latency_s: float | None
    ram_bytes: int | None
    flash_bytes: int | None
    macs: int | None


@dataclass(frozen=True)
class AlsoDevice:
    """The chosen model on a further device."""

    target: str
    latency_s: float
    ram_bytes: int
    flash_bytes: int
    matches_reference: bool | None
    budget: Limits


@dataclass(frozen=True)
class Summary:
    """The chosen model. Accuracies are shares of the test part; sizes are bytes, times seconds."""

    chosen: str
    target: str
    seed: int | None
    accuracy_float: float | None
    accuracy_int8: float | None
    accuracy_on_core: float | None
    test_samples: int | None
    test_samples_on_core: int | None
    on_core_mismatches: int | None
    latency_s: float | None
    latency_basis: str | None
    instructions: int | None
    ram_bytes: int | None
    flash_bytes: int | None
    stack_bytes: int | None
    parameters: int | None
    macs: int | None
    matches_reference: bool | None
    within_budget: bool | None
    budget: Limits
    also: tuple[AlsoDevice, ...]
    artifact: str | None
    confusion: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True)
class Trial:
    """An untrained candidate. Latency, RAM and flash are estimates; a proxy is None if its score was not finite."""

    number: int
    id: str
    family: str
    choices: Mapping[str, Any]
    picked: bool
    proxies: Mapping[str, float | None]
    macs: int
    parameters: int
    latency_s: float
    ram_bytes: int
    flash_bytes: int
    violations: Mapping[str, float]

    @property
    def feasible(self) -> bool:
        """Whether the estimate keeps every limit."""
        return all(excess <= 0 for excess in self.violations.values())


@dataclass(frozen=True)
class Sqnr:
    """Signal to quantization noise of one layer in dB: the layer alone, and with the error of all layers before it."""

    node: str
    local_db: float
    cumulative_db: float


@dataclass(frozen=True)
class Trained:
    """A candidate that was trained. Accuracies are shares of the validation part."""

    id: str
    accuracy_float: float | None
    accuracy_pruned_float: float | None
    accuracy_int8: float | None
    parameters: int | None
    macs: int | None
    train_seconds: float | None
    weight_bits: tuple[int, ...]  # of each layer with weights; empty if not recorded
    sqnr: tuple[Sqnr, ...]
    measurement: Measurement | None


@dataclass(frozen=True)
class Screening:
    """A short training of a candidate: number of the round from 0, share of a full training, validation accuracy."""

    id: str
    rung: int
    share: float
    accuracy: float


@dataclass(frozen=True)
class Report:
    """The whole document."""

    summary: Summary
    config: Mapping[str, Any]
    data: Data
    profile: Profile | None
    trials: tuple[Trial, ...]
    screened: tuple[Screening, ...]
    trained: tuple[Trained, ...]
    manifest: Manifest | None
    provenance: Mapping[str, str]

    @property
    def chosen_trial(self) -> Trial | None:
        """The chosen model's untrained estimate."""
        return next((trial for trial in self.trials if trial.id == self.summary.chosen), None)

    @property
    def chosen_trained(self) -> Trained | None:
        """The chosen model's training result."""
        return next((result for result in self.trained if result.id == self.summary.chosen), None)


def load_report(path: Path) -> Report:
    """The checked content of a `report.json`. Raises ConfigError naming the file and the first wrong value."""
    root = Reader(read_json(path), "", path)
    for key in ("summary", "config", "data", "profile", "trials", "trained", "manifest"):
        if key not in root.values:
            raise root.fail(key, "part of every report")
    data = data_of(root.child("data"))
    profile, manifest, provenance = (root.child_or_none(key) for key in ("profile", "manifest", "provenance"))
    return Report(
        summary=_summary(root.child("summary"), len(data.classes)),
        config=_plain(root.child("config")),
        data=data,
        profile=None if profile is None else profile_of(profile),
        trials=tuple(_trial(item) for item in root.children("trials")),
        screened=tuple(_screening(item) for item in (root.children("screened") if "screened" in root.values else ())),
        trained=tuple(_trained(item) for item in root.children("trained")),
        manifest=None if manifest is None else manifest_of(manifest),
        provenance={} if provenance is None else {key: provenance.text(key) for key in sorted(provenance.values)},
    )


def _plain(values: Reader) -> Mapping[str, Any]:
    for key, value in values.values.items():
        if not isinstance(value, str | int | float | bool):
            raise values.fail(key, "text, a number, true or false")
    return values.values


def _summary(values: Reader, classes: int) -> Summary:
    budget = values.child_or_none("budget") or Reader({}, values.path("budget"), values.file)
    also = values.child_or_none("also") or Reader({}, values.path("also"), values.file)
    return Summary(
        chosen=values.text("chosen"),
        target=values.text("target"),
        seed=values.whole_or_none("seed"),
        accuracy_float=values.share_or_none("accuracy_float"),
        accuracy_int8=values.share_or_none("accuracy_int8"),
        accuracy_on_core=values.share_or_none("accuracy_on_core"),
        test_samples=values.whole_or_none("test_samples"),
        test_samples_on_core=values.whole_or_none("test_samples_on_core"),
        on_core_mismatches=values.whole_or_none("on_core_mismatches"),
        latency_s=values.number_or_none("latency_s"),
        latency_basis=values.text_or_none("latency_basis"),
        instructions=values.whole_or_none("instructions"),
        ram_bytes=values.whole_or_none("ram_bytes"),
        flash_bytes=values.whole_or_none("flash_bytes"),
        stack_bytes=values.whole_or_none("stack_bytes"),
        parameters=values.whole_or_none("parameters"),
        macs=values.whole_or_none("macs"),
        matches_reference=values.flag_or_none("matches_reference"),
        within_budget=values.flag_or_none("within_budget"),
        budget=Limits(budget.number_or_none("latency_s"), budget.whole_or_none("ram_bytes"), budget.whole_or_none("flash_bytes"),
                      budget.whole_or_none("macs")),
        also=tuple(_also(also.child(name), name) for name in sorted(also.values)),
        artifact=values.text_or_none("artifact"),
        confusion=_confusion(values, classes),
    )


def _confusion(values: Reader, classes: int) -> tuple[tuple[int, ...], ...] | None:
    if values.values.get("confusion") is None:
        return None
    rows = values.items("confusion")
    square = len(rows) == classes and all(isinstance(row, list) and len(row) == classes for row in rows)
    if not square or not all(type(cell) is int and cell >= 0 for row in rows for cell in row):
        raise values.fail("confusion", f"{classes} rows of {classes} counts")
    return tuple(tuple(row) for row in rows)


def _trial(values: Reader) -> Trial:
    choices, violations, proxies = values.child("choices"), values.child("violations"), values.child("proxies")
    return Trial(
        number=values.whole("number"),
        id=values.text("id"),
        family=choices.text("family"),
        choices=_plain(choices),
        picked=values.flag_or_none("picked") is True,
        proxies={name: proxies.number_or_none(name) for name in proxies.values},
        macs=values.whole("macs"),
        parameters=values.whole("parameters"),
        latency_s=values.number("latency_s"),
        ram_bytes=values.whole("ram_bytes"),
        flash_bytes=values.whole("flash_bytes"),
        violations={key: violations.number(key) for key in violations.values},
    )


def _screening(values: Reader) -> Screening:
    accuracy = values.share_or_none("accuracy")
    return Screening(values.text("id"), values.whole("rung"), values.number("share"), 0.0 if accuracy is None else accuracy)


def _also(values: Reader, name: str) -> AlsoDevice:
    budget = values.child("budget")
    return AlsoDevice(name, values.number("latency_s"), values.whole("ram_bytes"), values.whole("flash_bytes"), values.flag_or_none("matches_reference"),
                      Limits(budget.number_or_none("latency_s"), budget.whole_or_none("ram_bytes"), budget.whole_or_none("flash_bytes"),
                             budget.whole_or_none("macs")))


def _trained(values: Reader) -> Trained:
    measurement = values.child_or_none("measurement")
    bits = (values.child_or_none("weight_bits") if "weight_bits" in values.values else None) or Reader({}, values.path("weight_bits"), values.file)
    return Trained(
        id=values.text("id"),
        accuracy_float=values.share_or_none("accuracy_float"),
        accuracy_pruned_float=values.share_or_none("accuracy_pruned_float"),
        accuracy_int8=values.share_or_none("accuracy_int8"),
        parameters=values.whole_or_none("parameters"),
        macs=values.whole_or_none("macs"),
        train_seconds=values.number_or_none("train_seconds"),
        weight_bits=tuple(bits.whole(key) for key in sorted(bits.values)),
        sqnr=tuple(Sqnr(row.text("node"), row.number("local_db"), row.number("cumulative_db")) for row in values.children("layers_sqnr")),
        measurement=None if measurement is None else measurement_of(measurement),
    )
