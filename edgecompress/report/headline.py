"""The first screen: does it fit, how fast, how accurate, how sure are we."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgecompress.report.document import AlsoDevice, Report, Summary
from edgecompress.report.text import Figure, count, figure, percent, plural, short_count, wilson
from edgecompress.units import format_bytes, format_duration

EMULATORS = ("unicorn", "qemu")
NO_CORE = "not run: nothing ran on the core"


@dataclass(frozen=True)
class Segment:
    """A part of a bar; `share` of the bar's length, 0 to 100."""

    label: str
    text: str
    share: float


@dataclass(frozen=True)
class Bar:
    """A value beside its limit."""

    label: str
    value: Figure
    limit: str  # "of 64.0 KiB, 37 %", or "no limit"
    segments: tuple[Segment, ...]
    limit_share: float | None
    over: bool


@dataclass(frozen=True)
class Check:
    """A line of "how sure are we"; `state` is good, bad, note (worth knowing) or missing (not done)."""

    state: str
    text: str


@dataclass(frozen=True)
class Accuracy:
    """One of the three accuracies on the test part."""

    label: str
    value: Figure
    note: str
    place: float | None  # of its dot between the ends of the scale, 0 to 100
    whisker: tuple[float, float] | None  # start and length of the 95 % interval, 0 to 100
    tip: str


@dataclass(frozen=True)
class Headline:
    """Everything above the fold."""

    title: str
    model: str  # family and id of the chosen one
    sentence: str
    verdicts: tuple[Check, ...]
    accuracies: tuple[Accuracy, ...]
    scale: tuple[str, str] | None  # ends of the scale that the accuracies are drawn on
    accuracy: Figure
    interval: str
    latency: Figure
    basis: str
    latency_bar: Bar
    memory_bars: tuple[Bar, ...]
    fits: Check
    instructions: Figure
    per_second: str
    macs: Figure
    parameters: Figure
    checks: tuple[Check, ...]


def headline(report: Report) -> Headline:
    """The answers, with "not run: ..." where the run holds none."""
    summary = report.summary
    rows, floor = _accuracies(summary)
    accuracy = figure(summary.accuracy_int8, percent, "not run: the test part was not evaluated")
    return Headline(
        title=f"{report.data.name} on {summary.target}",
        model=f"{report.chosen_trial.family if report.chosen_trial else 'model'} {summary.chosen}",
        sentence=_sentence(report),
        verdicts=_verdicts(report),
        accuracies=rows,
        scale=None if floor is None else (f"{floor} %", "100 %"),
        accuracy=accuracy,
        interval=_interval(summary),
        latency=figure(summary.latency_s, format_duration, NO_CORE),
        basis=basis(report),
        latency_bar=_bar("latency", summary.latency_s, summary.budget.latency_s, format_duration, ()),
        memory_bars=_memory_bars(report),
        fits=_fits(summary),
        instructions=figure(summary.instructions, count, "not run: no instructions were counted"),
        per_second=f"{short_count(1 / summary.latency_s)} inferences a second at most" if summary.latency_s else "",
        macs=figure(summary.macs, count, "not recorded"),
        parameters=figure(summary.parameters, count, "not recorded"),
        checks=checks(report),
    )


def where(report: Report) -> str | None:
    """The place the chosen model ran in: an emulator's name, "host", a board."""
    seen = report.chosen_trained.measurement if report.chosen_trained else None
    return seen.where if seen else None


def is_emulated(report: Report) -> bool:
    """Whether figures of the run come from an emulator."""
    place = where(report)
    return place is not None and any(name in place.lower() for name in EMULATORS)


def basis(report: Report) -> str:
    """What the latency means, in words; "" when there is none."""
    summary = report.summary
    if summary.latency_s is None:
        return ""
    place = where(report)
    origin = f"emulated in {place}, not on a board" if is_emulated(report) else f"ran on {place}" if place else "place not recorded"
    said = summary.latency_basis or "basis not recorded"
    return said if "emulat" in said and is_emulated(report) else f"{said}; {origin}"


def _sentence(report: Report) -> str:
    summary, parts = report.summary, []
    if summary.accuracy_int8 is not None:
        samples = f" of {plural(summary.test_samples, 'test sample')}" if summary.test_samples else ""
        parts.append(f"{percent(summary.accuracy_int8)}{samples} right in int8")
    if summary.latency_s is not None:
        parts.append(f"{format_duration(summary.latency_s)} an inference")
    if summary.ram_bytes is not None:
        parts.append(f"{format_bytes(summary.ram_bytes)} RAM")
    if summary.flash_bytes is not None:
        parts.append(f"{format_bytes(summary.flash_bytes)} flash")
    return ", ".join(parts) + "." if parts else "This run has not measured the chosen model."


