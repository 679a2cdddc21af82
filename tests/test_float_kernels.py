"""Float32 kernels: random graphs with every kind of number, the last bit included, and the generated text with two compilers, as C and as C++."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from float_cases import SPECIAL, FloatBuilder, float_inputs, functions_graph, random_float_network
from host_build import build
from host_build import run as run_program
from tools import require_tool

from edgecompress.bench.runner import run_subjects
from edgecompress.bench.subject import load_subject
from edgecompress.errors import ModelError
from edgecompress.hw.target import load_target
from edgecompress.ir import serialize
from edgecompress.ir.float_ops import FloatBinary, FloatConcat, FloatConv2D, FloatDense, FloatPad, FloatPool2D, FloatSoftmax, FloatUnary
from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.table import Table
from edgecompress.ir.ops.transpose import Transpose
from edgecompress.ir.reference import run_all
from edgecompress.lower import lower
from edgecompress.lower.options import LowerOptions
from edgecompress.lower.passes import optimize

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wundef", "-Werror", "-pedantic")
NETWORKS = [functions_graph(), *(optimize(random_float_network(seed)) for seed in range(30))]


def same_bits(got: np.ndarray, expected: np.ndarray, what: str) -> None:
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32), err_msg=what)


def rank6_graph() -> QuantizedGraph:
    b = FloatBuilder(0)
    x = b.input(2, 3, 2, 3, 2, 3)
    turned = b.add(Transpose((5, 4, 3, 2, 1, 0)), x)
    return b.graph("rank six", turned, b.add(Slice((1, 0, 1, 0, 1, 0), (2, 2, 2, 2, 2, 2), (1, 1, 1, 1, -1, 1)), turned))


def test_c_gives_the_same_bits_for_any_number(tmp_path: Path) -> None:
    graphs = [*NETWORKS, rank6_graph()]
    inputs = [float_inputs(graph, seed) for seed, graph in enumerate(graphs)]
    target = load_target("host")
    program = build(tmp_path, [(graph, lower(graph, target, values)) for graph, values in zip(graphs, inputs, strict=True)])
    for graph, values, result in zip(graphs, inputs, run_program(program, graphs, inputs), strict=True):
        expected = run_all(graph, values)
        for name in graph.outputs:
            same_bits(result[name], expected[name], f"{graph.name} {name}")


@pytest.mark.parametrize(("core", "emulator", "compiler"), [("cortex-m4", "unicorn", "zig"), ("cortex-m7", "unicorn", "zig"),
                                                            ("cortex-m4", "qemu", "gcc")])
def test_cores_give_the_same_bits_for_any_number(core: str, emulator: str, compiler: str, tmp_path: Path) -> None:
    require_tool("unicorn", emulator != "unicorn" or importlib.util.find_spec("unicorn") is not None)
    require_tool("zig", compiler != "zig" or importlib.util.find_spec("ziglang") is not None)
    require_tool("qemu", emulator != "qemu" or shutil.which("qemu-system-arm") is not None)
    require_tool("arm-gcc", compiler != "gcc" or shutil.which("arm-none-eabi-gcc") is not None)
    target, graphs = load_target(core), [*NETWORKS[:8], rank6_graph()]
    inputs = [float_inputs(graph, seed) for seed, graph in enumerate(graphs)]
    for index, (graph, values) in enumerate(zip(graphs, inputs, strict=True)):
        lower(graph, target, values).write(tmp_path / f"{index}")
    subjects = [load_subject(tmp_path / f"{index}") for index in range(len(graphs))]
    frames = [(index, frame) for index, subject in enumerate(subjects) for frame in subject.encode(inputs[index])]
    outputs = run_subjects(subjects, frames, target, emulator, compiler)
    for index, (graph, values) in enumerate(zip(graphs, inputs, strict=True)):
        expected = run_all(graph, values)
        got = subjects[index].decode([output for (model, _), output in zip(frames, outputs, strict=True) if model == index])
        for name in graph.outputs:
            same_bits(got[name], expected[name], f"{graph.name} {name}")


def test_what_no_number_becomes() -> None:
    b = FloatBuilder(0)
    x = b.input(1, 3, 1)
    graph = b.graph("none", b.add(FloatPool2D("max", (1, 3), (1, 1)), x), b.add(FloatUnary("identity", np.array([-1.0, 2.0])), x),
                    b.add(FloatSoftmax(), b.add(Reshape((3,)), x)), b.add(FloatPad((0, 0, 1, 0), np.ones(1)), x))
    nan, inf = np.float32(np.nan), np.float32(np.inf)
    values = run_all(graph, {"x0": np.array([[[[1], [nan], [5]]], [[[nan], [-inf], [nan]]]], np.float32)})
    largest, bounded, soft, padded = (values[name] for name in graph.outputs)
    assert largest.ravel().tolist() == [5.0, -np.finfo(np.float32).max]
    assert bounded.ravel().tolist() == [1.0, -1.0, 2.0, -1.0, -1.0, -1.0]
    assert np.isfinite(soft).all()
    assert padded.ravel().tolist()[:2] == [1.0, 1.0] and np.isnan(padded.ravel()[2])


def header_graphs() -> list[QuantizedGraph]:
    """Views from input to output, slices, a join in place with the input, several outputs with class names."""
    graphs = [functions_graph(), rank6_graph()]
    b = FloatBuilder(1)
    graphs.append(b.graph("view", b.add(Reshape((24,)), b.input(2, 3, 4))))
    b = FloatBuilder(1)
    x = b.input(4, 3, 4)
    graphs.append(b.graph("slices", b.add(Slice((1, 0, 0), (2, 3, 4), (1, 1, 1)), x), b.add(Slice((0, 1, 0), (4, 2, 4), (1, 1, 1)), x)))
    b = FloatBuilder(1)
    x = b.input(2, 3, 4)
    graphs.append(b.graph("joined", b.add(FloatConcat(0), x, b.add(FloatUnary("relu"), x), b.add(FloatUnary("neg"), x))))
    b = FloatBuilder(1)
    x = b.input(2, 3, 4)
    image = b.add(FloatConv2D(b.numbers(5, 1, 1, 4), b.numbers(5)), x)
    scores = b.add(FloatDense(b.numbers(3, 30), b.numbers(3)), b.add(Reshape((30,)), image))
    metadata = {"classes": ["a", 'b"', "*/"], "normalization": {"mean": 1.5, "scale": 0.5}}
    return [*graphs, dataclasses.replace(b.graph("two", scores, image), metadata=metadata)]


def compile_all(commands: Sequence[Sequence[str]]) -> None:
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("io", ["caller", "arena"])
@pytest.mark.parametrize("graph", header_graphs(), ids=lambda graph: graph.name)
def test_text_is_clean_c_and_its_headers_clean_cpp(graph: QuantizedGraph, io: str, tmp_path: Path) -> None:
    require_tool("gcc", shutil.which("gcc") is not None and shutil.which("g++") is not None)
    artifact = lower(graph, load_target("cortex-m7"), options=LowerOptions(io=io))
    artifact.write(tmp_path / "a")
    folder, name = tmp_path / "a", artifact.name
    (tmp_path / "main.cpp").write_text(f'#include "{name}.h"\n#include "{name}_weights.h"\n#include "ec_kernels.h"\nint main() {{ return 0; }}\n')
    compile_all([["g++", "-std=c++11", *WARNINGS, "-I", str(folder), "-fsyntax-only", str(tmp_path / "main.cpp")],
                 ["gcc", "-std=c99", *WARNINGS, "-fsyntax-only", *(str(path) for path in sorted(folder.glob("*.c")))]])
    if graph.name == "two":
        header = (folder / f"{name}.h").read_text()
        assert "TWO_CLASS_COUNT 3" in header and "two_normalize_raw(float raw)" in header and "_SCALE 1.0" not in header


def test_text_is_clean_with_other_compilers(tmp_path: Path) -> None:
    require_tool("zig", importlib.util.find_spec("ziglang") is not None)
    lower(header_graphs()[-1], load_target("cortex-m7")).write(tmp_path / "a")
    files = [str(path) for path in sorted((tmp_path / "a").glob("*.c"))]
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7", "-std=c99", *WARNINGS]
    compile_all([[*zig, "-c", file, "-o", str(tmp_path / "x.o")] for file in files])


def test_dtypes_that_do_not_fit_are_refused() -> None:
    graph = functions_graph()
    integer = {name: Tensor(name, tensor.shape, 0.1, 0) for name, tensor in graph.tensors.items()}
    with pytest.raises(ModelError, match=r"'float_unary_0' \(float_unary\) is for float32 tensors, 't0' is int8"):
        dataclasses.replace(graph, tensors=integer)
    with pytest.raises(ModelError, match="several dtypes"):
        dataclasses.replace(graph, tensors={**graph.tensors, "t0": integer["t0"]})
    table = dataclasses.replace(graph.nodes[0], op=Table(np.arange(-128, 128)))
    with pytest.raises(ModelError, match=r"\(table\) is for int8 tensors, 't0' is float32"):
        dataclasses.replace(graph, nodes=(table, *graph.nodes[1:]))
    for scale, zero_point in ((0.5, 0), (1.0, 3)):
        with pytest.raises(ModelError, match="must be 1 and 0"):
            Tensor("x", (3,), scale, zero_point, "float32")


@pytest.mark.parametrize(("old", "new", "words"), [
    ('"float32"', '"int8"', "several dtypes"), ('"dtype": "float32"', '"dtype": ["float32"]', "expected a text"),
    ('"op": "float_unary"', '"op": "table"', "unknown attributes"), ('"scale": 1.0', '"scale": 2.0', "must be 1 and 0")])
def test_a_file_with_other_dtypes_is_one_sentence(old: str, new: str, words: str, tmp_path: Path) -> None:
    serialize.save(functions_graph(), tmp_path / "graph.json")
    text = (tmp_path / "graph.json").read_text()
    assert old in text
    (tmp_path / "graph.json").write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=words):
        serialize.load(tmp_path / "graph.json")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_constants_that_c_cannot_write_are_refused(value: float) -> None:
    bad = np.full((2, 3), value, np.float32)
    for make in (lambda: FloatDense(bad, np.zeros(2)), lambda: FloatDense(np.zeros((2, 3)), bad[:, 0]), lambda: FloatPad((0, 0, 0, 0), bad[0, :1]),
                 lambda: FloatConv2D(bad.reshape(2, 1, 1, 3), np.zeros(2))):
        with pytest.raises(ModelError, match=r"finite|do not fit"):
            make()
    assert FloatBinary("add", np.array([-np.inf, np.inf])).bounds.tolist() == [-np.finfo(np.float32).max, np.finfo(np.float32).max]


def test_inputs_hold_every_kind_of_number() -> None:
    values = float_inputs(functions_graph())["x0"]
    assert {np.isnan(SPECIAL).any(), np.isinf(SPECIAL).any()} == {True}
    assert np.isnan(values).any() and np.isinf(values).any() and ((np.abs(values) < 1e-38) & (values != 0)).any()
