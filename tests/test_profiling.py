"""Layers timed one by one: the hook in the generated code, qemu's counts, and the sweep that a latency profile is made from."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from graph_cases import small_network
from tools import require_tool

from edgecompress import resources
from edgecompress.bench import bench
from edgecompress.bench.firmware import build_firmware
from edgecompress.bench.machines import machine_for
from edgecompress.bench.profiling import Sweep, lower_graph
from edgecompress.bench.subject import load_subject
from edgecompress.bench.sweep import LAYERS_PER_GRAPH, OPTIONS, Draw, choose, lowered, make_graph, random_layers
from edgecompress.bench.sweep_float import FLOAT_LAYERS
from edgecompress.bench.sweep_layers import LAYERS
from edgecompress.bench.toolchain import select_compiler
from edgecompress.cli.main import main
from edgecompress.errors import ConfigError, DeviceError, ExitCode
from edgecompress.hw.estimate import estimate
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.ir.float_ops import FLOAT_OPS
from edgecompress.ir.ops import OPS
from edgecompress.lower import lower
from edgecompress.lower.c.float_emitters import FLOAT_EMIT
from edgecompress.lower.c.planning import decide
from edgecompress.lower.c.table import COPY, EMIT, FAST
from edgecompress.lower.inspection import Inspector

DRAWS = 2500  # half of what 'edgecompress profile' takes
CORES = ("cortex-m3", "cortex-m4", "cortex-m55")  # the portable kernels, those for DSP instructions and floats, those for Helium
RESOLUTION = 12  # instructions: qemu is right to some three of them, and it counts a call's arguments with the other layer than unicorn does


def network(folder: Path, target: str) -> Path:
    """The small network's artifact."""
    lower(small_network(), load_target(target)).write(folder)
    return folder


def test_without_the_hook_there_is_no_code_of_it(tmp_path: Path) -> None:
    target = load_target("cortex-m4")
    images = []
    for name in ("with", "without"):
        folder = network(tmp_path / name, target.name)
        code = folder / "small_net.c"
        if name == "without":
            calls = re.findall(r" +EC_LAYER_DONE\(\d+\);\n", code.read_text())
            assert len(calls) == len(json.loads((folder / "manifest.json").read_text())["layers"])
            code.write_text(re.sub(r" +EC_LAYER_DONE\(\d+\);\n", "", code.read_text()))
        images.append(build_firmware([load_subject(folder)], machine_for(target, "unicorn"), select_compiler(target)).image.segments)
    assert images[0] == images[1]


def test_the_hook_is_called_after_each_layer_in_order(tmp_path: Path) -> None:
    require_tool("gcc", shutil.which("gcc") is not None)
    folder = network(tmp_path / "a", "host")
    (tmp_path / "main.c").write_text("""#include "small_net.h"
#include <stdio.h>
void note(int layer);
void note(int layer) { printf("%d ", layer); }
static int8_t input[SMALL_NET_INPUT_SIZE], output[SMALL_NET_OUTPUT_SIZE];
int main(void) { return small_net_run(input, output); }
""")
    program = tmp_path / "program"
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Wmissing-declarations", "-Werror", "-pedantic", "-DEC_LAYER_DONE=note",
                    f"-I{folder}", str(tmp_path / "main.c"), *map(str, folder.glob("*.c")), "-o", str(program)], check=True)
    layers = json.loads((folder / "manifest.json").read_text())["layers"]
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout.split() == [str(index) for index in range(len(layers))]


@pytest.mark.parametrize(("target", "compiler"), [("cortex-m0plus", "zig"), ("cortex-m4", "gcc"), ("cortex-m33", "zig")])
def test_qemu_counts_the_layers_that_unicorn_counts(target: str, compiler: str, tmp_path: Path) -> None:
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    require_tool("arm-gcc", compiler == "zig" or shutil.which("arm-none-eabi-gcc") is not None)
    folder = network(tmp_path / "a", target)
    exact, timed = bench(folder, cc=compiler, samples=1), bench(folder, cc=compiler, samples=1, emulator="qemu")
    assert timed.matches_reference is True and timed.overhead_instructions is None and exact.overhead_instructions is not None
    assert [layer.kernel for layer in timed.layers] == [layer.kernel for layer in exact.layers]
    for ours, theirs in zip(timed.layers, exact.layers, strict=True):
        assert abs(ours.instructions - theirs.instructions) <= RESOLUTION, (ours.node, ours.instructions, theirs.instructions)


