"""The C lowering as a whole: storage, generated text, the artifact's folder, names, sizes."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from arena_executor import random_inputs, run_in_arena
from graph_cases import SCALE, ZERO_POINT, Builder, random_network, small_network
from host_build import build, run
from hypothesis import given, settings
from hypothesis import strategies as st

import edgecompress
from edgecompress.errors import ConfigError, EdgecompressError, ModelError
from edgecompress.hw.target import load_target
from edgecompress.ir import serialize
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.reference import run_all
from edgecompress.ir.requant import Requant
from edgecompress.lower import LOWERINGS, lower, lowering, plan
from edgecompress.lower.artifact import read_manifest
from edgecompress.lower.c import convolution, mve_convolution, sequence, simple
from edgecompress.lower.c.naming import c_identifier, comment_text, unique_identifiers
from edgecompress.lower.c.planning import decide
from edgecompress.lower.options import IO_KINDS, LowerOptions
from edgecompress.lower.passes import optimize
from edgecompress.resources import data_dir

GOLDEN = Path(__file__).parent / "golden" / "small_net"
KERNELS = data_dir("firmware_export") / "c" / "kernels"
HOSTILE = ['"; system("x"); //', "*/ int evil; /*", "../../etc/passwd", "line\nbreak\r\\", "??/\n", "größe 模型 🚀", "int", "", " ", "stdint",
           "ec_conv2d_s8", "0day", "a" * 500, "A-b", "a_b", "con", "%s%n", "_Reserved", "{{ name }}"]


def _rename(graph: QuantizedGraph, names: list[str]) -> QuantizedGraph:
    """The graph with every tensor and node called after `names`, in turn and made different by trailing spaces."""
    def fresh(index: int) -> str:
        return names[index % len(names)] + " " * (index // len(names))

    tensor_names = {old: fresh(index) for index, old in enumerate(graph.tensors)}
    tensors = {tensor_names[old]: Tensor(tensor_names[old], t.shape, t.scale, t.zero_point) for old, t in graph.tensors.items()}
    nodes = tuple(Node(fresh(index), node.op, tuple(tensor_names[i] for i in node.inputs), tensor_names[node.output])
                  for index, node in enumerate(graph.nodes))
    return QuantizedGraph(names[0], tensors, nodes, tuple(tensor_names[i] for i in graph.inputs), tuple(tensor_names[i] for i in graph.outputs))


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(IO_KINDS)), st.booleans())
def test_every_tensor_survives_in_the_planned_memory(seed: int, io: str, thorough: bool) -> None:
    graph = random_network(seed)
    inputs = random_inputs(graph, 1, seed)
    expected = run_all(graph, inputs)
    for name, values in run_in_arena(graph, inputs, LowerOptions(io=io, thorough=thorough)).items():
        np.testing.assert_array_equal(values, expected[name][0])


def test_random_networks_compile_and_equal_the_reference(tmp_path: Path) -> None:
    graphs = [random_network(seed) for seed in range(24)]
    inputs = [random_inputs(graph) for graph in graphs]
    target = load_target("host")
    program = build(tmp_path, [(graph, lower(graph, target, values)) for graph, values in zip(graphs, inputs, strict=True)])
    for graph, values, result in zip(graphs, inputs, run(program, graphs, inputs), strict=True):
        expected = run_all(graph, values)
        for name in graph.outputs:
            np.testing.assert_array_equal(result[name], expected[name], err_msg=graph.name)


def test_reshapes_from_input_to_outputs_copy(tmp_path: Path) -> None:
    b = Builder(1)
    x = b.input(2, 3, 4)
    flat = b.add(Reshape((24,)), x)
    conv = b.conv(x, 3, 1)
    again = b.add(Reshape((18,)), conv)
    shaped = b.add(Reshape((9, 2)), b.add(Reshape((18,)), b.depthwise(conv)))
    graph = b.graph("copies", flat, again, conv, b.add(Reshape((4, 6)), flat), shaped)
    inputs = random_inputs(graph)
    artifact = lower(graph, load_target("host"), inputs)
    assert [layer.kernel for layer in artifact.plan.layers] == ["ec_copy_s8", "ec_conv2d_s8", "ec_copy_s8", "ec_depthwise_conv2d_s8", "ec_copy_s8"]
    (result,) = run(build(tmp_path, [(graph, artifact)]), [graph], [inputs])
    for name, values in run_all(graph, inputs).items():
        if name in graph.outputs:
            np.testing.assert_array_equal(result[name], values)


def test_a_reshape_in_the_middle_costs_nothing() -> None:
    graph = small_network()
    layers = plan(graph, load_target("host")).layers
    assert "reshape" in [node.op.kind for node in graph.nodes]
    assert "reshape" not in [layer.op for layer in layers]


def test_an_addition_writes_over_its_dying_input() -> None:
    b = Builder(1)
    a = b.conv(b.input(8, 8, 4), 4, 1)
    graph = b.graph("inplace", b.conv(b.sum(a, b.depthwise(a)), 2, 1))
    memory = plan(graph, load_target("host")).memory
    offsets = {p.buffer.name: p.offset for p in memory.placements}
    size = graph.tensors["t2"].size
    assert any(abs(offsets["t2"] - offsets[operand]) < size for operand in ("t0", "t1"))


def test_an_output_that_is_an_input_is_refused() -> None:
    graph = QuantizedGraph("g", {"x": Tensor("x", (4,), 1.0, 0)}, (), ("x",), ("x",))
    with pytest.raises(ModelError, match="nothing to compute"):
        plan(graph, load_target("host"))


@pytest.mark.parametrize("multiplier", [1, 2**30 - 1])
@pytest.mark.parametrize("kind", ["conv2d", "depthwise_conv2d", "dense", "add"])
def test_a_multiplier_that_the_kernels_cannot_hold_is_refused(kind: str, multiplier: int) -> None:
    small, b = Requant((multiplier,), (0,)), Builder(1)
    if kind == "conv2d":
        out = b.add(Conv2D(np.ones((2, 1, 1, 3)), np.zeros(2), small, 0, 0), b.input(2, 2, 3))
    elif kind == "depthwise_conv2d":
        out = b.add(DepthwiseConv2D(np.ones((1, 1, 3)), np.zeros(3), small, 0, 0), b.input(2, 2, 3))
    elif kind == "dense":
        out = b.add(Dense(np.ones((2, 3)), np.zeros(2), small, 0, 0), b.input(3))
    else:
        out = b.add(Add(small, small, small, 0, 0, 0), b.input(3), "x0")
    with pytest.raises(ModelError, match=f"rescaling multiplier {multiplier} "):
        lower(b.graph(kind, out), load_target("host"))


def test_a_factor_of_zero_makes_zero_of_the_largest_sum(tmp_path: Path) -> None:
    b = Builder(1)
    largest, factors = np.array([2**31 - 1, -(2**31 - 1), 40]), Requant((0, 0, 2**30), (0, 0, 0))
    graph = b.graph("zero factor", b.add(Dense(np.zeros((3, 2)), largest, factors, 0, 5), b.input(2)))
    inputs = random_inputs(graph)
    (result,) = run(build(tmp_path, [(graph, lower(graph, load_target("host"), inputs))]), [graph], [inputs])
    np.testing.assert_array_equal(result["t0"], np.tile([5, 5, 25], (3, 1)))


def test_text_is_as_checked_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgecompress, "__version__", "0.0.0-golden")
    files = lower(small_network(), load_target("cortex-m0plus")).files  # portable kernels alone
    names = [name for name in files if not name.endswith(".npz") and not name.startswith("ec_")]
    if os.environ.get("EDGECOMPRESS_UPDATE_GOLDEN"):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for name in names:
            (GOLDEN / name).write_bytes(files[name])
    assert sorted(names) == sorted(path.name for path in GOLDEN.iterdir())
    for name in names:
        assert files[name].decode() == (GOLDEN / name).read_text(), f"{name} changed; EDGECOMPRESS_UPDATE_GOLDEN=1 accepts that"


def test_the_same_graph_gives_the_same_bytes() -> None:
    code = """
