"""`inspect`: figures equal those of the artifact, verdicts name the limit, tables cover all devices, wrong words end in one sentence."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_cases import small_network

from edgecompress.bench import bench
from edgecompress.bench.sweep import random_layers
from edgecompress.cli import inspect
from edgecompress.cli.main import main
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.compress.quantize.structure import quantize_uncalibrated
from edgecompress.errors import ExitCode
from edgecompress.frontend.float_graph import FloatGraph, FloatNode
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target, target_names
from edgecompress.ir import serialize
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower import lower
from edgecompress.lower.inspection import Inspector, Refusal


def predictable(target_name: str) -> QuantizedGraph:
    """A chain whose kernels the shipped profile of the core knows."""
    target = load_target(target_name)
    known = load_profile(target.profile).coefficients
    chains = (random_layers(9, index) for index in range(200))
    return next(chain for chain in chains if {layer.kernel for layer in Inspector(chain).inspect(target).layers} <= known.keys())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A candidate's folder."""
    path = tmp_path_factory.mktemp("candidate")
    serialize.save(predictable("cortex-m0plus"), path / "graph.json")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main(["inspect", *map(str, words)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out if code in (ExitCode.DONE, ExitCode.ANSWER_IS_NO) else captured.err


def document(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any]:
    code, out = run(capsys, *words, "--format", "json")
    return code, json.loads(out)


@pytest.mark.parametrize("name", ["stm32f411", "rp2040", "esp32c3"])
@pytest.mark.parametrize("index", [0, 3])
def test_exact_figures_are_the_artifacts(name: str, index: int, tmp_path: Path) -> None:
    graph, target = random_layers(11, index), load_target(name)
    found = Inspector(graph).inspect(target)
    artifact = lower(graph, target)
    assert (found.arena_bytes, found.constant_bytes) == (artifact.plan.memory.arena_bytes, artifact.plan.constant_bytes)
    assert [layer.node for layer in found.layers] == [layer.node for layer in artifact.plan.layers]
    assert max(layer.ram_bytes for layer in found.layers) <= found.arena_bytes
    artifact.write(tmp_path / "a")
    seen = bench(tmp_path / "a")
    assert seen.matches_reference is True and seen.ram_bytes is not None and seen.stack_bytes is not None
    assert seen.ram_bytes - seen.stack_bytes == found.arena_bytes + found.state_bytes


def test_predictions_are_near_the_emulators(folder: Path, tmp_path: Path) -> None:
    target = load_target("samd21")
    graph = serialize.load(folder / "graph.json")
    found = Inspector(graph).inspect(target)
    lower(graph, target).write(tmp_path / "a")
    seen = bench(tmp_path / "a")
    assert found.cost is not None and seen.flash_bytes is not None and seen.stack_bytes is not None
    assert found.cost.latency_s == pytest.approx(sum(layer.seconds or 0.0 for layer in found.layers), rel=0.05)
    assert found.flash_bytes == pytest.approx(seen.flash_bytes, rel=0.25)
    assert found.profile is not None and found.profile.target == "cortex-m0plus"
    assert "taken at 48 MHz" in found.profile_note and "simulated" in found.profile_note


def test_one_device(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, shown = run(capsys, folder, "--target", "rp2040")
    assert code == ExitCode.DONE
    for part in ("fits", "yes", "(exact", "predicted", "largest by time", "largest by RAM", "largest by flash", "scratch", "133 MHz"):
        assert part in shown
    code, found = document(capsys, folder / "graph.json", "--target", "rp2040")
    assert code == ExitCode.DONE and found["fits"] is True and found["misses"] == []
    exact, predicted = found["exact"], found["predicted"]
    assert found["ram_bytes"] == exact["arena_bytes"] + exact["state_bytes"] + exact["input_output_bytes"] + predicted["stack_bytes"]
    assert found["flash_bytes"] == exact["constant_bytes"] + predicted["code_bytes"]
    assert len(found["layers"]) == len(Inspector(serialize.load(folder / "graph.json")).inspect(load_target("rp2040")).layers)


def board(folder: Path, ram: str, flash: str, more: str = "") -> Path:
    path = folder / "board.toml"
    path.write_text(f'base = "cortex-m0plus"\ndescription = "small"\nsource = "this test"\n{more}[memory]\nram = "{ram}"\nflash = "{flash}"\n')
    return path


def test_what_does_not_fit_names_the_limit(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    _, whole = document(capsys, folder, "--target", "cortex-m0plus")
    need_ram, need_flash = whole["ram_bytes"], whole["flash_bytes"]
    code, found = document(capsys, folder, "--target", board(tmp_path, f"{need_ram}B", f"{need_flash}B"))
    assert code == ExitCode.DONE and found["fits"] is True  # exactly enough
    code, found = document(capsys, folder, "--target", board(tmp_path, f"{need_ram - 1}B", f"{need_flash}B"))
    assert code == ExitCode.ANSWER_IS_NO and found["fits"] is False and len(found["misses"]) == 1 and "of RAM, board has" in found["misses"][0]
    code, shown = run(capsys, folder, "--target", board(tmp_path, f"{need_ram - 1}B", f"{need_flash - 1}B"))
    assert code == ExitCode.ANSWER_IS_NO and "NO: needs" in shown and "of RAM" in shown and "of flash" in shown


def test_a_device_without_a_profile_says_so(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    target = board(tmp_path, "64KiB", "512KiB", 'profile = "nobody-made-it"\n')
    code, shown = run(capsys, folder, "--target", target)
    assert code == ExitCode.DONE and "no profile 'nobody-made-it'" in shown and "largest by time" not in shown and "code not predicted" in shown
    _, found = document(capsys, folder, "--target", target)
    assert found["predicted"] is None and found["profile"] is None and found["layers"][0]["predicted_s"] is None
    _, found = document(capsys, folder, "--target", board(tmp_path, "64KiB", "512KiB", 'profile = "cortex-m7-emulated"\n'))
    assert found["predicted"] is None and "was made for cortex-m7" in found["profile_note"]


def test_left_out_flash_waits_are_told(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    told = "without this chip's flash waits"
    assert told in run(capsys, folder, "--target", "stm32l4r5")[1] and told not in run(capsys, folder, "--target", "cortex-m4")[1]
    (line,) = (line for line in run(capsys, folder, "--all")[1].splitlines() if line.startswith("latency without the chip's flash waits"))
    assert "stm32l4r5" in line and "stm32h743" not in line


def test_the_table_covers_all_devices_those_that_fit_first(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, found = document(capsys, folder, "--all")
    rows = found["targets"]
    assert code == ExitCode.DONE and {row["target"] for row in rows} == \
        {name for name in target_names() if load_target(name).family not in ("host", "linux")}
    assert [row["fits"] for row in rows] == sorted((row["fits"] for row in rows), reverse=True)
    fitting = [(row["ram_available_bytes"], row["flash_available_bytes"]) for row in rows if row["fits"]]
    assert fitting == sorted(fitting) and len(fitting) >= 25
    code, shown = run(capsys, folder)
    assert code == ExitCode.DONE and "stm32h743" in shown
    assert [line.split()[0] for line in shown.splitlines()[2:2 + len(rows)]] == [row["target"] for row in rows]


def test_a_model_that_fits_nowhere_is_told_by_the_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    graph = small_network()
    serialize.save(graph, tmp_path / "graph.json")
    tiny = [load_target(str(board(tmp_path, "100B", "100B")))]
    assert all(row.misses for row in Inspector(graph).inspect_all(tiny) if not isinstance(row, Refusal))
    code, _ = run(capsys, tmp_path, "--target", board(tmp_path, "100B", "100B"))
    assert code == ExitCode.ANSWER_IS_NO


def test_devices_of_one_core_share_the_work(folder: Path) -> None:
    graph = serialize.load(folder / "graph.json")
    targets = [load_target(name) for name in target_names()]
    start = time.process_time()
    rows = Inspector(graph).inspect_all(targets)
    assert time.process_time() - start < 2.0 and len(rows) == len(targets) > 40
    assert {row.target.name: row for row in rows}.keys() == set(target_names())


def float_net() -> FloatGraph:
    """conv (ReLU), conv, global pool, dense."""
    generator = np.random.default_rng(3)

    def weights(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.3, shape).astype(np.float32)

    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1), "groups": 1}
    nodes = (FloatNode("a", "conv2d", ("x",), "t0", {"weights": weights(8, 3, 3, 3), "bias": weights(8), **attributes, "clamp": (0.0, float("inf"))}),
             FloatNode("b", "conv2d", ("t0",), "t1", {"weights": weights(12, 3, 3, 8), "bias": weights(12), **attributes}),
             FloatNode("p", "global_average_pool", ("t1",), "t2"),
             FloatNode("r", "reshape", ("t2",), "t3", {"shape": (12,)}),
             FloatNode("d", "dense", ("t3",), "y", {"weights": weights(4, 12), "bias": weights(4)}))
    shapes = {"x": (10, 12, 3), "t0": (10, 12, 8), "t1": (10, 12, 12), "t2": (1, 1, 12), "t3": (12,), "y": (4,)}
    return FloatGraph("floating", shapes, nodes, "x", ("y",))


def test_a_float_models_memory_is_that_of_its_calibrated_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                                   tmp_path: Path) -> None:
    graph, target = float_net(), load_target("stm32f411")
    real = quantize(graph, np.random.default_rng(4).normal(0, 1, (8, 10, 12, 3)).astype(np.float32), QuantizeConfig())
    exact, guess = Inspector(real).inspect(target), Inspector(quantize_uncalibrated(graph)).inspect(target)
    for figure in ("arena_bytes", "constant_bytes", "scratch_bytes", "state_bytes", "macs"):
        assert getattr(guess, figure) == getattr(exact, figure)
    monkeypatch.setattr("edgecompress.frontend.model_file.load_model", lambda *_: graph)
    code, shown = run(capsys, tmp_path / "model.onnx", "--target", "stm32f411")
    assert code == ExitCode.DONE and inspect.INT8_VERSION in shown


@pytest.mark.parametrize(("words", "parts"), [
    (["nowhere.json"], ("there is no model file",)),
    ([".", "--target", "stm32f41"], ("unknown target 'stm32f41'", "Did you mean 'stm32f411'?")),
    ([".", "--layers", "0"], ("--layers 0",)),
    ([".", "--input-shape", "1,x"], ("--input-shape '1,x'",)),
    (["graph.txt"], ("graph.txt", ".tflite")),
    (["damaged"], ("graph.json",)),
])
def test_wrong_words_end_in_one_sentence(words: list[str], parts: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.txt").write_text("x")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "graph.json").write_text("{")
    code, said = run(capsys, *words)
    assert code == ExitCode.USAGE and said.startswith("error: ") and all(part in said for part in parts), said
    with pytest.raises(SystemExit) as stop:
        main(["inspect", ".", "--all", "--target", "stm32f411"])
    assert stop.value.code == ExitCode.USAGE


def test_the_options_of_lower_change_the_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    serialize.save(small_network(), tmp_path / "graph.json")
    _, plain = document(capsys, tmp_path, "--target", "stm32f411")
    _, inside = document(capsys, tmp_path, "--target", "stm32f411", "--io", "arena")
    assert inside["exact"]["input_output_bytes"] == 0 and inside["exact"]["arena_bytes"] > 0
    assert plain["exact"]["input_output_bytes"] > 0
    code, split = document(capsys, tmp_path, "--target", "stm32f411", "--ram", f"{plain['exact']['arena_bytes']}B")
    assert code == ExitCode.DONE and split["exact"] == plain["exact"]
    code = main(["inspect", str(tmp_path), "--target", "stm32f411", "--ram", "1B"])
    assert code == ExitCode.ANSWER_IS_NO and "above the limit of 1 B" in capsys.readouterr().err
    code, rows = document(capsys, tmp_path, "--all", "--ram", "1B")
    assert code == ExitCode.ANSWER_IS_NO and not any(row["fits"] for row in rows["targets"])


def test_a_float_model_can_stay_float_on_devices_with_an_fpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                            tmp_path: Path) -> None:
    monkeypatch.setattr("edgecompress.frontend.model_file.load_model", lambda *_: float_net())
    code, found = document(capsys, tmp_path / "model.onnx", "--all", "--float")
    assert code == ExitCode.DONE and found["kind"] == "float32"
    for row in found["targets"]:
        assert row["fits"] or "fpu" not in row["extensions"] or "needs" in row["misses"][0]
        assert row["fits"] <= ("fpu" in row["extensions"]) and (row["fits"] or row["target"] in " ".join(row["misses"]))
    serialize.save(small_network(), tmp_path / "graph.json")
    monkeypatch.undo()
    code, said = run(capsys, tmp_path, "--float")
    assert code == ExitCode.USAGE and "--float is for float models" in said
