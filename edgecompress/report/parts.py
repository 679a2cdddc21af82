"""The parts of `report.json` that other stages write: data set, hardware profile, artifact manifest, measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecompress.report.reader import Reader


@dataclass(frozen=True)
class Normalization:
    """model input = (raw - mean) * scale."""

    mean: float
    scale: float
    raw_dtype: str | None
    raw_min: float | None
    raw_max: float | None
    front_end: str | None


@dataclass(frozen=True)
class Data:
    """The data set; `samples` counts each part."""

    name: str
    kind: str | None
    source: str | None
    hash: str | None
    classes: tuple[str, ...]
    input_shape: tuple[int, ...] | None
    samples: Mapping[str, int]
    normalization: Normalization | None


@dataclass(frozen=True)
class Profile:
    """Where the latency estimates come from; errors are on rows that the fit never saw, in percent, None if no row was held back."""

    name: str
    source: str | None
    date: str | None
    runner: str | None
    compiler: str | None
    held_back_rows: int
    mean_percent: float | None
    worst_percent: float | None


@dataclass(frozen=True)
class Layer:
    """One row of the plan; `kernel` is empty for layers that need no code."""

    node: str
    op: str
    kernel: str
    macs: int
    constant_bytes: int
    scratch_bytes: int
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...] | None
    step: int | None  # when it runs, in the count of Block.first and Block.last


@dataclass(frozen=True)
class Block:
    """A buffer of the arena, alive from layer `first` to layer `last`."""

    name: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point) of an input or output of this shape."""

    name: str | None
    shape: tuple[int, ...] | None
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Manifest:
    """What was lowered."""

    name: str
    graph_hash: str | None
    tool_version: str | None
    layers: tuple[Layer, ...]
    blocks: tuple[Block, ...]
    arena_bytes: int | None
    lower_bound_bytes: int | None
    constant_bytes: int | None
    inputs: tuple[Quantization, ...]
    outputs: tuple[Quantization, ...]
    header: str | None
    caller_bytes: int | None  # inputs and outputs outside the arena; None: not known


@dataclass(frozen=True)
class Measurement:
    """What was seen when the artifact ran; `layers` maps node names to instructions."""

    where: str | None
    instructions: int | None
    latency_s: float | None
    latency_basis: str | None
    flash_bytes: int | None
    ram_bytes: int | None
    stack_bytes: int | None
    arena_bytes: int | None
    matches_reference: bool | None
    samples: int | None
    mismatches: int | None
    vectors_source: str | None
    compiler: str | None
    emulator: str | None
    layers: Mapping[str, int]


def normalization_of(values: Reader) -> Normalization:
    """From an object with at least `mean` and `scale`."""
    return Normalization(values.number("mean"), values.number("scale"), values.text_or_none("raw_dtype"), values.number_or_none("raw_min"),
                         values.number_or_none("raw_max"), values.text_or_none("front_end"))


def data_of(values: Reader) -> Data:
    """The `data` part."""
    classes = values.items("classes")
    if len(classes) < 2 or not all(isinstance(name, str) for name in classes):
        raise values.fail("classes", "a list of at least two names")
    samples = values.child_or_none("samples")
    normalization = values.child_or_none("normalization")
    return Data(values.text("name"), values.text_or_none("kind"), values.text_or_none("source"), values.text_or_none("hash"), tuple(classes),
                values.shape_or_none("input_shape"), {} if samples is None else {name: samples.whole(name) for name in samples.values},
                None if normalization is None else normalization_of(normalization))


def profile_of(values: Reader) -> Profile:
    """The `profile` part."""
    fit = values.child("fit_error")
    return Profile(values.text("name"), values.text_or_none("source"), values.text_or_none("date"), values.text_or_none("runner"),
                   values.text_or_none("compiler"), fit.whole("rows"), fit.number_or_none("mean_absolute_percent"),
                   fit.number_or_none("worst_percent"))


def _layer_of(values: Reader) -> Layer:
    shapes = values.items("input_shapes")
    if not all(isinstance(shape, list) and all(type(size) is int for size in shape) for shape in shapes):
        raise values.fail("input_shapes", "a list of shapes")
    return Layer(values.text("node"), values.text("op"), values.text_or_none("kernel") or "", values.whole("macs"), values.whole("constant_bytes"),
                 values.whole("scratch_bytes"), tuple(tuple(shape) for shape in shapes), values.shape_or_none("output_shape"),
                 values.whole_or_none("step"))


def _block_of(values: Reader) -> Block:
    first, last = values.number("first"), values.number("last")  # the input may be alive before the first layer: -1
    if last < first:
        raise values.fail("last", f"at least 'first' ({first:g})")
    return Block(values.text("name"), values.whole("offset"), values.whole("size"), int(first), int(last))


def _quantization_of(values: Reader) -> Quantization:
    return Quantization(values.text_or_none("name"), values.shape_or_none("shape"), values.number("scale"), int(values.number("zero_point")))


def manifest_of(values: Reader) -> Manifest:
    """The artifact's `manifest.json`."""
    return Manifest(
        name=values.text("name"),
        graph_hash=values.text_or_none("graph_hash"),
        tool_version=values.text_or_none("tool_version"),
        layers=tuple(_layer_of(row) for row in values.children("layers")),
        blocks=tuple(_block_of(row) for row in values.children("memory")),
        arena_bytes=values.whole_or_none("arena_bytes"),
        lower_bound_bytes=values.whole_or_none("lower_bound_bytes"),
        constant_bytes=values.whole_or_none("constant_bytes"),
        inputs=tuple(_quantization_of(row) for row in values.children("inputs")),
        outputs=tuple(_quantization_of(row) for row in values.children("outputs")),
        header=values.text_or_none("header"),
        caller_bytes=_caller_bytes(values),
    )


def _caller_bytes(values: Reader) -> int | None:
    sizes = values.whole_or_none("input_bytes"), values.whole_or_none("output_bytes")
    if sizes[0] is None or sizes[1] is None:
        return None
    return 0 if values.text_or_none("io") == "arena" else sizes[0] + sizes[1]


def measurement_of(values: Reader) -> Measurement:
    """A bench result."""
    layers: dict[str, int] = {}
    for row in values.children("layers"):
        if row.values.get("instructions") is not None:
            layers[row.text("node")] = row.whole("instructions")
    return Measurement(
        where=values.text_or_none("where"),
        instructions=values.whole_or_none("instructions"),
        latency_s=values.number_or_none("latency_s"),
        latency_basis=values.text_or_none("latency_basis"),
        flash_bytes=values.whole_or_none("flash_bytes"),
        ram_bytes=values.whole_or_none("ram_bytes"),
        stack_bytes=values.whole_or_none("stack_bytes"),
        arena_bytes=values.whole_or_none("arena_bytes"),
        matches_reference=values.flag_or_none("matches_reference"),
        samples=values.whole_or_none("samples"),
        mismatches=values.whole_or_none("mismatches"),
        vectors_source=values.text_or_none("vectors_source"),
        compiler=values.text_or_none("compiler"),
        emulator=values.text_or_none("emulator"),
        layers=layers,
    )
