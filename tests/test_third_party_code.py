"""C of the third-party models: no warning under strict flags, no complaint of the sanitizers, every byte the reference's, for each set of kernels."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from arena_executor import random_inputs
from host_build import build, run
from shared_models import MODELS, shared_graph

from edgecompress.hw.target import load_target
from edgecompress.ir.reference import run_all
from edgecompress.lower import lower

STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wundef", "-Werror", "-pedantic")


@pytest.mark.parametrize("extensions", [(), ("dsp",), ("dsp", "mve")], ids=lambda extensions: extensions[-1] if extensions else "portable")
def test_sanitizers_find_nothing_and_outputs_are_right(extensions: tuple[str, ...], tmp_path: Path) -> None:
    target = dataclasses.replace(load_target("host"), extensions=extensions)
    graphs = [shared_graph(name) for name in MODELS]
    inputs = [random_inputs(graph, samples=2) for graph in graphs]
    program = build(tmp_path, [(graph, lower(graph, target, values)) for graph, values in zip(graphs, inputs, strict=True)])
    for graph, values, found in zip(graphs, inputs, run(program, graphs, inputs), strict=True):
        expected = run_all(graph, values)
        for name in graph.outputs:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=graph.name)


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_no_warning_under_strict_flags(core: str, tmp_path: Path) -> None:
    target = load_target(core)
    sources: set[Path] = set()
    for name in MODELS:
        artifact = lower(shared_graph(name), target)
        for file, content in artifact.files.items():
            if file.endswith((".c", ".h")):
                (tmp_path / file).write_bytes(content)
        sources |= {tmp_path / file for file in artifact.manifest["sources"]}

    def compile_one(source: Path) -> None:
        command = [sys.executable, "-m", "ziglang", "cc", *target.compiler.zig, *STRICT, "-c", str(source), "-o", str(source.with_suffix(".o"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{source.name}:\n{done.stderr[-3000:]}"

    assert len(sources) > 2 * len(MODELS)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_one, sorted(sources)))