def test_helium_layers_are_counted(tmp_path: Path) -> None:
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    seen = bench(network(tmp_path / "a", "cortex-m55"), samples=1)
    assert seen.where == "qemu" and seen.instructions is not None and all(layer.estimated_cycles is None for layer in seen.layers)
    assert len(seen.layers) == 7 and abs(sum(layer.instructions for layer in seen.layers) - seen.instructions) <= 40


def test_a_model_that_calls_the_hook_too_seldom_is_an_error(tmp_path: Path) -> None:
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    code = network(tmp_path / "a", "cortex-m4") / "small_net.c"
    code.write_text(code.read_text().replace("    EC_LAYER_DONE(3);\n", ""))
    with pytest.raises(DeviceError, match="more or less often than its manifest lists layers"):
        bench(tmp_path / "a", samples=1, emulator="qemu")


def test_a_model_without_the_hook_has_no_layers_on_qemu(tmp_path: Path) -> None:
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    code = network(tmp_path / "a", "cortex-m4") / "small_net.c"
    code.write_text(re.sub(r" +EC_LAYER_DONE\(\d+\);\n", "", code.read_text()))
    seen = bench(tmp_path / "a", samples=1, emulator="qemu")
    assert seen.matches_reference is True and seen.layers == ()


def test_the_sweep_is_reproducible_and_draws_every_op_and_width() -> None:
    graphs = [random_layers(0, index) for index in range(40)] + [make_graph(0, [Draw(index, floats=True)]) for index in range(90)]
    assert [graph.hash for graph in graphs[:3]] == [random_layers(0, index).hash for index in range(3)]
    assert random_layers(1, 0).hash != graphs[0].hash
    assert {node.op.kind for graph in graphs for node in graph.nodes} == {*OPS, *FLOAT_OPS}
    assert {node.op.weight_bits for graph in graphs for node in graph.nodes if hasattr(node.op, "weight_bits")} == {8, 4, 2}
    assert all(weight >= 1 for table in (LAYERS, FLOAT_LAYERS) for _, weight in table.values())


@pytest.fixture(scope="module")
def reached() -> tuple[set[str], set[int]]:
    """(kernels, identities of emitters) that the sweep of any core ends in."""
    kernels: set[str] = set()
    emitters: set[int] = set()
    for core in CORES:
        target = load_target(core)
        for position in range(DRAWS):
            draws = [Draw(position), *([Draw(position, floats=True)] if core == "cortex-m4" and position < 200 else [])]
            for draw in draws:
                decisions = decide(make_graph(0, [draw]), target, OPTIONS)
                kernels |= set(decisions.plan.kernels)
                emitters |= {id(emitter) for emitter in decisions.emitters}
    return kernels, emitters


def test_the_sweep_reaches_every_emitter(reached: tuple[set[str], set[int]]) -> None:
    """A new line in EMIT, FAST or FLOAT_EMIT needs layers in LAYERS or FLOAT_LAYERS that end in it."""
    every = {f"{kind}: {type(emitter).__name__}": emitter for table in (EMIT, FLOAT_EMIT) for kind, emitter in table.items()}
    every |= {f"{kind}: {type(emitter).__name__} {place}": emitter for kind, row in FAST.items() for place, emitter in enumerate(row)}
    assert [name for name, emitter in every.items() if id(emitter) not in reached[1] and emitter is not COPY] == []
    assert id(COPY) in reached[1]