import hashlib, sys
sys.path[:0] = sys.argv[1:]
from graph_cases import small_network
from edgecompress.hw.target import load_target
from edgecompress.lower import lower
files = lower(small_network(), load_target("cortex-m4")).files
print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())
"""
    paths = [str(Path(__file__).parent), str(Path(edgecompress.__file__).parent.parent)]
    hashes = {subprocess.run([sys.executable, "-c", code, *paths], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
                             check=True).stdout for seed in ("1", "2")}
    assert len(hashes) == 1


def test_hostile_names_become_harmless(tmp_path: Path) -> None:
    graphs = [_rename(small_network(), [*HOSTILE[index:], *HOSTILE[:index]]) for index in range(len(HOSTILE))]
    target = load_target("host")
    for graph in graphs:
        artifact = lower(graph, target)
        for name, content in artifact.files.items():
            assert Path(name).name == name and name.isascii()
            if name.endswith((".c", ".h", ".md")) and not name.startswith("ec_"):
                text = content.decode("ascii")
                assert "??/" not in text and "\\\n" not in text and "evil; /*" not in text
        (tmp_path / "artifacts").mkdir(exist_ok=True)
        artifact.write(tmp_path / "artifacts" / str(graphs.index(graph)))
        assert serialize.load(tmp_path / "artifacts" / str(graphs.index(graph)) / "graph.json").name == graph.name
    distinct = {lower(graph, target).name.lower(): graph for graph in graphs}  # some names are equal once they are safe
    built = list(distinct.values())
    (tmp_path / "build").mkdir()
    program = build(tmp_path / "build", [(graph, lower(graph, target)) for graph in built])
    inputs = [random_inputs(graph) for graph in built]
    for graph, values, result in zip(built, inputs, run(program, built, inputs), strict=True):
        np.testing.assert_array_equal(result[graph.outputs[0]], run_all(graph, values)[graph.outputs[0]])


def test_identifiers() -> None:
    assert c_identifier("Conv 1/relu:0") == "Conv_1_relu_0"
    assert c_identifier("größe") == "groe"
    assert [c_identifier(name) for name in ("int", "stdint", "ec_add", "9lives", "")] == ["model_int", "model_stdint", "model_ec_add", "model_9lives",
                                                                                         "model"]
    names = unique_identifiers(["a b", "a_b", "A-B", "", "", "a_b_2"], "layer")
    assert len({name.lower() for name in names}) == len(names) and all(name.isidentifier() for name in names)
    assert comment_text("x */ y\n\\ ??/ z") == "x _ y_ _ z"


def test_constant_bytes_are_what_a_compiler_makes(tmp_path: Path) -> None:
    """A 32-bit compiler checks each layer's sum of sizeof against the plan."""
    from op_cases import ALL_CASES

    target = load_target("cortex-m7")
    checks = []
    for case in ALL_CASES:
        artifact = lower(case.graph, target, case.inputs)
        (layer,) = artifact.plan.layers or [None]
        for name, content in artifact.files.items():
            if name.endswith((".c", ".h")):
                (tmp_path / name).write_bytes(content)
        decisions = decide(optimize(case.graph), target)
        call, emitter = decisions.calls[0], decisions.emitters[0]
        prefix = f"{artifact.name}_0_{c_identifier(call.node.name, 'layer')}"
        symbols = [f"{prefix}_params", *(f"{prefix}_{array.suffix}" for array in emitter.arrays(call))]
        total = " + ".join(f"sizeof {symbol}" for symbol in symbols)
        checks.append(f'#undef EC_LAYER_DONE\n#include "{artifact.name}.c"\n#include "{artifact.name}_weights.c"\n'
                      f"typedef char check_{artifact.name}[{total} == {layer.constant_bytes} ? 1 : -1];\n")
    (tmp_path / "all.c").write_text("".join(checks))
    _zig(target.compiler.zig, tmp_path / "all.c")


