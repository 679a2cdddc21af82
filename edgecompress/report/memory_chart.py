"""The arena drawn over time: a column for each layer, a rectangle for each buffer, its height its bytes and its place its address."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.report.axis import Axis, Tick, byte_values
from edgecompress.report.document import Report
from edgecompress.report.parts import Block
from edgecompress.report.text import count, plural, shortened
from edgecompress.units import format_bytes

HEIGHT = 420
LEFT, RIGHT, TOP = 66, 20, 50
LABEL_WIDTH = 7.0  # pixels of a character of the chart's labels, about
SCRATCH = "scratch:"  # how plans name working space of one layer
SHORTEST = 8  # characters: less of a name says nothing


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
    scratch: bool


@dataclass(frozen=True)
class Step:
    """A layer under the x axis."""

    x: float
    number: str  # as in the table of layers; "" for a node without code, or where numbers would collide
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
    blocks: tuple[tuple[str, str, str, str, str], ...]  # name, first layer, last layer, address, bytes
    numbered: bool


@dataclass(frozen=True)
class Nodes:
    """What the plan's steps are. A plan counts all nodes of the graph; the table of layers leaves out nodes without code."""

    names: dict[int, str]
    numbers: dict[int, int]  # in the table of layers

    def name(self, step: int) -> str:
        """For people; a bare step number where the node is not known."""
        return self.names.get(step, f"step {step + 1}")


def nodes_of(report: Report) -> Nodes:
    """Names by step, from the layers if they know their step; else from the SQNR rows, which list every node, or from layers that left none out."""
    assert report.manifest is not None
    known = {layer.step: (layer.node, number) for number, layer in enumerate(report.manifest.layers, start=1) if layer.step is not None}
    if known:
        return Nodes({step: node for step, (node, _) in known.items()}, {step: number for step, (_, number) in known.items()})
    layers = [layer.node for layer in report.manifest.layers]
    every = [row.node for row in report.chosen_trained.sqnr] if report.chosen_trained else []
    steps = 1 + max(block.last for block in report.manifest.blocks)
    if [node for node in every if node in set(layers)] != layers or len(every) < steps:
        every = layers if len(layers) >= steps else []
    place = {node: number for number, node in enumerate(layers, start=1)}
    return Nodes(dict(enumerate(every)), {step: place[node] for step, node in enumerate(every) if node in place})


def memory_section(report: Report) -> Memory | None:
    """The chart, or None if the run holds no plan."""
    manifest = report.manifest
    if manifest is None or not manifest.blocks or not manifest.arena_bytes:
        return None
    nodes = nodes_of(report)
    first = min(block.first for block in manifest.blocks)
    last = max([block.last for block in manifest.blocks] + list(nodes.names))
    steps = last - first + 1
    column = max(26.0, min(110.0, (1040.0 - LEFT - RIGHT) / steps))
    named = steps <= 40 and bool(nodes.names)
    bottom = HEIGHT - (96 if named else 48)
    up = Axis(0.0, manifest.arena_bytes * 1.02, bottom, TOP, False)
    alive = [_covered([block for block in manifest.blocks if block.first <= step <= block.last]) for step in range(first, last + 1)]
    peak_steps = [first + index for index, size in enumerate(alive) if size == max(alive)]

    def left(step: int) -> float:
        return round(LEFT + (step - first) * column, 1)

    arena, bound = manifest.arena_bytes, manifest.lower_bound_bytes
    return Memory(
        width=LEFT + steps * column + RIGHT,
        height=HEIGHT,
        bottom=bottom,
        rectangles=tuple(_rectangle(block, left(block.first), (block.last - block.first + 1) * column, up, peak_steps, nodes)
                         for block in manifest.blocks),
        steps=tuple(_step(step, left(step) + column / 2, nodes, named, steps) for step in range(first, last + 1)),
        y_ticks=tuple(Tick(up.place(value), _address(value)) for value in byte_values(arena)),
        peaks=tuple((left(step), round(column, 1)) for step in peak_steps),
        arena_y=up.place(arena),
        arena_label=f"arena {format_bytes(arena)}" + (" = lower bound: no plan can need less" if bound == arena else ""),
        bound_y=None if bound is None or bound == arena else up.place(bound),
        bound_label="" if bound is None else f"lower bound {format_bytes(bound)}",
        caption=_caption(max(alive), peak_steps, nodes),
        blocks=tuple((block.name, nodes.name(block.first), nodes.name(block.last), count(block.offset), count(block.size))
                     for block in manifest.blocks),
        numbered=bool(nodes.numbers),
    )


def _covered(blocks: list[Block]) -> int:
    """Bytes of the arena that some blocks cover; a layer that overwrites its input shares bytes with it."""
    total = end = 0
    for block in sorted(blocks, key=lambda block: block.offset):
        top = block.offset + block.size
        total += max(top - max(block.offset, end), 0)
        end = max(end, top)
    return total


def _address(value: int) -> str:
    return f"{value // 1024} KiB" if value and value % 1024 == 0 else f"{value / 1024:g} KiB" if value > 1024 else f"{value} B"


def _rectangle(block: Block, x: float, width: float, up: Axis, peak_steps: list[int], nodes: Nodes) -> Rectangle:
    top, bottom = up.place(block.offset + block.size), up.place(block.offset)
    height = round(bottom - top, 1)
    room = int((width - 8) / LABEL_WIDTH)
    name = block.name if len(block.name) <= room or not block.name.startswith(SCRATCH) else "scratch"
    lines = [shortened(name, room)] if height >= 14 and (room >= SHORTEST or len(name) <= room) else []
    size = format_bytes(block.size)
    if height >= 30 and len(size) <= room:
        lines.append(size)
    tip = (f"{block.name}\n{count(block.size)} bytes at {count(block.offset)} to {count(block.offset + block.size - 1)}\n"
           f"alive from {nodes.name(block.first)} to {nodes.name(block.last)}")
    return Rectangle(x, top, round(width, 1), height, tuple(lines), tip, any(block.first <= step <= block.last for step in peak_steps),
                     block.name.startswith(SCRATCH))


def _step(step: int, x: float, nodes: Nodes, named: bool, steps: int) -> Step:
    every = max(1, steps // 40)
    number = nodes.numbers.get(step) if nodes.names else step + 1
    return Step(round(x, 1), str(number) if number and step % every == 0 else "", shortened(nodes.name(step), 14) if named else "")


def _caption(most: int, peak_steps: list[int], nodes: Nodes) -> str:
    names = [nodes.name(step) for step in peak_steps]
    named = [*names[:3], plural(len(names) - 3, "other layer")] if len(names) > 4 else names
    where = " and ".join(", ".join(part) for part in (named[:-1], named[-1:]) if part)
    return f"Most is alive during {where}: {format_bytes(most)} ({count(most)} bytes)."
