"""The search's result as a picture: every evaluated candidate, by estimated latency against each zero-shot score. Estimates only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgecompress.report.axis import Axis, Tick, axis_over
from edgecompress.report.document import Report, Trial
from edgecompress.report.text import count, short_count, signed_percent
from edgecompress.search.pareto import non_dominated
from edgecompress.units import format_bytes, format_duration

WIDTH, HEIGHT = 520, 400
LEFT, RIGHT, TOP, BOTTOM = 68, 14, 14, 52
STYLES = 8  # colours and shapes; more families share them again


@dataclass(frozen=True)
class Point:
    """One candidate in one panel."""

    x: float
    y: float
    index: int  # of the candidate, the same in both panels
    style: int
    state: str  # over, inside or front
    mark: str  # "", picked or chosen


@dataclass(frozen=True)
class Panel:
    """One chart: latency against a score."""

    title: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    limit: float | None  # pixels of the latency budget, if it is near enough to draw


@dataclass(frozen=True)
class Family:
    """A legend entry."""

    name: str
    style: int
    candidates: int


@dataclass(frozen=True)
class FrontRow:
    """A candidate of the front in the table below the charts."""

    id: str
    choices: str
    mark: str
    scores: tuple[str, ...]
    macs: str
    latency: str
    ram: str
    flash: str


@dataclass(frozen=True)
class Pareto:
    """Everything that the section shows."""

    panels: tuple[Panel, ...]
    families: tuple[Family, ...]
    tips: tuple[str, ...]
    proxies: tuple[str, ...]
    front: tuple[FrontRow, ...]
    evaluated: int
    distinct: int
    feasible: int
    undrawn: int
    limit_note: str


def describe_choices(trial: Trial) -> str:
    """The candidate's choices in one line."""
    return ", ".join(f"{name} {value}" for name, value in trial.choices.items() if name != "family")


def pareto_section(report: Report) -> Pareto | None:
    """Charts and table, or None if nothing was evaluated."""
    unique = list({trial.id: trial for trial in reversed(report.trials)}.values())[::-1]
    drawn = [trial for trial in unique if None not in trial.proxies.values() and math.isfinite(trial.latency_s) and trial.latency_s > 0]
    if not drawn:
        return None
    front = front_ids(drawn)
    names = sorted({trial.family for trial in drawn})
    limit = report.summary.budget.latency_s
    styles = {name: index % STYLES for index, name in enumerate(names)}
    ordered = sorted(drawn, key=lambda t: (_mark(t, report) == "chosen", t.picked, t.id in front, t.feasible, -t.number))

    def panel(title: str, label: str, value: Callable[[Trial], float], log: bool, write: Callable[[float], str]) -> Panel:
        return _panel(title, label, ordered, [value(trial) for trial in ordered], log, write, front, styles, limit, report)

    proxies = tuple(drawn[0].proxies)
    panels = (
        *(panel("Zero-shot score", f"{name} score, higher is better", partial(_proxy, name), False, lambda v: f"{v:g}") for name in proxies[:1]),
        panel("Multiply-accumulates", "MACs an inference", lambda t: max(1.0, float(t.macs)), True, short_count),
    )
    return Pareto(
        panels=panels,
        families=tuple(Family(name, styles[name], sum(trial.family == name for trial in drawn)) for name in names),
        tips=tuple(_tip(trial, front, report) for trial in ordered),
        proxies=proxies,
        front=tuple(_row(trial, report) for trial in sorted(drawn, key=lambda t: t.latency_s) if trial.id in front),
        evaluated=len(report.trials),
        distinct=len(unique),
        feasible=sum(trial.feasible for trial in unique),
        undrawn=len(unique) - len(drawn),
        limit_note="" if limit is None or panels[0].limit is not None else f"The latency limit of {format_duration(limit)} lies outside the charts.",
    )


def front_ids(trials: Sequence[Trial]) -> frozenset[str]:
    """Ids of the feasible candidates that no other beats in (proxies, MACs, latency): the front that the search picks from first."""
    feasible = [trial for trial in trials if trial.feasible]
    if not feasible:
        return frozenset()
    points = np.array([[*(-(value or 0.0) for value in trial.proxies.values()), -float(trial.macs), trial.latency_s] for trial in feasible])
    return frozenset(feasible[index].id for index in non_dominated(points))


def _proxy(name: str, trial: Trial) -> float:
    return trial.proxies.get(name) or 0.0


def _scores(trial: Trial) -> str:
    return "".join(f"{name} {value or 0.0:.4g}, " for name, value in trial.proxies.items())


def _mark(trial: Trial, report: Report) -> str:
    return "chosen" if trial.id == report.summary.chosen else "picked" if trial.picked else ""


def _panel(title: str, label: str, trials: Sequence[Trial], values: Sequence[float], log: bool, write: Callable[[float], str],
           front: frozenset[str], styles: dict[str, int], limit: float | None, report: Report) -> Panel:
    latencies = [trial.latency_s for trial in trials]
    near = limit is not None and min(latencies) / 2 <= limit <= max(latencies) * 3
    across = axis_over([*latencies, *([limit] if near and limit else [])], LEFT, WIDTH - RIGHT, log=True)
    up = axis_over(values, HEIGHT - BOTTOM, TOP, log=log)
    points = tuple(
        Point(across.place(trial.latency_s), up.place(value), index, styles[trial.family],
              "front" if trial.id in front else "inside" if trial.feasible else "over", _mark(trial, report))
        for index, (trial, value) in enumerate(zip(trials, values, strict=True))
    )
    return Panel(title, label, _latency_ticks(across), up.ticks(write), points, across.place(limit) if near and limit else None)


def _latency_ticks(axis: Axis) -> tuple[Tick, ...]:
    return axis.ticks(lambda seconds: f"{seconds * 1e3:g}", most=8)


def _tip(trial: Trial, front: frozenset[str], report: Report) -> str:
    """Lines of the tooltip."""
    over = [f"{name} {signed_percent(excess)}" for name, excess in trial.violations.items() if excess > 0]
    state = f"over budget: {', '.join(over)}" if over else "on the Pareto front" if trial.id in front else "inside the budget, dominated"
    mark = {"chosen": "chosen", "picked": "picked for training", "": ""}[_mark(trial, report)]
    lines = [
        f"{trial.family}  {trial.id}",
        ", ".join(part for part in (mark, state) if part),
        f"estimated latency {format_duration(trial.latency_s)}",
        f"estimated RAM {format_bytes(trial.ram_bytes)}, flash {format_bytes(trial.flash_bytes)}",
        f"{_scores(trial)}{count(trial.macs)} MACs, {count(trial.parameters)} parameters",
        describe_choices(trial),
    ]
    return "\n".join(lines)


def _row(trial: Trial, report: Report) -> FrontRow:
    return FrontRow(trial.id, f"{trial.family}: {describe_choices(trial)}", _mark(trial, report),
                    tuple(f"{value or 0.0:.4g}" for value in trial.proxies.values()), count(trial.macs),
                    format_duration(trial.latency_s), format_bytes(trial.ram_bytes), format_bytes(trial.flash_bytes))
