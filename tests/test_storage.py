"""Where tensors lie: views that need no copy, concatenation in place, inputs and outputs in the arena, sections, shared constants."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from arena_executor import random_inputs, run_in_arena
from graph_cases import SCALE, ZERO_POINT, Builder, random_network, small_network
from host_build import compiler
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import require_tool

from edgecompress.bench.subject import Subject, load_subject
from edgecompress.bench.toolchain import host_compiler
from edgecompress.bench.transport import host
from edgecompress.errors import ConfigError, ModelError
from edgecompress.hw.target import load_target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.reference import run_all
from edgecompress.ir.requant import Requant
from edgecompress.lower import lower, plan
from edgecompress.lower.c.planning import decide
from edgecompress.lower.c.storage import Storage
from edgecompress.lower.options import LowerOptions

HOST = load_target("host")
ARENA = LowerOptions(io="arena")


def _join(b: Builder, *parts: str, axis: int = 0, rescaled: bool = False) -> str:
    """Concatenation; every part a plain copy unless `rescaled`."""
    factors = Requant(*zip(*[(2**30, 1)] * (len(parts) - rescaled), *[(1500000000, 0)] * rescaled, strict=True))
    return b.add(Concat(axis, factors, (ZERO_POINT,) * len(parts), ZERO_POINT), *parts)


def _rows(b: Builder, x: str, first: int, end: int) -> str:
    return b.add(Slice((first, 0, 0), (end - first, *b.shape(x)[1:]), (1, 1, 1)), x)


def _storage(graph: QuantizedGraph, io: str = "caller") -> Storage:
    return decide(graph, HOST, LowerOptions(io=io)).storage


def _kernels(graph: QuantizedGraph, io: str = "caller") -> list[str]:
    return [layer.kernel for layer in decide(graph, HOST, LowerOptions(io=io)).plan.layers]


def _sliced_network(seed: int) -> QuantizedGraph:
    """Slices and concatenations of rows between layers, in any order, with tensors that are read once, often or not at all."""
    b = Builder(seed)
    pick = b.random.integers
    pool = [b.input(int(pick(4, 9)), 5, 3)]
    for _ in range(int(pick(4, 12))):
        x = pool[int(pick(max(0, len(pool) - 4), len(pool)))]
        height, kind = b.shape(x)[0], int(pick(0, 6))
        if kind == 0 and height > 1:
            first = int(pick(0, height))
            pool.append(_rows(b, x, first, int(pick(first + 1, height + 1))))
        elif kind == 1 and height < 30:
            parts = [x, *(y for y in pool[-3:] if y != x or pick(0, 5) == 0)]
            pool.append(_join(b, *parts, rescaled=bool(pick(0, 4) == 0)))
        elif kind == 2:
            same = [y for y in pool if b.shape(y) == b.shape(x)]
            pool.append(b.sum(x, same[int(pick(0, len(same)))]))
        elif kind == 3:
            flat = b.add(Reshape((b.tensors[x].size,)), x)
            pool.append(b.add(Reshape(b.shape(x)), flat))
        else:
            pool.append(b.conv(x, 3, int(pick(0, 2)) * 2 + 1))
    outputs = [pool[-1], *([pool[-2]] if pick(0, 2) else [])]
    outputs = [b.depthwise(name) if name in b.inputs else name for name in dict.fromkeys(outputs)]
    return b.graph(f"sliced {seed}", *outputs)


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["caller", "arena"]), st.sampled_from(["host", "cortex-m4"]))
def test_slices_and_parts_survive_in_the_planned_memory(seed: int, io: str, target: str) -> None:
    graph = _sliced_network(seed)
    inputs = random_inputs(graph, 1, seed)
    expected = run_all(graph, inputs)
    for name, values in run_in_arena(graph, inputs, LowerOptions(io=io), target).items():
        np.testing.assert_array_equal(values, expected[name][0])


def test_rows_of_a_tensor_are_a_view_of_it() -> None:
    b = Builder(1)
    x = b.conv(b.input(8, 4, 2), 3, 1)
    graph = b.graph("rows", b.conv(_rows(b, x, 2, 5), 2, 1))
    assert _storage(graph).places["t1"] == ("t0", 2 * 4 * 3)
    assert _kernels(graph) == ["ec_conv2d_s8"] * 2


@pytest.mark.parametrize(("op", "view"), [
    (Slice((0, 1, 0), (4, 2, 3), (1, 1, 1)), False),  # columns of every row
    (Slice((1, 1, 0), (1, 2, 3), (1, 1, 1)), True),  # columns of one row
    (Slice((1, 2, 1), (1, 1, 2), (1, 1, 1)), True),  # channels of one pixel
    (Slice((0, 0, 0), (2, 4, 3), (2, 1, 1)), False),  # every second row
    (Slice((3, 0, 0), (4, 4, 3), (-1, 1, 1)), False),  # upside down
    (Slice((0, 0, 0), (4, 4, 3), (1, 1, 1)), True),
])
def test_a_slice_in_one_piece_costs_nothing(op: Slice, view: bool) -> None:
    b = Builder(1)
    part = b.add(op, b.conv(b.input(4, 4, 3), 3, 1))
    graph = b.graph("slice", b.conv(part, 2, 1))
    assert ("t1" in _storage(graph).without_code) == view
    inputs = random_inputs(graph, 1)
    np.testing.assert_array_equal(run_in_arena(graph, inputs, ARENA)[graph.outputs[0]], run_all(graph, inputs)[graph.outputs[0]][0])


def test_a_concatenation_is_written_by_its_producers() -> None:
    b = Builder(1)
    x = b.input(4, 4, 2)
    joined = _join(b, b.conv(x, 3, 1), b.conv(x, 3, 3), b.depthwise(b.conv(x, 3, 1)))
    graph = b.graph("join", b.conv(joined, 2, 1))
    places = _storage(graph).places
    assert [places[name] for name in ("t0", "t1", "t3")] == [("t4", 0), ("t4", 48), ("t4", 96)]
    assert "ec_concat_s8" not in _kernels(graph)


@pytest.mark.parametrize("axis", [1, 2])
def test_parts_side_by_side_are_copied(axis: int) -> None:
    b = Builder(1)
    x = b.input(4, 4, 2)
    graph = b.graph("join", b.conv(_join(b, b.conv(x, 3, 1), b.conv(x, 3, 3), axis=axis), 2, 1))
    assert "ec_concat_s8" in _kernels(graph)


def test_parts_that_cannot_move_keep_the_kernel() -> None:
    b = Builder(1)
    x = b.input(4, 4, 3)
    own, other = b.conv(x, 3, 1), b.conv(x, 3, 1)
    of_input, twice, rescaled = _join(b, x, own), _join(b, own, own), _join(b, own, other, rescaled=True)
    graph = b.graph("join", b.conv(of_input, 1, 1), b.conv(twice, 1, 1), b.conv(rescaled, 1, 1))
    assert _kernels(graph).count("ec_concat_s8") == 3
    assert _kernels(graph, "arena").count("ec_concat_s8") == 2  # there the input itself may lie in the concatenation


def test_a_view_beside_a_part_in_place_is_copied_alone() -> None:
    """Rows that a band keeps: only they move, the new ones are written where they belong."""
    b = Builder(1)
    x = b.conv(b.input(6, 4, 3), 3, 1)
    joined = _join(b, _rows(b, x, 4, 6), b.conv(_rows(b, x, 0, 4), 3, 1))
    graph = b.graph("keep", b.conv(joined, 2, 1))
    assert _kernels(graph) == ["ec_conv2d_s8", "ec_copy_s8", "ec_conv2d_s8", "ec_conv2d_s8"]
    assert _storage(graph).copies == {"t1": 4 * 4 * 3}


def test_inputs_and_outputs_of_the_caller_are_not_planned_but_those_of_the_arena_are() -> None:
    b = Builder(1)
    graph = b.graph("io", b.conv(b.conv(b.input(16, 16, 3), 4, 1), 2, 1))
    caller, arena = plan(graph, HOST).memory, plan(graph, HOST, ARENA).memory
    assert [p.buffer.name for p in caller.placements if ":" not in p.buffer.name] == ["t0"]
    assert [p.buffer.name for p in arena.placements if ":" not in p.buffer.name] == ["x0", "t0", "t1"]
    assert caller.arena_bytes <= arena.arena_bytes < caller.arena_bytes + 16 * 16 * 5  # less than both beside it


def test_an_output_in_the_arena_stays_until_the_end() -> None:
    b = Builder(1)
    early = b.conv(b.input(8, 8, 3), 4, 1)
    late = b.depthwise(b.depthwise(early))
    graph = b.graph("outputs", early, late)
    inputs = random_inputs(graph, 1)
    for name, values in run_in_arena(graph, inputs, ARENA).items():
        np.testing.assert_array_equal(values, run_all(graph, inputs)[name][0])
    with pytest.raises(ModelError, match="nothing to compute"):
        plan(b.graph("same", "x0"), HOST, ARENA)


def _write(graph: QuantizedGraph, folder: Path, options: LowerOptions) -> Subject:
    lower(graph, HOST, random_inputs(graph), options=options).write(folder)
    return load_subject(folder)


def test_models_with_their_inputs_in_the_arena_run_under_sanitizers(tmp_path: Path) -> None:
    """Several inputs and outputs, slices, bands of rows; each model twice, so that what a run leaves behind is overwritten."""
    require_tool("gcc", compiler()[0] == "gcc")
    b = Builder(5)
    wide = b.graph("wide", b.head(b.sum(b.conv(b.conv(b.input(24, 10, 3), 8, 3), 8, 3), b.conv("x0", 8, 1)), 4))
    graphs = [small_network(), wide, *(random_network(seed) for seed in range(8)), *(_sliced_network(seed) for seed in range(8))]
    options = [LowerOptions(io=("arena", "caller")[index % 3 == 2]) for index in range(len(graphs))]
    options[1] = LowerOptions(io="arena", ram_bytes=plan(wide, HOST, ARENA).memory.arena_bytes - 1)
    subjects = [_write(graph, tmp_path / str(index), option) for index, (graph, option) in enumerate(zip(graphs, options, strict=True))]
    inputs = [random_inputs(graph) for graph in graphs]
    frames = [(index, frame) for index, subject in enumerate(subjects) for frame in subject.encode(inputs[index])]
    outputs = iter(host.run(subjects, host_compiler(("-O1",)), frames, sanitize=True).outputs)
    for graph, subject, values in zip(graphs, subjects, inputs, strict=True):
        expected = run_all(graph, values)
        found = subject.decode([next(outputs) for _ in range(3)])
        for name in graph.outputs:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=graph.name)


def test_the_manifest_says_what_ram_holds() -> None:
    graph = small_network()
    for io in ("caller", "arena"):
        artifact = lower(graph, HOST, options=LowerOptions(io=io))
        manifest = artifact.manifest
        assert (manifest["io"], manifest["input_bytes"], manifest["output_bytes"], manifest["state_bytes"]) == (io, 60, 3, 0)
        assert manifest["recomputed_macs"] == 0 and manifest["ram_limit_bytes"] is None
        header = artifact.files["small_net.h"].decode()
        assert ("int8_t *small_net_input(void);" in header and "int small_net_run(void);" in header) == (io == "arena")


def test_sections_reach_the_linker(tmp_path: Path) -> None:
    require_tool("gcc", compiler()[0] == "gcc")
    graph = small_network()
    artifact = lower(graph, HOST, options=LowerOptions(weights_section=".ext_flash", weights_section_over=50, arena_section=".bss.dtcm"))
    for name, content in artifact.files.items():
        (tmp_path / name).write_bytes(content)
    large = {array.suffix for array in decide(graph, HOST, LowerOptions()).constants.arrays[0] if array.size_bytes >= 50}
    assert large == {"weights"}
    for source, macros, symbols in [("small_net_weights", (), {"small_net_0_conv2d_0_weights"}), ("small_net", (), {"small_net_arena"}),
                                    ("small_net", ("-DSMALL_NET_ARENA_SECTION=",), set())]:
        object_file = tmp_path / f"{source}.o"
        subprocess.run([*compiler(), *macros, "-c", str(tmp_path / f"{source}.c"), "-o", str(object_file)], check=True)
        listed = subprocess.run(["objdump", "-t", str(object_file)], capture_output=True, text=True, check=True).stdout
        placed = {line.split()[-1] for line in listed.splitlines() if (".ext_flash" in line or ".bss.dtcm" in line) and "small_net" in line}
        assert placed == symbols


@pytest.mark.parametrize(("wrong", "message"), [
    ({"io": "stack"}, "unknown place of inputs and outputs 'stack'"),
    ({"ram_bytes": 0}, "at least 1 byte"),
    ({"weights_section_over": -1}, "cannot be negative"),
    ({"weights_section": 'x")))'}, "must be 1 to 64 letters"),
    ({"arena_section": "a b"}, "must be 1 to 64 letters"),
    ({"arena_section": "a" * 65}, "must be 1 to 64 letters"),
    ({"arena_section": ".same", "weights_section": ".same"}, "cannot share"),
])
def test_wrong_options_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LowerOptions(**wrong)  # type: ignore[arg-type]


def test_equal_constants_are_stored_once() -> None:
    b = Builder(2)
    x = b.conv(b.input(6, 6, 4), 4, 1)
    op = b.nodes[0].op
    y = b.add(op, b.add(op, x), scale=SCALE)
    graph = b.graph("tied", y)
    artifact = lower(graph, HOST)
    first, *others = artifact.plan.layers
    assert first.constant_bytes > 100 and [layer.constant_bytes for layer in others] == [0, 0]
    assert artifact.plan.constant_bytes == first.constant_bytes
    text = artifact.files["tied.c"].decode() + artifact.files["tied_weights.c"].decode()
    assert text.count("static const ec_conv2d_params") == 1 and text.count("const int8_t tied_0_conv2d_0_weights") == 1
    assert text.count("&tied_0_conv2d_0_params") == 3


@pytest.mark.parametrize("io", ["caller", "arena"])
def test_scratch_memory_stays_off_what_its_kernel_writes(io: str) -> None:
    """A dense layer whose output lies beside its dying input, and of whose output some bytes are never read."""
    b = Builder(1)
    x = b.dense(b.input(16), 40)
    z = b.add(Slice((28,), (4,), (1,)), _join(b, b.dense(x, 30), x))
    graph = b.graph("beside", b.dense(z, 5))
    inputs = random_inputs(graph)
    (expected,) = (run_all(graph, inputs)[name][0] for name in graph.outputs)
    (found,) = run_in_arena(graph, inputs, LowerOptions(io=io), "cortex-m4").values()
    np.testing.assert_array_equal(found, expected)
