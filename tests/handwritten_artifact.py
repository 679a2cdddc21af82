"""An artifact folder written by hand, so that the bench is tested apart from the lowering: two table look-ups and an addition of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgecompress.ir import reference, serialize
from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.ops.table import Table

SIZE = 40

KERNEL = """#include "hand.h"
static int8_t arena[SIZE];
int8_t *hand_arena(void) { return arena; }
void lookup(const int8_t *table, const int8_t *input, int8_t *output)
{
    for (int i = 0; i < SIZE; ++i) {
        output[i] = table[input[i] + 128];
    }
}
"""

MODEL = """#include "hand.h"
@TABLES@
int hand_run(const int8_t *input, int8_t *output)
{
    lookup(table_a, input, hand_arena());
    lookup(table_b, hand_arena(), output);
    @EXTRA@
    return 0;
}
"""

HEADER = """#ifndef HAND_H
#define HAND_H
#include <stdint.h>
#define SIZE 40
int8_t *hand_arena(void);
void lookup(const int8_t *table, const int8_t *input, int8_t *output);
int hand_run(const int8_t *input, int8_t *output);
#endif
"""


def hand_graph() -> QuantizedGraph:
    """x -> a table -> another table."""
    generator = np.random.default_rng(7)
    tensors = {name: Tensor(name, (SIZE,), 0.1, 0) for name in ("x", "middle", "y")}
    first, second = (Table(generator.integers(-128, 128, 256).astype(np.int8)) for _ in range(2))
    nodes = (Node("first", first, ("x",), "middle"), Node("second", second, ("middle",), "y"))
    return QuantizedGraph("hand", tensors, nodes, ("x",), ("y",))


def write_artifact(folder: Path, target: str, extra: str = "", kernel: str = KERNEL, vectors: int = 12) -> QuantizedGraph:
    """Writes the folder; `extra` is C that runs at the end of hand_run, `kernel` replaces the kernel's file."""
    graph = hand_graph()
    folder.mkdir(parents=True, exist_ok=True)
    tables = ""
    for name, node in zip("ab", graph.nodes, strict=True):
        values = ", ".join(str(value) for value in node.op.table)  # type: ignore[attr-defined]  # both are tables
        tables += f"static const int8_t table_{name}[256] = {{{values}}};\n"
    (folder / "hand.c").write_text(MODEL.replace("@TABLES@", tables).replace("@EXTRA@", extra))
    (folder / "hand.h").write_text(HEADER)
    (folder / "lookup.c").write_text(kernel)
    serialize.save(graph, folder / "graph.json")
    inputs = np.random.default_rng(1).integers(-128, 128, (vectors, SIZE)).astype(np.int8)
    np.savez(folder / "vectors.npz", inputs=inputs, outputs=reference.run(graph, inputs))
    layers = [{"node": node.name, "op": "table", "kernel": "lookup", "macs": 0} for node in graph.nodes]
    tensor = {"shape": [SIZE], "scale": 0.1, "zero_point": 0}
    manifest = {
        "format": "edgecompress-artifact", "version": 1, "tool_version": "test", "name": "hand", "target": target, "graph_hash": "0" * 64,
        "inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}], "arena_bytes": SIZE, "constant_bytes": 512,
        "lower_bound_bytes": SIZE, "sources": ["hand.c", "lookup.c"], "header": "hand.h", "files": ["hand.c", "hand.h", "lookup.c"],
        "layers": layers, "memory": [], "kernels": ["lookup"], "vectors_source": "random bytes",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return graph
