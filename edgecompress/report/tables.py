"""The table of trained candidates and the table of the chosen model's layers."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.report.document import Report, Sqnr, Trained, Trial
from edgecompress.report.pareto_chart import describe_choices
from edgecompress.report.parts import Layer
from edgecompress.report.text import Figure, count, decibels, figure, percent, shape, short_count, signed_percent
from edgecompress.units import format_bytes, format_duration

NO_ESTIMATE = "not in the search"


@dataclass(frozen=True)
class Pair:
    """One quantity as it was estimated before training and as it was measured, kept apart."""

    estimated: Figure
    measured: Figure
    difference: str  # measured against estimated, "" if one is not known


@dataclass(frozen=True)
class TrainedRow:
    """A trained candidate."""

    id: str
    family: str
    choices: str
    bits: str
    chosen: bool
    accuracy_float: Figure
    accuracy_pruned: Figure
    accuracy_int8: Figure
    latency: Pair
    ram: Pair
    flash: Pair
    macs: Figure
    parameters: Figure
    exact: Figure


@dataclass(frozen=True)
class ScreenedRow:
    """A short training."""

    id: str
    choices: str
    round: str
    share: str
    accuracy: str
    next: str


@dataclass(frozen=True)
class LayerRow:
    """One layer of the chosen model; shares are 0 to 1."""

    number: int
    node: str
    op: str
    kernel: str
    shapes: str
    macs: str
    constants: str
    scratch: str
    instructions: Figure
    share: float | None
    per_mac: str
    sqnr_local: Figure
    sqnr_cumulative: Figure
    worst: bool


@dataclass(frozen=True)
class LayerTable:
    """All layers, what is left over, and the SQNR of nodes without code."""

    rows: tuple[LayerRow, ...]
    total_macs: str
    total_constants: str
    total_instructions: Figure
    outside: Figure  # instructions of a run that belong to no layer
    without_code: tuple[str, ...]
    has_sqnr: bool


def _pair(estimated: float | None, measured: float | None, duration: bool) -> Pair:
    def write(value: float) -> str:
        return format_duration(value) if duration else format_bytes(int(value))

    difference = signed_percent(measured / estimated - 1) if estimated and measured is not None else ""
    return Pair(figure(estimated, write, NO_ESTIMATE), figure(measured, write, "not run"), difference)


def trained_rows(report: Report) -> tuple[TrainedRow, ...]:
    """A row for each trained candidate, the chosen one first, then by int8 accuracy."""
    trials = {trial.id: trial for trial in report.trials}
    ordered = sorted(report.trained, key=lambda r: (r.id != report.summary.chosen, -(r.accuracy_int8 or 0.0), r.id))
    return tuple(_trained_row(result, trials.get(result.id), result.id == report.summary.chosen) for result in ordered)


def _bits(layers: tuple[int, ...]) -> str:
    """How the weights are stored, which may be wider than the knob asked for where the limits allow it."""
    counts = {bits: layers.count(bits) for bits in sorted(set(layers), reverse=True)}
    return ", ".join(f"{number} of {len(layers)} layers stored in {bits} bits" for bits, number in counts.items())


def screened_rows(report: Report) -> tuple[ScreenedRow, ...]:
    """A row for each short training, by round, the best first."""
    trials = {trial.id: trial for trial in report.trials}
    last = 1 + max((row.rung for row in report.screened), default=0)
    rounds = {(row.id, row.rung) for row in report.screened} | {(row.id, last) for row in report.trained}
    ordered = sorted(report.screened, key=lambda row: (row.rung, -row.accuracy, row.id))
    return tuple(ScreenedRow(row.id, f"{trials[row.id].family}: {describe_choices(trials[row.id])}" if row.id in trials else "choices not recorded",
                             str(row.rung + 1), percent(row.share), percent(row.accuracy), "yes" if (row.id, row.rung + 1) in rounds else "no")
                 for row in ordered)


def _trained_row(result: Trained, trial: Trial | None, chosen: bool) -> TrainedRow:
    seen = result.measurement
    exact = {True: "equal", False: "DIFFERS"}
    return TrainedRow(
        id=result.id,
        family=trial.family if trial else "unknown",
        choices=describe_choices(trial) if trial else "choices not recorded",
        bits=_bits(result.weight_bits),
        chosen=chosen,
        accuracy_float=figure(result.accuracy_float, percent, "not run"),
        accuracy_pruned=figure(result.accuracy_pruned_float, percent, "not run"),
        accuracy_int8=figure(result.accuracy_int8, percent, "not run"),
        latency=_pair(trial.latency_s if trial else None, seen.latency_s if seen else None, True),
        ram=_pair(trial.ram_bytes if trial else None, seen.ram_bytes if seen else None, False),
        flash=_pair(trial.flash_bytes if trial else None, seen.flash_bytes if seen else None, False),
        macs=figure(result.macs, short_count, "not recorded"),
        parameters=figure(result.parameters, short_count, "not recorded"),
        exact=Figure(exact[seen.matches_reference]) if seen and seen.matches_reference is not None else Figure("not compared", False),
    )


def layer_table(report: Report) -> LayerTable | None:
    """The chosen model's layers, or None without a manifest."""
    if report.manifest is None or not report.manifest.layers:
        return None
    layers, result = report.manifest.layers, report.chosen_trained
    seen = result.measurement if result else None
    counts = dict(seen.layers) if seen else {}
    noise = {row.node: row for row in result.sqnr} if result else {}
    here = {layer.node for layer in layers}
    worst = min((row.local_db for row in noise.values() if row.node in here), default=None)
    total = seen.instructions if seen else None
    rows = tuple(_layer_row(number, layer, counts.get(layer.node), total, noise.get(layer.node), worst)
                 for number, layer in enumerate(layers, start=1))
    counted = sum(counts.values())
    return LayerTable(
        rows=rows,
        total_macs=count(sum(layer.macs for layer in layers)),
        total_constants=count(sum(layer.constant_bytes for layer in layers)),
        total_instructions=figure(total, count, "not run: no count"),
        outside=figure(total - counted if total is not None and counts else None, count, "not run: no count by layer"),
        without_code=tuple(f"{row.node} {decibels(row.local_db)} dB" for row in noise.values() if row.node not in here),
        has_sqnr=bool(noise),
    )


def _layer_row(number: int, layer: Layer, instructions: int | None, total: int | None, noise: Sqnr | None, worst: float | None) -> LayerRow:
    missing = "not run" if layer.kernel else "no code"
    return LayerRow(
        number=number,
        node=layer.node,
        op=layer.op,
        kernel=layer.kernel or "no code",
        shapes=f"{' + '.join(shape(sizes) for sizes in layer.input_shapes)} → {shape(layer.output_shape)}",
        macs=count(layer.macs) if layer.macs else "–",
        constants=count(layer.constant_bytes) if layer.constant_bytes else "–",
        scratch=count(layer.scratch_bytes) if layer.scratch_bytes else "–",
        instructions=figure(instructions, count, missing),
        share=round(instructions / total, 4) if instructions is not None and total else None,
        per_mac=f"{instructions / layer.macs:.1f}" if instructions is not None and layer.macs else "",
        sqnr_local=figure(noise.local_db if noise else None, decibels, "not run"),
        sqnr_cumulative=figure(noise.cumulative_db if noise else None, decibels, "not run"),
        worst=noise is not None and noise.local_db == worst,
    )