def _fits(summary: Summary) -> Check:
    if summary.within_budget is None:
        return Check("missing", "Not run: budget check")
    if summary.within_budget:
        return Check("good", "Fits the budget")
    if not any(used is not None and limit is not None and used > limit for used, limit in _limits(summary)):
        return Check("bad", "Not accepted: outputs differ")
    return Check("bad", "Misses the budget")


def _limits(summary: Summary) -> list[tuple[float | None, float | None]]:
    budget = summary.budget
    return [(summary.latency_s, budget.latency_s), (summary.ram_bytes, budget.ram_bytes), (summary.flash_bytes, budget.flash_bytes),
            (summary.macs, budget.macs)]


def _verdicts(report: Report) -> tuple[Check, ...]:
    summary = report.summary
    exact = {True: Check("good", "Bit-exact"), False: Check("bad", "Outputs differ from the reference"),
             None: Check("missing", "Not run: comparison with the reference")}[_exact(summary)]
    if is_emulated(report):
        place = Check("note", "Emulated, not a board")
    else:
        place = Check("note", f"Ran on {where(report)}") if where(report) else Check("missing", "Not run: bench")
    return _fits(summary), exact, place


def _exact(summary: Summary) -> bool | None:
    """Equal wherever outputs were compared; one difference anywhere is False."""
    seen = [summary.matches_reference, None if summary.on_core_mismatches is None else summary.on_core_mismatches == 0]
    return False if False in seen else True if True in seen else None


def _bar(label: str, value: float | None, limit: float | None, write: Callable[[float], str], parts: tuple[tuple[str, float], ...]) -> Bar:
    if value is None:
        return Bar(label, Figure(NO_CORE, False), f"limit {write(limit)}" if limit else "", (), None, False)
    full = max(value, limit or 0.0) or 1.0
    shown = parts if parts and sum(size for _, size in parts) <= value * 1.001 else (("", value),)
    segments = tuple(Segment(name, write(size), round(100 * size / full, 2)) for name, size in shown)
    text = f"of {write(limit)} ({100 * value / limit:.0f} %)" if limit else "no limit"
    return Bar(label, Figure(write(value)), text, segments, round(100 * limit / full, 2) if limit else None, bool(limit and value > limit))


def _memory_bars(report: Report) -> tuple[Bar, ...]:
    summary, budget = report.summary, report.summary.budget

    def bytes_text(size: float) -> str:
        return format_bytes(round(size))

    bars = [_bar("RAM", summary.ram_bytes, budget.ram_bytes, bytes_text, ram_parts(report)),
            _bar("flash", summary.flash_bytes, budget.flash_bytes, bytes_text, _flash_parts(report))]
    if budget.macs:
        bars.append(_bar("MACs", summary.macs, budget.macs, short_count, ()))
    return tuple(bars)


def ram_parts(report: Report) -> tuple[tuple[str, float], ...]:
    """RAM as arena, other static data and stack, in bytes; empty unless all are known."""
    summary = report.summary
    seen = report.chosen_trained.measurement if report.chosen_trained else None
    arena = seen.arena_bytes if seen and seen.arena_bytes is not None else report.manifest.arena_bytes if report.manifest else None
    if summary.ram_bytes is None or summary.stack_bytes is None or arena is None or arena + summary.stack_bytes > summary.ram_bytes:
        return ()
    rest = summary.ram_bytes - arena - summary.stack_bytes
    return ("arena", arena), *((("other static data", rest),) if rest else ()), ("stack", summary.stack_bytes)


def _flash_parts(report: Report) -> tuple[tuple[str, float], ...]:
    constants = report.manifest.constant_bytes if report.manifest else None
    total = report.summary.flash_bytes
    if constants is None or total is None or constants > total:
        return ()
    return ("weights and tables", constants), ("code", total - constants)


def _accuracies(summary: Summary) -> tuple[tuple[Accuracy, ...], int | None]:
    """The three rows, and the percentage at which their scale begins (None if there is nothing to draw)."""
    samples, on_core = summary.test_samples, summary.test_samples_on_core
    everything = plural(samples, "test sample") if samples else "test part"
    part = f"first {plural(on_core, 'test sample')}" if on_core and on_core != samples else everything
    rows = (("float", summary.accuracy_float, samples, everything, "not run: no float evaluation"),
            ("int8", summary.accuracy_int8, samples, everything, "not run: no int8 evaluation"),
            ("on the core", summary.accuracy_on_core, on_core, part, NO_CORE))
    known = [wilson(share, number)[0] if number else share for _, share, number, *_ in rows if share is not None]
    floor = max(0, math.floor((100 * min(known) - 0.5) / 5) * 5) if known else None
    return tuple(_accuracy(*row, floor) for row in rows), floor


def _accuracy(label: str, share: float | None, samples: int | None, note: str, missing: str, floor: int | None) -> Accuracy:
    if share is None or floor is None:
        return Accuracy(label, Figure(missing, False), note, None, None, "")

    def place(value: float) -> float:
        return round(100 * (100 * value - floor) / (100 - floor), 1)

    if not samples:
        return Accuracy(label, Figure(percent(share)), note, place(share), None, "")
    low, high = wilson(share, samples)
    tip = f"{label}: {percent(share)}\n95 % interval {percent(low)} to {percent(high)}"
    return Accuracy(label, Figure(percent(share)), note, place(share), (place(low), round(place(high) - place(low), 1)), tip)