def _zig(flags: tuple[str, ...], source: Path) -> None:
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-O2", "-std=c99", "-ffreestanding", "-Wall", "-Wextra", "-Wconversion", "-Werror",
               "-pedantic", "-Wno-unused-function", "-c", str(source), "-o", str(source.with_suffix(".o"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m7", "cortex-m55", "rv32imc"])
def test_kernels_compile_without_a_warning(core: str, tmp_path: Path) -> None:
    """Each file by itself, as a user's build does it, those of instruction sets that the core lacks included: they have twins in plain C."""
    flags = load_target(core).compiler.zig
    sources = []
    for path in sorted(KERNELS.glob("*.c")):
        (tmp_path / path.name).write_text(f'#include "{path}"\n')
        sources.append(tmp_path / path.name)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda source: _zig(flags, source), sources))


def test_kernel_entries_stand_apart() -> None:
    """The emulator counts entries into these symbols, so that no kernel may call another one."""
    from op_cases import ALL_CASES

    entries = set()
    for target in map(load_target, ("host", "cortex-m4", "cortex-m55")):
        for case in ALL_CASES:
            decisions = decide(case.graph, target)
            entries |= {emitter.kernel(call) for emitter, call in zip(decisions.emitters, decisions.calls, strict=True)}
    texts = {path.name: path.read_text() for path in KERNELS.glob("*.c")}
    for name, text in texts.items():
        own = {entry for entry in entries if re.search(rf"\b{entry}\(", text)}
        assert len(own) <= 1, f"{name} mentions {own}"


