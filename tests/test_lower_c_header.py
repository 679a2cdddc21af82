"""The public header's words about the model: class names and raw values, whatever the metadata holds."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest
from graph_cases import small_network
from host_build import compiler

from edgecompress.hw.target import load_target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower import lower

HOSTILE = ["zero", 'a"b\\', "*/ \n//", "??/", "ü", "", "%s %n", "\\042", "\x00\x7f", "7"]


def _described(graph: QuantizedGraph, **metadata: Any) -> QuantizedGraph:
    return dataclasses.replace(graph, metadata=metadata)


def _header(graph: QuantizedGraph) -> tuple[str, dict[str, bytes]]:
    artifact = lower(graph, load_target("host"))
    return artifact.name, dict(artifact.files)


def test_class_names_and_raw_values_survive_the_compiler(tmp_path: Path) -> None:
    graph = small_network()
    size = graph.tensors[graph.outputs[0]].size
    classes = [HOSTILE[index % len(HOSTILE)] for index in range(size)]
    name, files = _header(_described(graph, classes=classes, normalization={"mean": 5.0, "scale": 0.25, "front_end": "*/ #error"}))
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    macro = name.upper()
    (tmp_path / "main.c").write_text(
        f'#include "{name}.h"\n#include <stdio.h>\n#include <string.h>\nstatic const char *const names[] = {macro}_CLASSES;\n'
        f"int main(void) {{ int i; for (i = 0; i < {macro}_CLASS_COUNT; ++i) {{ fwrite(names[i], 1, strlen(names[i]) + 1, stdout); }}\n"
        f'printf("%d %d", {name}_quantize_raw(9.0f), {name}_quantize(1.0f)); return 0; }}\n')
    command = [*compiler(), "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-trigraphs", "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    *seen, numbers = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True).stdout.split(b"\0")
    assert seen == [text.encode().split(b"\0")[0] for text in classes]  # C ends a string at the first NUL
    raw, real = numbers.split()
    assert raw == real


@pytest.mark.parametrize("metadata", [
    {}, {"classes": ["a"]}, {"classes": 3}, {"classes": [1] * 10}, {"normalization": {"mean": 1}}, {"normalization": {"mean": "x", "scale": 1}},
    {"normalization": {"mean": 1e300, "scale": 1.0}}, {"normalization": {"mean": 10**400, "scale": 1.0}}, {"normalization": [1, 2]},
])
def test_metadata_that_does_not_fit_is_left_out(metadata: dict[str, Any]) -> None:
    graph = small_network()
    name, files = _header(dataclasses.replace(graph, metadata=metadata))
    header = files[f"{name}.h"].decode()
    assert "_CLASSES" not in header and "_RAW_MEAN" not in header