def test_the_sweep_reaches_every_kernel(reached: tuple[set[str], set[int]]) -> None:
    """Every function that a generated model can call, all variants of a kernel among them."""
    headers = resources.data_dir("firmware_export") / "c" / "kernels"
    text = (headers / "ec_kernels.h").read_text() + (headers / "ec_float.h").read_text()
    declared = set(re.findall(r"^void (ec_\w+)\(const ec_\w+_params \*params,", text, re.MULTILINE))
    assert len(declared) > 50
    assert sorted(declared - reached[0]) == []


def test_the_choice_gives_every_kernel_its_rows() -> None:
    target = load_target("cortex-m3")
    graphs = choose(target, 0, 1500)
    assert graphs == choose(target, 0, 1500)
    assert all(1 <= len(graph) <= LAYERS_PER_GRAPH and len({draw.floats for draw in graph}) == 1 for graph in graphs)
    kernels = [layer.kernel for graph in graphs for layer in lowered(make_graph(0, graph), target).layers]
    assert max(kernels.count(name) for name in set(kernels)) <= 110 and 400 < len(kernels) < 1300
    assert not any(draw.floats for graph in graphs for draw in graph)  # it has no FPU
    assert any(draw.floats for graph in choose(load_target("cortex-m4"), 0, 60) for draw in graph)


def test_a_profile_is_made_on_qemu_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    path = tmp_path / "m55.json"
    assert main(["profile", "--target", "cortex-m55", "--layers", "50", "--output", str(path), "--format", "json"]) == ExitCode.DONE
    printed = json.loads(capsys.readouterr().out)
    assert (printed["source"], printed["unit"], printed["target"]) == ("simulated", "instructions", "cortex-m55") and printed["rows"] >= 30
    profile, target = load_profile(str(path)), load_target("cortex-m55")
    artifact = lower_graph(Sweep(target, 0, None, None), next(graph for graph in choose(target, 0, 50) if not graph[0].floats))
    cost = estimate(artifact.plan, profile, target)
    artifact.write(tmp_path / "a")
    seen = bench(tmp_path / "a", samples=1, target=target)
    assert seen.ram_bytes is not None and cost.latency_s == pytest.approx(seen.latency_s, rel=0.05)  # half of its rows were fitted to
    assert seen.ram_bytes <= cost.ram_bytes <= seen.ram_bytes + 400


def test_a_kernel_that_the_profile_never_saw_means_no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    target, graph = load_target("cortex-m0plus"), small_network()
    profile = load_profile(target.profile)
    poor = dataclasses.replace(profile, coefficients={name: value for name, value in profile.coefficients.items() if name != "ec_softmax_s8"})
    monkeypatch.setattr("edgecompress.lower.inspection.load_profile", lambda name: poor)
    found = Inspector(graph).inspect(target)
    assert found.cost is None and found.stack_bytes is None and "knows nothing of kernel 'ec_softmax_s8'" in found.profile_note
    assert found.arena_bytes > 0 and all(layer.seconds is None for layer in found.layers)
    with pytest.raises(ConfigError, match="edgecompress profile --target cortex-m0plus"):
        estimate(lowered(graph, target), poor, target)


def test_the_stack_is_that_of_the_deepest_kernel() -> None:
    profile = load_profile("cortex-m0plus-emulated")
    row = profile.firmware_rows[0]
    rows = [dataclasses.replace(row, kernels=kernels, stack_bytes=size) for kernels, size in ((("a", "b"), 300), (("b", "c"), 120), (("c",), 90))]
    poor = dataclasses.replace(profile, firmware_rows=tuple(rows), stack_bytes=300)
    assert [poor.stack_of(kernels) for kernels in (["a"], ["b"], ["c"], ["b", "c"], ["unseen"], [])] == [300, 120, 90, 120, 300, 300]
    assert np.isfinite(poor.layer_cost(next(iter(poor.coefficients)), {"call": 1.0}))
    deeper = dataclasses.replace(poor, firmware_rows=(*rows, dataclasses.replace(row, kernels=("b", "c"), stack_bytes=180)))  # as no kernel of it was seen
    assert [deeper.stack_of(kernels) for kernels in (["a"], ["b"], ["c"], ["b", "c"])] == [300, 180, 150, 180]
