"""`edgecompress lower`: a quantized graph to code for a target."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ExitCode
from edgecompress.units import format_bytes


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("lower", help="turn a quantized graph into C for a device")
    parser.add_argument("model", type=Path, help="graph.json of a candidate (its graph.npz beside it), or the candidate's folder")
    parser.add_argument("--target", default="cortex-m7", help="device name or the path of its TOML file (default: cortex-m7)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an artifact that is there")
    parser.add_argument("--data", help="data set whose validation samples become the test vectors (default: random inputs)")
    parser.add_argument("--vectors", type=int, default=16, help="number of test vectors with --data (default: 16)")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Loads, lowers, writes."""
    from edgecompress.hw.target import load_target
    from edgecompress.ir import serialize
    from edgecompress.lower import lower

    target = load_target(arguments.target)
    path = arguments.model / "graph.json" if arguments.model.is_dir() else arguments.model
    graph = serialize.load(path)
    vectors, source = None, "random"
    if arguments.data:
        from edgecompress.data.dataset import load_dataset

        data = load_dataset(arguments.data)
        x = data.validation.x[: max(arguments.vectors, 1)]
        vectors, source = graph.tensors[graph.inputs[0]].quantize(x), f"{len(x)} validation samples of {data.name}"
    artifact = lower(graph, target, vectors=vectors, vectors_source=source)
    artifact.write(arguments.output, overwrite=arguments.overwrite)
    plan = artifact.plan
    summary = {"artifact": str(arguments.output), "name": artifact.name, "target": target.name, "arena_bytes": plan.memory.arena_bytes,
               "lower_bound_bytes": plan.memory.lower_bound_bytes, "constant_bytes": plan.constant_bytes, "macs": plan.macs,
               "layers": len(plan.layers), "graph_hash": artifact.graph_hash}
    if arguments.format == "json":
        print_json(summary)
    else:
        print_table(("lowered", artifact.name), [
            ("target", target.name), ("arena", f"{format_bytes(plan.memory.arena_bytes)} (no plan needs less than "
                                               f"{format_bytes(plan.memory.lower_bound_bytes)})"),
            ("constants", format_bytes(plan.constant_bytes)), ("layers, MACs", f"{len(plan.layers)}, {plan.macs}"),
            ("folder", str(arguments.output)), ("next", f"edgecompress bench {arguments.output}")])
    return ExitCode.DONE