def test_constants_shared_with_the_kernels_agree() -> None:
    text = (KERNELS / "ec_kernels.h").read_text()
    defined = {name: int(value) for name, value in re.findall(r"#define (EC_\w+) (\d+)", text)}
    shared = {"EC_CONV2D_CHUNK": convolution.CONV2D_CHUNK, "EC_DEPTHWISE_CHUNK": convolution.DEPTHWISE_CHUNK,
              **{f"EC_RESCALE_{name}": index for index, name in enumerate(("ANY", "SMALL", "SMALL_WHOLE"))},
              "EC_ADD_ANY": simple.ADD_ANY, "EC_ADD_LEFT_HALF": simple.ADD_LEFT_HALF, "EC_ADD_BOTH_HALF": simple.ADD_BOTH_HALF,
              "EC_REARRANGE_AXES": sequence.REARRANGE_AXES,
              "EC_SWEEP_POINTS": mve_convolution.POINTS, "EC_SWEEP_ROWS": mve_convolution.ROWS, "EC_SWEEP_COLUMNS": mve_convolution.COLUMNS}
    assert defined == shared


def test_header_helpers_agree_with_the_graph(tmp_path: Path) -> None:
    graph = small_network()
    artifact = lower(graph, load_target("host"))
    for name, content in artifact.files.items():
        (tmp_path / name).write_bytes(content)
    tensor = graph.tensors[graph.inputs[0]]
    halves = (np.arange(-140, 140) + 0.5) * np.float32(tensor.scale)
    values = np.concatenate([halves, np.linspace(-9, 9, 4001), [np.inf, -np.inf, np.nan, 1e38, -1e38, 1e-40, 0.0]]).astype(np.float32)
    values.tofile(tmp_path / "values.bin")
    (tmp_path / "main.c").write_text("""
#include "small_net.h"
#include <stdio.h>
int main(int argc, char **argv)
{
    float value;
    FILE *in = fopen(argv[1], "rb");
    (void)argc;
    while (fread(&value, 4, 1, in) == 1) printf("%d %.9g\\n", small_net_quantize(value), (double)small_net_dequantize(small_net_quantize(value)));
    return 0;
}
""")
    from host_build import compiler

    subprocess.run([*compiler(), str(tmp_path / "main.c"), "-o", str(tmp_path / "main")], check=True)
    output = subprocess.run([str(tmp_path / "main"), str(tmp_path / "values.bin")], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in output.splitlines()]
    quantized = np.array([int(row[0]) for row in rows])
    np.testing.assert_array_equal(quantized, tensor.quantize(values))
    np.testing.assert_array_equal(np.array([float(row[1]) for row in rows], dtype=np.float32),
                                  graph.tensors[graph.outputs[0]].dequantize(quantized.astype(np.int8)))


