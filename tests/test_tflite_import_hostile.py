"""Files that are damaged or made to harm: one ModelError sentence each, quickly and without much memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from tools import require_tool

from edgecompress.errors import ModelError
from edgecompress.frontend.tflite import load_tflite
from edgecompress.frontend.tflite.flatbuffer import LEAST_ITEMS, FlatBuffer

AVAILABLE = find_spec("tflite_micro") is not None
if AVAILABLE:
    from tflite_files import File, packed, unpacked
    from tflite_writer import schema


def small(name: str = "x", output: str = "y") -> bytes:
    """A valid model: CONV_2D, RELU, FULLY_CONNECTED."""
    file = File()
    generator = np.random.default_rng(0)
    x = file.input((1, 6, 6, 2), scale=0.05, name=name)
    w = file.constant(generator.integers(-127, 128, (3, 3, 3, 2)).astype(np.int8), scale=[0.01, 0.02, 0.03])
    c = file.tensor((1, 4, 4, 3), scale=0.06)
    file.operator("CONV_2D", [x, w, -1], c, padding=1, strideH=1, strideW=1)
    r = file.operator("RELU", [c], file.tensor((1, 4, 4, 3), scale=0.06))
    f = file.constant(generator.integers(-127, 128, (5, 48)).astype(np.int8), scale=0.01)
    y = file.tensor((1, 5), scale=0.1, name=output)
    file.operator("FULLY_CONNECTED", [r, f, -1], y)
    return file.data(y)


@pytest.fixture(autouse=True)
def _schema() -> None:
    require_tool("tflite-micro", AVAILABLE)


def refused(data: bytes, *parts: str) -> None:
    """Asserts one sentence of moderate length, in time and without memory that the file does not account for."""
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        load_tflite(data, "model")
    elapsed, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600
    for part in parts:
        assert part in caught.value.message
    assert elapsed < 5.0
    assert peak < 32 * len(data) + 4_000_000


def load_or_refuse(data: bytes) -> None:
    try:
        load_tflite(data, "model")
    except ModelError as error:
        assert "\n" not in error.message


def test_every_prefix_is_refused() -> None:
    data = small()
    load_tflite(data, "model")
    for length in range(0, len(data), 5):
        load_or_refuse(data[:length])
    for length in (0, 4, 7, 8, 20, len(data) // 2):
        refused(data[:length])


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 100, b"PK\x03\x04" + b"\0" * 60, bytes(range(256)), b"\x08\0\0\0TFL3" + b"\xff" * 64])
def test_other_files_are_refused(data: bytes) -> None:
    refused(data, "cannot be imported")


def test_every_word_set_to_an_extreme() -> None:
    """Offsets, counts, vtable entries, sizes and types, each to values that overflow, wrap or point elsewhere."""
    data = small()
    for at in range(0, len(data) - 3, 4):
        for value in (0, 4, 2**31 - 1, 2**31, 2**32 - 1, len(data) - at, (2**32 - at) % 2**32):
            load_or_refuse(data[:at] + struct.pack("<I", value % 2**32) + data[at + 4 :])


def test_random_damage() -> None:
    data = small()
    generator = random.Random(0)
    for _ in range(1500):
        mutant = bytearray(data)
        for _ in range(generator.randrange(1, 6)):
            mutant[generator.randrange(len(mutant))] = generator.randrange(256)
        load_or_refuse(bytes(mutant))


def changed(change: Callable[[Any], None]) -> bytes:
    """The small model with a change to its object tree."""
    model = unpacked(small())
    change(model)
    return packed(model)


def tensor(index: int, **fields: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        for name, value in fields.items():
            setattr(model.subgraphs[0].tensors[index], name, value)
    return change


def operator(index: int, **fields: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        for name, value in fields.items():
            setattr(model.subgraphs[0].operators[index], name, value)
    return change


def quantization(index: int, scale: list[float], zero_point: list[int]) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        made = model.subgraphs[0].tensors[index].quantization
        made.scale, made.zeroPoint = scale, zero_point
    return change


def ends_at(index: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.subgraphs[0].operators[2].outputs = model.subgraphs[0].outputs = [index]
    return change


CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "4 GB activation": (tensor(0, shape=[1, 65536, 65536, 2]), "2^31"),
    "size that overflows 64 bits": (tensor(0, shape=[1, 2**31 - 1, 2**31 - 1, 2**31 - 1]), "2^31"),
    "4 GB weights": (tensor(1, shape=[3, 65536, 65536, 2]), "bytes of data"),
    "negative size": (tensor(0, shape=[1, -6, 6, 2]), "negative"),
    "empty": (tensor(0, shape=[1, 0, 6, 2]), "at least 1"),
    "nine axes": (tensor(0, shape=[1] * 9), "at most 8"),
    "batch": (tensor(0, shape=[2, 6, 6, 2]), "batch of 2"),
    "run-time size": (tensor(0, shapeSignature=[1, -1, 6, 2]), "run time"),
    "unknown type": (tensor(0, type=77), "type code 77"),
    "buffer out of range": (tensor(1, buffer=900), "buffer 900"),
    "text tensor": (tensor(0, type=5), "string"),
    "int16 activation": (tensor(2, type=7), "int16"),
    "no quantization": (tensor(2, quantization=None), "no scale"),
    "two scales": (quantization(2, [0.1, 0.2], [0, 0]), "2 scales"),
    "scale 0": (quantization(2, [0.0], [0]), "positive"),
    "scale NaN": (quantization(2, [float("nan")], [0]), "positive"),
    "negative weight scale": (quantization(1, [-1.0], [0]), "negative"),
    "scales out of proportion": (quantization(1, [3e38], [0]), "rescales"),
    "zero point": (quantization(2, [0.1], [2**62]), "zero point"),
    "zero points missing": (quantization(2, [0.1], [0, 0]), "zero points"),
    "weights with a zero point": (quantization(1, [0.1], [3]), "zero point other than 0"),
    "input out of range": (operator(0, inputs=[0, 1, 4000]), "names tensor 4000"),
    "input far below": (operator(0, inputs=[-2, 1]), "names tensor -2"),
    "no inputs": (operator(0, inputs=[]), "lacks input 0"),
    "absent weights": (operator(0, inputs=[0, -1]), "lacks input 1"),
    "reads itself": (operator(1, inputs=[3]), "before anything writes it"),
    "reads the future": (operator(1, inputs=[5]), "before anything writes it"),
    "writes the input": (ends_at(0), "writes 'x', which is an input"),
    "writes a constant": (ends_at(1), "which is an input, a constant"),
    "unknown operator code": (lambda model: setattr(model.operatorCodes[0], "builtinCode", 9999), "operator code 9999"),
    "operator code out of range": (operator(0, opcodeIndex=50), "operator code 50"),
    "stride 0": (lambda model: setattr(model.subgraphs[0].operators[0].builtinOptions, "strideH", 0), "stride (0, 1)"),
    "huge stride": (lambda model: setattr(model.subgraphs[0].operators[0].builtinOptions, "strideW", 2**31 - 1), "stride"),
    "negative dilation": (lambda model: setattr(model.subgraphs[0].operators[0].builtinOptions, "dilationHFactor", -5), "dilation"),
    "padding code": (lambda model: setattr(model.subgraphs[0].operators[0].builtinOptions, "padding", 9), "padding code 9"),
    "no output": (lambda model: setattr(model.subgraphs[0], "outputs", []), "no input or no output"),
    "output out of range": (lambda model: setattr(model.subgraphs[0], "outputs", [99]), "names tensor 99"),
    "constant as output": (lambda model: setattr(model.subgraphs[0], "outputs", [1]), "is a constant or is never written"),
    "output twice": (lambda model: setattr(model.subgraphs[0], "outputs", [5, 5]), "are the same tensor"),
    "no subgraph": (lambda model: setattr(model, "subgraphs", []), "0 subgraphs"),
    "schema version": (lambda model: setattr(model, "version", 9), "schema version 9"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_inconsistent_models_are_refused(name: str) -> None:
    change, part = CHANGES[name]
    refused(changed(change), part)


HOSTILE_NAMES = ("'; DROP", 'a"b', "a\nb\rc", "*/ int x; /*", "../../etc/passwd", "\x00\x1b[31m", "\u202egnp", "é" * 3, "x" * 100_000)


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_hostile_names_stay_on_one_line_and_short(name: str) -> None:
    graph = load_tflite(small(name, name + "2"), "model")
    for text in graph.tensors:
        assert text.isprintable()
        assert len(text) < 200
    data = changed(lambda model: (setattr(model.operatorCodes[2], "builtinCode", 48), setattr(model.subgraphs[0].tensors[5], "name", name.encode())))
    refused(data, "operator 2 (TOPK_V2)")


def test_names_that_are_not_text_or_appear_twice() -> None:
    def change(model: Any) -> None:
        for one in model.subgraphs[0].tensors:
            one.name = b"\xff\xfe same"
    graph = load_tflite(changed(change), "model")
    assert graph.inputs != graph.outputs
    assert all(text.isprintable() for text in graph.tensors)


def shared_table_bomb(count: int) -> bytes:
    """A file whose subgraph lists `count` tensors that are all one table with a long name."""
    file = File()
    x = file.input((1, 4), scale=0.05, name="n" * 50_000)
    file.operator("RELU", [x], file.tensor((1, 4), scale=0.05))
    for _ in range(count):
        file.tensor((1, 4), scale=0.05)
    file.graph.outputs = [1]
    data = bytearray(file.data())
    root = FlatBuffer(bytes(data))
    graph = root.table(root.reference(0)).tables(2)[0]
    at = graph.field(0, 4)
    assert at is not None
    start = root.reference(at) + 4
    target = root.reference(start)
    for index in range(count + 2):
        struct.pack_into("<I", data, start + 4 * index, target - (start + 4 * index) if target > start + 4 * index else 4)
    return bytes(data)


def test_one_table_in_many_places_does_not_multiply_work() -> None:
    data = shared_table_bomb(10_000)
    started = time.perf_counter()
    load_or_refuse(data)
    assert time.perf_counter() - started < 5.0
    with pytest.raises(ModelError, match="refer to each other more often"):
        FlatBuffer(b"\0" * 100).spend(LEAST_ITEMS + 1)


def test_shared_constants_do_not_multiply_memory() -> None:
    """2,000 layers on one megabyte of weights would be 2 GB."""
    file = File()
    x = file.input((1, 1000), scale=0.05)
    w = file.constant(np.ones((1000, 1000), np.int8), scale=0.01)
    for _ in range(2000):
        y = file.tensor((1, 1000), scale=0.05)
        x = file.operator("FULLY_CONNECTED", [x, w, -1], y)
    refused(file.data(y), "too many times")


def test_many_channels_of_one_weight_do_not_hang() -> None:
    file = File()
    x = file.input((1, 1), scale=0.05)
    w = file.constant(np.ones((60_000, 1), np.int8), scale=[0.01] * 60_000)
    outputs = []
    for _ in range(300):
        y = file.tensor((1, 60_000), scale=0.05)
        outputs.append(file.operator("FULLY_CONNECTED", [x, w, -1], y))
    started = time.perf_counter()
    load_or_refuse(file.data(*outputs))
    assert time.perf_counter() - started < 10.0


def test_a_long_chain_needs_no_recursion() -> None:
    file = File()
    x = file.input((1, 4), scale=0.05)
    for _ in range(3000):
        x = file.operator("RELU", [x], file.tensor((1, 4), scale=0.05))
    started = time.perf_counter()
    assert len(load_tflite(file.data(x), "model").nodes) == 3000
    assert time.perf_counter() - started < 5.0


@pytest.mark.parametrize(("offset", "size", "works"), [(None, 18, True), (2**63, 18, False), (10, 2**64 - 1, False), (None, 2**40, False)])
def test_constants_behind_the_flatbuffer(offset: int | None, size: int, works: bool) -> None:
    """Files above 2 GB keep constants behind the FlatBuffer and name offset and size."""
    file = File()
    x = file.input((1, 6), scale=0.05)
    w = file.constant(np.zeros((3, 6), np.int8), scale=0.01)
    y = file.tensor((1, 3), scale=0.05)
    file.operator("FULLY_CONNECTED", [x, w, -1], y)
    values = np.arange(18, dtype=np.int8)

    def build(offset: int) -> bytes:
        buffer = schema.BufferT()
        buffer.data, buffer.offset, buffer.size = None, offset, size
        file.model.buffers[file.graph.tensors[w].buffer] = buffer
        return file.data(y)

    data = build(2**32 if offset is None else offset)  # a value that is written at all, to know the length
    if offset is None:
        data = build(len(data))
    data += values.tobytes()
    if works:
        np.testing.assert_array_equal(load_tflite(data, "model").nodes[0].op.weights.reshape(-1), values)
    else:
        refused(data)


def test_a_fold_cannot_make_more_than_it_reads() -> None:
    """CONCATENATION of one constant with itself, again and again, would double every time."""
    file = File()
    x = file.input((1, 4), "float32")
    part, size = file.constant(np.ones((1, 64), np.float32)), 64
    for _ in range(40):
        size *= 2
        part = file.operator("CONCATENATION", [part, part], file.tensor((1, min(size, 2**31 - 1)), "float32"), axis=1)
    y = file.operator("FULLY_CONNECTED", [x, part], file.tensor((1, 4), "float32"))
    refused(file.data(y))
