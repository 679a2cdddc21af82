"""The arena drawn over time: a column for each layer, a rectangle for each buffer, its height its bytes and its place its address."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.report.axis import Axis, Tick, byte_values
from edgecompress.report.parts import Block, Manifest
from edgecompress.report.text import count, plural, shortened
from edgecompress.units import format_bytes

HEIGHT = 420
LEFT, RIGHT, TOP = 66, 20, 50
LABEL_WIDTH = 6.4  # pixels of a character of the chart's labels, about


@dataclass(frozen=True)
class Rectangle:
    """One buffer; `lines` are those of its texts that fit."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]
    tip: str
    at_peak: bool


@dataclass(frozen=True)
class Step:
    """A layer under the x axis."""

    x: float
    number: int
    name: str  # "" where names would collide


@dataclass(frozen=True)
class Memory:
    """The whole chart and its caption."""

    width: float
    height: float
    bottom: float
    rectangles: tuple[Rectangle, ...]
    steps: tuple[Step, ...]
    y_ticks: tuple[Tick, ...]
    peaks: tuple[tuple[float, float], ...]  # x and width of the columns with the most bytes alive
    arena_y: float
    arena_label: str
    bound_y: float | None
    bound_label: str
    caption: str
    blocks: tuple[tuple[str, str, str, str], ...]  # name, first to last layer, address, bytes


def memory_section(manifest: Manifest | None) -> Memory | None:
    """The chart, or None if the run holds no plan."""
    if manifest is None or not manifest.blocks or not manifest.arena_bytes:
        return None
    first = min(block.first for block in manifest.blocks)
    last = max([block.last for block in manifest.blocks] + [len(manifest.layers) - 1])
    steps = last - first + 1
    column = max(26.0, min(110.0, (1040.0 - LEFT - RIGHT) / steps))
    named = column >= 26 and steps <= 40
    bottom = HEIGHT - (96 if named else 48)
    up = Axis(0.0, manifest.arena_bytes * 1.02, bottom, TOP, False)
    alive = [sum(block.size for block in manifest.blocks if block.first <= step <= block.last) for step in range(first, last + 1)]
    peak_steps = [first + index for index, size in enumerate(alive) if size == max(alive)]

    def left(step: int) -> float:
        return round(LEFT + (step - first) * column, 1)

    arena, bound = manifest.arena_bytes, manifest.lower_bound_bytes
    return Memory(
        width=LEFT + steps * column + RIGHT,
        height=HEIGHT,
        bottom=bottom,
        rectangles=tuple(_rectangle(block, left(block.first), (block.last - block.first + 1) * column, up, peak_steps) for block in manifest.blocks),
        steps=tuple(_step(step, left(step) + column / 2, manifest, named, steps) for step in range(first, last + 1)),
        y_ticks=tuple(Tick(up.place(value), _address(value)) for value in byte_values(arena)),
        peaks=tuple((left(step), round(column, 1)) for step in peak_steps),
        arena_y=up.place(arena),
        arena_label=f"arena {format_bytes(arena)}" + (" = lower bound: no plan can need less" if bound == arena else ""),
        bound_y=None if bound is None or bound == arena else up.place(bound),
        bound_label="" if bound is None else f"lower bound {format_bytes(bound)}",
        caption=_caption(max(alive), peak_steps, manifest),
        blocks=tuple((block.name, f"{block.first + 1} to {block.last + 1}", count(block.offset), count(block.size)) for block in manifest.blocks),
    )


def _address(value: int) -> str:
    return f"{value // 1024} KiB" if value and value % 1024 == 0 else f"{value / 1024:g} KiB" if value > 1024 else f"{value} B"


def _rectangle(block: Block, x: float, width: float, up: Axis, peak_steps: list[int]) -> Rectangle:
    top, bottom = up.place(block.offset + block.size), up.place(block.offset)
    height = round(bottom - top, 1)
    room = int((width - 8) / LABEL_WIDTH)
    lines = [shortened(block.name, room)] if height >= 14 and room >= 2 else []
    size = format_bytes(block.size)
    if height >= 30 and len(size) <= room:
        lines.append(size)
    tip = (f"{block.name}\n{count(block.size)} bytes at {count(block.offset)} to {count(block.offset + block.size - 1)}\n"
           f"alive from layer {block.first + 1} to {block.last + 1}")
    return Rectangle(x, top, round(width, 1), height, tuple(lines), tip, any(block.first <= step <= block.last for step in peak_steps))


def _step(step: int, x: float, manifest: Manifest, named: bool, steps: int) -> Step:
    name = manifest.layers[step].node if 0 <= step < len(manifest.layers) else "input"
    every = max(1, steps // 40)
    number = step + 1 if step % every == 0 else 0
    return Step(round(x, 1), number, shortened(name, 14) if named else "")


def _caption(most: int, peak_steps: list[int], manifest: Manifest) -> str:
    names = [manifest.layers[step].node for step in peak_steps if 0 <= step < len(manifest.layers)]
    named = [*names[:3], plural(len(names) - 3, "other layer")] if len(names) > 4 else names
    where = " and ".join(", ".join(part) for part in (named[:-1], named[-1:]) if part)
    return f"Most is alive during {where}: {format_bytes(most)} ({count(most)} bytes)."
