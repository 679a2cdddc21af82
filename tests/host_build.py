"""Builds lowered models with the host's compiler, many in one program, and runs them on given inputs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.artifact import Artifact

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wundef", "-Werror", "-pedantic", "-O1")
MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
typedef struct { const char *name; int (*run)(int8_t **tensors); void (*reset)(void); int counts[2]; int step; int sizes[8]; } model;
%(declarations)s
static const model models[] = {
%(rows)s
};
static void run_on_zeros(const model *p)
{
    int8_t *data[8];
    int t;
    for (t = 0; t < p->counts[0] + p->counts[1]; ++t) data[t] = calloc((size_t)p->sizes[t], 1);
    (void)p->run(data);
    for (t = 0; t < p->counts[0] + p->counts[1]; ++t) free(data[t]);
}

/* Exact heap blocks at odd addresses (of floats at odd words): a read or write outside, or one that assumes alignment, ends the program. */
int main(int argc, char **argv)
{
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    size_t m;
    for (m = 0; m < sizeof models / sizeof models[0]; ++m) {
        const model *p = &models[m];
        const int tensors = p->counts[0] + p->counts[1];
        int32_t samples = 0;
        if (fread(&samples, 4, 1, in) != 1) return 2;
        if (argc > 3 && p->reset != 0) {
            run_on_zeros(p);
            p->reset(); /* must undo that run; without it the first run does the same */
        }
        while (samples-- > 0) {
            int8_t *blocks[8], *data[8];
            int t;
            for (t = 0; t < tensors; ++t) {
                blocks[t] = malloc((size_t)(p->sizes[t] + p->step));
                data[t] = blocks[t] + p->step;
                if (t < p->counts[0] && fread(data[t], 1, (size_t)p->sizes[t], in) != (size_t)p->sizes[t]) return 3;
            }
            fprintf(stderr, "%%s\\n", p->name);
            if (p->run(data) != 0) return 4;
            for (t = 0; t < tensors; ++t) {
                if (t >= p->counts[0]) fwrite(data[t], 1, (size_t)p->sizes[t], out);
                free(blocks[t]);
            }
        }
    }
    return fclose(out) == 0 ? 0 : 5;
}
"""


def compiler() -> list[str]:
    """Command of the host's compiler with warnings as errors and sanitizers on."""
    if shutil.which("gcc"):
        return ["gcc", *WARNINGS, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    return [sys.executable, "-m", "ziglang", "cc", *WARNINGS, "-fsanitize=undefined", "-fno-sanitize-recover=all"]


def _compile(command: Sequence[str], source: Path) -> Path:
    target = source.with_suffix(".o")
    done = subprocess.run([*command, "-I", str(source.parent), "-c", str(source), "-o", str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{source.name}:\n{done.stderr[-4000:]}"
    return target


def build(folder: Path, artifacts: Sequence[tuple[QuantizedGraph, Artifact]], group: int = 12) -> Path:
    """One program of all models; each must have a name of its own. Generated files are compiled `group` models at a time."""
    command = compiler()
    for _, artifact in artifacts:
        for name, content in artifact.files.items():
            if name.endswith((".c", ".h")):
                (folder / name).write_bytes(content)
    generated = [artifact.manifest["name"] for _, artifact in artifacts]
    kernels = {name for _, artifact in artifacts for name in artifact.manifest["sources"] if name.startswith("ec_")}
    sources = [folder / name for name in sorted(kernels)]
    for start in range(0, len(generated), group):
        unit = folder / f"unit_{start}.c"
        unit.write_text("".join(f'#undef EC_LAYER_DONE\n#include "{name}.c"\n#include "{name}_weights.c"\n'
                                for name in generated[start:start + group]))
        sources.append(unit)
    main = folder / "test_main.c"
    main.write_text(_main_text(artifacts))
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda source: _compile(command, source), [*sources, main]))
    program = folder / "program"
    subprocess.run([*command, *map(str, objects), "-o", str(program)], check=True)
    return program


def _main_text(artifacts: Sequence[tuple[QuantizedGraph, Artifact]]) -> str:
    declarations, rows = [], []
    for graph, artifact in artifacts:
        name, tensors = artifact.manifest["name"], (*graph.inputs, *graph.outputs)
        floats = graph.tensors[tensors[0]].dtype == "float32"
        arguments = ", ".join(f"(float *)(void *)t[{index}]" if floats else f"t[{index}]" for index in range(len(tensors)))
        declarations.append(f'#include "{name}.h"\nstatic int call_{name}(int8_t **t) {{ return {name}_run({arguments}); }}')
        sizes = ", ".join(str(graph.tensors[tensor].size) for tensor in tensors)
        reset = f"{name}_reset" if graph.state_bytes else "0"
        rows.append(f'    {{"{name}", call_{name}, {reset}, {{{len(graph.inputs)}, {len(graph.outputs)}}}, {4 if floats else 1}, {{{sizes}}}}},')
    return MAIN % {"declarations": "\n".join(declarations), "rows": "\n".join(rows)}


def run(program: Path, graphs: Sequence[QuantizedGraph], inputs: Sequence[dict[str, np.ndarray]], reset: bool = False) -> list[dict[str, np.ndarray]]:
    """Outputs by name for each model, in the order of `build`. `reset`: models with a state first do something else and are then reset."""
    stream = bytearray()
    for graph, values in zip(graphs, inputs, strict=True):
        samples = len(values[graph.inputs[0]])
        stream += np.int32(samples).tobytes()
        for sample in range(samples):
            for name in graph.inputs:
                stream += np.ascontiguousarray(values[name][sample]).tobytes()
    (program.parent / "inputs.bin").write_bytes(bytes(stream))
    command = [str(program), str(program.parent / "inputs.bin"), str(program.parent / "outputs.bin"), *(["reset"] if reset else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    return _split((program.parent / "outputs.bin").read_bytes(), graphs, inputs)


def _split(data: bytes, graphs: Sequence[QuantizedGraph], inputs: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    position, results = 0, []
    for graph, values in zip(graphs, inputs, strict=True):
        collected: dict[str, list[np.ndarray]] = {name: [] for name in graph.outputs}
        for _ in range(len(values[graph.inputs[0]])):
            for name in graph.outputs:
                tensor = graph.tensors[name]
                collected[name].append(np.frombuffer(data, tensor.dtype, tensor.elements, position).reshape(tensor.shape))
                position += tensor.size
        results.append({name: np.stack(parts) for name, parts in collected.items()})
    assert position == len(data)
    return results