def test_manifest_and_vectors_say_what_is_there(tmp_path: Path) -> None:
    graph = small_network()
    given_inputs = random_inputs(graph, 5)[graph.inputs[0]]
    artifact = lower(graph, load_target("cortex-m7"), given_inputs, "test part of digits")
    artifact.write(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest == json.loads(json.dumps(dict(artifact.manifest)))
    assert manifest["graph_hash"] == graph.hash == serialize.load(tmp_path / "out" / "graph.json").hash
    assert manifest["arena_bytes"] == plan(graph, load_target("cortex-m7")).memory.arena_bytes
    assert manifest["constant_bytes"] == sum(layer["constant_bytes"] for layer in manifest["layers"])
    assert manifest["vectors_source"] == "test part of digits"
    assert {layer["kernel"] for layer in manifest["layers"]} == set(manifest["kernels"])
    for text in (edgecompress.__version__, graph.hash, "cortex-m7", "Apache-2.0"):
        for name in ("small_net.c", "small_net.h", "small_net_weights.c", "small_net_weights.h"):
            assert text in artifact.files[name].decode()[:600]
    with np.load(tmp_path / "out" / "vectors.npz") as vectors:
        np.testing.assert_array_equal(vectors["inputs"], given_inputs)
        np.testing.assert_array_equal(vectors["outputs"], run_all(graph, {graph.inputs[0]: given_inputs})[graph.outputs[0]])
    with np.load(tmp_path / "out" / "vectors.npz") as vectors:
        assert len(vectors["inputs"]) == 5


@pytest.mark.parametrize("vectors", [np.zeros((2, 3), np.int8), np.zeros((0, 6, 5, 2), np.int8), np.zeros((2, 6, 5, 2), np.float32)])
def test_wrong_vectors_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(ModelError):
        lower(small_network(), load_target("host"), vectors)


def test_folders_are_not_overwritten_by_accident(tmp_path: Path) -> None:
    artifact = lower(small_network(), load_target("host"))
    folder = tmp_path / "deep" / "out"
    artifact.write(folder)
    with pytest.raises(ConfigError, match="already holds an artifact"):
        artifact.write(folder)
    artifact.write(folder, overwrite=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        artifact.write(folder, overwrite=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        artifact.write(tmp_path / "home", overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        artifact.write(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "file", "home"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = lower(small_network(), load_target("host"))
    artifact.write(tmp_path / "old")
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    written = []

    def write_bytes(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    for folder in (tmp_path / "old", tmp_path / "new"):
        written.clear()
        with pytest.raises(EdgecompressError, match="No space left"):
            artifact.write(folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not an artifact"):
        read_manifest(tmp_path)
    artifact = lower(small_network(), load_target("host"))
    artifact.write(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    good = json.loads(path.read_text())
    bad = [("{", "not valid JSON"), ("[]", "header"), (json.dumps({**good, "version": 99}), "version 99"),
           (json.dumps({k: v for k, v in good.items() if k != "layers"}), "'layers'"), (json.dumps({**good, "arena_bytes": "many"}), "'arena_bytes'"),
           (json.dumps({**good, "sources": ["../../etc/passwd"]}), "not a file name"), (json.dumps({**good, "sources": ["gone.c"]}), "incomplete")]
    for text, message in bad:
        path.write_text(text)
        with pytest.raises(ModelError, match=message):
            read_manifest(tmp_path / "a")


def test_plan_agrees_with_lower() -> None:
    b = Builder(3)
    x = b.conv(b.input(32, 32, 3), 16, 3)
    for _ in range(4):
        x = b.sum(x, b.conv(b.depthwise(x), 16, 1))
    graph, target = b.graph("fifteen", b.head(x, 10)), load_target("cortex-m7")
    assert len(graph.nodes) >= 15
    emitted, quick = lower(graph, target).plan, plan(graph, target)
    assert plan(graph, target, LowerOptions()) == emitted
    assert quick.memory == emitted.memory and quick.kernels == emitted.kernels
    assert emitted.constant_bytes <= quick.constant_bytes < 1.1 * emitted.constant_bytes  # a quick plan looks for no equal constants


def test_unknown_lowering_is_named() -> None:
    assert set(LOWERINGS) == {"c"}
    with pytest.raises(ConfigError, match="unknown lowering 'hsl'"):
        lowering("hsl")


def test_scale_and_zero_point_reach_the_header() -> None:
    text = lower(small_network(), load_target("host")).files["small_net.h"].decode()
    assert f"#define SMALL_NET_INPUT_ZERO_POINT ({ZERO_POINT})" in text
    assert f"#define SMALL_NET_INPUT_SCALE {np.float32(SCALE):.9e}f" in text
    assert "int small_net_run(const int8_t *input, int8_t *output);" in text
