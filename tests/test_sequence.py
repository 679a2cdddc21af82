"""Ops with a state from the reference to the bench: one stream from the first state, wherever it runs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_build import build
from host_build import run as run_program
from op_cases import CASES, OpCase

from edgecompress.bench import bench, run_frames
from edgecompress.bench.runner import run_subjects
from edgecompress.bench.subject import load_subject
from edgecompress.errors import ModelError
from edgecompress.hw.target import load_target
from edgecompress.ir import reference
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.ops.delay_line import DelayLine
from edgecompress.ir.ops.lstm import Lstm
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.svdf import Svdf
from edgecompress.ir.ops.transpose import Transpose
from edgecompress.ir.requant import Requant
from edgecompress.ir.sigmoid16 import sigmoid16, sigmoid_table, tanh16
from edgecompress.lower import lower, plan
from edgecompress.lower.c.state import fills, state_bytes
from edgecompress.resources import data_dir

STATEFUL = [case for kind in ("delay_line", "lstm", "svdf") for case in CASES[kind]]
HOST = load_target("host")


def case_named(name: str) -> OpCase:
    (found,) = (case for case in STATEFUL if case.name == name)
    return found


@pytest.mark.parametrize("extensions", [(), ("dsp",)], ids=["portable", "dsp"])
def test_c_starts_from_the_first_state_and_reset_brings_it_back(extensions: tuple[str, ...], tmp_path: Path) -> None:
    """With the DSP extension the host runs the portable bodies of its instructions."""
    target = dataclasses.replace(HOST, extensions=extensions)
    graphs, inputs = [case.graph for case in STATEFUL], [case.inputs for case in STATEFUL]
    program = build(tmp_path, [(graph, lower(graph, target, values)) for graph, values in zip(graphs, inputs, strict=True)])
    for reset in (False, True):
        for case, got in zip(STATEFUL, run_program(program, graphs, inputs, reset), strict=True):
            expected = reference.run_all(case.graph, case.inputs)
            np.testing.assert_array_equal(got["y"], expected["y"], err_msg=f"{case.name}, reset: {reset}")


def test_run_keeps_the_state_over_more_samples_than_a_batch() -> None:
    for case in (case_named("delay_line-more_kept_than_new"), case_named("lstm-odd"), case_named("svdf-rank2")):
        x = np.random.default_rng(0).integers(-128, 128, (150, *case.graph.tensors["x"].shape)).astype(np.int8)
        np.testing.assert_array_equal(reference.run(case.graph, x, batch_size=7), reference.run_all(case.graph, {"x": x})["y"])


def test_the_state_is_counted_and_stateless_models_do_not_know_of_it() -> None:
    for cases in CASES.values():
        case = cases[0]
        artifact = lower(case.graph, HOST, case.inputs)
        texts = b"".join(artifact.files[name] for name in (f"{artifact.name}.c", f"{artifact.name}.h", "README.md"))
        if case.graph.state_bytes:
            aligned = -(-(case.graph.state_bytes + 4) // 16) * 16  # with the word that says whether it is set
            assert artifact.manifest["state_bytes"] == plan(case.graph, HOST).state_bytes == state_bytes(case.graph.nodes) == aligned
            assert f"_STATE_BYTES {aligned} ".encode() in texts and f"void {artifact.name}_reset(void);".encode() in texts
            assert re.search(rb"RAM that outlives a run \| %d bytes" % aligned, texts)
        else:
            assert artifact.manifest["state_bytes"] == plan(case.graph, HOST).state_bytes == 0
            assert b"state" not in texts and b"reset" not in texts


def test_a_first_state_of_many_values_is_a_constant_and_others_are_filled() -> None:
    for name, wanted in (("delay_line-random_start", "memcpy"), ("delay_line-equal", "memset"), ("lstm-odd", "memset")):
        case = case_named(name)
        artifact = lower(case.graph, HOST, case.inputs)
        source = artifact.files[f"{artifact.name}.c"].decode()
        body = source[source.index("_reset(void)\n{"):].split("}")[0]
        assert wanted in body and ({"memcpy", "memset"} - {wanted}).pop() not in body
    assert fills(case_named("lstm-odd").graph.nodes[0].op) == [(14, 0), (7, -4)]


def test_weights_that_cannot_be_paired_take_the_portable_kernel() -> None:
    target = load_target("cortex-m4")
    for worst, kernel in ((-128, "ec_lstm_s8"), (-127, "ec_lstm_s8_dsp")):
        op = lstm(recurrent_weights=np.full((4, 2, 2), worst))
        tensors = {"x": Tensor("x", (1, 3), 0.1, 0), "y": Tensor("y", (1, 2), 0.1, 0)}
        graph = QuantizedGraph("paired", tensors, (Node("n", op, ("x",), "y"),), ("x",), ("y",))
        assert plan(graph, target).kernels == (kernel,)


@pytest.mark.parametrize("where", ["host", "unicorn"])
def test_the_bench_starts_every_run_from_reset_and_keeps_streams_apart(where: str, tmp_path: Path) -> None:
    target = load_target("cortex-m4")
    chosen = [case_named(name) for name in ("lstm-plain", "delay_line-random_start", "svdf-rank2")]
    for case in chosen:
        lower(case.graph, target, case.inputs).write(tmp_path / case.name)
    subjects = [load_subject(tmp_path / case.name) for case in chosen]
    encoded = [subject.encode(case.inputs) for case, subject in zip(chosen, subjects, strict=True)]
    frames = [(index, steps[step]) for step in range(6) for index, steps in enumerate(encoded)]
    outputs = run_subjects(subjects, frames, target, where)
    for index, (case, subject) in enumerate(zip(chosen, subjects, strict=True)):
        expected = reference.run_all(case.graph, case.inputs)["y"]
        np.testing.assert_array_equal(subject.decode(outputs[index::3])["y"], expected)
        for _ in range(2):
            np.testing.assert_array_equal(run_frames(tmp_path / case.name, case.inputs["x"], on=where), expected)


def test_a_measurement_of_a_stateful_model_matches_and_counts_the_state_as_ram(tmp_path: Path) -> None:
    case, target = case_named("lstm-plain"), load_target("cortex-m4")
    lower(case.graph, target, case.inputs).write(tmp_path / "model")
    measured = bench(tmp_path / "model")
    assert measured.matches_reference and measured.samples == 6
    rest = measured.ram_bytes - measured.stack_bytes - measured.arena_bytes - state_bytes(case.graph.nodes)
    assert rest == 0  # no gap before the arena


@pytest.mark.parametrize("wrong", [-1, True, "12", 1.5])
def test_a_manifest_with_a_wrong_state_size_is_a_sentence(wrong: Any, tmp_path: Path) -> None:
    case = case_named("delay_line-one")
    lower(case.graph, HOST, case.inputs).write(tmp_path / "model")
    path = tmp_path / "model" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state_bytes": wrong}))
    with pytest.raises(ModelError, match="lower the model again"):
        load_subject(tmp_path / "model")


def test_sigmoid_and_tanh_are_close_to_the_real_ones_and_the_kernel_has_the_same_table() -> None:
    x = np.arange(-(2**15), 2**15)
    assert np.abs(sigmoid16(x) / 2**15 - 1 / (1 + np.exp(-x / 2**12))).max() < 4e-4  # saturated before the end of the range
    assert np.abs(tanh16(x) / 2**15 - np.tanh(x / 2**12)).max() < 1e-4
    for shift in (-15, -3, 1, 6, 14):
        assert np.abs(tanh16(x, shift) / 2**15 - np.tanh(x * 2.0 ** (shift - 12))).max() < (1e-4 if shift > -3 else 2e-3)
    header = (data_dir("firmware_export") / "c" / "kernels" / "ec_gates.h").read_text()
    numbers = header[header.index("ec_sigmoid_table[256] = {"):].split("{")[1].split("}")[0]
    assert [int(number) for number in numbers.split(",") if number.strip()] == sigmoid_table().tolist()


def lstm(**changes: Any) -> Lstm:
    """A small valid layer with some attributes changed."""
    one = Requant.from_real([0.1] * 4)
    values = {"input_weights": np.ones((4, 2, 3)), "recurrent_weights": np.ones((4, 2, 2)), "bias": np.zeros((4, 2)), "input_requant": one,
              "recurrent_requant": one, "output_requant": Requant.from_real(1e-7), "input_zero_point": 0, "output_zero_point": 0, "cell_power": -12}
    return Lstm(**{**values, **changes})


def svdf(**changes: Any) -> Svdf:
    """A small valid filter with some attributes changed."""
    values = {"feature_weights": np.ones((4, 3)), "time_weights": np.ones((4, 2)), "bias": np.zeros(2), "feature_requant": Requant.from_real(0.1),
              "output_requant": Requant.from_real(0.1), "input_zero_point": 0, "output_zero_point": 0, "rank": 2}
    return Svdf(**{**values, **changes})


@pytest.mark.parametrize(("make", "words"), [
    (lambda: lstm(input_weights=np.ones((3, 2, 3))), "input weights must be"),
    (lambda: lstm(input_weights=np.ones((4, 0, 3))), "input weights must be"),
    (lambda: lstm(recurrent_weights=np.ones((4, 2, 3))), "recurrent weights must be"),
    (lambda: lstm(bias=np.zeros((2, 4))), "bias must be"),
    (lambda: lstm(bias=np.full((4, 2), 2**31 - 1)), "overflow"),
    (lambda: lstm(input_requant=Requant.from_real(0.1)), "one rescaling factor a gate"),
    (lambda: lstm(output_requant=Requant.from_real([0.1, 0.1])), "one rescaling factor a gate"),
    (lambda: lstm(cell_power=-16), "cell power"),
    (lambda: lstm(cell_power=1), "cell power"),
    (lambda: lstm(cell_clip=32768), "cell clip"),
    (lambda: lstm(output_zero_point=200), "zero point"),
    (lambda: svdf(feature_weights=np.ones(4)), "feature weights must be"),
    (lambda: svdf(time_weights=np.ones((3, 2))), "time weights must be"),
    (lambda: svdf(time_weights=np.ones((4, 0))), "time weights must be"),
    (lambda: svdf(rank=3), "rank 3"),
    (lambda: svdf(rank=0), "rank 0"),
    (lambda: svdf(state_bits=4), "8 or 16 bits"),
    (lambda: svdf(state_bits=8, time_weights=np.full((4, 2), 128)), "must be int8"),
    (lambda: svdf(time_weights=np.full((4, 2), 2**15)), "do not fit int16"),
    (lambda: svdf(input_zero_point=-129), "zero point"),
    (lambda: svdf(feature_requant=Requant.from_real([0.1] * 4)), "one rescaling factor"),
    (lambda: DelayLine(np.zeros(4)), "state must be"),
    (lambda: DelayLine(np.zeros((0, 4))), "state must be"),
    (lambda: Slice((0,), (1, 1), (1, 1)), "a begin, a size and a step an axis"),
    (lambda: Slice((0,), (0,), (1,)), "at least 1"),
    (lambda: Slice((0,), (1,), (0,)), "steps not 0"),
    (lambda: Transpose((0, 0)), "every axis once"),
    (lambda: Transpose(()), "every axis once"),
])
def test_wrong_attributes_end_in_a_sentence(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        make()