def _interval(summary: Summary) -> str:
    if summary.accuracy_int8 is None or not summary.test_samples:
        return ""
    low, high = wilson(summary.accuracy_int8, summary.test_samples)
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f} %, from {plural(summary.test_samples, 'test sample')}"


def checks(report: Report) -> tuple[Check, ...]:
    """What supports the figures, what weakens them, and what was not done."""
    summary = report.summary
    return tuple(check for check in (_on_core_check(summary), *map(_also_check, summary.also), _bench_check(report), _latency_check(report),
                                     _estimate_check(report), _profile_check(report), _stack_check(summary)) if check)


def _on_core_check(summary: Summary) -> Check:
    frames, wrong = summary.test_samples_on_core, summary.on_core_mismatches
    if not frames or wrong is None:
        return Check("missing", "Not run: no test sample was compared on the core")
    if wrong == 0:
        return Check("good", f"All {plural(frames, 'test output')} of the core equal the integer reference, byte for byte")
    return Check("bad", f"{count(wrong)} of {plural(frames, 'test output')} of the core differ from the integer reference")


def _bytes(count: float) -> str:
    return format_bytes(round(count))


def _also_check(device: AlsoDevice) -> Check:
    limits = device.budget
    pairs: tuple[tuple[str, float, float | None, Callable[[float], str]], ...] = (
        ("latency", device.latency_s, limits.latency_s, format_duration), ("RAM", device.ram_bytes, limits.ram_bytes, _bytes),
        ("flash", device.flash_bytes, limits.flash_bytes, _bytes))
    inside = all(limit is None or value <= limit for _, value, limit, _ in pairs)
    figures = ", ".join(f"{name} {write(value)}" + ("" if limit is None else f" of {write(limit)}") for name, value, limit, write in pairs)
    same = {True: "outputs equal the reference", False: "outputs DIFFER from the reference", None: "outputs not compared"}[device.matches_reference]
    verdict = "inside" if inside else "OVER"
    return Check("good" if inside and device.matches_reference else "bad", f"Also on {device.target}: {figures}; {verdict} its limits, {same}")


def _bench_check(report: Report) -> Check:
    seen = report.chosen_trained.measurement if report.chosen_trained else None
    if seen is None or seen.matches_reference is None or not seen.samples:
        return Check("missing", "Not run: no bench compared outputs with the reference")
    source = f" ({seen.vectors_source})" if seen.vectors_source else ""
    if seen.matches_reference:
        return Check("good", f"Bench: {plural(seen.samples, 'output')} compared, all equal{source}")
    wrong = f"{count(seen.mismatches)} of " if seen.mismatches is not None else "of "
    return Check("bad", f"Bench: {wrong}{plural(seen.samples, 'output')} differ{source}")


def _latency_check(report: Report) -> Check | None:
    if report.summary.latency_s is None:
        return Check("missing", "Not run: latency was not measured")
    if is_emulated(report):
        basis = report.summary.latency_basis or "of an unknown basis"
        missing = "" if "flash waits" in basis else "flash wait states, caches and "
        return Check("note", f"Latency is {basis}: a board adds {missing}bus traffic; "
                             "not run on a board")
    return None


def _estimate_check(report: Report) -> Check | None:
    trial, summary = report.chosen_trial, report.summary
    if trial is None or summary.latency_s is None:
        return None
    error = abs(trial.latency_s / summary.latency_s - 1) if summary.latency_s > 0 else 0.0
    return Check("good" if error <= 0.1 else "note", f"The search estimated {format_duration(trial.latency_s)} for this model before training, "
                                                     f"{100 * error:.1f} % away from the run")


def _profile_check(report: Report) -> Check:
    profile = report.profile
    if profile is None:
        return Check("missing", "Not recorded: the latency profile")
    if profile.mean_percent is None:
        return Check("missing", f"Not run: no held-back rows judge the latency profile {profile.name}")
    worst = f", worst {profile.worst_percent:.1f} %" if profile.worst_percent is not None else ""
    trusted = profile.mean_percent <= 10 and (profile.worst_percent or 0.0) <= 50
    return Check("good" if trusted else "note",
                 f"Latency profile {profile.name} ({profile.source or 'source not recorded'}): mean error {profile.mean_percent:.1f} %{worst} "
                 f"on {plural(profile.held_back_rows, 'held-back layer')}")


def _stack_check(summary: Summary) -> Check:
    if summary.stack_bytes is None:
        return Check("missing", "Not run: stack use was not measured")
    return Check("good", f"Stack is the deepest use seen in the runs, {format_bytes(summary.stack_bytes)}")
